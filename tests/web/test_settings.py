"""Settings page, versions and the configuration in the API: what is shown, sent, refused and kept."""

import io
import json
import zipfile
from typing import Any

import pytest
from production_parts import as_owner
from sqlalchemy import insert
from web_helpers import Browser, Stand, text_of

from simrack.controller.config.catalogue import CATALOGUE
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.web.pages_settings import AREAS, read_value
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import CommandReply

RATE = "calls.per_second"


class Controller:
    """The other end of the live link: remembers what was asked and answers as told."""

    def __init__(self, stand: Stand) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.reply: CommandReply | CommandFailed = CommandReply(id="1", ok=True, result={"version": 42})
        stand.room.live.command = self._command  # type: ignore[method-assign]

    def _command(
        self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0
    ) -> CommandReply:
        assert actor == "user:Ada"
        self.asked.append((action, json.loads(json.dumps(args))))
        if isinstance(self.reply, CommandFailed):
            raise self.reply
        return self.reply


@pytest.fixture
def controller(demo: Stand) -> Controller:
    return Controller(demo)


def stored_option(stand: Stand, name: str, value: Any) -> None:
    """As a version with this option set would have it."""
    engine = write_engine(as_owner(stand.room.settings.database))
    with engine.begin() as connection:
        version = stand.room.desk.queries.config.version()
        body = json.dumps({"name": name, "value": value})
        connection.execute(insert(t.config_setting).values(version=version, position=0, name=name, body=body))
    engine.dispose()


@pytest.mark.stack
def test_every_option_stands_on_the_page_with_meaning_default_and_range(demo: Stand) -> None:
    """An option that nobody finds is as good as none."""
    shown = text_of(demo.signed_in().get("/settings").text)
    for option in CATALOGUE.values():
        assert option.title in shown
        assert option.meaning.replace("`", "")[:40] in shown
        assert option.area in AREAS, f"{option.name}: give its area a name"
    found = text_of(demo.signed_in().get("/settings?text=nothing+like+this").text)
    assert "No option matches" in found


@pytest.mark.stack
def test_an_option_is_set_with_what_it_was_based_on(demo: Stand, controller: Controller) -> None:
    """The number that somebody wrote goes to the controller as a number, with the note."""
    browser = demo.signed_in()
    page = text_of(browser.get(f"/settings/options/{RATE}").text)
    assert "1 to 10,000 calls per s" in page
    answer = browser.post(f"/settings/options/{RATE}", value="50", base="", note="night", act="apply")
    assert answer.location == f"/settings?done=42#{RATE}"
    (action, args), = controller.asked
    change = {"kind": "setting", "name": RATE, "op": "set", "body": {"name": RATE, "value": 50.0}, "base": ""}
    assert (action, args) == ("entry-apply", {"changes": [change], "note": "night"})


@pytest.mark.stack
def test_back_to_the_default_removes_the_row(demo: Stand, controller: Controller) -> None:
    """An option at its default follows the default of the next release."""
    stored_option(demo, RATE, 50.0)
    browser = demo.signed_in()
    assert "Back to 80 calls per s" in text_of(browser.get(f"/settings/options/{RATE}").text)
    base = next(view for view in demo.room.desk.queries.config.page("setting").rows).digest
    for sent in ({"act": "default"}, {"act": "apply", "value": "80"}):
        browser.get(f"/settings/options/{RATE}")
        browser.post(f"/settings/options/{RATE}", base=base, **sent)
    assert [args["changes"][0]["op"] for _, args in controller.asked] == ["remove", "remove"]


@pytest.mark.parametrize("value", ["", "many", "0", "-1", "1e99", "nan", "<script>alert(1)</script>", "9" * 4000])
@pytest.mark.stack
def test_nonsense_is_told_beside_the_field_and_kept(demo: Stand, controller: Controller, value: str) -> None:
    """A slip must not close the rack, nor lose what was written."""
    browser = demo.signed_in()
    browser.get(f"/settings/options/{RATE}")
    answer = browser.post(f"/settings/options/{RATE}", value=value, base="", note="kept words", act="apply")
    assert answer.status_code == 422
    assert "1 to 10,000" in text_of(answer.text)
    assert "kept words" in answer.text
    assert "<script>alert" not in answer.text
    assert controller.asked == []


@pytest.mark.stack
def test_a_change_of_two_people_shows_both(demo: Stand, controller: Controller) -> None:
    """The second sees what the first has set, and may apply again on purpose."""
    stored_option(demo, RATE, 60.0)
    browser = demo.signed_in()
    conflict = {
        "kind": "setting", "name": RATE, "yours": {"name": RATE, "value": 50}, "theirs": {"name": RATE, "value": 60}, "now": "d" * 32
    }
    controller.reply = CommandReply(id="1", ok=False, error="changed by somebody else", result={"conflicts": [conflict]})
    browser.get(f"/settings/options/{RATE}")
    answer = browser.post(f"/settings/options/{RATE}", value="50", base="", act="apply")
    assert answer.status_code == 409
    shown = text_of(answer.text)
    assert "it is 60 calls per s now, and you wrote 50" in shown
    assert f'name="base" value="{"d" * 32}"' in answer.text
    controller.reply = CommandFailed("nobody answered")
    answer = browser.post(f"/settings/options/{RATE}", value="50", base="", act="apply")
    assert (answer.status_code, "nobody answered" in text_of(answer.text)) == (502, True)


@pytest.mark.parametrize(("name", "text", "value"), [("trace.keep", "off", "off"), (RATE, "12.5", 12.5), ("bans.failures", "7", 7)])
def test_values_are_read_in_their_own_kind(name: str, text: str, value: object) -> None:
    """A whole number stays whole, a choice a choice."""
    assert read_value(CATALOGUE[name], text) == (value, "")
    assert read_value(CATALOGUE[name], "☃")[1]


@pytest.mark.stack
def test_versions_are_listed_and_an_earlier_one_is_put_in_force(demo: Stand, controller: Controller) -> None:
    """Last night's change is found, looked at, and undone."""
    browser = demo.signed_in()
    assert "41" in text_of(browser.get("/settings/versions").text)
    assert "in force" in text_of(browser.get("/settings/versions/41").text)
    assert browser.get("/settings/versions/9").status_code == 404
    answer = browser.post("/settings/versions/41/activate", seen="41", note="back")
    assert answer.location == "/settings/versions?done=42"
    assert controller.asked == [("config-activate", {"version": 41, "note": "back", "seen": 41})]
    controller.reply = CommandReply(id="1", ok=False, error="version 43 is in force meanwhile")
    browser.get("/settings/versions/41")
    answer = browser.post("/settings/versions/41/activate", seen="41")
    assert (answer.status_code, "version 43 is in force meanwhile" in text_of(answer.text)) == (409, True)


@pytest.mark.stack
def test_a_version_leaves_as_files(demo: Stand) -> None:
    """The files of the page are those of the command line."""
    answer = demo.signed_in().get("/settings/versions/41/files.zip")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        names = archive.namelist()
        assert "configuration-41/patterns.toml" in names
        assert "version = 41" in archive.read("configuration-41/version.toml").decode()


# --- API ----------------------------------------------------------------------------------------------------------


def send(browser: Browser, path: str, body: Any) -> tuple[int, Any]:
    browser.get("/settings")
    answer = browser.client.post(path, json=body, headers={"X-CSRF-Token": browser.csrf()})
    return answer.status_code, answer.json


@pytest.mark.stack
def test_api_reads_entries_by_key_and_never_a_hash(demo: Stand) -> None:
    """Whoever pages through sees each entry once; a hash of a password never leaves."""
    browser = demo.signed_in()
    seen, after = [], ""
    while True:
        page = browser.get(f"/api/v1/config/sender?limit=2{after}").json
        assert page is not None
        seen += [one["name"] for one in page["entries"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(seen) == page["total"] == len(set(seen))
    one = browser.get(f"/api/v1/config/sender/entry?name={seen[0]}").json
    assert one is not None
    assert one["digest"]
    assert "ha1" not in json.dumps(one)
    assert browser.get("/api/v1/config/sender/entry?name=nobody").status_code == 404
    assert browser.get("/api/v1/config/box").status_code == 422
    options = browser.get("/api/v1/config-options").json
    assert options is not None
    assert len(options["options"]) == len(CATALOGUE)
    assert browser.get("/api/v1/config-versions").status_code == 200
    assert browser.get("/api/v1/config-versions/41").status_code == 200


@pytest.mark.stack
def test_a_refused_change_that_is_repeated_is_told_in_the_same_form(demo: Stand) -> None:
    """A script that repeats after a lost answer would get another kind of document than the first time."""
    browser, key = demo.signed_in(), {"Idempotency-Key": "once"}
    browser.get("/settings")
    wrong = {"changes": [{"kind": "setting", "name": RATE, "body": {"name": RATE, "value": 0}}], "check": True}
    answers = [
        browser.client.post("/api/v1/config/changes", json=body, headers={"X-CSRF-Token": browser.csrf(), **key})
        for body in (wrong, wrong, {**wrong, "check": False})
    ]
    assert {(answer.status_code, answer.mimetype) for answer in answers} == {(422, "application/problem+json")}
    first, again, other = (answer.json for answer in answers)
    assert first == again
    assert first is not None
    assert first["status"] == 422
    assert first["mistakes"][0]["what"] in first["detail"]
    assert other is not None
    assert other["title"] == "Idempotency key used"


@pytest.mark.stack
def test_api_changes_answer_with_both_versions_or_the_mistakes(demo: Stand, controller: Controller) -> None:
    """A script learns what stood in its way, in a form that it can act on."""
    browser = demo.signed_in()
    option = {"kind": "setting", "name": RATE, "body": {"name": RATE, "value": 50}}
    assert send(browser, "/api/v1/config/changes", {"changes": [option]})[0] == 200
    status, told = send(browser, "/api/v1/config/changes", {"changes": [{**option, "body": {"name": RATE, "value": 0}}], "check": True})
    assert (status, told["mistakes"][0]["kind"]) == (422, "setting")
    stored_option(demo, RATE, 60.0)
    status, told = send(browser, "/api/v1/config/changes", {"changes": [option], "check": True})
    assert status == 409
    assert (told["conflicts"][0]["yours"]["value"], told["conflicts"][0]["theirs"]["value"]) == (50, 60.0)
    assert (told["status"], told["title"], told["detail"]) == (409, "Nothing was changed", f"setting {RATE}: changed meanwhile")
    bad: tuple[Any, ...] = ({}, {"changes": []}, {"changes": [{"kind": "x"}]}, {"changes": [{**option, "name": "x" * 4000}]}, [1])
    for nonsense in bad:
        status, _ = send(browser, "/api/v1/config/changes", nonsense)
        assert status in (400, 422)
