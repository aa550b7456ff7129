"""Lists and forms of what is configured: from nothing to a carried call by forms alone, and everything that may go wrong."""

import json
import re
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, select
from web_controller import Controller, controller_of
from web_demo import A_CARD
from web_helpers import Browser, Stand, text_of
from werkzeug.test import TestResponse

from simrack.controller.config.kinds import MODELS
from simrack.controller.store import tables as t
from simrack.web import forms
from simrack.web.accounts import Who
from simrack.web.sections import SECTIONS, Section

pytestmark = pytest.mark.stack

SCRIPT = "<script>alert(1)</script>"
PASSWORD = "kettle-under-water"


@pytest.fixture
def run(demo: Stand) -> Iterator[Controller]:
    """A control room in full work with a controller behind it."""
    with controller_of(demo) as controller:
        yield controller


@pytest.fixture
def first(empty: Stand) -> Iterator[Controller]:
    """A control room of the first day with a controller behind it."""
    with controller_of(empty) as controller:
        yield controller


def send(browser: Browser, path: str, act: str, name: str = "", /, **fields: str | list[str]) -> TestResponse:
    """Press a button of an entry's form; "__" stands for the dot in a field's name."""
    page = browser.get(f"{path}?name={name}" if name else path)
    assert page.status_code == 200, page.text[-400:]
    data: dict[str, object] = {
        "csrf": browser.csrf(), "_name": name or hidden(page.text, "_name"), "_base": hidden(page.text, "_base"), "act": act,
        **{key.replace("__", "."): value for key, value in fields.items()},
    }  # fmt: skip
    browser.page = browser.client.post(path, data=data)
    return browser.page


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', page)
    return found[1] if found else ""


def put(browser: Browser, path: str, name: str = "", /, **fields: str | list[str]) -> TestResponse:
    """Review a form and apply it as a person does."""
    shown = send(browser, path, "review", name, **fields)
    assert shown.status_code == 200, text_of(shown.text)
    return send(browser, path, "apply", name, **fields, _seen=hidden(shown.text, "_seen"))


def test_from_nothing_to_a_routed_call_by_forms_alone(first: Controller) -> None:
    """A newcomer would need a file and its documentation."""
    browser = first.stand.signed_in()
    put(browser, "/installation", **{"class": "test-lab", "owner": "Example Lab", "country": "AT"})
    put(browser, "/sites/site", title="Vienna DC2", country="001", time_zone="UTC", emergency="refuse")
    put(browser, "/agreements/agreement", title="Lab", operator="Test Mobil", reference="book 1", lab="on", uses=["test"],
        sites=["vienna-dc2"], valid_from="2026-01-01", valid_until="2027-01-01")  # fmt: skip
    put(browser, "/plans/plan", title="My SIMs", agreement="lab", enabled="on", country="001", imsi_prefixes="00101", dial="+",
        early_media="auto")  # fmt: skip
    put(browser, "/senders/sender", title="My switch", enabled="on", legal_name="Example", contact="x", country="001", purpose="y",
        use="test", addresses="192.0.2.9", numbers="+882100*", other_numbers="reject")  # fmt: skip
    done = put(browser, "/routing/pattern", name="Mine", prefixes="+88210", action="route", targets__plan="my-sims", targets__priority="0")
    assert done.status_code == 303
    assert done.location.startswith("/routing/pattern?name=Mine&done=")
    told = text_of(browser.get("/routing/explain?sender=my-switch&called=%2B882105551234&calling=%2B8821001").text)
    assert "Pattern Mine" in told
    assert "SIM in a plan of this route" in told
    assert "Version" in text_of(browser.get(done.location).text)


def test_empty_pages_lead_to_what_comes_first(empty: Stand) -> None:
    """A newcomer would fill in a form that can't be applied yet."""
    page = empty.signed_in().get("/routing").text
    assert 'href="/installation"' in page
    assert "No pattern yet" in page


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.kind)
@pytest.mark.parametrize("nonsense", [SCRIPT, "x" * 4000, "\N{SNOWMAN}\x00\r\n-1", "../../etc", "٣"], ids=["script", "long", "signs", "path", "digits"])
def test_nonsense_in_every_field_is_answered_beside_it(run: Controller, section: Section, nonsense: str) -> None:
    """A slip in a form would be an error of the program, or a script on a colleague's screen."""
    fields = {one.name: nonsense for one in forms.fields_of(MODELS[section.kind])}
    browser = run.stand.signed_in()
    for act in ("check", "review", "apply", "draft"):
        answer = send(browser, section.entry, act, **fields)
        assert answer.status_code in (200, 422), act
        assert SCRIPT not in answer.text
    assert "a look" in text_of(answer.text)
    assert "entry-apply" not in run.seen


def test_what_was_typed_stays_when_something_is_wrong(run: Controller) -> None:
    """People would type the whole form again."""
    answer = send(run.stand.signed_in(), "/senders/sender", "review", title="New & old", country="Atlantis", use="test", numbers="+1\n+2")
    assert answer.status_code == 422
    assert 'value="New &amp; old"' in answer.text
    assert "+1\n+2</textarea>" in answer.text
    assert "&#39;Atlantis&#39; is no ISO 3166 country" in answer.text


def test_nothing_goes_live_that_was_not_looked_at(run: Controller) -> None:
    """A field that was changed after the review would slip through."""
    browser = run.stand.signed_in()
    fields = {"name": "Premium", "prefixes": "+882109", "action": "refuse", "priority": "5"}
    shown = send(browser, "/routing/pattern", "review", "Premium", **{**fields, "priority": "6"})
    answer = send(browser, "/routing/pattern", "apply", "Premium", **{**fields, "priority": "7"}, _seen=hidden(shown.text, "_seen"))
    assert answer.status_code == 200
    assert "Apply now" in answer.text
    assert "entry-apply" not in run.seen


def test_two_people_at_one_pattern_both_see_both(run: Controller) -> None:
    """The second would overwrite the first without knowing."""
    browser = run.stand.signed_in()
    fields = {"name": "Premium", "prefixes": "+882109", "action": "refuse"}
    old = hidden(browser.get("/routing/pattern?name=Premium").text, "_base")
    put(browser, "/routing/pattern", "Premium", **fields, priority="50")
    browser.get("/routing/pattern?name=Premium")
    data = {"csrf": browser.csrf(), "_name": "Premium", "_base": old, **fields, "priority": "9"}
    answer = browser.client.post("/routing/pattern", data={**data, "act": "review"})
    words = text_of(answer.text)
    assert answer.status_code == 422
    assert "changed this pattern while you were writing" in words
    assert "Priority 9 50" in words
    newer = re.search(r'value="rebase:([0-9a-f]+)"', answer.text)
    assert newer is not None
    answer = browser.client.post("/routing/pattern", data={**data, "act": f"rebase:{newer[1]}"})
    assert "Apply now" in answer.text


def test_a_password_is_kept_as_hashes_and_never_shown(run: Controller) -> None:
    """Whoever sees the screen or the database could call as the sender."""
    browser = run.stand.signed_in()
    fields: dict[str, str | list[str]] = {
        "enabled": "on", "legal_name": "Alpine Tel Ltd", "contact": "+43 1 000", "country": "001", "purpose": "trial calls",
        "use": "test", "digest__user": "alpine", "digest__algorithms": ["SHA-256", "MD5"], "numbers": "+882100*",
        "other_numbers": "reject", "title": "Alpine Tel",
    }  # fmt: skip
    before = digest_of(run, "alpine")
    assert put(browser, "/senders/sender", "alpine", **fields, max_calls="7").status_code == 303
    assert digest_of(run, "alpine") == before
    shown = send(browser, "/senders/sender", "review", "alpine", **fields, max_calls="7", digest__password=PASSWORD)
    assert PASSWORD not in shown.text
    assert "a new one" in shown.text
    assert put(browser, "/senders/sender", "alpine", **fields, max_calls="7", digest__password=PASSWORD).status_code == 303
    assert digest_of(run, "alpine") != before
    pages = browser.get("/senders/sender?name=alpine").text + browser.get("/senders").text
    assert PASSWORD not in pages
    assert digest_of(run, "alpine")["ha1_md5"] not in pages


def digest_of(run: Controller, sender: str) -> dict[str, str]:
    engine = create_engine(run.stand.room.settings.database)
    columns = t.config_sender.c
    wanted = select(columns.body).where(columns.name == sender).order_by(columns.version.desc()).limit(1)
    with engine.connect() as connection:
        body = connection.execute(wanted).scalar_one()
    engine.dispose()
    assert PASSWORD not in body
    found: dict[str, str] = json.loads(body)["digest"]
    return found


def test_a_draft_takes_no_password(run: Controller) -> None:
    """A prepared change would keep a password readable."""
    answer = send(run.stand.signed_in(), "/senders/sender", "draft", title="New", legal_name="x", contact="x", country="001",
                  purpose="y", use="test", digest__user="new", digest__password=PASSWORD, digest__algorithms=["MD5"])  # fmt: skip
    assert answer.status_code in (200, 422)
    engine = create_engine(run.stand.room.settings.database)
    with engine.connect() as connection:
        assert connection.execute(select(t.web_draft)).all() == []
    engine.dispose()


def test_changes_that_belong_together_go_live_together(run: Controller) -> None:
    """A change in two steps would refuse calls in between."""
    browser = run.stand.signed_in()
    kept = send(browser, "/routing/pattern", "draft", name="Fresh", prefixes="+8829", action="route", targets__plan="nova", targets__priority="")
    assert kept.status_code == 303
    number = kept.location.rpartition("/")[2]
    send(browser, "/routing/pattern", "draft", "Premium", name="Premium", prefixes="+882109", action="refuse", priority="8", _draft=number)
    page = browser.get(f"/routing/drafts/{number}")
    assert "Apply now: 2 changes together" in text_of(page.text)
    assert "entry-apply" not in run.seen
    done = browser.post(f"/routing/drafts/{number}", act="apply")
    assert done.status_code == 303
    assert "Fresh" in text_of(browser.get("/routing").text)
    browser.get(f"/routing/drafts/{number}")
    assert browser.post(f"/routing/drafts/{number}", act="apply").status_code == 409


def test_routing_tests_say_what_a_draft_would_break(run: Controller) -> None:
    """A change would break a route that somebody counts on, unseen."""
    browser = run.stand.signed_in()
    browser.get("/routing/tests")
    browser.post("/routing/tests", sender="alpine", called="+882105551234", calling="+8821001", expected="plan:nova")
    assert "none fails" in text_of(browser.get("/routing/tests").text)
    kept = send(browser, "/routing/pattern", "draft", "Test mobile, weekday", name="Test mobile, weekday", prefixes="+88210", action="refuse")
    words = text_of(browser.get(kept.location).text)
    assert "1 would fail" in words
    number = re.search(r"/routing/tests/(\d+)/remove", browser.get("/routing/tests").text)
    assert number is not None
    assert browser.post(f"/routing/tests/{number[1]}/remove").status_code == 303
    assert "No routing test yet" in text_of(browser.get("/routing/tests").text)


def test_a_wrong_routing_test_says_which_field(run: Controller) -> None:
    """People would guess which box is meant."""
    browser = run.stand.signed_in()
    browser.get("/routing/tests")
    answer = browser.post("/routing/tests", sender="nobody", called="1" * 4000, expected="plan:none", name=SCRIPT)
    assert answer.status_code == 422
    assert SCRIPT not in answer.text
    assert "up to 40 signs" in answer.text


def test_removing_is_typed_and_refused_while_something_needs_it(run: Controller) -> None:
    """A slip would take a plan away from under its patterns."""
    browser = run.stand.signed_in()
    answer = send(browser, "/plans/plan", "remove", "nova")
    assert answer.status_code == 422
    assert "there is no plan called" in text_of(answer.text)
    assert send(browser, "/routing/pattern", "removed", "Premium", _confirm="premium").status_code == 200
    assert "entry-apply" not in run.seen
    done = send(browser, "/routing/pattern", "removed", "Premium", _confirm="Premium")
    assert done.location.startswith("/routing?done=")
    assert browser.get("/routing/pattern?name=Premium").status_code == 404


def test_sims_are_switched_after_saying_which(run: Controller) -> None:
    """A click would take SIMs out of use unseen, or do nothing."""
    browser = run.stand.signed_in()
    live = next(key for key, report in run.stand.model.snapshot().channels.items() if report.sim is not None and report.call is not None)
    card = run.stand.model.snapshot().channels[live].sim
    assert card is not None
    browser.get("/sims")
    asked = browser.post("/sims/switch", name=card.iccid, to="off")
    assert "Disable 1 SIM?" in text_of(asked.text)
    assert "1 call in progress on them goes on" in text_of(asked.text)
    assert "entry-apply" not in run.seen
    done = browser.post("/sims/switch", name=card.iccid, to="off", sure="1", note="antenna")
    assert done.status_code == 303
    assert "switched off" in text_of(browser.get(f"/sims/card?name={card.iccid}").text)
    assert "antenna" in text_of(browser.get(f"/sims/card?name={card.iccid}").text)
    assert browser.post("/sims/switch", name="89000000000000000000", to="off").status_code == 404


def test_lists_filter_sort_and_export_what_they_show(run: Controller) -> None:
    """The CSV would hold other rows than the page."""
    browser = run.stand.signed_in()
    page = text_of(browser.get("/sims?plan=tel7&state=off").text)
    assert "1 SIM match" in page
    rows = browser.get("/sims.csv?plan=tel7&state=off").text.splitlines()
    assert len(rows) == 2
    assert A_CARD in rows[1]
    ordered = [line.split(",")[0] for line in browser.get("/plans.csv?sort=-plan").text.splitlines()[1:]]
    assert ordered == sorted(ordered, reverse=True)
    assert browser.get("/sims?page=99&sort=nonsense&per_page=x&state=%3Cb%3E").status_code == 200


def test_a_controller_that_does_not_answer_changes_nothing_and_says_so(demo: Stand) -> None:
    """People would believe that a change is live."""
    browser = demo.signed_in()
    fields = {"name": "Premium", "prefixes": "+882109", "action": "refuse", "priority": "6"}
    shown = send(browser, "/routing/pattern", "review", "Premium", **fields)
    assert "The controller can't say now" in text_of(shown.text)
    answer = send(browser, "/routing/pattern", "apply", "Premium", **fields, _seen=hidden(shown.text, "_seen"))
    assert "Nothing was changed" in text_of(answer.text)
    words = text_of(browser.get("/routing/explain?sender=alpine&called=%2B882105551234").text)
    assert "the live link is not running" in words


def test_scripts_explain_calls_and_keep_routing_tests(run: Controller) -> None:
    """What people click could not be watched by a program."""
    client = run.stand.signed_in().client
    token = {"Authorization": f"Bearer {run.stand.room.accounts.new_token('watch')}"}
    told = client.get("/api/v1/routing/explain?sender=alpine&called=%2B882105551234&calling=%2B8821001", headers=token).get_json()
    assert told["explanation"]["pattern"] == "Test mobile, weekday"
    assert client.get("/api/v1/routing/explain?sender=nobody&called=1", headers=token).status_code == 422
    test = {"sender": "alpine", "called": "+882105551234", "calling": "+8821001", "expected": "plan:nova"}
    made = client.post("/api/v1/routing/tests", json=test, headers=token)
    assert made.status_code == 201
    kept = client.get("/api/v1/routing/tests", headers=token).get_json()["tests"]
    assert [(one["verdict"], one["got"]) for one in kept] == [("passes", "plan:nova")]
    assert client.post("/api/v1/routing/tests", json={**test, "expected": "plan:none"}, headers=token).status_code == 422
    assert client.delete(f"/api/v1/routing/tests/{made.get_json()['id']}", headers=token).status_code == 204
    assert client.delete("/api/v1/routing/tests/999", headers=token).status_code == 404
    page = client.get("/api/v1/sims?limit=2", headers=token).get_json()
    following = client.get(f"/api/v1/sims?limit=500&after={page['next']}", headers=token).get_json()["sims"]
    assert len(page["sims"]) == 2
    assert page["sims"][-1]["iccid"] < following[0]["iccid"]


def test_a_token_reads_and_changes_what_its_rights_name(run: Controller) -> None:
    """A program could not change the configuration at all, or one made for patterns could read senders."""
    client, accounts = run.stand.signed_in().client, run.stand.room.accounts
    given = {"config.see", "routing.see", "routing.change"}
    bearer = {"Authorization": f"Bearer {accounts.sessions.new_token(Who('cli:test'), 1, 'patterns', given, 3)}"}
    less = {"Authorization": f"Bearer {accounts.sessions.new_token(Who('cli:test'), 1, 'less', given - {'config.see'}, 3)}"}
    path = "/api/v1/config/pattern/entry?name=Premium"
    seen = client.get(path, headers=bearer).get_json()
    assert client.get(path, headers=less).status_code == 403
    assert client.get("/api/v1/config/sender/entry?name=alpine", headers=bearer).status_code == 403
    change = {"kind": "pattern", "name": "Premium", "body": {**seen["body"], "priority": 7}, "base": seen["digest"]}
    assert client.post("/api/v1/config/changes", json={"changes": [change]}, headers=bearer).status_code == 200
    assert client.get(path, headers=bearer).get_json()["body"]["priority"] == 7
    sender = {"kind": "sender", "name": "alpine", "op": "remove"}
    refused = client.post("/api/v1/config/changes", json={"changes": [sender]}, headers=bearer)
    assert refused.status_code == 403
    assert "senders.change" in refused.get_json()["detail"]
