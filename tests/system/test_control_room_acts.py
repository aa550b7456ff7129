"""What people do to a running rack from outside: over HTTP with a token, on the command line, with copies and files."""

import getpass
import json
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import processes
from system.people import NAME, Api, command, sign_up, told
from system.rack import Rack, until

from simrack.controller.models import RecordFilter
from simrack.controller.store.queries import Queries
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import ChannelReport

BOX = "lab-01"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    """A rack of this module's own: its routing and its channels are changed."""
    folder = tmp_path_factory.mktemp("acts")
    with processes(folder) as begin, Rack(folder, begin, boxes=1, channels=2) as made:
        yield made


@pytest.fixture(scope="module")
def api(own: Rack) -> Api:
    sign_up(own.state["setup_link"])
    return Api(own.state["web"], told(own, "account", "token", NAME, "night shift", "--all").strip())


def call(rack: Rack, status: int = 0) -> str:
    """One whole call to a number of its own; the number."""
    number = rack.number("answer", answer_after_s=0.1)
    told(rack, "call", number, "--seconds", "0.5", "--json", status=status)
    return number


def channel(rack: Rack, number: int) -> ChannelReport:
    return rack.snapshot().channels[BOX, number]


def entry(api: Api, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = api(f"/config/{kind}/entry?name={urllib.parse.quote(name)}")
    return found


def acknowledge(rack: Rack, api: Api) -> None:
    told(rack, "call", "112", "--seconds", "0.5", "--json", status=1)
    alarms = until(lambda: api("/alarms")["alarms"], "the alarm of a refused emergency call")
    [alarm] = [row for row in alarms if row["cause"].startswith("emergency-refused")]
    assert not alarm["acknowledged"]
    api(f"/alarms/{alarm['id']}/acknowledge", {"note": "a test of the set-up"})
    taken = until(lambda: (row := api(f"/alarms/{alarm['id']}"))["acknowledged"] and row, "the alarm in hand")
    assert (taken["acknowledged_by"], taken["note"], taken["closed"]) == (NAME, "a test of the set-up", None)


def route_anew(rack: Rack, api: Api) -> None:
    """Calls go to a new plan of one card from the next one on; who decided on what is gone is told so."""
    before = rack.records(call(rack))[0]
    assert (before.plan, before.pattern) == ("lab", "lab numbers")
    plan, pattern = entry(api, "plan", "lab"), entry(api, "pattern", "lab numbers")
    card = channel(rack, 1).sim
    assert card is not None
    one = {**plan["body"], "name": "one-card", "title": "One card", "imsi_prefixes": [], "sims": [card.iccid]}
    changes = [
        {"kind": "plan", "name": "one-card", "body": one},
        {"kind": "pattern", "name": "lab numbers", "base": pattern["digest"],
         "body": {**pattern["body"], "targets": [{"plan": "one-card"}]}},
    ]  # fmt: skip
    looked = api("/config/changes", {"changes": changes, "check": True})
    assert [(one["kind"], one["op"]) for one in looked["differences"]] == [("plan", "added"), ("pattern", "changed")]
    assert (looked["impact"]["asked"], looked["impact"]["moved"]) == (2, 1), "the emergency call is refused as before"
    done = api("/config/changes", {"changes": changes, "note": "one card carries all"})
    assert done["version"] > looked["version"]
    row = rack.records(call(rack))[0]
    assert (row.plan, row.pattern, row.iccid, row.outcome) == ("one-card", "lab numbers", card.iccid, "answered")
    late = [{**changes[1], "body": {**pattern["body"], "priority": 7}}]
    [conflict] = api("/config/changes", {"changes": late}, status=409)["conflicts"]
    assert conflict["by"] == f"user:{NAME}"


def out_of_use(rack: Rack, api: Api) -> None:
    """One channel disabled, one drained: no new call; what was drained serves again when the order is taken back."""
    order = f"/boxes/{BOX}/orders"
    api(order, {"do": "disable-channel", "channel": 2})
    api(order, {"do": "drain", "channel": 1, "mode": "now"})
    until(lambda: Mark.DRAINING in channel(rack, 1).marks, "channel 1 drains")
    until(lambda: Mark.DISABLED in channel(rack, 2).marks, "channel 2 is disabled")
    number = call(rack, status=1)
    assert rack.records(number)[0].outcome == "refused"
    assert not rack.ledger(number), "nothing went to the network"
    api(order, {"do": "end-drain", "channel": 1})
    until(lambda: Mark.DRAINING not in channel(rack, 1).marks, "channel 1 serves again")


def restart(rack: Rack) -> None:
    """The box ends and comes back, as often as a person wants it: the supervisor takes it for no failure."""
    for _ in range(2):
        restart_once(rack)
    lines = [line for line in rack.process.log.read_text().splitlines() if "child ended" in line]
    told_of = [(line["child"], line["status"], line["pause_s"]) for line in map(json.loads, lines)]
    assert told_of == [(f"box-{BOX}", 0, 1.0)] * 2
    assert Mark.DISABLED in channel(rack, 2).marks, "a disabled channel stays so over a restart"


def restart_once(rack: Rack) -> None:
    pid = box_pid(rack)
    told(rack, "gateway", "restart", BOX, "--when", "now")
    until(lambda: box_pid(rack) != pid, "a new process of the box", 30)
    until(lambda: serves_again(rack), "the box serves again, with the controller's time", 40)


def serves_again(rack: Rack) -> bool:
    found = rack.snapshot()
    box = found.boxes[BOX]
    return box.online and box.clock_offset_ms is not None and found.channels[BOX, 1].state is ChannelState.READY


def box_pid(rack: Rack) -> int:
    return int(json.loads(rack.state_file.read_text())["pids"][f"box-{BOX}"])


def test_acts_of_an_administrator_over_http_and_on_the_command_line(own: Rack, api: Api) -> None:
    """Who runs the rack from a program or a shell gets what was asked for, and each act stands in a whole chain by name."""
    acknowledge(own, api)
    route_anew(own, api)
    out_of_use(own, api)
    restart(own)
    api(f"/boxes/{BOX}/orders", {"do": "enable-channel", "channel": 2})
    until(lambda: Mark.DISABLED not in channel(own, 2).marks, "channel 2 is enabled")
    verdict = json.loads(told(own, "audit", "verify", "--json"))
    assert verdict["ok"], verdict
    entries = json.loads(told(own, "audit", "list", "--limit", "200", "--json"))["entries"]
    acts = [(one["actor"], one["action"]) for one in reversed(entries)]
    person, shell = f"user:{NAME}", f"cli:{getpass.getuser()}"
    wanted = [(person, "acknowledge-alarm"), (person, "entry-apply"), (person, "disable-channel"), (person, "drain"),
              (person, "end-drain"), (shell, "restart-box"), (person, "enable-channel")]  # fmt: skip
    # A try that failed stands there twice, so that acts are compared by where each stands first.
    assert [act for act in dict.fromkeys(acts) if act in wanted] == wanted, acts
    assert {(person, "first-account"), (shell, "token-made")} <= set(acts), acts


def logs_are_told(rack: Rack) -> None:
    lines = [json.loads(line) for line in told(rack, "logs", "--count", "500", "--json").splitlines()]
    assert {"controller", f"box-{BOX}"} <= {line["process"] for line in lines}
    assert all(line["event"] and line["level"] for line in lines)


def files_of_the_configuration(rack: Rack, folder: Path) -> None:
    told(rack, "config", "export", str(folder))
    assert "No difference" in told(rack, "config", "diff", str(folder))
    plans = folder / "plans.toml"
    plans.write_text(plans.read_text().replace("Lab SIMs", "Cards of the lab"))
    [found] = json.loads(told(rack, "config", "diff", str(folder), "--json"))["differences"]
    assert (found["kind"], found["name"], [field["field"] for field in found["fields"]]) == ("plan", "lab", ["title"])
    told(rack, "config", "apply", str(folder), "--yes", "--note", "a better name")
    [newest, *_] = json.loads(told(rack, "config", "history", "--json"))["versions"]
    assert (newest["actor"], newest["note"], newest["in_force"]) == (f"cli:{getpass.getuser()}", "a better name", True)
    stored = rack.queries.config.entry("plan", "lab")
    assert stored is not None
    assert stored.body["title"] == "Cards of the lab"


def copied_and_restored(rack: Rack, folder: Path) -> None:
    """The copy is made while somebody speaks; what it brings back is the records that there were, and the open call."""
    call(rack)
    number = rack.number("answer", answer_after_s=0.1)
    speaking = subprocess.Popen(
        command("call", number, "--seconds", "12", "--state", str(rack.state_file), "--json"), stdout=subprocess.DEVNULL
    )
    until(lambda: [row for row in rack.queries.open_calls() if row.answered], "a call that speaks")
    before = rack.queries.records(RecordFilter(per_page=500)).rows
    made = json.loads(told(rack, "backup", str(folder / "one.backup"), "--json"))
    assert made["proved"]
    assert speaking.poll() is None, "the call went on while the copy was made"
    target = f"sqlite:///{folder / 'new.db'}"
    assert json.loads(told(rack, "restore", made["file"], "--url", target, "--json"))["rows"] == made["rows"]
    restored = Queries(target)
    try:
        assert before
        assert restored.records(RecordFilter(per_page=500)).rows == before
        assert restored.story(before[0].call) == rack.queries.story(before[0].call)
        assert [row.called for row in restored.open_calls()] == [number]
    finally:
        restored.close()
    assert speaking.wait(30) == 0
    assert rack.records(number)[0].outcome == "answered"


def test_logs_copies_and_files_of_a_running_rack(own: Rack, tmp_path: Path) -> None:
    """What a person keeps or changes by files is what the rack has, while calls go on."""
    copied_and_restored(own, tmp_path)
    files_of_the_configuration(own, tmp_path / "configuration")
    logs_are_told(own)
