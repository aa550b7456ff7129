"""One channel: the table holds, and what it reports is true."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.modems.base import CardState
from simrack.gateway.channel import Channel, refusal, resting_state
from simrack.gateway.errors import IllegalMove
from simrack.wire.channel import IN_CALL, MOVES, ChannelState, Mark
from simrack.wire.messages import ChannelReport, NetworkInfo, SimInfo

S = ChannelState
SIM = SimInfo(iccid="8900", imsi="00101", msisdn="+8821001")


class StillClock:
    def monotonic(self) -> float:
        return 1.0

    def utc(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)


def channel(*, strict: bool = True) -> tuple[Channel, list[ChannelState]]:
    seen: list[ChannelState] = []
    made = Channel("lab-01", 1, StillClock(), lambda c: seen.append(c.state), strict)
    return made, seen


@pytest.mark.parametrize(
    ("card", "stat", "state"),
    [
        (None, None, S.STARTING),
        (CardState.ABSENT, 1, S.NO_SIM),
        (CardState.FAILURE, None, S.NO_SIM),
        (CardState.PIN, None, S.PIN_NEEDED),
        (CardState.PUK, None, S.PIN_BLOCKED),
        (CardState.READY, None, S.SEARCHING),
        (CardState.READY, 0, S.SEARCHING),
        (CardState.READY, 2, S.SEARCHING),
        (CardState.READY, 3, S.DENIED),
        (CardState.READY, 4, S.SEARCHING),
        (CardState.READY, 1, S.READY),
        (CardState.READY, 5, S.READY),
    ],
)
def test_the_resting_state_follows_card_and_registration(
    card: CardState | None, stat: int | None, state: ChannelState
) -> None:
    assert resting_state(card, None if stat is None else NetworkInfo(stat=stat)) is state


def test_an_illegal_move_raises_here_and_is_counted_in_the_field() -> None:
    strict, _ = channel()
    with pytest.raises(IllegalMove):
        strict.set_state(S.ACTIVE)
    lenient, seen = channel(strict=False)
    lenient.set_state(S.ACTIVE)
    assert lenient.illegal_moves == 1
    assert seen == [S.ACTIVE]


@pytest.mark.parametrize("state", [state for state in S if state in IN_CALL])
def test_registration_lost_in_a_call_does_not_end_the_call(state: ChannelState) -> None:
    made, _ = channel(strict=False)
    made.set_state(S.STARTING)
    made.set_state(state)
    made.card_is(CardState.READY, SIM)
    made.network_is(NetworkInfo(stat=3))
    assert made.state is state


def test_what_an_invite_is_refused_with() -> None:
    made, _ = channel()
    assert refusal(made, "8900") == "not-ready"
    made.set_state(S.STARTING)
    made.card_is(CardState.READY, SIM)
    assert refusal(made, "8900") == "not-ready"
    made.network_is(NetworkInfo(stat=1))
    assert refusal(made, "8900") == ""
    assert refusal(made, "8901") == "other-sim"
    made.mark(Mark.DISABLED, on=True)
    assert refusal(made, "8900") == "not-ready"
    made.mark(Mark.DISABLED, on=False)
    made.set_state(S.INCOMING)
    assert refusal(made, "8900") == "taken"


def test_a_channel_that_failed_shows_why_until_it_starts_again() -> None:
    made, _ = channel()
    made.begin()
    made.gone(S.FAULT, "no answer to AT")
    report = made.report("1-ab", 7)
    assert (report.state, report.fault, report.sim) == (S.FAULT, "no answer to AT", None)
    assert ChannelReport.decode(report.encode()) == report
    made.begin()
    assert made.report("1-ab", 8).fault == ""


_STEPS = st.one_of(
    st.tuples(st.just("card"), st.sampled_from(list(CardState))),
    st.tuples(st.just("network"), st.integers(0, 6)),
    st.tuples(st.just("gone"), st.sampled_from([S.ABSENT, S.FAULT])),
    st.tuples(st.just("start"), st.none()),
    st.tuples(st.just("call"), st.sampled_from([S.DIALLING, S.INCOMING])),
    st.tuples(st.just("end"), st.none()),
    st.tuples(st.just("mark"), st.booleans()),
)


def _take(made: Channel, kind: str, value: object) -> None:
    match kind, value:
        case "card", CardState() as card:
            made.card_is(card, SIM if card is CardState.READY else None)
        case "network", int() as stat:
            made.network_is(NetworkInfo(stat=stat))
        case "gone", ChannelState() as state:
            made.gone(state, "lost")
        case "start", _:
            made.begin()
        case "call", ChannelState() as state if made.state is S.READY:
            made.set_state(state)
        case "end", _ if made.state in IN_CALL:
            made.set_state(S.RELEASING)
            made.rest()
        case "mark", _:
            made.mark(Mark.DRAINING, on=bool(value))


@given(st.lists(_STEPS, max_size=40))
def test_no_order_of_facts_makes_an_illegal_move(steps: list[tuple[str, object]]) -> None:
    """Whatever card, network and calls do, the channel walks the table; each published state was legal."""
    made, seen = channel()
    for kind, value in steps:
        _take(made, kind, value)
    for old, new in pairwise([S.ABSENT, *seen]):
        assert new is old or new in MOVES[old]
    if made.state not in IN_CALL and made.state not in (S.ABSENT, S.FAULT) and made.card is not None:
        assert made.state is resting_state(made.card, made.network)
