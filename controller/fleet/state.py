"""The fleet in memory: what the boxes report, what the controller has reserved, what each SIM carried.

Messages come in, `view` goes out. Nothing here waits or sends: `link.py` is the shell around it, and changes
that somebody must act upon go to the listeners.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import structlog

from simrack.controller.fleet.boxes import BoxState, Seen
from simrack.controller.fleet.load import Load
from simrack.controller.fleet.reservations import Reservations
from simrack.controller.fleet.usage import SimUsage, Usage
from simrack.controller.fleet.view import BoxView, ChannelView, FleetView
from simrack.wire.channel import IN_CALL, ChannelState
from simrack.wire.messages import BoxStatus, ChannelReport, RecoveryInfo
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
#: A box that is connected and says nothing for this long is out of use (routing: checks).
SILENT_S = 300.0
#: How old a box's silence may be in a view: against 300 s a second is nothing, and 100 boxes are looked at by each call.
BOX_VIEW_S = 1.0


@dataclass(frozen=True, slots=True)
class BoxChange:
    """Something about a box that others act upon. `boot` is the run in force before the change."""

    kind: Literal["reachable", "unreachable", "replaced", "twin", "alone"]
    box: str
    boot: str = ""


Listener = Callable[[BoxChange], None]


class Fleet:
    """State of all boxes and channels, as the controller sees it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boxes: dict[str, BoxState] = {}
        self._reservations = Reservations()
        self._usage = Usage()
        self.load = Load()
        self._listeners: list[Listener] = []
        self._twins: set[str] = set()
        self._views: dict[tuple[str, int], ChannelView] = {}
        self._stale: set[tuple[str, int]] = set()
        self._channels: tuple[ChannelView, ...] = ()
        self._by_card: dict[str, set[tuple[str, int]]] = {}
        self._calls_from: dict[str, tuple[str, int] | None] = {}
        self._addresses: dict[tuple[str, int], str] = {}
        self._day = date.min
        self._box_views: dict[str, BoxView] = {}
        self._box_views_at = -BOX_VIEW_S

    def listen(self, listener: Listener) -> None:
        """Call `listener` at each change of a box."""
        self._listeners.append(listener)

    def on_status(self, _topic: str, payload: bytes) -> None:
        """Take a `BoxStatus` from the bus."""
        if payload:
            self.take_status(BoxStatus.decode(payload))

    def on_report(self, _topic: str, payload: bytes) -> None:
        """Take a `ChannelReport` from the bus."""
        if payload:
            self.take_report(ChannelReport.decode(payload))

    def take_status(self, status: BoxStatus) -> None:
        state = self._boxes.setdefault(status.box, BoxState(status.box))
        before, was_up = state.current, self._up(state)
        self._box_views = {}
        if not state.take_status(status, self._clock.monotonic()):
            return
        now_up = self._up(state)
        replaced = before is not None and before is not state.current
        if before is None or replaced or was_up != now_up:
            self._forget_views(status.box)
        self._note_address(state)
        if before is not None and replaced:
            self._tell(BoxChange("replaced", status.box, before.boot))
        if was_up != now_up or before is None:
            boot = state.current.boot if state.current else ""
            self._tell(BoxChange("reachable" if now_up else "unreachable", status.box, boot))
        self._judge_twin(state)

    def take_report(self, report: ChannelReport) -> None:
        state = self._boxes.setdefault(report.box, BoxState(report.box))
        if state.take_report(report, self._clock.monotonic()):
            self._reservations.report(report)
            self._touch(report.box, report.channel)
            if report.box not in self._box_views:
                self._box_views = {}

    def view(self, now: datetime) -> FleetView:
        """The fleet at this instant."""
        mono = self._clock.monotonic()
        for freed in self._reservations.sweep(mono):
            self._touch(*freed)
        if now.date() != self._day:
            self._day = now.date()
            self._stale.update(self._views)
        self._refresh(now)
        if not self._box_views or mono - self._box_views_at >= BOX_VIEW_S:
            self._box_views = {box: self._box_view(state, mono) for box, state in self._boxes.items()}
            self._box_views_at = mono
        return FleetView(self._box_views, self._channels, self.load.senders(), self.load.plans(), self.load.rate(mono))

    def reserve(self, attempt: str, box: str, channel: int, iccid: str) -> bool:
        """Hold a channel and its card for an attempt; False when another call has either."""
        taken = self._reservations.take(attempt, box, channel, iccid)
        if taken:
            self._touch_card(box, channel, iccid)
        return taken

    def release(self, attempt: str, *, at_once: bool = False) -> None:
        """The attempt's leg has ended; the channel is free on the box's word or after 10 s, or `at_once`."""
        freed = self._reservations.end(attempt, self._clock.monotonic(), at_once=at_once)
        if freed:
            self._touch(*freed)

    def count(self, iccid: str, ended: datetime, talk_ms: int) -> None:
        """Count a call on its SIM."""
        self._usage.add(iccid, ended, talk_ms)
        self._stale.update(self._by_card.get(iccid, ()))

    def load_usage(self, usage: Mapping[str, SimUsage], now: datetime) -> None:
        """Start the SIMs' counters from the records."""
        self._usage.load(usage, now)
        self._stale.update(self._views)

    def box_at(self, source: tuple[str, int]) -> str | None:
        """The box whose SIP address this is, if it is in service."""
        return self._addresses.get(source)

    def has_host(self, host: str) -> bool:
        """Whether a box in service has this address, at whichever port."""
        return any(address == host for address, _port in self._addresses)

    def boot_of(self, box: str) -> str:
        """The run of a box that is in force; "" for an unknown box."""
        state = self._boxes.get(box)
        return state.current.boot if state and state.current else ""

    def seen(self, box: str, channel: int, attempt: str, boot: str) -> Seen:
        """What is known of a channel that an attempt of an earlier run of ours held; `boot` is the box's then."""
        state = self._boxes.get(box)
        return state.seen(channel, attempt, boot) if state is not None else Seen(online=False)

    def carried(self) -> list[tuple[str, int, str]]:
        """(box, channel, attempt) of the outgoing calls that reachable boxes report."""
        return [
            (state.box, report.channel, report.call.attempt)
            for state in self._boxes.values()
            if self._up(state) and state.box not in self._twins
            for report in state.channels.values()
            if report.call is not None and report.call.direction == "out"
        ]

    @property
    def size(self) -> int:
        """How many boxes were ever heard of."""
        return len(self._boxes)

    def silent(self) -> dict[str, bool]:
        """For each box that is connected: whether it has said nothing for more than 5 min."""
        now = self._clock.monotonic()
        return {
            box: now - state.current.heard > SILENT_S
            for box, state in self._boxes.items()
            if state.current is not None and state.current.online
        }

    def plain_links(self) -> dict[str, bool]:
        """For each box: whether its link is neither loopback nor tunnel."""
        return {
            box: state.current.status.link == "plain" for box, state in self._boxes.items() if state.current
        }

    def troubles(self) -> dict[str, str]:
        """For each box: why its file can't be written, or ""."""
        return {box: state.current.status.trouble for box, state in self._boxes.items() if state.current}

    def statuses(self) -> dict[str, BoxStatus]:
        """What each box that is reachable said last."""
        return {box: state.current.status for box, state in self._boxes.items() if state.current and state.current.online}

    def usable(self) -> dict[str, int]:
        """For each box that is reachable: its channels that are ready or in a call."""
        return {
            box: sum(report.state is ChannelState.READY or report.state in IN_CALL for report in state.channels.values())
            for box, state in self._boxes.items()
            if self._up(state)
        }

    def recoveries(self) -> list[tuple[str, int, RecoveryInfo]]:
        """(box, channel, what is done to bring its module back) of all channels."""
        return [
            (box, report.channel, report.recovery or RecoveryInfo())
            for box, state in self._boxes.items()
            for report in state.channels.values()
        ]

    def in_service(self) -> tuple[int, int]:
        """(channels that are ready or in a call, channels in all) of the boxes that are reachable."""
        reports = [r for state in self._boxes.values() if self._up(state) for r in state.channels.values()]
        usable = sum(1 for report in reports if report.state is ChannelState.READY or report.state in IN_CALL)
        return usable, len(reports)

    def watch(self) -> None:
        """Look again at what changes by time alone: a twin that has fallen silent."""
        for state in self._boxes.values():
            self._judge_twin(state)

    def _up(self, state: BoxState) -> bool:
        return state.current is not None and state.current.online

    def _box_view(self, state: BoxState, now: float) -> BoxView:
        run = state.current
        if run is None:
            return BoxView(state.box, "", None, reachable=False, silent_s=0.0)
        twin = state.box in self._twins
        sip = _address(run.status.sip)
        return BoxView(state.box, run.status.site, sip, run.online and not twin, now - run.heard, twin)

    def _refresh(self, now: datetime) -> None:
        if not self._stale:
            return
        for key in self._stale:
            state = self._boxes.get(key[0])
            report = state.channels.get(key[1]) if state else None
            if report is None:
                self._views.pop(key, None)
                continue
            self._views[key] = self._channel_view(report, now)
            if report.sim:
                self._by_card.setdefault(report.sim.iccid, set()).add(key)
        self._stale.clear()
        self._channels = tuple(self._views.values())

    def _channel_view(self, report: ChannelReport, now: datetime) -> ChannelView:
        iccid = report.sim.iccid if report.sim else ""
        usage = self._usage.of(iccid, now)
        network = report.network
        return ChannelView(
            box=report.box,
            channel=report.channel,
            state=report.state,
            marks=report.marks,
            iccid=iccid,
            imsi=report.sim.imsi if report.sim else "",
            registered=network is not None and network.registered,
            answer_safe=report.module.answer_safe if report.module else False,
            reserved=self._reservations.holds(report.box, report.channel, iccid),
            signal_dbm=network.signal_dbm if network else None,
            last_call_ended=usage.last_ended,
            calls_today=usage.calls_today,
            talk_ms_today=usage.talk_ms_today,
            talk_ms_month=usage.talk_ms_month,
            calls_month=usage.calls_month,
        )

    def _touch(self, box: str, channel: int) -> None:
        self._stale.add((box, channel))
        report = self._boxes[box].channels.get(channel) if box in self._boxes else None
        if report and report.sim:
            self._stale.update(self._by_card.get(report.sim.iccid, ()))

    def _touch_card(self, box: str, channel: int, iccid: str) -> None:
        self._stale.add((box, channel))
        self._stale.update(self._by_card.get(iccid, ()))

    def _forget_views(self, box: str) -> None:
        state = self._boxes[box]
        self._stale.update(key for key in self._views if key[0] == box)
        self._stale.update((box, channel) for channel in state.channels)

    def _note_address(self, state: BoxState) -> None:
        """Keep where a box calls from. The table is made anew only when that has changed: a large fleet says much."""
        run = state.current
        address = _address(run.status.sip) if run is not None and run.online else None
        if address == self._calls_from.get(state.box):
            return
        self._calls_from[state.box] = address
        self._addresses = {address: box for box, address in self._calls_from.items() if address is not None}

    def _judge_twin(self, state: BoxState) -> None:
        twin = state.twin(self._clock.monotonic())
        if twin == (state.box in self._twins):
            return
        self._box_views = {}
        if twin:
            log.error("two runs of one box are alive", box=state.box, boots=sorted(state.runs))
            self._twins.add(state.box)
        else:
            self._twins.discard(state.box)
        self._tell(BoxChange("twin" if twin else "alone", state.box))

    def _tell(self, change: BoxChange) -> None:
        log.info("box changed", box=change.box, change=change.kind)
        for listener in self._listeners:
            listener(change)


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else None
