"""`simrack rack`: every box and channel as the broker knows them now."""

import asyncio
from typing import Annotated

import typer

from simrack.cli.output import JsonOption, say_json, table
from simrack.cli.places import StateOption, read_state
from simrack.cli.session import session
from simrack.wire import topics
from simrack.wire.channel import LABELS
from simrack.wire.errors import UserError
from simrack.wire.messages import BoxStatus, ChannelReport
from simrack.wire.mqtt import MqttBus
from simrack.wire.ports import SystemIds

CONNECT_S = 12.0  # long enough for a second try after a session that the broker dropped
QUIET_S = 0.4  # retained state comes in one burst; this long without a message ends it


class Snapshot:
    """Retained state of the fleet, collected until it falls silent."""

    def __init__(self) -> None:
        self.boxes: dict[str, BoxStatus] = {}
        self.channels: dict[tuple[str, int], ChannelReport] = {}
        self._news = asyncio.Event()

    def on_box(self, _topic: str, payload: bytes) -> None:
        status = BoxStatus.decode(payload)
        self.boxes[status.box] = status
        self._news.set()

    def on_channel(self, _topic: str, payload: bytes) -> None:
        report = ChannelReport.decode(payload)
        self.channels[report.box, report.channel] = report
        self._news.set()

    async def settle(self) -> None:
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._news.wait()
            except TimeoutError:
                return
            self._news.clear()


async def take_snapshot(url: str) -> Snapshot:
    """Ask the broker at `url` for all retained state.

    Raises:
        UserError: the broker can't be reached.
    """
    snapshot = Snapshot()
    bus = MqttBus(url, f"cli-{SystemIds().token(4)}")
    bus.subscribe(topics.ALL_BOX_STATUS, snapshot.on_box)
    bus.subscribe(topics.ALL_CHANNEL_STATE, snapshot.on_channel)
    async with session(bus, url, CONNECT_S):
        await snapshot.settle()
    return snapshot


def _row(report: ChannelReport, box: BoxStatus | None) -> tuple[object, ...]:
    network, sim, call = report.network, report.sim, report.call
    state = LABELS[report.state] if box and box.online else "Unreachable"
    marks = f" ({', '.join(report.marks)})" if report.marks else ""
    return (
        report.box,
        report.channel,
        state + marks,
        call.number if call else "",
        sim.msisdn or sim.iccid if sim else "",
        f"{network.operator} {network.technology}".strip() if network else "",
        f"{network.signal_dbm} dBm" if network and network.signal_dbm is not None else "",
        report.fault,
    )


def rack(state: StateOption = None, as_json: JsonOption = False, box: Annotated[str, typer.Option(help="Only this box.")] = "") -> None:
    """Show every box and channel with its state."""
    snapshot = asyncio.run(take_snapshot(str(read_state(state)["mqtt"])))
    reports = [report for key, report in sorted(snapshot.channels.items()) if box in ("", key[0])]
    if box and box not in snapshot.boxes:
        known = ", ".join(sorted(snapshot.boxes)) or "none"
        raise UserError(f"no box {box!r}", "--box", f"Known boxes: {known}.")
    if as_json:
        say_json(
            {
                "boxes": [b.model_dump(mode="json") for b in snapshot.boxes.values() if box in ("", b.box)],
                "channels": [report.model_dump(mode="json") for report in reports],
            }
        )
        return
    table(
        box or f"Boxes: {len(snapshot.boxes)}, channels: {len(reports)}",
        ("Box", "Channel", "State", "Call", "SIM", "Network", "Signal", "Fault"),
        [_row(report, snapshot.boxes.get(report.box)) for report in reports],
        "No channel reports yet. Start a box with `simrack box --config FILE`, or a rack with `simrack up --lab`.",
    )


