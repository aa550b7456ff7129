"""Routing tests: questions with the answer that people count on, asked of what runs and of what is prepared.

A test is about the configuration, so it is asked as if no call were on: a busy hour must not turn it red. What a
module or box lacks at the moment is told apart from a wrong answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, delete, insert, select

from simrack.controller.config.impact import router
from simrack.controller.fleet.view import BoxView, ChannelView, FleetView
from simrack.controller.models import Explanation
from simrack.controller.routing.checks import CHECKS
from simrack.controller.routing.decision import CallFacts
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreRefused
from simrack.web.errors import BadForm
from simrack.web.rack import Rack
from simrack.web.services.hands import Hand, hand
from simrack.wire.channel import IN_CALL, ChannelState
from simrack.wire.messages import ChannelReport
from simrack.wire.rights import actor_name

PLAN, REFUSED = "plan:", "refused:"
ANY_REFUSAL = f"{REFUSED}any"
#: Tests of an installation; each is a routing decision (S4: 5,000 per second and core).
MOST_TESTS = 500
NAME_MOST, NUMBER_MOST = 100, 40
Verdict = Literal["passes", "fails", "not now"]


@dataclass(frozen=True, slots=True)
class RouteTest:
    """One test."""

    id: int
    name: str
    sender: str
    called: str
    calling: str
    expected: str
    author: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one test."""

    test: RouteTest
    verdict: Verdict
    got: str  # plan:NAME or refused:REASON
    why: str = ""

    @property
    def tone(self) -> str:
        return {"passes": "ready", "fails": "fault", "not now": "searching"}[self.verdict]


def _view(row: Row[Any]) -> RouteTest:
    return RouteTest(row.id, row.name, row.sender, row.called, row.calling, row.expected, actor_name(row.author), row.created)


def all_tests(by: Hand | None = None) -> tuple[RouteTest, ...]:
    """Tests by name."""
    with (by or hand()).begin() as connection:
        rows = connection.execute(select(t.web_route_test).order_by(t.web_route_test.c.name).limit(MOST_TESTS)).all()
    return tuple(_view(row) for row in rows)


def add(name: str, sender: str, called: str, calling: str, expected: str, table: RoutingTable, by: Hand | None = None) -> int:
    """Keep a test. Raises `BadForm`."""
    by = by or hand()
    known = table.senders.get(sender)
    name = name.strip() or (f"{known.title or sender} to {called.strip()}"[:NAME_MOST] if known is not None else "")
    _check(name, sender, called, calling, expected, table)
    if len(all_tests(by)) >= MOST_TESTS:
        raise BadForm("name", f"There are {MOST_TESTS} tests already; remove some.")
    values = {
        "name": name, "sender": sender, "called": called.strip(), "calling": calling.strip(), "expected": expected,
        "author": by.actor, "created": by.now,
    }  # fmt: skip
    try:
        with by.begin() as connection:
            made = connection.execute(insert(t.web_route_test).values(**values)).inserted_primary_key
    except StoreRefused:
        raise BadForm("name", f"There is a test called {name} already.") from None
    return int(made[0]) if made else 0


def _check(name: str, sender: str, called: str, calling: str, expected: str, table: RoutingTable) -> None:
    if not called.strip() or len(called) > NUMBER_MOST or not called.isprintable():
        raise BadForm("called", f"A number as the sender writes it, up to {NUMBER_MOST} signs.")
    if len(calling) > NUMBER_MOST or not calling.isprintable():
        raise BadForm("calling", f"A number, up to {NUMBER_MOST} signs.")
    if sender not in table.senders:
        raise BadForm("sender", "Choose a sender.")
    if expected != ANY_REFUSAL and expected.removeprefix(PLAN) not in table.plans:
        raise BadForm("expected", "Choose the plan that the call should take, or a refusal.")
    if not name or len(name) > NAME_MOST or not name.isprintable():
        raise BadForm("name", f"A name of 1 to {NAME_MOST} characters.")


def remove(number: int, by: Hand | None = None) -> bool:
    """Forget a test."""
    with (by or hand()).begin() as connection:
        return connection.execute(delete(t.web_route_test).where(t.web_route_test.c.id == number)).rowcount > 0


# --- asking (pure) ----------------------------------------------------------------------------------------------


def run(tests: Iterable[RouteTest], table: RoutingTable, rack: Rack, now: datetime) -> tuple[Result, ...]:
    """Ask every test of a configuration."""
    explain = router(table, idle_fleet(rack))
    facts = ((test, CallFacts(sender=test.sender, called=test.called, calling=test.calling, now=now)) for test in tests)
    return tuple(judged(test, explain(asked).explanation) for test, asked in facts)


def judged(test: RouteTest, told: Explanation) -> Result:
    """Hold an answer against what is expected."""
    got = f"{REFUSED}{told.refusal.reason}" if told.refusal is not None else f"{PLAN}{told.order[0].plan}"
    why = told.refusal.text if told.refusal is not None else ""
    if got == test.expected or (test.expected == ANY_REFUSAL and told.refusal is not None and not _of_the_moment(told)):
        return Result(test, "passes", got, why)
    return Result(test, "not now" if _of_the_moment(told) else "fails", got, why)


def _of_the_moment(told: Explanation) -> bool:
    """The refusal is a module's, box's or SIM's, which says nothing of patterns and targets."""
    return told.refusal is not None and told.refusal.reason in _MOMENTARY


#: Checks of what is there now, and no card of the plan reported; a SIM that is switched off is configuration.
_MOMENTARY = frozenset({"in-plan", *(check.name for check in CHECKS if check.scope != "plan")}) - {"sim-enabled"}


def idle_fleet(rack: Rack) -> FleetView:
    """The rack as last reported, as if no call were on."""
    boxes = {
        # Nobody is called, so the address only has to be there.
        name: BoxView(box=name, site=status.site, sip=("", 0) if status.sip else None, reachable=status.online, silent_s=0.0)
        for name, status in rack.boxes.items()
    }
    return FleetView(boxes, tuple(_idle(report) for report in rack.channels.values()))


def _idle(report: ChannelReport) -> ChannelView:
    sim, network, module = report.sim, report.network, report.module
    return ChannelView(
        box=report.box, channel=report.channel, marks=tuple(report.marks), reserved=False,
        state=ChannelState.READY if report.state in IN_CALL else report.state,
        iccid=sim.iccid if sim is not None else "", imsi=sim.imsi if sim is not None else "",
        registered=network is not None and network.registered, answer_safe=module is not None and module.answer_safe,
        signal_dbm=network.signal_dbm if network is not None else None,
    )  # fmt: skip


def totals(results: Sequence[Result]) -> dict[str, int]:
    """How many of each verdict."""
    return {verdict: sum(1 for one in results if one.verdict == verdict) for verdict in ("passes", "fails", "not now")}
