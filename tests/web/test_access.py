"""Who gets in: set-up link, sign-in, lock-out, sessions, form tokens, headers."""

import re

import pytest
from sqlalchemy import create_engine, text
from web_helpers import PASSWORD, Browser, Stand, stand, text_of

from simrack.web.errors import LinkSpent
from simrack.web.guard import HEADERS, digest, form_token
from simrack.web.pages_access import local_path
from simrack.wire.errors import UserError

COOKIE = re.compile(r"simrack=([0-9a-f]{64})")


def cookie_of(browser: Browser) -> str:
    cookie = browser.client.get_cookie("simrack")
    return cookie.value if cookie is not None else ""


@pytest.mark.stack
def test_set_up_link_makes_the_first_administrator_and_signs_in(empty: Stand) -> None:
    """The first person could not get in, or would have to sign in a second time."""
    browser = empty.browser()
    answer = browser.set_up(empty.room.accounts.new_link())
    assert (answer.status_code, answer.location) == (303, "/set-up")  # nothing is there yet
    assert browser.get("/rack").status_code == 200
    assert not empty.room.accounts.empty()


@pytest.mark.stack
def test_set_up_link_works_once(empty: Stand) -> None:
    """A link left in a terminal's history would make a second administrator."""
    token = empty.room.accounts.new_link()
    empty.browser().set_up(token)
    thief = empty.browser()
    assert thief.get(f"/setup/{token}").status_code == 410
    assert thief.post(f"/setup/{token}", csrf=form_token(cookie_of(thief)), name="Eve", password=PASSWORD, again=PASSWORD).status_code == 410
    with pytest.raises(LinkSpent):
        empty.room.accounts.set_up(token, "Eve", PASSWORD, "", "")


@pytest.mark.stack
def test_set_up_link_expires_and_a_new_one_ends_the_old(empty: Stand) -> None:
    """An old link could be used weeks later."""
    accounts = empty.room.accounts
    first = accounts.new_link()
    second = accounts.new_link()
    with pytest.raises(LinkSpent):
        accounts.check_link(first)
    accounts.check_link(second)
    empty.clock.forward(24 * 3600 + 1)
    assert "--new-link" in text_of(empty.browser().get(f"/setup/{second}").text)


@pytest.mark.stack
def test_no_new_link_once_an_account_exists(demo: Stand) -> None:
    """Whoever may run the command could take the rack over from its administrator."""
    demo.signed_in()
    with pytest.raises(UserError, match="exists already"):
        demo.room.accounts.new_link()


@pytest.mark.stack
@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"name": "Ada", "password": "short", "again": "short"}, "At least 12 characters; this has 5."),
        ({"name": "Ada", "password": PASSWORD, "again": PASSWORD + "x"}, "The two passwords differ."),
        ({"name": "", "password": PASSWORD, "again": PASSWORD}, "Write a name"),
        ({"name": " Ada", "password": PASSWORD, "again": PASSWORD}, "Write a name"),
        ({"name": "Ada\x07", "password": PASSWORD, "again": PASSWORD}, "Write a name"),
        ({"name": "Ada", "password": "aaaaaaaaaaaa", "again": "aaaaaaaaaaaa"}, "Too easy to guess"),
        ({"name": "A" * 12, "password": "a" * 12, "again": "a" * 12}, "Too easy to guess"),
        ({"name": "Ada", "password": "x1y2" * 70, "again": "x1y2" * 70}, "At most 256"),
    ],
)  # fmt: skip
def test_wrong_set_up_says_what_is_wrong_and_keeps_the_link(empty: Stand, fields: dict[str, str], word: str) -> None:
    """A typing mistake would cost the only link, or a weak password would be taken."""
    token = empty.room.accounts.new_link()
    browser = empty.browser()
    browser.get(f"/setup/{token}")
    answer = browser.post(f"/setup/{token}", **fields)
    assert answer.status_code == 422
    assert word in text_of(answer.text)
    assert browser.set_up(token).status_code == 303


@pytest.mark.stack
def test_passwords_are_argon2id_and_secrets_are_digests(empty: Stand) -> None:
    """A copied database would give away passwords, sessions or links."""
    token = empty.room.accounts.new_link()
    browser = empty.browser()
    browser.set_up(token)
    engine = create_engine(empty.room.settings.database)
    with engine.connect() as connection:
        stored = " ".join(
            str(tuple(row))
            for table in ("web_user", "web_session", "setup_link")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        )
    engine.dispose()
    assert "$argon2id$" in stored
    assert PASSWORD not in stored
    assert token not in stored
    assert cookie_of(browser) not in stored
    assert digest("session", cookie_of(browser)) in stored


@pytest.mark.stack
def test_every_page_asks_for_sign_in_and_comes_back(demo: Stand) -> None:
    """A page with subscriber numbers would open for anybody."""
    demo.signed_in()
    stranger = demo.browser()
    closed = ("/", "/rack", "/rack/vienna-01/3", "/calls", "/records", "/records.csv", "/records/x", "/alarms", "/stream", "/search")
    for path in closed:
        answer = stranger.get(path)
        assert answer.status_code == 302, path
        assert answer.location.startswith("/sign-in"), path
    assert stranger.get("/records?outcome=failed").location == "/sign-in?next=/records%3Foutcome%3Dfailed"
    stranger.get("/sign-in?next=/records%3Foutcome%3Dfailed")
    answer = stranger.post("/sign-in", name="Ada", password=PASSWORD, next="/records?outcome=failed")
    assert answer.location == "/records?outcome=failed"
    assert demo.browser().get("/calls", HX_Request="true").headers["HX-Redirect"] == "/sign-in"
    assert demo.browser().get("/api/v1/rack").status_code == 401


@pytest.mark.stack
def test_every_rule_of_the_application_is_closed_but_the_door(demo: Stand) -> None:
    """A page added later would be open by mistake."""
    open_rules = {
        rule.rule for rule in demo.app.url_map.iter_rules()
        if "GET" in (rule.methods or ())
        and demo.browser().get(re.sub(r"<int:[^>]*>", "1", rule.rule).replace("<", "").replace(">", "")).status_code
        not in (302, 401)
    }  # fmt: skip
    assert open_rules == {"/static/<path:filename>", "/sign-in", "/setup/<token>", "/healthz", "/openapi.json"}


@pytest.mark.stack
def test_sign_in_with_wrong_words(demo: Stand) -> None:
    """A wrong password would get in, or the answer would tell which names exist."""
    demo.signed_in()
    browser = demo.browser()
    wrong_password = browser.sign_in(password="not the right one")
    wrong_name = browser.sign_in(name="Bob")
    assert wrong_password.status_code == wrong_name.status_code == 403
    said = [text_of(answer.text).replace("Ada", "").replace("Bob", "") for answer in (wrong_password, wrong_name)]
    assert said[0] == said[1]
    assert browser.sign_in().status_code == 303


@pytest.mark.stack
def test_lock_out_after_five_wrong_tries_and_release(demo: Stand) -> None:
    """A machine could try passwords without end, or a person would stay locked out for good."""
    demo.signed_in()
    browser = demo.browser()
    for _ in range(5):
        assert browser.sign_in(password="wrong wrong wrong").status_code == 403
    locked = browser.sign_in()
    assert locked.status_code == 429
    assert "Try again in 15 min" in text_of(locked.text)
    demo.clock.forward(15 * 60 + 1)
    assert browser.sign_in().status_code == 303


@pytest.mark.stack
def test_one_address_that_tries_many_names_is_slowed_down(demo: Stand) -> None:
    """Guessing one password over many names would go unnoticed."""
    demo.signed_in()
    browser = demo.browser()
    answers = [browser.sign_in(name=f"user{index}", password="wrong wrong wrong").status_code for index in range(21)]
    assert answers[-1] == 429
    assert answers[:20] == [403] * 20


@pytest.mark.stack
def test_forms_without_their_token_are_refused(demo: Stand) -> None:
    """A foreign page could sign people in or out, or end calls, with their cookie."""
    browser = demo.signed_in()
    browser.get("/rack")
    assert browser.post("/sign-out", csrf="").status_code == 400
    assert browser.post("/sign-out", csrf="0" * 64).status_code == 400
    assert browser.client.post("/sign-in", data={"name": "Ada", "password": PASSWORD}).status_code == 400
    assert browser.get("/rack").status_code == 200
    assert browser.post("/sign-out").location == "/sign-in"
    assert browser.get("/rack").status_code == 302


@pytest.mark.stack
def test_form_token_of_another_session_does_not_fit(demo: Stand) -> None:
    """One person's page would be a key to another's session."""
    first, second = demo.signed_in(), demo.signed_in()
    first.get("/rack")
    second.get("/rack")
    assert second.post("/sign-out", csrf=first.csrf()).status_code == 400


@pytest.mark.stack
def test_sign_in_gives_a_new_cookie(demo: Stand) -> None:
    """A cookie planted before sign-in would be signed in with it (session fixation)."""
    demo.signed_in()
    browser = demo.browser()
    browser.client.set_cookie("simrack", "f" * 64)
    browser.sign_in()
    assert cookie_of(browser) not in ("", "f" * 64)
    stranger = demo.browser()
    stranger.client.set_cookie("simrack", "f" * 64)
    assert stranger.get("/rack").status_code == 302


@pytest.mark.stack
def test_cookie_is_out_of_reach_of_scripts_and_foreign_pages(demo: Stand) -> None:
    """A script or a foreign page could use the session."""
    demo.signed_in()
    header = demo.browser().sign_in().headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
    assert "Secure" not in header


@pytest.mark.stack
def test_behind_https_the_cookie_is_secure_and_the_name_is_checked(demo: Stand) -> None:
    """The cookie would travel in the clear, or DNS rebinding would reach the rack."""
    safe = stand(demo.room.settings.database, public_url="https://noc.example", clock=demo.clock)
    browser = safe.browser()
    answer = browser.client.get("/sign-in", base_url="https://noc.example")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert browser.client.get("/sign-in", base_url="https://evil.example").status_code == 400
    safe.close()


@pytest.mark.stack
def test_a_foreign_name_of_a_loopback_server_is_refused(demo: Stand) -> None:
    """A page in the same browser could reach a rack on this machine by DNS rebinding."""
    client = demo.browser().client
    assert client.get("/sign-in", base_url="http://evil.example").status_code == 400
    assert client.get("/sign-in", base_url="http://127.0.0.1:8080").status_code == 200


@pytest.mark.stack
def test_session_ends_after_its_hours_and_lives_while_used(demo: Stand) -> None:
    """A forgotten browser would stay signed in; a working one would be thrown out."""
    browser = demo.signed_in()
    for _ in range(4):
        demo.clock.forward(6 * 3600)
        assert browser.get("/alarms").status_code == 200
    demo.clock.forward(12 * 3600 + 1)
    assert browser.get("/alarms").status_code == 302


@pytest.mark.stack
def test_every_answer_carries_the_protecting_headers(demo: Stand) -> None:
    """A script that got into a page could run."""
    browser = demo.signed_in()
    for path in ("/rack", "/nothing", "/static/app.css", "/api/v1/rack", "/sign-in"):
        answer = browser.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert browser.get("/rack").headers["Cache-Control"] == "no-store"


@pytest.mark.stack
def test_no_page_has_inline_script_or_style(demo: Stand) -> None:
    """The policy would break the page, or would have to be weakened."""
    browser = demo.signed_in()
    inline = re.compile(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|hx-on|javascript:", re.IGNORECASE)
    for path in ("/rack", "/rack/vienna-01/3", "/calls", "/records", "/records/c0ffee0000000001", "/alarms?all", "/nothing"):
        page = browser.get(path).text
        assert not inline.search(page), (path, inline.search(page))


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/a\nb", "javascript:x"])
def test_sign_in_never_leads_elsewhere(path: str) -> None:
    """A link to our sign-in page could end at a copy of it."""
    assert local_path(path) == "/rack"


@pytest.mark.stack
def test_an_api_token_reads_the_api_and_nothing_else(demo: Stand) -> None:
    """Scripts would need a person's password, or their token would open pages."""
    demo.signed_in()
    token = demo.room.accounts.new_token("nightly report")
    client = demo.browser().client
    bearer = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/alarms", headers=bearer).status_code == 200
    assert client.get("/rack", headers=bearer).status_code == 302
    client.set_cookie("simrack", token)
    assert client.get("/rack").status_code == 302
    assert client.get("/api/v1/alarms", headers={"Authorization": "Bearer 00"}).status_code == 401


@pytest.mark.stack
def test_first_day_sign_in_page_names_the_set_up_link(empty: Stand) -> None:
    """A newcomer would stand before a door without a key."""
    assert "--new-link" in text_of(empty.browser().get("/sign-in").text)
