"""SIMs from a file: the page's and the API's way from a file to one version in force, and what may go wrong on it."""

import io
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from flask import Flask
from web_controller import Controller, controller_of
from web_demo import A_CARD
from web_helpers import Browser, Stand, text_of
from werkzeug.test import TestResponse

from simrack.web.accounts import PersonForm, Who
from simrack.wire.messages import CommandReply

NEW, OTHER = "8943000000000000011", "8943000000000000012"

pytestmark = pytest.mark.stack

SCRIPT = "<script>alert(1)</script>"
LONGER_S = 50.0


@pytest.fixture
def run(demo: Stand) -> Iterator[Controller]:
    """A control room in full work with a controller behind it."""
    with controller_of(demo) as controller:
        yield controller


def send(browser: Browser, text: str | bytes, plan: str = "", name: str = "cards.csv") -> TestResponse:
    """Choose a file and send it."""
    browser.get("/sims/import")
    data = text.encode() if isinstance(text, str) else text
    browser.page = browser.client.post("/sims/import", data={"csrf": browser.csrf(), "plan": plan, "file": (io.BytesIO(data), name)})
    return browser.page


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def press(browser: Browser, review: str, **changed: str) -> TestResponse:
    """The button that puts it in force, with what the page has in it."""
    page = browser.get(review).text
    without = {"without": hidden(page, "without")} if 'name="without"' in page else {}
    fields = {"seen": hidden(page, "seen"), "note": "new cards", "act": "apply", **without, **changed}
    done = browser.post(review, **fields)
    app = cast(Flask, browser.client.application)
    for upload in app.extensions["simrack.imports"].known.values():
        assert upload.begun is None or upload.done.wait(LONGER_S)
    return done


def api(stand: Stand, **headers: str) -> Any:
    """A program with a token: sends a sheet."""
    if stand.room.accounts.empty():
        stand.signed_in()
    token = stand.room.accounts.new_token(f"script {stand.room.ids.token(2)}")
    bearer = {"Authorization": f"Bearer {token}", **headers}
    client = stand.app.test_client()

    def ask(text: str, query: str = "") -> TestResponse:
        return client.post(f"/api/v1/sims/import?{query}", data=text.encode(), content_type="text/csv", headers=bearer)

    return ask


def test_a_file_goes_from_its_review_into_one_version(run: Controller) -> None:
    """Fifty cards would be fifty forms, or would go live unseen."""
    browser = run.stand.signed_in()
    sent = send(browser, f"ICCID;Holder\n{NEW};Acme Ltd\n{OTHER};{SCRIPT}\n{A_CARD};Somebody\n", "nova")
    assert sent.status_code == 303
    page = browser.get(sent.location).text
    assert "File cards.csv New 2 SIMs Changed 1 SIM As they are 0 SIMs Bad lines none" in text_of(page)
    assert SCRIPT not in page
    before = run.bench.table.version
    done = press(browser, sent.location)
    assert done.location == sent.location
    assert browser.get(done.location).location == f"/sims?done={before + 1}"
    assert (run.bench.table.sims[NEW].plan, run.bench.table.sims[A_CARD].holder) == ("nova", "Somebody")
    assert "new cards" in text_of(browser.get("/settings/versions").text)


def test_bad_lines_stop_all_until_somebody_leaves_them_out(run: Controller) -> None:
    """Half of a file would go live while its owner believes that all of it did, or none."""
    browser = run.stand.signed_in()
    sent = send(browser, f"iccid,plan,note\n{NEW},nova,x\n{OTHER},gone,y\n", "")
    page = browser.get(sent.location).text
    assert "3 Plan there is no plan “gone”" in text_of(page)
    assert "Leave the 1 bad line out" in text_of(page)
    assert "3,plan,there is no plan “gone”" in browser.get(f"{sent.location}/wrong.csv").text
    refused = press(browser, sent.location, without="")
    assert refused.status_code == 409
    assert "1 of its lines can't be taken" in text_of(refused.text)
    assert NEW not in run.bench.table.sims
    press(browser, sent.location)
    assert {NEW, OTHER} & set(run.bench.table.sims) == {NEW}


def test_what_somebody_changed_meanwhile_is_looked_at_again(run: Controller) -> None:
    """A file would undo what a colleague has just done."""
    browser = run.stand.signed_in()
    sent = send(browser, f"iccid,note\n{A_CARD},mine\n")
    seen = hidden(browser.get(sent.location).text, "seen")
    ask = api(run.stand)
    assert ask(f"iccid,note\n{A_CARD},theirs\n").json["version"]
    late = press(browser, sent.location, seen=seen)
    assert late.status_code == 409
    assert "Somebody has changed SIMs meanwhile" in text_of(late.text)
    assert run.bench.table.sims[A_CARD].note == "theirs"


def test_a_file_that_cannot_be_read_leaves_the_form_as_it_was(run: Controller) -> None:
    """Whoever sends the wrong file would get an error page."""
    browser = run.stand.signed_in()
    for data, what in ((f"iccid\n{NEW}".encode("utf-16"), "UTF-16"), (b"", "empty"), (b"PK\x03\x04", "workbook")):
        told = send(browser, data, "nova")
        assert told.status_code == 422
        assert what in text_of(told.text)
        assert '<option value="nova" selected>' in told.text
    assert send(browser, "iccid", name="").status_code == 422
    # As it comes from a browser; the test client's own way would leave a file open.
    large = browser.client.post("/sims/import", data=b"x" * 17 * 2**20, content_type="multipart/form-data; boundary=x")
    assert large.status_code == 413
    assert "a file of SIMs up to 16 MB" in text_of(large.text)
    assert browser.get("/sims/import/nobodys").status_code == 404


def test_a_refusal_of_the_controller_is_told_and_may_be_repeated(run: Controller) -> None:
    """A file that did not go live would look as if it had."""
    browser = run.stand.signed_in()
    sent = send(browser, f"iccid,note\n{A_CARD},x\n")
    command = run.command
    run.stand.room.live.command = lambda *_given, **_named: CommandReply(id="1", ok=False, error="the database is full")  # type: ignore[method-assign]
    press(browser, sent.location)
    assert "Nothing was changed: the database is full" in text_of(browser.get(sent.location).text)
    run.stand.room.live.command = command  # type: ignore[method-assign]
    press(browser, sent.location)
    assert run.bench.table.sims[A_CARD].note == "x"


def test_another_persons_file_is_not_there(run: Controller) -> None:
    """A colleague could put somebody's file in force, or read it."""
    stand = run.stand
    sent = send(stand.signed_in(), f"iccid,note\n{A_CARD},secret\n")
    first = stand.room.accounts.people.make(Who("cli:test"), "Nils", PersonForm("noc"))
    other = stand.browser()
    other.sign_in("Nils", first)
    other.get("/account/password")
    other.post("/account/password", old=first, new="five slow yellow tractors", again="five slow yellow tractors")
    assert other.get(sent.location).status_code == 404
    assert other.get(f"{sent.location}/wrong.csv").status_code == 404


def test_the_sheet_of_all_sims_changes_nothing_when_it_comes_back(run: Controller) -> None:
    """Out and in again would be a change."""
    browser = run.stand.signed_in()
    ask = api(run.stand)
    assert ask(f"iccid,plan,note\n{NEW},nova,=cmd|' /C calc'!A0\n").json["version"]
    sheet = browser.get("/sims/sheet.csv").text
    assert "'=cmd" in sheet
    looked = ask(sheet, "dry_run=true").json
    assert (looked["new"], looked["changed"], looked["unchanged"], looked["bad"]) == (0, 0, len(run.bench.table.sims), 0)
    assert run.stand.signed_in().client.get("/api/v1/sims/sheet.csv").text == sheet
    sent = send(browser, sheet)
    assert "Nothing would change" in text_of(browser.get(sent.location).text)


def test_a_program_sends_a_file(run: Controller) -> None:
    """A supplier's system could not deliver cards."""
    ask = api(run.stand, **{"Idempotency-Key": "delivery-7"})
    text = f"iccid,plan\n{NEW},nova\nxx,nova\n"
    version = run.bench.table.version
    stopped = api(run.stand)(text)
    assert (stopped.status_code, stopped.mimetype) == (422, "application/problem+json")
    assert stopped.json["lines"] == [{"line": 3, "column": "iccid", "what": "“xx” is no ICCID", "todo": "18 to 20 digits, as printed on the card."}]
    assert api(run.stand)(text, "without=2").status_code == 422
    assert run.bench.table.version == version
    looked = api(run.stand)(text, "dry_run=true").json
    done = ask(text, f"without=1&seen={looked['seen']}&note=delivery+7").json
    assert (done["version"], done["new"], done["bad"]) == (version + 1, 1, 1)
    again = ask(text, f"without=1&seen={looked['seen']}&note=delivery+7")
    assert (again.json, again.headers["Idempotency-Replayed"]) == (done, "true")
    assert api(run.stand)(text, f"without=1&seen={looked['seen']}").status_code == 409, "it would do something else now"
    assert api(run.stand)("nothing\n").json["title"] == "The file can't be read"
    assert api(run.stand)("iccid\n" + "x" * 17 * 2**20).status_code == 413
