"""The decision: patterns, order, explanation. Property tests against plain readings of the rules."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing.fleets import NOW, a_box, a_call, a_channel, a_fleet, a_table, routed, told

from simrack.controller.config.models import Pattern, Target
from simrack.controller.fleet.view import ChannelView, FleetView
from simrack.controller.models import Explanation
from simrack.controller.routing.checks import CHECKS
from simrack.controller.routing.criteria import CRITERIA, TIE_BREAK
from simrack.controller.routing.decision import Over, read_over
from simrack.controller.routing.explain_text import explain_text
from simrack.controller.routing.explanation import MOST_OCTETS, shorten, size
from simrack.controller.routing.table import by_prefix
from simrack.wire.channel import ChannelState, Mark

DIGITS = st.text("0123", min_size=0, max_size=5)


def _pattern(position: int, prefix: str, priority: int, senders: tuple[str, ...], stop: bool) -> Pattern:
    target = Target(plan="lab", priority=position)
    return Pattern(
        name=str(position), prefixes=(f"+{prefix}",), priority=priority, senders=senders, stop=stop, targets=(target,)
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(DIGITS, st.integers(0, 1), st.sampled_from([(), ("trunk",), ("phone",)]), st.booleans())
    ),
    DIGITS,
)
def test_patterns_match_as_a_plain_reading_says(
    rows: list[tuple[str, int, tuple[str, ...], bool]], digits: str
) -> None:
    """The dictionary look-up finds what comparing every pattern finds, in the same order."""
    patterns = [_pattern(i, *row) for i, row in enumerate(rows)]
    table = a_table()
    found = [
        match.pattern
        for match in type(table)(**{**table.__dict__, "prefixes": by_prefix(patterns)}).matches(
            f"+{digits}", "trunk"
        )
    ]
    fits = [
        p
        for p in patterns
        if f"+{digits}".startswith(p.prefixes[0]) and (not p.senders or "trunk" in p.senders)
    ]
    expected: list[Pattern] = []
    for pattern in sorted(fits, key=lambda p: (-p.priority, -len(p.prefixes[0]))):
        expected.append(pattern)
        if pattern.stop:
            break
    assert found == expected


def test_a_pattern_with_several_prefixes_counts_by_its_longest() -> None:
    """One pattern is one way, however many of its prefixes fit."""
    table = a_table(lambda data: data["pattern"][0].update(prefixes=["+882", "+88210", "+"]))
    (match,) = table.matches("+88210000123", "trunk")
    assert match.prefix == "+88210"


def test_a_hundred_thousand_prefixes_cost_a_look_up_nothing() -> None:
    """Look-ups go by length of the number, not by number of patterns."""
    pattern = Pattern(prefixes=tuple(f"+88210{n:05}" for n in range(100_000)), targets=(Target(plan="lab"),))
    table = a_table()
    big = type(table)(**{**table.__dict__, "prefixes": by_prefix([pattern])})
    assert [match.prefix for match in big.matches("+8821099999123", "trunk")] == ["+8821099999"]
    assert big.matches("+882101", "trunk") == ()


CHANNELS = st.builds(
    a_channel,
    st.integers(1, 6),
    box=st.sampled_from(["lab-01", "lab-02", "lab-03"]),
    state=st.sampled_from([ChannelState.READY, ChannelState.READY, ChannelState.ACTIVE, ChannelState.FAULT]),
    marks=st.sampled_from([(), (), (Mark.DRAINING,)]),
    registered=st.sampled_from([True, True, False]),
    reserved=st.sampled_from([False, False, True]),
    imsi=st.sampled_from(["001010000000001", "001010000000002", "999990000000001"]),
    signal_dbm=st.sampled_from([None, -60, -90]),
    last_call_ended=st.sampled_from([None, NOW, NOW - timedelta(seconds=5), NOW - timedelta(hours=1)]),
    talk_ms_today=st.sampled_from([0, 59_000, 600_000]),
)
FLEETS = st.builds(
    lambda channels, second: a_fleet(
        {(c.box, c.channel): c for c in channels}.values(), [a_box(), a_box("lab-02", reachable=second)]
    ),
    st.lists(CHANNELS, max_size=10),
    st.booleans(),
)


@settings(max_examples=150)
@given(FLEETS)
def test_the_counts_of_an_explanation_add_up(fleet: FleetView) -> None:
    """The funnel on the page: what leaves one check goes into the next, and all who fell out are counted."""
    explanation = routed(fleet=fleet).explanation
    steps = explanation.steps
    assert steps[0].went_in == len(fleet.channels)
    assert all(before.left == after.went_in for before, after in pairwise(steps))
    for step in steps:
        assert len(step.dropped) == min(20, step.went_in - step.left)
    assert len(explanation.order) == steps[-1].left
    assert (explanation.refusal is None) == (steps[-1].left > 0)
    names = [check.name for check in CHECKS]
    assert [step.check for step in steps[1:]] == names[: len(steps) - 1]


@settings(max_examples=150)
@given(FLEETS)
def test_candidates_are_exactly_those_that_could_carry_the_call(fleet: FleetView) -> None:
    """Nobody is lost and nobody slips through; the fleet's order of reports never matters."""
    decision = routed(fleet=fleet)
    fit = {
        (c.box, c.channel)
        for c in fleet.channels
        if c.state is ChannelState.READY and not c.marks and c.registered and not c.reserved
        and c.imsi.startswith("00101") and c.box in fleet.boxes and fleet.boxes[c.box].reachable
    }  # fmt: skip
    assert {(row.box, row.channel) for row in decision.explanation.order} == fit
    assert [(c.box, c.channel) for c in decision.candidates] == [
        (row.box, row.channel) for row in decision.explanation.order
    ][:4]
    reversed_fleet = a_fleet(reversed(fleet.channels), fleet.boxes.values())
    assert routed(fleet=reversed_fleet).candidates == decision.candidates


@settings(max_examples=100)
@given(FLEETS)
def test_decided_by_names_the_first_criterion_that_differs(fleet: FleetView) -> None:
    """ "Why this SIM and not that one" is answered truly."""
    for row, following in pairwise(routed(fleet=fleet).explanation.order):
        values, others = dict(row.criteria), dict(following.criteria)
        if row.decided_by != TIE_BREAK:
            assert values[row.decided_by] != others[row.decided_by]
        else:
            assert (row.box, row.channel) < (following.box, following.channel)


@pytest.mark.parametrize(
    ("first", "second", "decided_by"),
    [
        (a_channel(2), a_channel(1, last_call_ended=NOW - timedelta(seconds=3)), "rested"),
        (a_channel(2), a_channel(1, talk_ms_today=120_000), "minutes-today"),
        (a_channel(2), a_channel(1, calls_month=1), "calls-month"),
        (a_channel(2), a_channel(1, talk_ms_month=120_000), "minutes-month"),
        (a_channel(2), a_channel(1, last_call_ended=NOW - timedelta(hours=1)), "longest-rest"),
        (a_channel(2, signal_dbm=-60), a_channel(1, signal_dbm=-90), "signal"),
        (a_channel(2, signal_dbm=-60), a_channel(1), "signal"),
        (a_channel(1), a_channel(2), TIE_BREAK),
    ],
)
def test_each_criterion_decides_between_equals(
    first: ChannelView, second: ChannelView, decided_by: str
) -> None:
    """The documented order, one level at a time."""
    order = routed(fleet=a_fleet([second, first])).explanation.order
    assert [(row.channel, row.decided_by) for row in order] == [
        (first.channel, decided_by),
        (second.channel, ""),
    ]


def _two_plans(data: dict[str, Any]) -> None:
    data["plan"].append({**data["plan"][0], "name": "second", "imsi_prefixes": ["00102"]})


@pytest.mark.parametrize(
    ("targets", "decided_by"),
    [
        ([{"plan": "second", "priority": 250}, {"plan": "lab", "priority": 100}], "target-coarse"),
        ([{"plan": "second", "priority": 150}, {"plan": "lab", "priority": 100}], "target-fine"),
        ([{"plan": "second", "priority": 0}, {"plan": "lab", "priority": -1}], "reserve"),
    ],
)
def test_targets_are_ordered_by_priority(targets: list[dict[str, Any]], decided_by: str) -> None:
    """The plan with the higher priority is tried first, reserves last."""

    def change(data: dict[str, Any]) -> None:
        _two_plans(data)
        data["pattern"][0]["targets"] = targets

    fleet = a_fleet([a_channel(1), a_channel(2, imsi="001020000000002")])
    order = routed(table=a_table(change), fleet=fleet).explanation.order
    assert [(row.plan, row.decided_by) for row in order] == [("second", decided_by), ("lab", "")]


def test_a_longer_prefix_is_tried_before_a_shorter_one() -> None:
    """Both patterns serve, the better match first, unless it says stop."""

    def change(data: dict[str, Any]) -> None:
        _two_plans(data)
        data["pattern"].append({"prefixes": ["+882100"], "targets": [{"plan": "second"}]})

    def stopping(data: dict[str, Any]) -> None:
        change(data)
        data["pattern"][1]["stop"] = True

    fleet = a_fleet([a_channel(1), a_channel(2, imsi="001020000000002")])
    order = routed(table=a_table(change), fleet=fleet).explanation.order
    assert [(row.plan, row.decided_by) for row in order] == [("second", "best-match"), ("lab", "")]
    assert [c.plan for c in routed(table=a_table(stopping), fleet=fleet).candidates] == ["second"]


def test_the_order_can_be_moved() -> None:
    """An installation that names its own order gets it, and nothing else decides."""
    table = a_table(lambda data: data["limits"].update(order=["signal"]))
    fleet = a_fleet([a_channel(1, signal_dbm=-90), a_channel(2, signal_dbm=-60, talk_ms_today=10**9)])
    order = routed(table=table, fleet=fleet).explanation.order
    assert [row.channel for row in order] == [2, 1]
    assert [name for name, _ in order[0].criteria] == ["signal"]


def test_candidates_carry_what_the_attempt_needs() -> None:
    """The box is told the plan's dial format and limits; the shortest limit of a call holds."""

    def change(data: dict[str, Any]) -> None:
        data["plan"][0].update(dial="00", early_media="never", max_ring_s=30, max_call_s=600)
        data["sender"][0]["max_call_s"] = 300

    (candidate, _) = routed(a_call(anonymous=True), a_table(change)).candidates
    assert (candidate.dial, candidate.early_media, candidate.hide_number) == ("0088210000123", "never", True)
    assert (candidate.max_ring_s, candidate.max_call_s, candidate.sip) == (30, 300, ("127.0.0.1", 7000))


@pytest.mark.parametrize(
    ("over", "wanted"),
    [("box=lab-02", [1, 3]), ("box=lab-02; channel=3", [3]), ("iccid=8900100000000000001", [1]), ("channel = 2;", [2])],
)
def test_a_test_call_goes_over_what_was_chosen(over: str, wanted: list[int]) -> None:
    """Who tries a SIM must not hear another one; everything else that is checked stays checked."""
    table = a_table(lambda data: (data["sender"][0].update(use="test"), data["agreement"][0].update(uses=["test"])))
    fleet = a_fleet(
        [a_channel(1, "lab-02"), a_channel(2), a_channel(3, "lab-02"), a_channel(4)], [a_box(), a_box("lab-02")]
    )
    decision = routed(a_call(over=read_over(over)), table, fleet)
    assert sorted(candidate.channel for candidate in decision.candidates) == wanted
    assert f"A test call over {read_over(over)}: {len(wanted)} of 4 channels." in decision.explanation.notes


def test_a_test_call_over_what_is_not_there_is_refused() -> None:
    """A SIM that was taken out is no reason to try another one."""
    table = a_table(lambda data: (data["sender"][0].update(use="test"), data["agreement"][0].update(uses=["test"])))
    assert told(routed(a_call(over=Over(box="gone")), table)) == ("not-there", 404, 27)
    assert told(routed(a_call(over=Over(channel=1)), table, a_fleet([a_channel(1, state=ChannelState.FAULT)])))[0] == "channel-ready"


def test_only_test_senders_choose_what_a_call_goes_over() -> None:
    """A carrier that named a channel would go around the order, the limits of the SIMs and their rest."""
    use = "own-use-voice"
    table = a_table(lambda data: (data["sender"][0].update(use=use), data["agreement"][0].update(uses=[use])))
    decision = routed(a_call(over=Over(channel=2)), table)
    assert sorted(candidate.channel for candidate in decision.candidates) == [1, 2]
    assert not decision.explanation.notes or "test call" not in decision.explanation.notes[-1]


@pytest.mark.parametrize("text", ["channel=x", "box", "box=", "sim=1", "channel=1; channel=2", "channel=999999", "channel=٣"])
def test_nonsense_to_go_over_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_over(text)
    assert read_over(" ; ") is None


def test_no_more_candidates_than_the_installation_tries() -> None:
    """The caller waits for at most so many attempts."""
    fleet = a_fleet([a_channel(n) for n in range(1, 30)])
    decision = routed(fleet=fleet)
    assert len(decision.candidates) == 4
    assert len(decision.explanation.order) == 20


@settings(max_examples=60)
@given(FLEETS, st.integers(0, 60))
def test_stored_explanations_stay_below_4_kb(fleet: FleetView, more: int) -> None:
    """The record keeps every count of the funnel, and as many names as fit."""
    channels = (*fleet.channels, *(a_channel(100 + n, state=ChannelState.FAULT) for n in range(more)))
    whole = routed(fleet=a_fleet(channels, fleet.boxes.values())).explanation
    short = shorten(whole)
    assert size(short) <= MOST_OCTETS
    assert [(s.check, s.went_in, s.left) for s in short.steps] == [
        (s.check, s.went_in, s.left) for s in whole.steps
    ]
    assert Explanation.model_validate_json(short.model_dump_json(exclude_defaults=True)) == short


def test_the_text_tells_each_step_and_the_order() -> None:
    """`simrack route explain` shows on a terminal what the page shows."""
    text = explain_text(
        routed(fleet=a_fleet([a_channel(1, state=ChannelState.FAULT), a_channel(2)])).explanation
    )
    assert "Channel works: 1 of 2 left" in text
    assert "lab-01 / 1: The channel is: Fault." in text
    assert "1. lab-01 / 2" in text
    refused = explain_text(routed(a_call("112")).explanation)
    assert "Refused: Emergency numbers never go to a shared SIM" in refused
    assert "(SIP 503, cause 3, emergency)" in refused


def test_criteria_have_names_of_their_own() -> None:
    """A name in `[limits] order` means one criterion."""
    names = [criterion.name for criterion in CRITERIA]
    assert len(set(names)) == len(names)
