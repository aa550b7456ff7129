"""The rack as the pages show it: the newest message of each box, channel and call, in memory.

One thread (live.py) writes, page threads read; every method holds the lock for a dictionary operation or a
shallow copy. Messages are frozen, so a snapshot stays what it was.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from simrack.controller.models import Names, OpenCallRow, Own
from simrack.web.masks import Mask
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import (
    AlarmSummary,
    BoxStatus,
    ChannelReport,
    ConsoleLine,
    ConsoleLines,
    ControllerStatus,
    LiveCall,
)
from simrack.wire.mqtt import Newest
from simrack.wire.ports import Clock

# What the drawer shows of a channel's past; older events are in the records.
EVENTS_KEPT = 30
# A call's last message may come after the database has lost its open row, so the ended ones are remembered.
ENDED_KEPT = 2000
# A console is read as it passes; nobody scrolls further back. More consoles at once nobody opens.
CONSOLE_KEPT, CONSOLES_KEPT = 300, 50

ChannelKey = tuple[str, int]


class Kind(NamedTuple):
    """What a fleet's sheet counts of a channel: a thousand boxes are drawn from counts of these, not from reports."""

    state: ChannelState
    marked: bool
    card: bool
    registered: bool
    resting: bool

    @classmethod
    def of(cls, report: ChannelReport) -> "Kind":
        marks, card, network = report.marks, report.sim is not None, report.network
        return cls(
            report.state, bool(marks), card, card and network is not None and network.registered,
            card and Mark.RESTING in marks,
        )  # fmt: skip


Kinds = Mapping[Kind, int]


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """One change of a channel, for the drawer."""

    at: datetime
    state: ChannelState
    text: str


@dataclass(frozen=True, slots=True)
class Console:
    """What passed at a module's port since somebody began to watch."""

    until: datetime
    left_out: int
    lines: tuple[ConsoleLine, ...]


@dataclass(slots=True)
class Changes:
    """What pages must draw again."""

    boxes: set[str] = field(default_factory=set)
    channels: set[ChannelKey] = field(default_factory=set)
    calls: bool = False
    layout: bool = False
    top: bool = False

    def __bool__(self) -> bool:
        return bool(self.boxes or self.channels or self.calls or self.layout or self.top)


@dataclass(frozen=True, slots=True)
class Rack:
    """Everything known at one instant."""

    boxes: dict[str, BoxStatus]
    channels: dict[ChannelKey, ChannelReport]
    calls: dict[str, LiveCall]
    alarms: AlarmSummary | None
    controller: ControllerStatus | None
    broker: bool
    broker_since: datetime
    numbers: dict[str, frozenset[int]]  # the channels that each box has told of
    kinds: dict[str, Kinds]  # how many of those are of which kind
    bounded: bool = False  # what somebody sees who may not see everything

    def within(self, own: Own, mask: Mask, names: Names) -> "Rack":
        """What somebody may see of it: channels with cards of their plans, their calls, numbers masked."""
        if own.everything and mask.nothing:
            return self
        channels, calls, boxes, numbers = self.channels, self.calls, self.boxes, self.numbers
        if not own.everything:
            channels = {key: report for key, report in channels.items() if own.sees_plan(_plan(report, names))}
            calls = {
                name: call for name, call in calls.items()
                if (own.plans is None or call.plan in own.plans) and (own.senders is None or call.sender in own.senders)
            }  # fmt: skip
            numbers = {}
            for box, number in channels:
                numbers[box] = numbers.get(box, frozenset()) | {number}
            # Of a box that others use as well: that it is there, and whether it serves.
            boxes = {
                box: BoxStatus(boot=s.boot, seq=s.seq, at=s.at, box=box, online=s.online, site=s.site, drain=s.drain)
                for box, s in boxes.items() if box in numbers
            }  # fmt: skip
        return replace(
            self, boxes=boxes, channels={key: mask.report(report) for key, report in channels.items()},
            calls={name: mask.live(call) for name, call in calls.items()}, numbers=numbers, kinds=_kinds(channels.values()),
            bounded=True,
        )  # fmt: skip

    def with_boxes(self, boxes: dict[str, BoxStatus]) -> "Rack":
        """The same with some of the boxes; their channels are found by box."""
        return self if len(boxes) == len(self.boxes) else replace(self, boxes=boxes)

    def call_on(self, key: ChannelKey) -> LiveCall | None:
        """The controller's side of the call that this channel carries."""
        report = self.channels.get(key)
        if report is None or report.call is None:
            return None
        return self.calls.get(report.call.call)


class RackModel:
    """Takes messages in, gives snapshots and changes out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = Newest()
        self._boxes: dict[str, BoxStatus] = {}
        self._channels: dict[ChannelKey, ChannelReport] = {}
        self._numbers: dict[str, frozenset[int]] = {}
        self._kinds: dict[str, dict[Kind, int]] = {}
        self._consoles: dict[ChannelKey, Console] = {}
        self._events: dict[ChannelKey, deque[ChannelEvent]] = {}
        self._calls: dict[str, LiveCall] = {}
        self._ended: dict[str, None] = {}
        self._alarms: AlarmSummary | None = None
        self._controller: ControllerStatus | None = None
        self._broker = False
        self._broker_since = clock.utc()
        self._changes = Changes()

    def snapshot(self) -> Rack:
        with self._lock:
            return Rack(
                dict(self._boxes), dict(self._channels), dict(self._calls), self._alarms, self._controller,
                self._broker, self._broker_since, dict(self._numbers), {box: kinds.copy() for box, kinds in self._kinds.items()},
            )  # fmt: skip

    def events(self, key: ChannelKey) -> tuple[ChannelEvent, ...]:
        """The channel's last changes, newest first, since this process began to listen."""
        with self._lock:
            return tuple(reversed(self._events.get(key, ())))

    def has_call(self, call: str) -> bool:
        """Whether this call is in progress, as far as is known."""
        with self._lock:
            return call in self._calls

    def console_of(self, key: ChannelKey) -> Console | None:
        """What passed at this module's port, if anybody has watched lately."""
        with self._lock:
            return self._consoles.get(key)

    def console(self, message: ConsoleLines) -> None:
        key = (message.box, message.channel)
        with self._lock:
            known = self._consoles.pop(key, None)
            lines = (*(known.lines if known is not None else ()), *message.lines)[-CONSOLE_KEPT:]
            left_out = message.left_out + (known.left_out if known is not None else 0)
            self._consoles[key] = Console(message.until, left_out, lines)
            while len(self._consoles) > CONSOLES_KEPT:
                del self._consoles[next(iter(self._consoles))]

    def console_until(self, box: str, channel: int, seconds: int) -> None:
        """Somebody began to watch for so long, or ended it (0); the box's first lines may come later."""
        key = (box, channel)
        with self._lock:
            known = self._consoles.get(key)
            until = self._clock.utc() + timedelta(seconds=seconds)
            self._consoles[key] = Console(until, known.left_out if known else 0, known.lines if known else ())

    def take_changes(self) -> Changes:
        with self._lock:
            changes, self._changes = self._changes, Changes()
            return changes

    def broker(self, up: bool) -> None:
        """The link to the broker came or went; without it nothing shown is fresh."""
        with self._lock:
            if up != self._broker:
                self._broker, self._broker_since = up, self._clock.utc()
                self._changes.top = True

    def box(self, status: BoxStatus) -> None:
        with self._lock:
            if not self._newest.accept(("box", status.box), status.boot, status.seq):
                return
            known = self._boxes.get(status.box)
            self._boxes[status.box] = status
            self._changes.boxes.add(status.box)
            self._changes.top = True
            if known is None or (known.channels, known.site) != (status.channels, status.site):
                self._changes.layout = True
            elif known.online != status.online:
                self._changes.channels.update(key for key in self._channels if key[0] == status.box)

    def forget_box(self, box: str) -> None:
        """The box was taken out of the fleet: its retained status is empty."""
        with self._lock:
            self._boxes.pop(box, None)
            self._numbers.pop(box, None)
            self._kinds.pop(box, None)
            for key in [key for key in self._channels if key[0] == box]:
                del self._channels[key]
            self._changes.layout = self._changes.top = True

    def channel(self, report: ChannelReport) -> None:
        key = (report.box, report.channel)
        with self._lock:
            if not self._newest.accept(("channel", *key), report.boot, report.seq):
                return
            known = self._channels.get(key)
            self._channels[key] = report
            if known is None:
                self._numbers[report.box] = self._numbers.get(report.box, frozenset()) | {report.channel}
            self._recount(known, report)
            if known is None or known.state != report.state or known.marks != report.marks:
                self._remember(key, report)
            self._changes.channels.add(key)
            self._changes.boxes.add(report.box)
            self._changes.calls = self._changes.calls or report.call is not None
            self._changes.top = True
            if known is None and not self._expected(key):
                self._changes.layout = True

    def call(self, call: LiveCall) -> None:
        with self._lock:
            if not self._newest.accept("call-" + call.call, call.boot, call.seq):
                return
            if call.state == "ended":
                self._end(call.call)
            else:
                self._calls[call.call] = call
            self._changes.calls = self._changes.top = True
            if call.box and call.channel is not None:
                self._changes.channels.add((call.box, call.channel))

    def seed_calls(self, rows: Iterable[OpenCallRow], before: Iterable[str]) -> None:
        """Take over the calls in progress from the database: live calls are not retained by the broker.

        `before` names the calls that were known when the database was asked: a younger one stays.
        """
        with self._lock:
            known = {row.call: row for row in rows if row.call not in self._ended}
            for gone in set(before) & set(self._calls) - set(known):
                del self._calls[gone]
            for row in known.values():
                self._calls.setdefault(row.call, _from_row(row))
            self._changes.calls = self._changes.top = True

    def alarms(self, summary: AlarmSummary) -> None:
        with self._lock:
            if self._newest.accept("alarms", summary.boot, summary.seq):
                self._alarms = summary
                self._changes.top = True

    def controller(self, status: ControllerStatus) -> bool:
        """True when this is another run of the controller, whose calls must be read anew."""
        with self._lock:
            if not self._newest.accept("controller", status.boot, status.seq):
                return False
            another = self._controller is not None and self._controller.boot != status.boot
            self._controller = status
            self._changes.top = True
            return another

    def _expected(self, key: ChannelKey) -> bool:
        box = self._boxes.get(key[0])
        return box is not None and key[1] <= box.channels

    def _end(self, call: str) -> None:
        self._calls.pop(call, None)
        self._ended[call] = None
        while len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    def _recount(self, known: ChannelReport | None, report: ChannelReport) -> None:
        kinds, kind = self._kinds.setdefault(report.box, {}), Kind.of(report)
        before = Kind.of(known) if known is not None else None
        if before == kind:
            return
        kinds[kind] = kinds.get(kind, 0) + 1
        if before is not None:
            kinds[before] -= 1
            if not kinds[before]:
                del kinds[before]

    def _remember(self, key: ChannelKey, report: ChannelReport) -> None:
        events = self._events.setdefault(key, deque(maxlen=EVENTS_KEPT))
        events.append(ChannelEvent(report.since, report.state, _event_text(report)))


def _kinds(reports: Iterable[ChannelReport]) -> dict[str, Kinds]:
    found: dict[str, Counter[Kind]] = {}
    for report in reports:
        found.setdefault(report.box, Counter())[Kind.of(report)] += 1
    return dict(found)


def _plan(report: ChannelReport, names: Names) -> str:
    return names.plan_of(report.sim.iccid, report.sim.imsi) if report.sim is not None else ""


def _event_text(report: ChannelReport) -> str:
    parts = [report.fault] if report.fault else []
    if report.call is not None:
        parts.append(("to " if report.call.direction == "out" else "from ") + report.call.number)
    parts += [mark.value for mark in report.marks]
    return ", ".join(parts)


def _from_row(row: OpenCallRow) -> LiveCall:
    return LiveCall(
        boot="", seq=0, at=row.started, call=row.call, sender=row.sender, calling=row.calling,
        state="speaking" if row.answered else "trying", called=row.called, started=row.started,
        answered=row.answered, box=row.box, channel=row.channel, plan=row.plan,
    )  # fmt: skip
