"""`simrack gateway`: the same orders as the page, with the same questions before anybody is cut off."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from simrack.cli import gateway
from simrack.cli.rack import Snapshot
from simrack.wire.channel import ChannelState
from simrack.wire.errors import UserError
from simrack.wire.messages import BoxStatus, CallInfo, ChannelReport, HostFigures
from simrack.wire.ports import SystemClock

NOW = SystemClock().utc()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the controller is asked, beside a rack of one box with one call."""
    seen: list[tuple[str, dict[str, Any]]] = []

    async def take_snapshot(_url: str) -> Snapshot:
        found = Snapshot()
        found.boxes["lab-01"] = BoxStatus(
            boot="b", seq=1, at=NOW, box="lab-01", online=True, channels=2, host=HostFigures(disk_free_mb=200, disk_mb=9000)
        )
        call = CallInfo(call="c", attempt="a", direction="out", number="1", since=NOW)
        report = ChannelReport(boot="b", seq=1, at=NOW, box="lab-01", channel=1, state=ChannelState.ACTIVE, since=NOW, call=call)
        found.channels["lab-01", 1] = report
        return found

    async def ask_controller(_url: str, action: str, args: dict[str, Any], actor: str) -> dict[str, Any]:
        assert actor.startswith("cli:")
        seen.append((action, args))
        return {"calls": 1, "mode": args.get("mode", ""), "by": "2026-11-21T12:00:00.000Z"}

    monkeypatch.setattr(gateway, "take_snapshot", take_snapshot)
    monkeypatch.setattr(gateway, "ask_controller", ask_controller)
    monkeypatch.setattr(gateway, "read_state", lambda _given: {"mqtt": "mqtt://nowhere"})
    return seen


def run(*words: str) -> str:
    done = CliRunner().invoke(gateway.app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_orders_go_to_the_controller_as_the_page_sends_them(asked: list[tuple[str, dict[str, Any]]]) -> None:
    """A script that restarts boxes at night must do what the button does, and no more."""
    assert "waits for 1 call, at the latest 2026-11-21T12:00:00.000Z" in run("restart", "lab-01", "--limit", "600")
    run("restart", "lab-01", "--channel", "1", "--when", "when-convenient")
    run("drain", "lab-01", "--when", "now", "--cut-off")
    run("undrain", "lab-01")
    run("disable", "lab-01", "--channel", "2")
    assert json.loads(run("enable", "lab-01", "--channel", "2", "--json"))["calls"] == 1
    assert asked == [
        ("restart-box", {"box": "lab-01", "mode": "when-calls-end", "limit_s": 600}),
        ("restart-module", {"box": "lab-01", "channel": 1, "mode": "when-convenient", "limit_s": 86400}),
        ("drain", {"box": "lab-01", "mode": "now"}), ("end-drain", {"box": "lab-01"}),
        ("disable-channel", {"box": "lab-01", "channel": 2}), ("enable-channel", {"box": "lab-01", "channel": 2}),
    ]  # fmt: skip


def test_nobody_is_cut_off_by_a_slip_of_the_keyboard(asked: list[tuple[str, dict[str, Any]]]) -> None:
    """`--when now` alone ends nothing, and a box that is not there is said by name."""
    with pytest.raises(UserError, match="1 call would be cut off"):
        run("restart", "lab-01", "--when", "now")
    with pytest.raises(UserError, match="no box 'lab-99'"):
        run("drain", "lab-99")
    with pytest.raises(UserError, match="choose one of"):
        run("drain", "lab-01", "--when", "soon")
    assert asked == []


def test_the_list_says_what_to_look_at(asked: list[tuple[str, dict[str, Any]]]) -> None:
    """Who has no browser sees the same health."""
    assert "disk 200 MB free" in run("list")
    shown = json.loads(run("list", "--json"))["boxes"][0]
    assert (shown["state"], shown["box"]) == ("look", "lab-01")
    assert "1 channel missing" in shown["worries"]
    assert asked == []
