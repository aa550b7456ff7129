"""Racks and calls for the routing tests; each differs only where a test says so."""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simrack.controller.config.models import RoutingFile
from simrack.controller.fleet.view import BoxView, ChannelView, FleetView
from simrack.controller.routing.decide import decide
from simrack.controller.routing.decision import CallFacts, Decision
from simrack.controller.routing.table import RoutingTable, by_prefix
from simrack.wire.channel import ChannelState

EXAMPLE = Path(__file__).with_name("example.toml")
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
Change = Callable[[dict[str, Any]], object]


def a_file(change: Change | None = None) -> RoutingFile:
    """The example file, after `change` to its data."""
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    if change is not None:
        change(data)
    return RoutingFile.model_validate(data)


def a_table(change: Change | None = None) -> RoutingTable:
    """The example, compiled without a database."""
    file = a_file(change)
    return RoutingTable(
        version=7,
        installation=file.installation,
        limits=file.limits,
        sites={entry.name: entry for entry in file.site},
        agreements={entry.name: entry for entry in file.agreement},
        plans={entry.name: entry for entry in file.plan},
        sims={entry.iccid: entry for entry in file.sim},
        senders={entry.name: entry for entry in file.sender},
        prefixes=by_prefix(file.pattern),
    )


_EXAMPLE_TABLE = a_table()


def a_channel(channel: int = 1, box: str = "lab-01", **changes: Any) -> ChannelView:
    view = ChannelView(
        box=box, channel=channel, state=ChannelState.READY, marks=(), iccid=f"8900100000000{channel:06}",
        imsi=f"00101{channel:010}", registered=True, answer_safe=True, reserved=False,
    )  # fmt: skip
    return replace(view, **changes)


def a_box(box: str = "lab-01", **changes: Any) -> BoxView:
    return replace(BoxView(box, "lab", ("127.0.0.1", 7000), reachable=True, silent_s=1.0), **changes)


def a_fleet(
    channels: Iterable[ChannelView] | None = None, boxes: Iterable[BoxView] | None = None, **changes: Any
) -> FleetView:
    listed = tuple(channels) if channels is not None else (a_channel(1), a_channel(2))
    known = tuple(boxes) if boxes is not None else (a_box(),)
    return replace(FleetView({box.box: box for box in known}, listed), **changes)


def a_call(called: str = "+88210000123", calling: str = "+88210777", **changes: Any) -> CallFacts:
    return replace(CallFacts("trunk", called, calling, NOW), **changes)


def routed(
    call: CallFacts | None = None, table: RoutingTable | None = None, fleet: FleetView | None = None
) -> Decision:
    return decide(call or a_call(), table or _EXAMPLE_TABLE, fleet or a_fleet())


def told(decision: Decision) -> tuple[str, int, int]:
    """(reason, SIP status, Q.850 cause) of a refusal."""
    refusal = decision.explanation.refusal
    assert refusal is not None, "the call was routed"
    return refusal.reason, refusal.sip, refusal.cause
