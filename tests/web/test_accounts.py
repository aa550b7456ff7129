"""Accounts: made and changed by administrators, second factor, tokens, sessions, lock-outs, a partner's eyes."""

import re
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from production_parts import as_owner
from sqlalchemy import create_engine, text
from web_helpers import KEY, PASSWORD, Browser, Counted, Hands, Stand, stand, text_of

from simrack.web.accounts import KeyBox, PersonForm, Who
from simrack.web.accounts import totp as codes
from simrack.web.accounts.keybox import SealBroken, new_key
from simrack.web.accounts.keybox import load as load_keys
from simrack.web.errors import BadForm, Stale
from simrack.wire import rights
from simrack.wire.errors import UserError

CLI = Who("cli:test")
OTHER = "five slow yellow tractors"


def person(stand: Stand, name: str, role: str, *scope: str, password: str = OTHER, hidden: tuple[str, ...] = ()) -> Browser:
    """A browser of a new account with its own password."""
    first = stand.room.accounts.people.make(CLI, name, PersonForm(role, scope=frozenset(scope), hidden=frozenset(hidden)))
    browser = stand.browser()
    assert browser.sign_in(name, first).status_code == 303
    browser.get("/account/password")
    assert browser.post("/account/password", old=first, new=password, again=password).status_code == 303
    return browser


def enrol(stand: Stand, browser: Browser, password: str = PASSWORD) -> tuple[str, list[str]]:
    """Set the second factor up as a person does; the secret and the recovery codes."""
    browser.get("/account/second-factor")
    assert browser.post("/account/second-factor/begin", password=password).status_code == 303
    page = browser.get("/account/second-factor")
    secret = "".join(re.findall(r'secret">([A-Z2-7-]+)<', page.text)).replace("-", "")
    assert browser.get("/account/second-factor/qr.svg").mimetype == "image/svg+xml"
    browser.get("/account/second-factor")
    answer = browser.post("/account/second-factor/confirm", code=code_of(stand, secret))
    assert answer.status_code == 200, text_of(answer.text)
    return secret, re.findall(r"<code>([0-9a-f-]{19})</code>", answer.text)


def code_of(stand: Stand, secret: str, ahead_s: int = 0) -> str:
    return pyotp.TOTP(secret).at(int(stand.clock.utc().timestamp()) + ahead_s)


@pytest.mark.stack
def test_second_factor_from_set_up_to_sign_in(demo: Stand) -> None:
    """A stolen password would be enough, or its owner would be locked out by the second step."""
    browser = demo.signed_in()
    secret, recovery = enrol(demo, browser)
    assert len(recovery) == 10
    assert demo.browser().get("/account/second-factor/qr.svg").status_code == 302
    assert browser.get("/account/second-factor/qr.svg").status_code == 404
    other = demo.browser()
    answer = other.sign_in(next="/calls")
    assert answer.location == "/sign-in/code?next=%2Fcalls"
    assert other.get("/rack").status_code == 302
    assert other.get("/api/v1/alarms").status_code == 401
    other.get(answer.location)
    assert other.post("/sign-in/code", code=code_of(demo, secret), next="/calls").status_code == 403, "the code that set it up"
    demo.clock.forward(30)
    assert other.post("/sign-in/code", code=code_of(demo, secret), next="/calls").location == "/calls"
    assert other.get("/rack").status_code == 200


@pytest.mark.stack
def test_a_code_serves_once_and_wrong_codes_lock(demo: Stand) -> None:
    """A code read over a shoulder would sign in a second person; a machine could try all of them."""
    secret, _ = enrol(demo, demo.signed_in())
    demo.clock.forward(60)
    code = code_of(demo, secret)
    first, second = demo.browser(), demo.browser()
    for browser, status in ((first, 303), (second, 403)):
        browser.get(browser.sign_in().location)
        assert browser.post("/sign-in/code", code=code).status_code == status
    for _ in range(4):
        assert second.post("/sign-in/code", code="000000").status_code == 403
    assert second.post("/sign-in/code", code=code_of(demo, secret, 30)).status_code == 429
    again = demo.browser()
    assert again.sign_in().status_code == 429, "the password again must not free the guesser"


@pytest.mark.stack
def test_recovery_codes_sign_in_once_each(demo: Stand) -> None:
    """A lost phone would mean a lost account, or a found list of codes would stay good."""
    _, recovery = enrol(demo, demo.signed_in())
    for code, status in ((recovery[0].upper(), 303), (recovery[0], 403), (recovery[1].replace("-", " "), 303)):
        browser = demo.browser()
        browser.get(browser.sign_in().location)
        assert browser.post("/sign-in/code", code=code).status_code == status
    assert "8 recovery codes left" in text_of(browser.get("/account").text)


@pytest.mark.stack
@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "٣٤٥٦٧٨", "0" * 4000, "<script>", "\x00"])
def test_nonsense_as_a_code_is_refused(demo: Stand, code: str) -> None:
    """A typing mistake would end in a stack trace."""
    enrol(demo, demo.signed_in())
    browser = demo.browser()
    browser.get(browser.sign_in().location)
    assert browser.post("/sign-in/code", code=code).status_code == 403


@pytest.mark.stack
def test_administrators_of_strict_classes_must_enrol(demo: Stand) -> None:
    """A rack that carries other people's traffic would stand behind one password."""
    browser = demo.signed_in()
    _set_class(demo, "multiple-customers")
    demo.clock.forward(6)
    assert browser.get("/rack").location == "/account/second-factor"
    assert browser.get("/api/v1/alarms").status_code == 403
    assert browser.get("/calls", HX_Request="true").headers["HX-Redirect"] == "/account/second-factor"
    enrol(demo, browser)
    assert browser.get("/rack").status_code == 200
    noc = person(demo, "Nora", "noc")
    assert noc.get("/rack").status_code == 200


def _set_class(demo: Stand, name: str) -> None:
    engine = create_engine(as_owner(demo.room.settings.database))
    with engine.begin() as connection:
        version = connection.execute(text("SELECT version FROM config_active")).scalar()
        connection.execute(text("DELETE FROM config_installation"))
        connection.execute(
            text("INSERT INTO config_installation (version, position, name, body) VALUES (:v, 0, :n, :b)"),
            {"v": version, "n": name, "b": f'{{"class": "{name}"}}'},
        )
    engine.dispose()


@pytest.mark.stack
def test_a_first_password_must_be_changed(demo: Stand) -> None:
    """The administrator would go on knowing somebody's password."""
    demo.signed_in()
    first = demo.room.accounts.people.make(CLI, "Bob", PersonForm("noc"))
    browser = demo.browser()
    browser.sign_in("Bob", first)
    assert browser.get("/rack").location == "/account/password"
    browser.get("/account/password")
    for old, new, again, words in (
        ("wrong", OTHER, OTHER, "This is not your password."),
        (first, OTHER, OTHER + "x", "The two passwords differ."),
        (first, "short", "short", "At least 12"),
    ):
        answer = browser.post("/account/password", old=old, new=new, again=again)
        assert answer.status_code == 422
        assert words in text_of(answer.text)
    assert browser.post("/account/password", old=first, new=OTHER, again=OTHER).status_code == 303
    assert browser.get("/rack").status_code == 200
    browser.get("/account/password")
    assert "the password that you have" in text_of(browser.post("/account/password", old=OTHER, new=OTHER, again=OTHER).text)


@pytest.mark.stack
def test_an_account_is_made_changed_and_disabled_by_clicking(demo: Stand) -> None:
    """The NOC would share one account, and nobody could be taken out of it."""
    browser = demo.signed_in()
    browser.get("/accounts/new")
    wrong = browser.post("/accounts/new", name="Bob", role="sender", email="bob")
    assert (wrong.status_code, "Write an address" in text_of(wrong.text), 'value="Bob"' in wrong.text) == (422, True, True)
    assert "Choose at least one of the senders" in text_of(browser.post("/accounts/new", name="Bob", role="sender").text)
    made = browser.post("/accounts/new", name="Bob", role="noc", email="bob@example.net")
    first = re.search(r'first-password">([0-9a-f-]+)<', made.text)
    assert first is not None
    bob = demo.browser()
    assert bob.sign_in("Bob", first[1]).status_code == 303
    page = browser.get("/accounts?text=bob")
    href = re.search(r'href="(/accounts/\d+)"', page.text)
    assert href is not None
    browser.get(href[1])
    version = re.search(r'name="version" value="(\w+)"', browser.page.text if browser.page else "")
    assert version is not None
    assert browser.post(href[1], role="support", version=version[1]).status_code == 303
    stale = browser.get(href[1])
    assert browser.post(href[1], role="auditor", version=version[1]).status_code == 409
    assert "Somebody changed this account" in text_of(browser.page.text if browser.page else "")
    assert "Disable Bob" in text_of(browser.get(f"{href[1]}/ask/disable", HX_Target="dialog").text)
    assert browser.post(f"{href[1]}/do/disable").status_code == 303
    assert bob.get("/account").status_code == 302
    assert bob.sign_in("Bob", first[1]).status_code == 403
    assert "account disabled" in text_of(browser.get(href[1]).text)
    assert stale.status_code == 200


@pytest.mark.stack
def test_names_are_free_only_once_whatever_their_case(demo: Stand) -> None:
    """Two people would be one in the audit log."""
    demo.signed_in()
    for name in ("Ada", "ada", "ADA"):
        with pytest.raises(BadForm, match="There is an account"):
            demo.room.accounts.people.make(CLI, name, PersonForm("noc"))


@pytest.mark.stack
def test_the_last_administrator_stays(demo: Stand) -> None:
    """Nobody could change anything any more."""
    demo.signed_in()
    people = demo.room.accounts.people
    ada = people.get("Ada")
    for act in (lambda: people.disable(CLI, "Ada"), lambda: people.change(CLI, "Ada", PersonForm("noc"), ada.version)):
        with pytest.raises(BadForm, match="last administrator"):
            act()
    people.make(CLI, "Eve", PersonForm("administrator"))
    with pytest.raises(BadForm, match="your own role"):
        people.change(Who("user:Ada"), "Ada", PersonForm("noc"), ada.version)
    assert people.change(CLI, "Ada", PersonForm("noc"), ada.version).role == "noc"


@pytest.mark.stack
def test_two_administrators_who_edit_one_account_are_told(demo: Stand) -> None:
    """The second would undo the first one's change unseen."""
    demo.signed_in()
    people = demo.room.accounts.people
    people.make(CLI, "Bob", PersonForm("noc"))
    version = people.get("Bob").version
    people.change(CLI, "Bob", PersonForm("support"), version)
    with pytest.raises(Stale):
        people.change(CLI, "Bob", PersonForm("auditor"), version)
    assert people.get("Bob").role == "support"


@pytest.mark.stack
def test_tokens_have_chosen_rights_and_end(demo: Stand) -> None:
    """A script's token would open more than it needs, or live for ever."""
    browser = demo.signed_in()
    browser.get("/account/tokens/new")
    given = {"name": "wallboard", "days": "2", "kind": "chosen", "password": PASSWORD}
    assert "Choose at least one right" in text_of(browser.post("/account/tokens", **given).text)
    assert "A number of days" in text_of(browser.post("/account/tokens", **{**given, "days": "9999"}).text)
    assert "no right" in text_of(browser.post("/account/tokens", **given, right="accounts.change").text)
    made = browser.post("/account/tokens", **given, right="alarms.see")
    token = re.search(r"Bearer ([0-9a-f]{64})", made.text)
    assert token is not None
    client, bearer = demo.browser().client, {"Authorization": f"Bearer {token[1]}"}
    assert client.get("/api/v1/alarms", headers=bearer).status_code == 200
    assert client.get("/api/v1/records", headers=bearer).status_code == 403
    assert token[1] not in browser.get("/account").text
    demo.clock.forward(timedelta(days=2).total_seconds() + 1)
    assert client.get("/api/v1/alarms", headers=bearer).status_code == 401


@pytest.mark.stack
def test_sessions_are_listed_and_end_when_revoked(demo: Stand) -> None:
    """A stolen laptop would stay signed in."""
    here, there = demo.signed_in(), demo.signed_in()
    assert there.get("/rack").status_code == 200
    (public,) = re.findall(r"/account/sessions/([0-9a-f]+)/revoke", here.get("/account").text)
    assert here.post(f"/account/sessions/{public}/revoke").status_code == 303
    assert there.get("/rack").status_code == 302
    assert here.get("/rack").status_code == 200
    here.get("/account")
    assert here.post("/account/sessions/0000/revoke").status_code == 404


@pytest.mark.stack
def test_nobody_ends_another_ones_session_but_administrators(demo: Stand) -> None:
    """Support could throw the NOC out."""
    ada = demo.signed_in()
    (mine,) = demo.room.accounts.sessions.listed()
    bob = person(demo, "Bob", "support")
    bob.get("/account")
    assert bob.post(f"/account/sessions/{mine.public}/revoke").status_code == 404
    assert bob.post(f"/accounts/sessions/{mine.public}/revoke").status_code == 403
    assert ada.get("/rack").status_code == 200


@pytest.mark.stack
def test_lock_outs_outlive_a_restart_and_can_be_freed(demo: Stand) -> None:
    """A restart would free a guesser, or a locked-out colleague would have to wait."""
    ada = demo.signed_in()
    person(demo, "Bob", "noc")
    for _ in range(5):
        demo.browser().sign_in("Bob", "wrong wrong wrong")
    restarted = stand(demo.room.settings.database, clock=demo.clock)
    assert restarted.browser().sign_in("Bob", OTHER).status_code == 429
    restarted.close()
    assert "Account bob" in text_of(ada.get("/accounts").text)
    ada.post("/accounts/locks/free", kind="name", key="bob")
    assert demo.browser().sign_in("Bob", OTHER).status_code == 303


@pytest.mark.stack
def test_looking_with_a_partners_eyes_shows_theirs_and_does_nothing(demo: Stand) -> None:
    """What a partner complains of could not be seen, or acts would be done unseen in their name."""
    ada = demo.signed_in()
    sender = min(demo.room.desk.names().senders)
    person(demo, "Sam", "sender", sender)
    sam = demo.room.accounts.people.get("Sam")
    ada.get(f"/accounts/{sam.id}")
    assert ada.post(f"/accounts/{sam.id}/do/eyes").status_code == 303
    page = ada.get("/records")
    assert "You look with the eyes of Sam" in text_of(page.text)
    assert ada.get("/accounts").status_code == 403
    assert ada.get("/rack").status_code == 403
    ada.get("/account")
    assert ada.post("/account/sessions/revoke-others").status_code == 403
    ada.get("/account")
    assert ada.post("/eyes/end").status_code == 303
    assert ada.get("/accounts").status_code == 200
    assert [act.action for act in demo.room.accounts.people.acts("Sam")][:2] == ["eyes-ended", "eyes-begun"]


@pytest.mark.stack
def test_acts_are_written_with_who_and_from_where(demo: Stand) -> None:
    """Nobody could say who made an account."""
    ada = demo.signed_in()
    ada.get("/accounts/new")
    ada.post("/accounts/new", name="Bob", role="noc")
    demo.browser().sign_in("Bob", "wrong wrong wrong")
    demo.browser().sign_in("my password typed as a name", "x")
    refused, made = demo.room.accounts.people.acts("Bob")
    assert (made.action, made.actor, made.address, made.detail["role"]) == ("account-made", "user:Ada", "127.0.0.1", "noc")
    assert (refused.action, refused.detail) == ("sign-in-refused", {"wrong": "password"})
    stored = _all_acts(demo)
    assert "my password" not in stored
    assert PASSWORD not in stored


def _all_acts(demo: Stand) -> str:
    engine = create_engine(demo.room.settings.database)
    with engine.connect() as connection:
        found = " ".join(str(tuple(row)) for row in connection.execute(text("SELECT * FROM web_act")))
    engine.dispose()
    return found


@pytest.mark.stack
def test_second_factors_are_encrypted_and_bound_to_their_account(demo: Stand) -> None:
    """A copied database would make codes, or one person's row would open another's account."""
    secret, recovery = enrol(demo, demo.signed_in())
    engine = create_engine(demo.room.settings.database)
    with engine.connect() as connection:
        stored = str([tuple(row) for table in ("web_user", "web_recovery") for row in connection.execute(text(f"SELECT * FROM {table}"))])
        sealed = connection.execute(text("SELECT totp_secret FROM web_user")).scalar_one()
    engine.dispose()
    assert secret not in stored
    assert not any(code in stored or codes.squeezed(code) in stored for code in recovery)
    box = KeyBox([KEY], demo.clock)
    assert box.open("totp:1", sealed) == secret
    with pytest.raises(SealBroken):
        box.open("totp:2", sealed)


def test_keys_can_be_changed_and_their_file_is_private(tmp_path: Path) -> None:
    """A renewed key would lock everybody out, or the file would be read by others."""
    hands, ids = Hands(), Counted()
    path = tmp_path / "data" / "web.key"
    box = load_keys("", path, hands, ids)
    assert path.stat().st_mode & 0o777 == 0o600
    sealed = box.seal("totp:1", "secret")
    assert load_keys("", path, hands, ids).open("totp:1", sealed) == "secret"
    newer = load_keys(f"{new_key(ids)}, {path.read_text()}", path, hands, ids)
    assert newer.open("totp:1", sealed) == "secret"
    path.chmod(0o644)
    with pytest.raises(UserError, match="others may read"):
        load_keys("", path, hands, ids)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(UserError, match="holds no key"):
        load_keys("", path, hands, ids)


@pytest.mark.stack
def test_a_lost_key_does_not_open_the_door(demo: Stand) -> None:
    """Without the key file everybody with a password would get in, or nobody with a recovery code."""
    secret, recovery = enrol(demo, demo.signed_in())
    demo.clock.forward(60)
    engine = create_engine(demo.room.settings.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE web_user SET totp_secret = 'rubbish'"))
    engine.dispose()
    browser = demo.browser()
    browser.get(browser.sign_in().location)
    assert browser.post("/sign-in/code", code=code_of(demo, secret)).status_code == 403
    assert browser.post("/sign-in/code", code=recovery[3]).status_code == 303


@pytest.mark.stack
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "x" * 60, "O'Neil; DROP", "🙂 Ada", "a/b/../c", "%2e"])
def test_odd_names_work_everywhere(demo: Stand, name: str) -> None:
    """A name would break pages, or run as a script."""
    ada = demo.signed_in()
    person(demo, name, "noc")
    found = demo.room.accounts.people.get(name)
    for path in ("/accounts", f"/accounts/{found.id}", "/accounts/sessions", "/accounts.csv"):
        page = ada.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text or path.endswith(".csv")


@pytest.mark.stack
def test_nonsense_in_every_field_is_named_and_nothing_is_lost(demo: Stand) -> None:
    """A mistake would end in an error page with the form gone."""
    ada = demo.signed_in()
    ada.get("/accounts/new")
    long = "x" * 4000
    for fields in ({"name": long}, {"name": "B", "email": long}, {"name": "B", "role": "king"}, {"name": "", "role": "noc"},
                   {"name": "B", "role": "sender", "senders": "nobody"}, {"name": "B", "role": "noc", "hidden": "all"}):  # fmt: skip
        answer = ada.post("/accounts/new", **{"role": "noc", **fields})
        assert answer.status_code == 422, fields
        assert 'class="wrong"' in answer.text
    assert ada.get("/accounts/999999").status_code == 404
    ada.get("/accounts/1")
    assert ada.post("/accounts/1/do/nothing").status_code == 404


def test_every_role_has_words_and_every_right_a_role() -> None:
    """A right would be nobody's, or a role would be a mystery to who gives it."""
    for right in rights.RIGHTS.values():
        assert right.roles, right.name
        assert right.roles <= rights.ROLES.keys()
    for command, right_name in (*rights.COMMANDS.items(), *rights.ENTRY_RIGHTS.items()):
        assert right_name in rights.RIGHTS, command
    assert rights.RIGHTS.keys() >= rights.LOOKING
    assert rights.RIGHTS.keys() >= rights.NEVER_BY_TOKEN
