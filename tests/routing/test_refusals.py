"""Every refusal with its reason, SIP status and Q.850 cause, as senders and the metrics see them."""

from datetime import timedelta
from typing import Any

import pytest
from routing.fleets import NOW, Change, a_box, a_call, a_channel, a_fleet, a_table, routed, told

from simrack.controller.fleet.view import FleetView
from simrack.controller.routing.checks import CHECKS
from simrack.controller.routing.decision import CallFacts
from simrack.wire.channel import ChannelState, Mark

S = ChannelState


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (a_call(sender="nobody"), ("sender-unknown", 403, 21)),
        (a_call("hello"), ("number-not-dialable", 484, 28)),
        (a_call(""), ("number-not-dialable", 484, 28)),
        (a_call("+"), ("number-not-dialable", 484, 28)),
        (a_call("+49 (30) x"), ("number-not-dialable", 484, 28)),
        (a_call("*100#"), ("number-not-dialable", 484, 28)),
        (a_call("+999123456"), ("number-not-dialable", 484, 28)),
        (a_call("+1234567890123456789"), ("number-not-dialable", 484, 28)),
        (a_call("030"), ("number-not-dialable", 484, 28)),
        (a_call("\u0661\u0661\u0662"), ("number-not-dialable", 484, 28)),
        (a_call("+493098765432"), ("no-pattern", 404, 27)),
        (a_call("115"), ("no-pattern", 404, 27)),
        (a_call("+88210777", "+88210777"), ("calls-itself", 403, 21)),
    ],
)
def test_calls_that_no_fleet_could_carry(call: CallFacts, expected: tuple[str, int, int]) -> None:
    """A sender learns what is wrong with its call in SIP's and the network's own language."""
    assert told(routed(call)) == expected


@pytest.mark.parametrize(
    "called", ["112", "911", "1-1-2", "110", "+112", "+49112", "+49110", "0049112", "49112", "01149911"]
)
def test_emergency_numbers_never_reach_a_shared_sim(called: str) -> None:
    """Whatever the spelling; also when a pattern would take the number and before the sender's limits."""

    def take_all(data: dict[str, Any]) -> None:
        data["pattern"][0]["prefixes"] = ["+", "112", "911", "110"]
        data["sender"][0]["blocked_prefixes"] = ["+"]

    decision = routed(a_call(called), a_table(take_all), a_fleet(sender_calls={"trunk": 1000}))
    assert told(decision) == ("emergency", 503, 3)
    assert decision.candidates == ()


def test_emergency_numbers_of_the_sites_country_count_for_foreign_senders() -> None:
    """The rack stands in Germany: 110 is the police there, whoever calls."""

    def from_france(data: dict[str, Any]) -> None:
        data["sender"][0]["country"] = "FR"

    assert told(routed(a_call("110"), a_table(from_france)))[0] == "emergency"
    assert told(routed(a_call("17"), a_table(from_france)))[0] == "emergency"


def _sender(**changes: Any) -> Change:
    return lambda data: data["sender"][0].update(changes)


def _plan(**changes: Any) -> Change:
    return lambda data: data["plan"][0].update(changes)


def _agreement(**changes: Any) -> Change:
    return lambda data: data["agreement"][0].update(changes)


def _site_without_choice(data: dict[str, Any]) -> None:
    del data["site"][0]["emergency"]


def _sim_disabled(data: dict[str, Any]) -> None:
    data["sim"] = [{"iccid": a_channel(n).iccid, "plan": "lab", "enabled": False} for n in (1, 2)]


@pytest.mark.parametrize(
    ("change", "fleet", "expected"),
    [
        (_sender(enabled=False), a_fleet(), ("sender-disabled", 403, 21)),
        (_sender(max_calls=3), a_fleet(sender_calls={"trunk": 3}), ("sender-concurrency", 503, 34)),
        (_sender(max_rate=2), a_fleet(sender_rate={"trunk": 2}), ("sender-rate", 503, 42)),
        (_sender(allowed_prefixes=["+49"]), a_fleet(), ("prefix-not-allowed", 403, 21)),
        (_sender(blocked_prefixes=["+88210000"]), a_fleet(), ("prefix-blocked", 403, 21)),
        (_sender(plans=["other"]), a_fleet(), ("sender-plan", 480, 41)),
        (_sender(use="own-use-voice"), a_fleet(), ("agreement-use", 480, 41)),
        (_agreement(valid_until=NOW.date() - timedelta(days=1)), a_fleet(), ("agreement-valid", 480, 41)),
        (_agreement(valid_from=NOW.date() + timedelta(days=1)), a_fleet(), ("agreement-valid", 480, 41)),
        (_agreement(sites=["elsewhere"]), a_fleet(), ("agreement-site", 480, 41)),
        (_agreement(origins=["FR"]), a_fleet(), ("origin", 403, 21)),
        (_agreement(lab=False), a_fleet(), ("origin", 403, 21)),
        (_plan(imsi_prefixes=["26201"]), a_fleet([a_channel(imsi="262010000000001")]), ("agreement-lab", 480, 41)),
        (_site_without_choice, a_fleet(), ("site-emergency", 480, 41)),
        (_plan(enabled=False), a_fleet(), ("plan-enabled", 480, 41)),
        (_plan(imsi_prefixes=["00102"]), a_fleet(), ("in-plan", 480, 41)),
        (_sim_disabled, a_fleet(), ("sim-enabled", 480, 41)),
        (None, a_fleet(boxes=[a_box(reachable=False)]), ("box-reachable", 503, 41)),
        (None, a_fleet(boxes=[a_box(sip=None)]), ("box-reachable", 503, 41)),
        (None, a_fleet(boxes=[]), ("agreement-site", 480, 41)),
        (None, a_fleet([], []), ("in-plan", 503, 41)),
        (None, a_fleet([], [a_box(reachable=False)]), ("in-plan", 503, 41)),
        (None, a_fleet([], [a_box()]), ("in-plan", 480, 41)),
        (None, a_fleet(boxes=[a_box(twin=True)]), ("box-twin", 503, 41)),
        (None, a_fleet(boxes=[a_box(silent_s=300.1)]), ("box-silent", 503, 41)),
        (None, a_fleet([a_channel(marks=(Mark.DRAINING,))]), ("channel-marks", 480, 41)),
        (None, a_fleet([a_channel(state=S.FAULT)]), ("channel-ready", 480, 41)),
        (None, a_fleet([a_channel(registered=False)]), ("sim-registered", 480, 41)),
        (None, a_fleet([a_channel(answer_safe=False)]), ("answer-safe", 480, 41)),
        (_plan(sim_calls_day=5), a_fleet([a_channel(calls_today=5)]), ("sim-calls-day", 480, 41)),
        (_plan(sim_minutes_day=5), a_fleet([a_channel(talk_ms_today=300_000)]), ("sim-minutes-day", 480, 41)),
        (_plan(sim_minutes_month=9), a_fleet([a_channel(talk_ms_month=540_000)]), ("sim-minutes-month", 480, 41)),
        (None, a_fleet([a_channel(state=S.ACTIVE), a_channel(2, state=S.DIALLING)]), ("channel-free", 503, 34)),
        (None, a_fleet([a_channel(reserved=True)]), ("channel-free", 503, 34)),
        (_plan(max_concurrent=2), a_fleet(plan_calls={"lab": 2}), ("plan-concurrent", 503, 34)),
    ],
)  # fmt: skip
def test_calls_that_this_fleet_cannot_carry(
    change: Change | None, fleet: FleetView, expected: tuple[str, int, int]
) -> None:
    """Each check alone takes the last candidate out and gives its own reason."""
    assert told(routed(table=a_table(change), fleet=fleet)) == expected


def test_every_check_has_a_case_above() -> None:
    """A new check without a refusal test would ship untested."""
    cases = test_calls_that_this_fleet_cannot_carry.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {check.name for check in CHECKS} <= {expected[0] for _, _, expected in cases}


def test_the_last_check_that_took_candidates_out_is_the_reason() -> None:
    """One channel broken and one busy: the sender may try again soon, so it hears "no circuit"."""
    fleet = a_fleet([a_channel(1, state=S.FAULT), a_channel(2, state=S.ACTIVE)])
    assert told(routed(fleet=fleet)) == ("channel-free", 503, 34)


def test_a_pattern_may_refuse() -> None:
    """A stop route for premium prefixes works even when a shorter pattern would take the call."""

    def refuse(data: dict[str, Any]) -> None:
        data["pattern"].append({"name": "premium", "prefixes": ["+88210900"], "action": "refuse"})

    table = a_table(refuse)
    assert told(routed(a_call("+8821090055"), table)) == ("pattern-refuses", 403, 21)
    assert routed(a_call("+8821080055"), table).candidates


@pytest.mark.parametrize(
    ("calling", "rule", "presented"),
    [
        ("+88210777", "reject", "+88210777"),
        ("0088210777", "reject", "+88210777"),
        ("030 123-456", "reject", "+4930123456"),
        ("+4930999999", "replace", "+88210000000"),
        ("anonymous", "replace", "+88210000000"),
        ("", "replace", "+88210000000"),
        ("+4930999999", "reject", None),
        ("anonymous", "reject", None),
    ],
)
def test_only_verified_numbers_are_presented(calling: str, rule: str, presented: str | None) -> None:
    """A sender's number is its own, replaced by its default, or the call is refused: never passed on unverified."""
    decision = routed(a_call(calling=calling), a_table(_sender(other_numbers=rule)))
    if presented is None:
        assert told(decision) == ("calling-number", 403, 21)
    else:
        assert (decision.calling, decision.explanation.calling) == (presented, presented)


def test_a_number_inside_a_range_is_verified() -> None:
    """Ranges are compared as numbers of one length, so that a longer number doesn't slip in."""
    table = a_table(_sender(numbers=["+4930100-+4930199"], default_number=None, other_numbers="reject"))
    assert routed(a_call(calling="+4930150"), table).calling == "+4930150"
    assert told(routed(a_call(calling="+49301505"), table))[0] == "calling-number"
