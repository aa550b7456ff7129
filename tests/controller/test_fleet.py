"""The fleet from MQTT: who is reachable, whose word counts, which channel is free."""

from datetime import timedelta
from itertools import permutations

import pytest
from controller_sim import TestClock, report, status
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.controller.fleet.reservations import LINGER_S, Reservations
from simrack.controller.fleet.state import BoxChange, Fleet
from simrack.controller.fleet.usage import SimUsage, Usage
from simrack.controller.fleet.view import BoxView, ChannelView
from simrack.wire.channel import ChannelState
from simrack.wire.messages import BoxStatus, CallInfo, ChannelReport


class Watched:
    """A fleet and what it told its listeners."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.fleet = Fleet(self.clock)
        self.changes: list[BoxChange] = []
        self.fleet.listen(self.changes.append)

    @property
    def kinds(self) -> list[str]:
        return [change.kind for change in self.changes]

    def box(self, box: str = "box-1") -> BoxView:
        return self.fleet.view(self.clock.utc()).boxes[box]

    def channels(self) -> dict[int, ChannelView]:
        return {view.channel: view for view in self.fleet.view(self.clock.utc()).channels}


def busy(clock: TestClock, attempt: str) -> CallInfo:
    return CallInfo(call="c", attempt=attempt, direction="out", number="+1", since=clock.utc())


def test_birth_report_and_view() -> None:
    """A box that says it is there with a ready channel can take calls."""
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.take_report(report(on.clock))
    box, channel = on.box(), on.channels()[1]
    assert (box.reachable, box.sip, box.site, box.twin) == (True, ("127.0.0.1", 5091), "hall", False)
    assert (channel.state, channel.registered, channel.reserved) == (ChannelState.READY, True, False)
    assert on.fleet.box_at(("127.0.0.1", 5091)) == "box-1"
    assert on.kinds == ["reachable"]


def test_last_will_makes_a_box_unreachable_at_once() -> None:
    """The will's sequence is older than the life it ends, and counts all the same."""
    on = Watched()
    on.fleet.take_status(status(on.clock, seq=5))
    on.fleet.take_status(status(on.clock, seq=0, online=False))
    assert not on.box().reachable
    assert on.fleet.box_at(("127.0.0.1", 5091)) is None
    assert on.kinds == ["reachable", "unreachable"]


def test_same_run_comes_back_after_its_will() -> None:
    on = Watched()
    on.fleet.take_status(status(on.clock, seq=5))
    on.fleet.take_status(status(on.clock, seq=0, online=False))
    on.fleet.take_status(status(on.clock, seq=5))
    assert not on.box().reachable, "a double from before the will is no life"
    on.fleet.take_status(status(on.clock, seq=6))
    assert on.box().reachable
    assert "replaced" not in on.kinds


def test_older_reports_are_dropped() -> None:
    """A broker that reorders must not make a busy channel look free."""
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.take_report(report(on.clock, seq=9, state=ChannelState.ACTIVE))
    on.fleet.take_report(report(on.clock, seq=8))
    on.fleet.take_report(report(on.clock, seq=9))
    assert on.channels()[1].state is ChannelState.ACTIVE


def test_reports_before_the_birth_count_once_it_is_heard() -> None:
    """Retained messages come in any order."""
    on = Watched()
    on.fleet.take_report(report(on.clock, channel=2))
    assert on.channels() == {}
    on.fleet.take_status(status(on.clock))
    assert set(on.channels()) == {2}


def test_restart_drops_what_the_old_run_said() -> None:
    """After a restart only the new run's reports count; calls of the old run are told of."""
    on = Watched()
    on.fleet.take_status(status(on.clock, "b1"))
    on.fleet.take_report(report(on.clock, "b1"))
    on.clock.forward(5)
    on.fleet.take_status(status(on.clock, "b2"))
    assert on.channels() == {}
    assert BoxChange("replaced", "box-1", "b1") in on.changes
    on.fleet.take_report(report(on.clock, "b1", seq=99))
    assert on.channels() == {}
    on.fleet.take_report(report(on.clock, "b2"))
    assert set(on.channels()) == {1}
    assert not on.box().twin


def test_straggler_of_the_old_run_is_no_twin() -> None:
    """A message that was under way during a restart raises no alarm."""
    on = Watched()
    on.fleet.take_status(status(on.clock, "b1", 1))
    straggler = status(on.clock, "b1", 2)
    on.clock.forward(5)
    on.fleet.take_status(status(on.clock, "b2"))
    on.fleet.take_status(straggler)
    on.fleet.take_status(status(on.clock, "b1", 0, online=False))
    assert on.box().reachable
    assert not on.box().twin


def test_twin_boxes_get_no_calls_until_one_has_gone() -> None:
    """Two machines with one name: nobody can say whose modules are meant."""
    on = Watched()
    on.fleet.take_status(status(on.clock, "b1", 1))
    on.clock.forward(1)
    on.fleet.take_status(status(on.clock, "b2", 1))
    on.clock.forward(1)
    on.fleet.take_status(status(on.clock, "b1", 2))
    assert (on.box().twin, on.box().reachable) == (True, False)
    assert on.kinds[-1] == "twin"
    on.fleet.take_status(status(on.clock, "b2", 0, online=False))
    assert (on.box().twin, on.box().reachable) == (False, True)
    assert on.fleet.boot_of("box-1") == "b1"
    assert on.kinds[-1] == "alone"


def test_twin_that_falls_silent_is_forgotten() -> None:
    on = Watched()
    on.fleet.take_status(status(on.clock, "b1", 1))
    on.clock.forward(1)
    on.fleet.take_status(status(on.clock, "b2", 1))
    on.clock.forward(1)
    on.fleet.take_status(status(on.clock, "b1", 2))
    on.clock.forward(400)
    on.fleet.watch()
    assert not on.box().twin


def test_silence_is_measured_by_any_message_of_the_run() -> None:
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.clock.forward(200)
    on.fleet.take_report(report(on.clock))
    on.clock.forward(200)
    assert on.box().silent_s == 200
    assert on.fleet.silent() == {"box-1": False}
    on.clock.forward(101)
    assert on.fleet.silent() == {"box-1": True}


def _story(clock: TestClock) -> list[BoxStatus | ChannelReport]:
    return [
        status(clock, seq=1),
        report(clock, seq=2),
        report(clock, seq=3, state=ChannelState.DIALLING),
        report(clock, seq=4, state=ChannelState.ACTIVE),
        report(clock, seq=5, channel=2),
    ]


@pytest.mark.parametrize("order", list(permutations(range(5)))[::7])
def test_any_order_of_delivery_gives_the_same_view(order: tuple[int, ...]) -> None:
    """Redelivery and reordering by the broker don't change what the rack page and routing see."""
    on = Watched()
    story = _story(on.clock)
    for index in (*order, *order[:2]):
        message = story[index]
        if isinstance(message, BoxStatus):
            on.fleet.take_status(message)
        else:
            on.fleet.take_report(message)
    channels = on.channels()
    assert channels[1].state is ChannelState.ACTIVE
    assert channels[2].state is ChannelState.READY
    assert on.kinds == ["reachable"]


def test_reservation_shows_until_the_box_has_had_its_word() -> None:
    """A channel is not offered again before the box has said that it is free."""
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.take_report(report(on.clock, seq=2))
    card = on.channels()[1].iccid
    assert on.fleet.reserve("a1", "box-1", 1, card)
    assert on.channels()[1].reserved
    assert not on.fleet.reserve("a2", "box-1", 1, card)
    on.fleet.take_report(report(on.clock, seq=3, state=ChannelState.DIALLING, call=busy(on.clock, "a1")))
    on.fleet.release("a1")
    assert on.channels()[1].reserved
    on.fleet.take_report(report(on.clock, seq=4))
    assert not on.channels()[1].reserved


def test_ready_report_from_before_the_invite_frees_nothing() -> None:
    """The report that crossed our INVITE must not open the channel to a second call."""
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.reserve("a1", "box-1", 1, "")
    on.fleet.take_report(report(on.clock, seq=2))
    assert on.channels()[1].reserved


def test_box_s_word_before_the_end_of_the_leg_frees_at_the_end() -> None:
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.reserve("a1", "box-1", 1, "")
    on.fleet.take_report(report(on.clock, seq=2, state=ChannelState.ACTIVE, call=busy(on.clock, "a1")))
    on.fleet.take_report(report(on.clock, seq=3))
    assert on.channels()[1].reserved
    on.fleet.release("a1")
    assert not on.channels()[1].reserved


def test_reservation_ends_after_ten_seconds_without_a_word() -> None:
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.take_report(report(on.clock))
    on.fleet.reserve("a1", "box-1", 1, "")
    on.fleet.release("a1")
    on.clock.forward(LINGER_S - 0.1)
    assert on.channels()[1].reserved
    on.clock.forward(0.1)
    assert not on.channels()[1].reserved


def test_card_is_reserved_wherever_it_is_reported() -> None:
    """Never one card in two calls, also while it moves from one channel to another."""
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.take_report(report(on.clock))
    card = on.channels()[1].iccid
    on.fleet.reserve("a1", "box-9", 4, card)
    assert on.channels()[1].reserved


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("tesr"), st.integers(0, 3), st.integers(1, 2), st.integers(0, 1))))
def test_never_two_attempts_on_one_channel_or_card(steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever is taken, ended, swept and reported: holders of a channel and of a card are single."""
    clock, book, now = TestClock(), Reservations(), 0.0
    held: dict[str, tuple[tuple[str, int], str]] = {}
    for index, (act, name, channel, card) in enumerate(steps):
        attempt, place, iccid = f"a{name}", ("b", channel), f"card{card}"
        if act == "t" and attempt not in held:
            free = place not in {h[0] for h in held.values()} and iccid not in {h[1] for h in held.values()}
            assert book.take(attempt, *place, iccid) == free
            if free:
                held[attempt] = (place, iccid)
        elif act == "e":
            book.end(attempt, now)
        elif act == "s":
            now += 11
            book.sweep(now)
        else:
            book.report(report(clock, seq=index, channel=channel, box="b"))
        held = {a: h for a, h in held.items() if book.holds(*h[0], "")}
        assert len(book) == len(held)


def test_counters_follow_the_calendar() -> None:
    """Minutes of yesterday don't count against today's limit; last month's not against this month's."""
    clock, usage = TestClock(), Usage()
    usage.load({"card": SimUsage(3, 60_000, 9, 90_000)}, clock.utc())
    usage.add("card", clock.utc(), 30_000)
    usage.add("card", clock.utc(), 0)
    assert usage.of("card", clock.utc()).talk_ms_today == 90_000
    assert usage.of("card", clock.utc()).calls_today == 4
    tomorrow = clock.utc() + timedelta(days=1)
    assert usage.of("card", tomorrow).talk_ms_today == 0
    assert usage.of("card", tomorrow).talk_ms_month == 120_000
    assert usage.of("card", clock.utc() + timedelta(days=15)).talk_ms_month == 0
    assert usage.of("other", tomorrow) == SimUsage()


def test_counts_show_in_the_view() -> None:
    on = Watched()
    on.fleet.take_status(status(on.clock))
    on.fleet.take_report(report(on.clock))
    card = on.channels()[1].iccid
    on.fleet.count(card, on.clock.utc(), 61_000)
    view = on.channels()[1]
    assert (view.calls_today, view.talk_ms_today, view.last_call_ended) == (1, 61_000, on.clock.utc())
    on.clock.forward(86_400)
    assert on.channels()[1].talk_ms_today == 0


def test_rate_counts_the_last_second() -> None:
    on = Watched()
    for _ in range(3):
        on.fleet.load.begin("acme", on.clock.monotonic())
    assert on.fleet.view(on.clock.utc()).sender_rate == {"acme": 3}
    on.clock.forward(1)
    view = on.fleet.view(on.clock.utc())
    assert view.sender_rate == {}
    assert view.sender_calls == {"acme": 3}
