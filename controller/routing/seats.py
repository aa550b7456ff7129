"""The index that decisions are made from: every channel, judged when it changes and not when a call comes.

A *seat* is one channel with its SIM, its plan, and the first of its own checks that it fails. Seats with the same
plan, box and kind of network make a *group*, for which everything else that a call may fall out for is the same.
So a decision looks at groups, and at single seats only where it orders or names them (ADR 1201).

The index follows the fleet's views by identity: a view is frozen, so one that is the same object has not changed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from itertools import chain
from operator import is_not
from typing import NamedTuple

from simrack.controller.config.models import LAB_NETWORKS, Plan, Sim
from simrack.controller.fleet.view import BoxView, ChannelView
from simrack.controller.routing.checks import CHECKS, MINUTE_MS
from simrack.controller.routing.table import RoutingTable
from simrack.wire.channel import ChannelState

# No check of its own took the seat out.
FIT = len(CHECKS)
# Without a report the signal counts as the weakest that a module can tell (27.007 8.5: -113 dBm).
NO_SIGNAL_DBM = -113
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OF_BOX = tuple((place, check.of_box) for place, check in enumerate(CHECKS) if check.of_box is not None)
_OF_SEAT = tuple((place, check.of_seat) for place, check in enumerate(CHECKS) if check.of_seat is not None)


class GroupKey(NamedTuple):
    """What seats must share to be judged together."""

    plan: str
    box: str
    lab: bool  # the SIM is of a lab network


@dataclass(slots=True)
class Seat:
    """One channel with its SIM as the table sees it, and the figures by which it may be ordered."""

    position: int  # in the fleet's list, which is the order of examples
    channel: ChannelView
    plan: Plan
    sim: Sim | None
    key: GroupKey
    name: tuple[str, int]
    box: str
    priority: int
    minutes_today: int
    calls_month: int
    minutes_month: int
    signal_dbm: int
    ended_us: int | None  # since 1970: whole numbers compare exactly
    fell: int = FIT  # place of the first own check that took it out


@dataclass(slots=True)
class Group:
    """Seats that differ by their own checks only, by position."""

    key: GroupKey
    fit: dict[int, Seat] = field(default_factory=dict)
    fallen: dict[int, dict[int, Seat]] = field(default_factory=dict)  # by the place of the check
    size: int = 0

    def some(self) -> Seat:
        """Any of them."""
        return next(seat for seats in (self.fit, *self.fallen.values()) for seat in seats.values())


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


class Seats:
    """All channels under one table; `update` follows the fleet."""

    def __init__(self, table: RoutingTable) -> None:
        self._table = table
        self._channels: tuple[ChannelView, ...] = ()
        self._seats: list[Seat | None] = []
        self.groups: dict[GroupKey, Group] = {}
        self.by_plan: dict[str, set[int]] = {}  # positions; "" is for SIMs of no plan
        self.free: Counter[str] = Counter()  # by box: channels that could take a call now
        self._boxes: dict[str, tuple[BoxView | None, int]] = {}

    def update(self, channels: tuple[ChannelView, ...]) -> None:
        """Take up what has changed since the last time."""
        known = self._channels
        if channels is known:
            return
        differs = [place for place, other in enumerate(map(is_not, channels, known)) if other]
        gone = range(len(channels), len(known))
        for place in (*differs, *gone):
            self._remove(place, known[place])
        del self._seats[len(channels) :]
        self._seats.extend([None] * (len(channels) - len(self._seats)))
        for place in (*differs, *range(len(known), len(channels))):
            self._put(place, channels[place])
        self._channels = channels

    def fall_of_box(self, name: str, box: BoxView | None) -> int:
        """The place of the first check that takes the whole box out, or `FIT`; asked once for each view of it."""
        known = self._boxes.get(name)
        if known is not None and known[0] is box:
            return known[1]
        fall = next((place for place, fails in _OF_BOX if fails(box)), FIT)
        self._boxes[name] = (box, fall)
        return fall

    @property
    def size(self) -> int:
        """Channels in all."""
        return len(self._channels)

    def channel(self, place: int) -> ChannelView:
        return self._channels[place]

    def outside(self, plans: Iterable[str]) -> list[set[int]]:
        """Positions of the channels whose SIM is in none of these plans."""
        inside = frozenset(plans)
        return [places for plan, places in self.by_plan.items() if plan not in inside]

    def _put(self, place: int, view: ChannelView) -> None:
        plan = self._table.plan_of(view.iccid, view.imsi)
        self.by_plan.setdefault(plan.name if plan else "", set()).add(place)
        self.free[view.box] += _is_free(view)
        if plan is None:
            return
        seat = self._seats[place] = self._seat(place, view, plan)
        group = self.groups.get(seat.key)
        if group is None:
            group = self.groups[seat.key] = Group(seat.key)
        _shelf(group, seat.fell)[place] = seat
        group.size += 1

    def _remove(self, place: int, view: ChannelView) -> None:
        seat = self._seats[place]
        self.free[view.box] -= _is_free(view)
        if seat is None:
            self.by_plan[""].discard(place)
            return
        self._seats[place] = None
        self.by_plan[seat.plan.name].discard(place)
        group = self.groups[seat.key]
        del _shelf(group, seat.fell)[place]
        group.size -= 1
        if not group.size:
            del self.groups[seat.key]

    def _seat(self, place: int, view: ChannelView, plan: Plan) -> Seat:
        sim = self._table.sims.get(view.iccid)
        signal, ended = view.signal_dbm, view.last_call_ended
        seat = Seat(
            place, view, plan, sim,
            key=GroupKey(plan.name, view.box, view.imsi.startswith(LAB_NETWORKS)),
            name=(view.box, view.channel),
            box=view.box,
            priority=sim.priority if sim is not None else 0,
            minutes_today=view.talk_ms_today // MINUTE_MS,
            calls_month=view.calls_month,
            minutes_month=view.talk_ms_month // MINUTE_MS,
            signal_dbm=NO_SIGNAL_DBM if signal is None else signal,
            ended_us=None if ended is None else microseconds(ended),
        )  # fmt: skip
        seat.fell = next((number for number, fails in _OF_SEAT if fails(seat)), FIT)
        return seat


def _is_free(view: ChannelView) -> bool:
    return view.state is ChannelState.READY and not view.reserved and not view.marks


def _shelf(group: Group, fell: int) -> dict[int, Seat]:
    return group.fit if fell == FIT else group.fallen.setdefault(fell, {})


def by_position(parts: Sequence[Iterable[int]], most: int) -> list[int]:
    """The first `most` positions of all parts together."""
    return nsmallest(most, chain.from_iterable(parts))
