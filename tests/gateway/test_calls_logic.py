"""Decisions of one call at the box, without any port."""

from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.gateway import calls_logic as logic
from simrack.gateway.calls_logic import (
    Alerting,
    Answer,
    Answered,
    AwaitDial,
    Call,
    DialRefused,
    DialTaken,
    DialUnsure,
    EarlyMedia,
    EndLeg,
    Event,
    Expired,
    HangUp,
    LegAnswered,
    LegGone,
    Listen,
    ModuleLost,
    OnHook,
    OpenPath,
    Ordered,
    Phase,
    Refuse,
    Released,
    Ring,
    RingIn,
    Show,
    TakeCall,
    Timer,
    VoiceHeard,
    step,
)
from simrack.gateway.errors import BadRequest
from simrack.sip.legs import Invite
from simrack.wire.channel import MOVES, ChannelState


def play(call: Call, *events: Event) -> tuple[Call, list[logic.Action]]:
    actions: list[logic.Action] = []
    for event in events:
        call, more = step(call, event)
        actions += more
    return call, actions


def signals(actions: list[logic.Action]) -> list[str]:
    """What the sender gets to see."""
    names = {OpenPath: "183", Ring: "180", Answer: "200", Refuse: "refuse", EndLeg: "bye"}
    return [names[type(action)] for action in actions if type(action) in names]


@pytest.mark.parametrize(
    ("early", "events", "seen"),
    [
        ("auto", [DialTaken()], []),
        ("auto", [DialTaken(), Alerting()], ["183"]),
        ("auto", [DialTaken(), VoiceHeard()], ["183"]),
        ("auto", [DialTaken(), VoiceHeard(), Alerting(), VoiceHeard()], ["183"]),
        ("auto", [DialTaken(), Alerting(), VoiceHeard(), Answered()], ["183", "200"]),
        ("auto", [DialTaken(), Answered()], ["200"]),
        ("always", [DialTaken()], ["183"]),
        ("always", [DialTaken(), VoiceHeard(), Alerting(), Answered()], ["183", "200"]),
        ("never", [DialTaken(), VoiceHeard()], []),
        ("never", [DialTaken(), VoiceHeard(), Alerting()], ["180"]),
        ("never", [DialTaken(), Alerting(), Answered()], ["180", "200"]),
        # The module's progress may overtake the OK of its own ATD.
        ("auto", [Alerting(), DialTaken(), Answered()], ["183", "200"]),
        ("always", [Alerting(), DialTaken(), Answered()], ["183", "200"]),
        ("always", [Answered(), DialTaken()], ["200"]),
    ],
)
def test_early_media_rules_decide_what_the_sender_hears(
    early: EarlyMedia, events: list[Event], seen: list[str]
) -> None:
    _, actions = play(Call(early_media=early), *events)
    assert signals(actions) == seen


@pytest.mark.parametrize(
    ("events", "status", "cause", "side"),
    [
        ([DialTaken(), Alerting(), Released(17, "User busy")], 486, 17, "called"),
        ([DialTaken(), Alerting(), Released(19)], 480, 19, "called"),
        ([DialTaken(), Released(1, "Unassigned")], 404, 1, "called"),
        ([DialTaken(), Released(0)], 480, 31, "called"),
        ([DialTaken(), Released(16)], 480, 16, "called"),
        ([DialRefused(41, "ERROR")], 503, 41, "rack"),
        ([DialRefused(17, "BUSY")], 486, 17, "called"),
        ([ModuleLost("unplugged")], 503, 41, "rack"),
        ([DialTaken(), Expired(Timer.RING)], 504, 102, "rack"),
        ([DialTaken(), Alerting(), Expired(Timer.RING)], 480, 19, "rack"),
        ([DialTaken(), Ordered(41, "stopped")], 503, 41, "rack"),
    ],
)
def test_a_call_that_fails_tells_the_sender_the_right_cause(
    events: list[Event], status: int, cause: int, side: str
) -> None:
    call, actions = play(Call(), *events)
    refusals = [action for action in actions if isinstance(action, Refuse)]
    assert [(r.status, r.cause) for r in refusals] == [(status, cause)]
    assert call.end is not None
    assert (call.end.cause, call.end.side) == (cause, side)


@pytest.mark.parametrize(
    "events",
    [[DialUnsure("garbage")], [ModuleLost("unplugged", dialled=True)], [DialTaken(), ModuleLost("silent", dialled=True)]],
)
def test_a_call_that_may_be_ringing_is_not_handed_to_another_channel(events: list[Event]) -> None:
    """The called party would be rung twice."""
    _, actions = play(Call(), *events)
    assert [action.refusal for action in actions if isinstance(action, Refuse)] == ["unsure"]


@pytest.mark.parametrize("sign", [RingIn(), DialRefused(44, "the module has a call")])
def test_glare_answers_taken_and_leaves_the_module_to_the_incoming_call(sign: Event) -> None:
    call, actions = play(Call(), sign)
    assert actions == [Refuse(503, 44, "an incoming call came first", "taken"), AwaitDial()]
    assert not any(isinstance(action, HangUp) for action in actions)
    call, _ = step(call, OnHook())
    assert call.phase is Phase.ENDED


def test_a_second_call_does_not_disturb_the_one_that_is_up() -> None:
    call, _ = play(Call(), DialTaken(), Alerting(), Answered())
    assert step(call, RingIn()) == (call, ())


def test_cancel_that_crosses_the_connect_is_an_answered_call() -> None:
    call, _ = play(Call(), DialTaken(), Alerting(), LegGone(16, "cancelled"))
    assert call.phase is Phase.ENDING
    call, actions = play(call, Answered(), OnHook())
    assert call.answered
    assert signals(actions) == []


def test_the_answered_call_ends_with_bye_when_the_network_releases() -> None:
    call, actions = play(Call(), DialTaken(), Answered(), Released(16, "Normal call clearing"))
    assert actions[-1] == EndLeg(16, "Normal call clearing")
    assert call.end == logic.End(16, "Normal call clearing", "called")


@pytest.mark.parametrize("timer", [Timer.MEDIA, Timer.CALL, Timer.ALONE])
def test_a_timer_ends_an_answered_call_on_both_sides(timer: Timer) -> None:
    _, actions = play(Call(), DialTaken(), Answered(), Expired(timer))
    assert any(isinstance(action, EndLeg) for action in actions)
    assert any(isinstance(action, HangUp) for action in actions)


def test_an_incoming_call_is_taken_only_when_the_far_side_answered() -> None:
    call, actions = play(Call(direction="in"), Answered(), VoiceHeard(), Alerting())
    assert actions == []
    call, actions = play(call, LegAnswered())
    assert actions == [TakeCall()]
    call, actions = play(call, Answered())
    assert actions == [Show(ChannelState.ACTIVE), Listen()]


def test_a_refused_incoming_call_is_hung_up_at_the_module() -> None:
    _, actions = play(Call(direction="in"), LegGone(27, "no receiver"))
    assert actions[-1] == HangUp(21)


# --- whatever comes, in whatever order -------------------------------------------------------------------

_EVENTS = st.one_of(
    st.sampled_from(
        [DialTaken(), Alerting(), Answered(), RingIn(), VoiceHeard(), LegAnswered(), OnHook(), logic.Held(True),
         logic.Held(False)]
    ),
    st.builds(DialRefused, st.sampled_from([41, 17, 1, 44]), st.just("ERROR")),
    st.builds(Released, st.sampled_from([0, 1, 16, 17, 19, 127])),
    st.builds(LegGone, st.just(16)),
    st.builds(Expired, st.sampled_from(list(Timer))),
    st.builds(ModuleLost, st.just("gone")),
    st.builds(Ordered, st.just(41), st.just("stop")),
)  # fmt: skip


@given(
    st.lists(_EVENTS, max_size=25), st.sampled_from(get_args(EarlyMedia)), st.sampled_from(["out", "in"])
)
def test_no_order_of_events_breaks_the_promises(
    events: list[Event], early: EarlyMedia, direction: str
) -> None:
    """One 183 and one 200 at most; no signal after the leg is gone; never 200 before the network's answer;
    a call ends on-hook, and only once."""
    call = Call(direction="out" if direction == "out" else "in", early_media=early)
    sent: list[str] = []
    leg_gone = hung_up = False
    for event in events:
        before = call
        call, actions = step(call, event)
        seen = signals(list(actions))
        assert not (leg_gone and seen), (event, actions)
        if "200" in seen:
            assert isinstance(event, Answered)
        sent += seen
        leg_gone = leg_gone or isinstance(event, LegGone) or "refuse" in seen or "bye" in seen
        hung_up = hung_up or any(isinstance(action, HangUp | AwaitDial) for action in actions)
        if call.phase is Phase.ENDED and before.phase is not Phase.ENDED:
            assert call.end is not None
            assert call.on_hook
            assert isinstance(event, OnHook | Released | ModuleLost)
            if isinstance(event, OnHook):
                assert hung_up
        if call.end is not None and call.phase is not Phase.ENDED:
            assert hung_up
    for signal in ("180", "183", "200", "refuse", "bye"):
        assert sent.count(signal) <= 1
    assert not ("180" in sent and early != "never")
    assert not ("183" in sent and early == "never")


@given(st.lists(_EVENTS, max_size=25), st.sampled_from(get_args(EarlyMedia)))
def test_a_call_moves_the_channel_only_along_the_table(events: list[Event], early: EarlyMedia) -> None:
    """A channel shown in an impossible state would mislead every page and the allocation."""
    call, state = Call(early_media=early), ChannelState.DIALLING
    for event in events:
        call, actions = step(call, event)
        for action in actions:
            if isinstance(action, Show) and action.state is not state:
                assert action.state in MOVES[state], (event, state, action)
                state = action.state


# --- the controller's INVITE ------------------------------------------------------------------------------

_HEADERS = {
    "x-simrack-call": "c1", "x-simrack-attempt": "a1", "x-simrack-channel": "3", "x-simrack-iccid": "8900",
}  # fmt: skip


def invite(called: str = "+882101234", **more: str) -> Invite:
    headers: Mapping[str, str] = {**_HEADERS, **{k.replace("_", "-"): v for k, v in more.items()}}
    return Invite(("127.0.0.1", 5060), f"sip:{called}@box", called, "+1", "id", "tag", b"v=0", headers)


def test_the_request_is_read_and_own_limits_hold() -> None:
    request = logic.read_request(
        invite(x_simrack_clir="hide", x_simrack_early_media="never", x_simrack_max_ring="500"),
        max_ring_s=120, max_call_s=7200,
    )  # fmt: skip
    assert request.channel == 3
    assert request.hide is True
    assert request.early_media == "never"
    assert (request.max_ring_s, request.max_call_s) == (120, 7200)


@pytest.mark.parametrize(
    ("called", "headers", "status"),
    [
        ("", {}, 484),
        ("+1;", {}, 484),
        ("123\rAT+CFUN=0", {}, 484),
        ("12 34", {}, 484),
        ("١٢٣", {}, 484),
        ("123", {"x_simrack_channel": ""}, 400),
        ("123", {"x_simrack_channel": "x"}, 400),
        ("123", {"x_simrack_attempt": ""}, 400),
        ("123", {"x_simrack_iccid": ""}, 400),
        ("123", {"x_simrack_call": "c" * 129}, 400),
        ("123", {"x_simrack_clir": "maybe"}, 400),
        ("123", {"x_simrack_early_media": "sometimes"}, 400),
        ("123", {"x_simrack_max_ring": "-1"}, 400),
    ],
)
def test_a_senseless_request_is_refused_before_the_module_hears_of_it(
    called: str, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(BadRequest) as caught:
        logic.read_request(invite(called, **headers), max_ring_s=120, max_call_s=7200)
    assert caught.value.status == status


@given(st.text(max_size=40))
def test_nothing_but_digits_ever_reaches_the_dial_command(number: str) -> None:
    try:
        request = logic.read_request(invite(number), max_ring_s=120, max_call_s=7200)
    except BadRequest:
        return
    assert set(request.number) <= set("+0123456789*#")


@pytest.mark.parametrize(
    ("kind", "body", "digit"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay; charset=x", b"Signal= *\nDuration=1", "*"),
        ("application/dtmf-relay", b"Signal=11", "#"),
        ("application/dtmf", b"7", "7"),
        ("application/dtmf", b"a", "A"),
        ("application/dtmf", b"77", ""),
        ("application/dtmf", b"\xff", ""),
        ("text/plain", b"5", ""),
        ("application/dtmf-relay", b"", ""),
    ],
)
def test_digits_in_sip_info(kind: str, body: bytes, digit: str) -> None:
    assert logic.dtmf_of_info(kind, body) == digit
