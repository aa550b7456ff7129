"""What was configured in the control room, from a shell: SIMs as a sheet, routing tests, drafts."""

import json
from pathlib import Path

import pytest
import web_demo
from cli_parts import Here
from sqlalchemy import create_engine, insert
from web_helpers import Hands

from simrack.controller.config.changes import CHANGES, Change
from simrack.controller.store import tables as t


@pytest.fixture
def state(tmp_path: Path) -> str:
    """The state file of an installation whose database is there and whose broker is not."""
    url = f"sqlite:///{tmp_path / 'simrack.db'}"
    web_demo.fill_database(url, Hands(), records=20)
    file = tmp_path / "state.json"
    file.write_text(json.dumps({"version": 1, "database": url, "mqtt": "mqtt://127.0.0.1:1"}))
    return str(file)


def test_a_sheet_of_sims_says_what_it_would_do(here: Here, state: str, tmp_path: Path) -> None:
    """A bad line would be found after the good ones went live."""
    file = tmp_path / "sims.csv"
    assert here("config", "export-sims", str(file), "--state", state).stdout.startswith("6 SIMs in ")
    assert "0 new, 0 changed, 6 as they are, 0 bad lines" in here("config", "import-sims", str(file), "--dry-run", "--state", state).stdout
    file.write_text("ICCID;Note\n8943000000000000011;x\nxx;y\n")
    told = here("config", "import-sims", str(file), "--plan", "nova", "--yes", "--state", state)
    assert (told.returncode, "! line 3, iccid: “xx” is no ICCID" in told.stdout) == (1, True)
    assert "Nothing was changed." in told.stdout
    looked = json.loads(here("config", "import-sims", str(file), "--plan", "nova", "--without-bad", "1", "--dry-run", "--json", "--state", state).stdout)
    assert (looked["new"], looked["bad"], looked["version"], looked["lines"][0]["line"]) == (1, 1, None, 3)
    file.write_bytes("iccid\n".encode("utf-16"))
    unread = here("config", "import-sims", str(file), "--state", state)
    assert (unread.returncode, "UTF-16" in unread.stderr) == (2, True)
    assert here("config", "import-sims", str(tmp_path / "gone.csv"), "--state", state).returncode == 2


def test_routing_tests_are_kept_shown_and_forgotten(here: Here, state: str) -> None:
    """Somebody who works in a shell could not guard a route."""
    added = here("route", "test", "add", "+882105551234", "--sender", "alpine", "--expected", "plan:nova", "--state", state)
    assert added.stdout.startswith("Routing test "), added.stderr
    kept = json.loads(here("route", "test", "list", "--json", "--state", state).stdout)["tests"]
    mine = kept[-1] if kept[-1]["called"] == "+882105551234" else kept[0]
    assert (mine["sender"], mine["expected"]) == ("alpine", "plan:nova")
    wrong = here("route", "test", "add", "+88", "--sender", "nobody", "--expected", "plan:nova", "--name", "x", "--state", state)
    assert (wrong.returncode, "--sender" in wrong.stderr) == (2, True)
    assert here("route", "test", "remove", str(mine["id"]), "--state", state).returncode == 0
    assert here("route", "test", "remove", str(mine["id"]), "--state", state).returncode == 2


def test_drafts_are_shown_and_dropped(here: Here, state: str, tmp_path: Path) -> None:
    """A draft of a colleague could not be found, or taken away, without a browser."""
    change = Change(kind="sim", name="8943000000000000011", body={"iccid": "8943000000000000011", "plan": "nova"})
    engine = create_engine(f"sqlite:///{tmp_path / 'simrack.db'}")
    with engine.begin() as connection:
        now = Hands().utc()
        values = {"author": "user:Ada", "created": now, "changed": now, "note": "night work", "changes": CHANGES.dump_json((change,)).decode()}
        made = connection.execute(insert(t.web_draft).values(**values)).inserted_primary_key
    engine.dispose()
    assert made is not None
    number = str(made[0])
    found = json.loads(here("config", "draft", "list", "--json", "--state", state).stdout)["drafts"]
    assert [(one["title"], one["state"], one["author"], one["changes"]) for one in found if str(one["id"]) == number] == [("night work", "open", "Ada", 1)]
    assert here("config", "draft", "apply", "987654", "--yes", "--state", state).returncode == 2
    assert here("config", "draft", "drop", number, "--state", state).stdout == f"Draft {number} is dropped.\n"
    assert here("config", "draft", "drop", number, "--state", state).returncode == 2
