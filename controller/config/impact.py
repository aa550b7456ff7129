"""What a change would do to calls: recent ones routed under both versions, and what is named differs.

The calls are a sample of those that came in lately; each is asked as if it came now, with the fleet as it is now, so
that a difference comes from the configuration alone.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from simrack.controller.fleet.view import FleetView
from simrack.controller.routing.decide import decide
from simrack.controller.routing.decision import CallFacts, Decision
from simrack.controller.routing.seats import Seats
from simrack.controller.routing.table import RoutingTable

#: Different calls in the sample; more say little more.
SAMPLE = 200
#: Examples that are named.
MOST_NAMED = 20


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(_Told):
    """Where a call would go: plan and channel first tried, or why it is refused."""

    pattern: str = ""
    plan: str = ""
    channel: str = ""
    candidates: int = 0
    refusal: str = ""  # a sentence; "" when it is routed


class Moved(_Told):
    """One recent call that would go elsewhere."""

    sender: str
    called: str
    before: Outcome
    after: Outcome


class Impact(_Told):
    """What changes would do to recent calls."""

    asked: int  # calls in the sample
    since: datetime | None = None  # the oldest of them
    moved: int = 0
    refused: int = 0  # of the moved: routed now, refused then
    freed: int = 0  # of the moved: refused now, routed then
    senders: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    examples: tuple[Moved, ...] = ()


class Sample(_Told):
    """A call that came in lately."""

    sender: str
    called: str  # as received
    calling: str
    started: datetime


Explain = Callable[[CallFacts], Decision]


def router(table: RoutingTable, fleet: FleetView) -> Explain:
    """Routes calls that nobody makes, under one table and one instant of the fleet."""
    seats = Seats(table)
    return lambda facts: decide(facts, table, fleet, seats, brief=True)


def impact(calls: Sequence[Sample], before: Explain, after: Explain, now: datetime) -> Impact:
    """Route each call under both tables and tell what differs."""
    moved = [
        Moved(sender=call.sender, called=call.called, before=old, after=new)
        for call in calls
        if (old := _outcome(before(_facts(call, now)))) != (new := _outcome(after(_facts(call, now))))
        and _differs(old, new)
    ]
    return Impact(
        asked=len(calls), since=min((call.started for call in calls), default=None), moved=len(moved),
        refused=sum(1 for one in moved if one.after.refusal and not one.before.refusal),
        freed=sum(1 for one in moved if one.before.refusal and not one.after.refusal),
        senders=_most(one.sender for one in moved),
        patterns=_most(name for one in moved for name in (one.before.pattern, one.after.pattern) if name),
        examples=tuple(moved[:MOST_NAMED]),
    )  # fmt: skip


def _differs(old: Outcome, new: Outcome) -> bool:
    """Another channel of the same plan is chance among equals, not the change."""
    return (old.pattern, old.plan, old.refusal) != (new.pattern, new.plan, new.refusal)


def _facts(call: Sample, now: datetime) -> CallFacts:
    return CallFacts(sender=call.sender, called=call.called, calling=call.calling, now=now)


def _outcome(decision: Decision) -> Outcome:
    told, first = decision.explanation, next(iter(decision.candidates), None)
    return Outcome(
        pattern=told.pattern, plan=first.plan if first else "", channel=f"{first.box} / {first.channel}" if first else "",
        candidates=len(decision.candidates), refusal=told.refusal.text if told.refusal else "",
    )  # fmt: skip


def _most(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[:MOST_NAMED]
