"""The index of seats against the plain reading of the rules: same candidates, same explanation, always."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from routing import plain
from routing.fleets import NOW, a_box, a_call, a_channel, a_fleet, a_table

from simrack.controller.fleet.view import BoxView, ChannelView, FleetView
from simrack.controller.routing.admission import Draft, admit
from simrack.controller.routing.checks import CHECKS
from simrack.controller.routing.criteria import CRITERIA
from simrack.controller.routing.current import Routing
from simrack.controller.routing.decide import decide
from simrack.controller.routing.funnel import KEPT, option_of, run
from simrack.controller.routing.seats import Seats
from simrack.controller.routing.table import RoutingTable
from simrack.wire.channel import ChannelState, Mark

BOXES = ("lab-01", "lab-02", "lab-03")
IMSI = st.sampled_from(
    ["001010000000001", "001010000000002", "001020000000001", "001030000000001", "262010000000001", "999990000000001", ""]
)
CHANNELS = st.builds(
    a_channel,
    st.integers(1, 8),
    box=st.sampled_from(BOXES),
    state=st.sampled_from([ChannelState.READY] * 4 + [ChannelState.ACTIVE, ChannelState.FAULT, ChannelState.SMS]),
    marks=st.sampled_from([(), (), (), (Mark.DRAINING,), (Mark.RESTING, Mark.DISABLED)]),
    iccid=st.sampled_from(["", "8900100000000000001", "8900100000000000002", "8900100000000000003"]),
    imsi=IMSI,
    registered=st.sampled_from([True, True, True, False]),
    answer_safe=st.sampled_from([True, True, True, False]),
    reserved=st.sampled_from([False, False, False, True]),
    signal_dbm=st.sampled_from([None, -60, -90]),
    last_call_ended=st.sampled_from(
        [None, NOW, *(NOW - timedelta(seconds=s) for s in (5, 10, 10.000001, 3600)), NOW + timedelta(seconds=2)]
    ),
    calls_today=st.integers(0, 3),
    talk_ms_today=st.sampled_from([0, 59_999, 60_000, 600_000]),
    talk_ms_month=st.sampled_from([0, 60_000, 6_000_000]),
    calls_month=st.integers(0, 2),
)
RACKS = st.lists(CHANNELS, max_size=24, unique_by=lambda c: (c.box, c.channel))
BOX_VIEWS = st.lists(
    st.builds(
        a_box,
        st.sampled_from(BOXES),
        site=st.sampled_from(["lab", "lab", "far", "nowhere"]),
        reachable=st.sampled_from([True, True, True, False]),
        twin=st.sampled_from([False, False, True]),
        silent_s=st.sampled_from([0.0, 1.0, 300.0, 301.5]),
        sip=st.sampled_from([("127.0.0.1", 7000), ("127.0.0.1", 7000), None]),
    ),
    max_size=3,
    unique_by=lambda box: box.box,
)
TARGETS = st.lists(
    st.fixed_dictionaries(
        {"plan": st.sampled_from(["lab", "second", "third"]), "priority": st.sampled_from([-1, 0, 50, 100, 250])}
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    """Configurations whose every knob that routing looks at is turned now and then."""

    def change(data: dict[str, Any]) -> None:
        data["site"].append({**data["site"][0], "name": "far", "country": "FR"})
        if draw(st.booleans()):
            del data["site"][1]["emergency"]
        foreign = {**data["agreement"][0], "name": "foreign", "lab": False, "sites": ["lab", "far"], "origins": ["FR"]}
        data["agreement"].append(foreign)
        data["agreement"][0]["uses"] = draw(st.sampled_from([["test"], ["test"], ["messaging"], ["test", "licensed-termination"]]))
        data["agreement"][1]["valid_until"] = draw(st.sampled_from([NOW.date(), NOW.date() - timedelta(days=1)]))
        plan = data["plan"][0]
        data["plan"].append({**plan, "name": "second", "imsi_prefixes": ["00102"], "agreement": draw(_AGREEMENTS)})
        data["plan"].append({**plan, "name": "third", "imsi_prefixes": ["00103", "26201"], "agreement": draw(_AGREEMENTS)})
        for entry in data["plan"]:
            entry.update(draw(_LIMITS))
        data["sim"] = draw(st.sampled_from([[], [_CARD], [{**_CARD, "enabled": False}]]))
        data["sender"][0]["plans"] = draw(st.sampled_from([[], [], ["lab"], ["second", "third"]]))
        data["pattern"][0]["targets"] = draw(TARGETS)
        for prefix in draw(st.lists(st.sampled_from(["+882", "+882100", "+88210000", "+"]), max_size=2, unique=True)):
            row = {"prefixes": [prefix], "targets": draw(TARGETS), "priority": draw(st.integers(0, 1))}
            data["pattern"].append(row)
        names = draw(st.lists(st.sampled_from([c.name for c in CRITERIA]), max_size=6, unique=True))
        data["limits"].update(order=names, max_attempts=draw(st.sampled_from([1, 4, 30])))

    return a_table(change)


_AGREEMENTS = st.sampled_from(["lab-network", "lab-network", "foreign"])
_LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.just(False), "sim_calls_day": st.just(2), "sim_minutes_day": st.just(1),
        "sim_minutes_month": st.just(50), "max_concurrent": st.just(3),
    },
)  # fmt: skip
_CARD = {"iccid": "8900100000000000002", "plan": "second", "priority": 5}


def _fleet(channels: list[ChannelView], boxes: list[BoxView], calls: int = 0) -> FleetView:
    return a_fleet(channels, boxes, plan_calls={"lab": calls, "second": 3 - calls})


@settings(max_examples=300)
@given(tables(), RACKS, BOX_VIEWS, st.integers(0, 3))
def test_decisions_are_those_of_the_plain_reading(
    table: RoutingTable, channels: list[ChannelView], boxes: list[BoxView], calls: int
) -> None:
    """A call goes to another SIM, or is explained falsely, when the index and the rules part."""
    fleet = _fleet(channels, boxes, calls)
    assert decide(a_call(), table, fleet) == plain.decide(a_call(), table, fleet)


@settings(max_examples=150)
@given(tables(), st.lists(st.tuples(RACKS, BOX_VIEWS), min_size=2, max_size=5), st.booleans())
def test_an_index_that_follows_the_fleet_is_as_good_as_a_new_one(
    table: RoutingTable, moments: list[tuple[list[ChannelView], list[BoxView]]], swap: bool
) -> None:
    """Channels that come, change, move and go leave nothing behind in the index; another table starts anew."""
    routing = Routing(a_table() if swap else table)
    for channels, boxes in moments:
        fleet = _fleet(channels, boxes)
        assert routing.explain(a_call(), fleet) == plain.decide(a_call(), routing.table, fleet)
        if swap:
            routing.swap(table)


@settings(max_examples=100)
@given(RACKS, st.lists(st.tuples(st.integers(0, 23), CHANNELS), max_size=8))
def test_a_channel_that_changes_is_judged_again(
    channels: list[ChannelView], changes: list[tuple[int, ChannelView]]
) -> None:
    """One report after the other, as boxes send them: each decision sees the newest."""
    routing, listed = Routing(a_table()), list(channels)
    boxes = [a_box(box) for box in BOXES]
    for place, other in changes:
        if place < len(listed):
            listed[place] = replace(other, box=listed[place].box, channel=listed[place].channel)
        fleet = _fleet(listed, boxes)
        assert routing.explain(a_call(), fleet) == plain.decide(a_call(), routing.table, fleet)


@settings(max_examples=100)
@given(tables(), RACKS, BOX_VIEWS)
def test_a_brief_explanation_differs_by_examples_only(
    table: RoutingTable, channels: list[ChannelView], boxes: list[BoxView]
) -> None:
    """The record of a call tells the same counts, order and candidates as the whole explanation does."""
    fleet = _fleet(channels, boxes)
    brief, whole = decide(a_call(), table, fleet, brief=True), decide(a_call(), table, fleet)
    assert brief.candidates == whole.candidates
    assert brief.explanation.order == whole.explanation.order[: len(brief.explanation.order)]
    assert len(brief.explanation.order) >= min(KEPT, len(whole.explanation.order))
    for mine, step in zip(brief.explanation.steps, whole.explanation.steps, strict=True):
        assert mine == step.model_copy(update={"dropped": step.dropped[: len(mine.dropped)]})
    assert brief.explanation.refusal == whole.explanation.refusal


@settings(max_examples=60)
@given(tables(), RACKS)
def test_columns_order_as_values_do(table: RoutingTable, channels: list[ChannelView]) -> None:
    """A criterion has one meaning, whether one candidate is looked at or a thousand."""
    seats = Seats(table)
    seats.update(tuple(channels))
    fleet = _fleet(channels, [a_box(box) for box in BOXES])
    draft = Draft(a_call(), table, fleet)
    assert admit(draft) is None
    search = plain._search(draft)
    matches = table.matches("+88210000123", "trunk")
    found = run(search, matches, seats)
    fit, ways = found.fit, found.ways
    for criterion in CRITERIA:
        if criterion.column is None or not fit:
            continue
        column = criterion.column(fit, search)
        values = [criterion.value(option_of(seat, ways[seat.plan.name][0], search), search) for seat in fit]
        for (mine, value), (other, second) in product(zip(column, values, strict=True), repeat=2):
            assert (mine < other) == (value < second), criterion.name


def test_each_check_belongs_to_one_thing() -> None:
    """A check of a channel that looked at the call would be judged before there is one."""
    assert all((check.of_seat is not None) == (check.scope == "seat") for check in CHECKS)
