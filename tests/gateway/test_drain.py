"""Taking a channel or a box out of use: what is due when, and what the rack is told of it."""

from typing import Any, cast

import pytest
from gateway_support import HandClock, until
from hypothesis import given
from hypothesis import strategies as st

from simrack.gateway import calls_logic as logic
from simrack.gateway import drain as drain_file
from simrack.gateway.channel import Channel
from simrack.gateway.drain import Drains, Order, Step, next_step, read_order
from simrack.gateway.errors import CommandRefused
from simrack.gateway.module import Module
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.drain import LAST_CALLS_S, LIMITS_S, MODES, QUIET_S, Mode
from simrack.wire.messages import DrainInfo


class Ring:
    """A call that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[logic.Event] = []

    def feed(self, event: logic.Event) -> None:
        self.told.append(event)


class Twin:
    """A module as the orders see it."""

    def __init__(self, number: int, clock: HandClock) -> None:
        self.channel = Channel("lab-01", number, clock, lambda _: None)
        self.channel.begin()
        self.channel.set_state(ChannelState.READY)
        self.current: Ring | None = None
        self.restarts = 0

    async def restart(self, _reason: str) -> None:
        self.restarts += 1


class Bench:
    """Two channels and their orders."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.modules = {number: Twin(number, self.clock) for number in (1, 2)}
        self.told: list[DrainInfo | None] = []
        self.stops = 0
        self.drains = Drains(cast(dict[int, Module], self.modules), self.clock, self.clock.utc, self.stop, self.told.append)

    def stop(self) -> None:
        self.stops += 1

    def marks(self, number: int = 1) -> frozenset[Mark]:
        return self.modules[number].channel.marks

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.drains.look()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(drain_file, "STOP_DELAY_S", 0.0)
    return Bench()


@given(st.sampled_from(MODES), st.floats(60, 1e6), st.floats(0, 2e6), st.integers(0, 16), st.floats(0, 1e6))
def test_nobody_is_cut_off_before_the_limit_and_nothing_waits_longer(
    mode: Mode, limit: float, waited: float, calls: int, quiet: float
) -> None:
    """A drain that ends a call early hangs up on people; one that never ends leaves a box out of use for ever."""
    order = Order(mode, "restart-box", 0 if mode == "now" else limit)
    step = next_step(order, waited_s=waited, calls=calls, quiet_s=0 if calls else quiet)
    if waited >= order.limit_s:
        assert step is Step.ACT
    elif calls:
        assert step is not Step.ACT


def test_when_convenient_goes_on_as_usual_until_a_quiet_minute_or_the_last_ten() -> None:
    """Else a busy channel is out of use for a whole day because somebody wanted no hurry."""
    order = Order("when-convenient", "keep", 3600)
    assert next_step(order, waited_s=10, calls=2, quiet_s=0) is Step.WAIT
    assert next_step(order, waited_s=10, calls=0, quiet_s=QUIET_S - 1) is Step.WAIT
    assert next_step(order, waited_s=10, calls=0, quiet_s=QUIET_S) is Step.ACT
    assert next_step(order, waited_s=3601 - LAST_CALLS_S, calls=2, quiet_s=0) is Step.DRAIN


@pytest.mark.parametrize("args", [{"mode": "soon"}, {"mode": 3}, {"mode": "when-calls-end", "limit_s": "x"},
                                  {"mode": "when-calls-end", "limit_s": 5}, {"mode": "when-convenient", "limit_s": True},
                                  {"mode": "when-convenient", "limit_s": 1e9}, {"mode": "when-calls-end", "limit_s": float("nan")}])  # fmt: skip
def test_nonsense_is_refused_before_anything_is_touched(args: dict[str, Any]) -> None:
    """A limit that is no time would restart a box at once, or never."""
    with pytest.raises(CommandRefused):
        read_order(args, "keep")


def test_without_a_limit_the_longest_call_is_waited_for() -> None:
    """Nobody who says "when calls end" expects a call to be cut off after a default that he never saw."""
    assert read_order({"mode": "when-calls-end"}, "keep").limit_s == LIMITS_S["when-calls-end"] == 7200


async def test_a_module_is_restarted_when_its_call_has_ended_and_takes_none_meanwhile(bench: Bench) -> None:
    """The one promise of a drain: no call is lost, and none comes in between."""
    module = bench.modules[1]
    module.current = Ring()
    answer = bench.drains.order(Order("when-calls-end", "restart-module", 600), 1)
    assert answer["calls"] == 1
    assert bench.marks() == {Mark.DRAINING}
    assert module.channel.report("b", 1).drain == DrainInfo(
        mode="when-calls-end", then="restart-module", since=bench.clock.utc(), by=answer["by"], draining=True
    )
    bench.later(30)
    assert (module.restarts, module.current.told) == (0, [])
    module.current = None
    bench.later(1)
    await until(lambda: module.restarts == 1, "restart")
    bench.later(1)
    assert bench.marks() == {Mark.DRAINING}, "until it begins anew, a call would be cut off by the restart"
    module.channel.begin()
    bench.later(1)
    assert bench.marks() == frozenset()
    assert module.channel.report("b", 2).drain is None
    assert bench.marks(2) == frozenset(), "its neighbour works on"


async def test_a_box_that_is_to_restart_drains_all_its_channels_and_then_stops(bench: Bench) -> None:
    """One channel that still took calls would keep the box from ever restarting, or lose the call."""
    bench.modules[2].current = Ring()
    bench.drains.order(Order("when-calls-end", "restart-box", 600))
    assert bench.marks(1) == bench.marks(2) == {Mark.DRAINING}
    assert bench.told[-1] is not None
    assert bench.told[-1].then == "restart-box"
    bench.later(5)
    assert not bench.stops
    bench.modules[2].current = None
    bench.later(1)
    await until(lambda: bench.stops == 1, "the box stops")


async def test_at_its_limit_a_drain_ends_the_calls_that_are_left(bench: Bench) -> None:
    """The moment that the page shows is kept."""
    ring = bench.modules[1].current = Ring()
    bench.drains.order(Order("when-calls-end", "keep", 60), 1)
    bench.later(59)
    assert ring.told == []
    bench.later(1)
    assert [type(event) for event in ring.told] == [logic.Ordered]
    bench.modules[1].current = None
    bench.later(3600)
    assert bench.marks() == {Mark.DRAINING}, "kept out of use until somebody takes it back"
    bench.drains.end(1)
    assert bench.marks() == frozenset()


async def test_when_convenient_says_what_is_planned_and_goes_on_taking_calls(bench: Bench) -> None:
    """Planned and draining are different things: only one of them costs capacity."""
    bench.modules[1].current = Ring()
    bench.drains.order(Order("when-convenient", "restart-module", 86_400), 1)
    shown = bench.modules[1].channel.drain
    assert shown is not None
    assert not shown.draining
    assert bench.marks() == frozenset()
    bench.modules[1].current = None
    for _ in range(int(QUIET_S) - 1):
        bench.later(1)
    bench.modules[1].current = Ring()
    bench.later(1)
    bench.modules[1].current = None
    bench.later(1)
    bench.later(QUIET_S - 1)
    assert bench.modules[1].restarts == 0, "the quiet while begins anew with each call"
    bench.later(1)
    await until(lambda: bench.modules[1].restarts == 1, "restart")


async def test_an_order_of_a_channel_and_one_of_its_box_do_not_undo_each_other(bench: Bench) -> None:
    """Taking the box's drain back must not put a channel into service that is out for a reason of its own."""
    bench.drains.order(Order("when-calls-end", "keep", 600), 1)
    bench.modules[1].current = bench.modules[2].current = Ring()
    bench.drains.order(Order("when-calls-end", "restart-box", 600))
    bench.drains.end()
    assert bench.marks(1) == {Mark.DRAINING}
    assert bench.marks(2) == frozenset()
    assert bench.told[-1] is None
    with pytest.raises(CommandRefused, match="nothing is planned"):
        bench.drains.end()


async def test_a_module_that_never_begins_anew_is_given_back_to_the_ladder(bench: Bench) -> None:
    """Else a dead module's channel says "draining" for ever and nobody sees its fault."""
    bench.modules[1].channel.set_state(ChannelState.FAULT)
    bench.drains.order(Order("now", "restart-module", 0), 1)
    await until(lambda: bench.modules[1].restarts == 1, "restart")
    with pytest.raises(CommandRefused, match="already"):
        bench.drains.order(Order("now", "restart-module", 0), 1)
    bench.later(1)
    assert bench.marks() == frozenset()
