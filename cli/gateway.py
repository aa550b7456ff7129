"""`simrack gateway`: how the boxes are, orders to them and their channels, a module's console."""

import asyncio
import getpass
from contextlib import suppress
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json, table
from simrack.cli.places import StateOption, read_state
from simrack.cli.rack import Snapshot, take_snapshot
from simrack.cli.route import ask_controller
from simrack.cli.session import session
from simrack.controller.models import Names
from simrack.web import health
from simrack.web.rack import Rack, RackModel
from simrack.web.services import fleet
from simrack.wire import topics
from simrack.wire.drain import LEAST_LIMIT_S, MODES, MOST_LIMIT_S
from simrack.wire.errors import UserError
from simrack.wire.messages import ConsoleLines
from simrack.wire.mqtt import MqttBus
from simrack.wire.ports import SystemClock, SystemIds

app = typer.Typer(help="Boxes: how they are, restart, drain, disable, console.", no_args_is_help=True)
CONNECT_S = 5.0  # the broker is on this machine or one link away
MOST_CONSOLE_S = 600

BoxArgument = Annotated[str, typer.Argument(help="Name of the box.")]
ChannelOption = Annotated[int | None, typer.Option(help="One channel instead of the whole box.")]
ModeOption = Annotated[str, typer.Option("--when", help=f"{', '.join(MODES)}.")]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=LEAST_LIMIT_S, max=MOST_LIMIT_S, help="Seconds; then it happens whatever is on. Usual: 2 h, 24 h."),
]
CutOption = Annotated[bool, typer.Option("--cut-off", help="Yes, cut off the calls that are on (only for --when now).")]


def _rack(snapshot: Snapshot) -> Rack:
    model = RackModel(SystemClock())
    for status in snapshot.boxes.values():
        model.box(status)
    for report in snapshot.channels.values():
        model.channel(report)
    return model.snapshot()


def _order(do: str, target: fleet.Target, state: StateOption, as_json: bool, **given: str) -> None:
    """Check it against what runs, have the controller do it, say what the box answered."""
    url = str(read_state(state)["mqtt"])
    rack = _rack(asyncio.run(take_snapshot(url)))
    if target.box not in rack.boxes:
        raise UserError(f"no box {target.box!r}", "BOX", f"Known boxes: {', '.join(sorted(rack.boxes)) or 'none'}.")
    try:
        asked = fleet.read(do, target, given, fleet.calls_on(target, rack))
    except fleet.Unfit as mistake:
        typed = mistake.field == "typed"
        words = str(mistake).partition(":")[0] if typed else str(mistake)
        todo = "Give --cut-off, or another --when." if typed else "`--help` names what can be given."
        raise UserError(words, target.name, todo) from mistake
    result = asyncio.run(ask_controller(url, asked.do, asked.args, f"cli:{getpass.getuser()}"))
    if as_json:
        say_json(result)
        return
    say(fleet.said(do, target, result) + (f", at the latest {result['by']}" if result.get("by") else ""))


@app.command(name="list")
def list_boxes(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show every box with its health."""
    rack = _rack(asyncio.run(take_snapshot(str(read_state(state)["mqtt"]))))
    now = SystemClock().utc()
    found = [health.health(box, rack, Names(), now) for box in sorted(rack.boxes)]
    if as_json:
        say_json({"boxes": [{"state": h.state, "worries": h.worries, "plan": h.plan, **h.status.model_dump(mode="json")} for h in found]})
        return
    rows = [
        (
            h.box, h.site, h.word, f"{h.calls} / {h.channels}", h.ready, health.size_text(h.host.disk_free_mb),
            health.clock_text(h.status.clock_offset_ms), health.uptime_text(h.status.uptime_s), "; ".join(filter(None, (h.plan, *h.worries))),
        )
        for h in found
    ]  # fmt: skip
    columns = ("Box", "Site", "State", "Calls", "Ready", "Disk free", "Clock", "Up for", "What to look at")
    table(f"Boxes: {len(rows)}", columns, rows, "No box has reported yet. Start one with `simrack box --config FILE`.")


@app.command()
def restart(
    box: BoxArgument, channel: ChannelOption = None, when: ModeOption = "when-calls-end", limit: LimitOption = None,
    cut_off: CutOption = False, state: StateOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Restart the agent of a box, or with --channel one module.

    Nobody is cut off unless --when now --cut-off says so, or the limit comes.
    """
    target = fleet.Target(box, channel)
    do = "restart-box" if channel is None else "restart-module"
    _order(do, target, state, as_json, mode=when, limit_s=str(limit or ""), typed=target.name if cut_off else "")


@app.command()
def drain(
    box: BoxArgument, channel: ChannelOption = None, when: ModeOption = "when-calls-end", limit: LimitOption = None,
    cut_off: CutOption = False, state: StateOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Take a box or a channel out of use until `undrain` or a restart of the box."""
    target = fleet.Target(box, channel)
    _order("drain", target, state, as_json, mode=when, limit_s=str(limit or ""), typed=target.name if cut_off else "")


@app.command()
def undrain(box: BoxArgument, channel: ChannelOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Take back a drain, or a restart that has not begun."""
    _order("end-drain", fleet.Target(box, channel), state, as_json)


@app.command()
def disable(
    box: BoxArgument, channel: Annotated[int, typer.Option(help="The channel.")], state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Give a channel no new calls, also after a restart."""
    _order("disable-channel", fleet.Target(box, channel), state, as_json)


@app.command()
def enable(
    box: BoxArgument, channel: Annotated[int, typer.Option(help="The channel.")], state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Undo `disable`."""
    _order("enable-channel", fleet.Target(box, channel), state, as_json)


@app.command()
def console(
    box: BoxArgument, channel: Annotated[int, typer.Option(help="The channel.")],
    seconds: Annotated[int, typer.Option(min=1, max=MOST_CONSOLE_S, help="How long to watch.")] = 60,
    state: StateOption = None,
) -> None:  # fmt: skip
    """Read what passes at a module's port: the last 60 lines, then live. Nothing can be typed."""
    url = str(read_state(state)["mqtt"])
    args: dict[str, Any] = {"box": box, "channel": channel, "seconds": seconds}
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(url, args, seconds))


async def _watch(url: str, args: dict[str, Any], seconds: float) -> None:
    bus = MqttBus(url, f"cli-{SystemIds().token(4)}")
    bus.subscribe(topics.channel_console(args["box"], args["channel"]), _print)
    async with session(bus, url, CONNECT_S):
        await ask_controller(url, "console", args, f"cli:{getpass.getuser()}")
        await asyncio.sleep(seconds)


def _print(_topic: str, payload: bytes) -> None:
    message = ConsoleLines.decode(payload)
    if message.left_out:
        say(f"... {message.left_out} lines left out")
    for line in message.lines:
        say(f"{line.at:%H:%M:%S}.{line.at.microsecond // 1000:03d} {line.way} {line.text}")
