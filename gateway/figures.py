"""What Prometheus reads of a box: calls are counted as they end, the rest is looked at when it is asked for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from simrack.gateway.ladder import Rung
from simrack.gateway.module import Module
from simrack.gateway.outbox import Outbox
from simrack.gateway.ports import Facts, Pace
from simrack.wire.channel import ChannelState
from simrack.wire.messages import CallPart, FaultPart

PREFIX = "simrack_box_"


@dataclass(slots=True)
class Tally:
    """Counts the facts on their way to the controller."""

    facts: Facts
    calls: Counter[tuple[str, ...]] = field(default_factory=Counter)
    causes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    troubles: Counter[tuple[str, ...]] = field(default_factory=Counter)

    async def put(self, body: CallPart | FaultPart) -> None:
        """Count and pass on."""
        if isinstance(body, CallPart):
            self.calls[body.direction, "answered" if body.connected else "unanswered"] += 1
            self.causes[str(body.cause), body.side] += 1
            if body.media.trouble:
                self.troubles[str(body.channel), body.media.trouble] += 1
        await self.facts.put(body)


@dataclass(slots=True)
class Sources:
    """Where the figures are read. `attempts` counts the controller's INVITEs by what became of them."""

    modules: Mapping[int, Module]
    tally: Tally
    attempts: Counter[str]
    pace: Pace
    outbox: Outbox


class Figures(Collector):
    """All figures of one box, in a registry of its own."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        """One reading of everything."""
        yield from self._states()
        yield from self._calls()
        yield from self._troubles()
        yield from self._voice()

    def _states(self) -> Iterator[Metric]:
        states = Counter(module.channel.state for module in self._from.modules.values())
        channels = GaugeMetricFamily(PREFIX + "channels", "Channels by state.", labels=["state"])
        for state in ChannelState:
            channels.add_metric([state.value], states[state])
        yield channels
        carried = sum(module.current is not None for module in self._from.modules.values())
        yield GaugeMetricFamily(PREFIX + "calls_in_progress", "Calls in progress.", value=carried)
        waiting = self._from.outbox.waiting
        yield GaugeMetricFamily(PREFIX + "outbox", "Facts not yet acknowledged by the controller.", value=waiting)

    def _calls(self) -> Iterator[Metric]:
        tally = self._from.tally
        attempts: dict[tuple[str, ...], int] = {(name,): count for name, count in self._from.attempts.items()}
        yield _counter("attempts", "INVITEs of the controller, by what became of them.", ["result"], attempts)
        yield _counter("calls", "Calls that ended, by direction and outcome.", ["direction", "outcome"], tally.calls)
        yield _counter("call_causes", "Ends of calls by Q.850 cause and side.", ["cause", "side"], tally.causes)

    def _troubles(self) -> Iterator[Metric]:
        timeouts, steps, led_to = (Counter[tuple[str, ...]]() for _ in range(3))
        for number, module in self._from.modules.items():
            timeouts[str(number),] = module.at_timeouts
            done, in_vain = module.resyncs
            steps[str(number), "resync"] = done
            led_to[str(number), "resync", "failed"] = in_vain
            led_to[str(number), "resync", "cured"] = done - in_vain
            for rung in Rung:
                steps[str(number), rung] = module.tries[rung]
                led_to[str(number), rung, "cured"] = module.cured[rung]
                led_to[str(number), rung, "failed"] = module.failed[rung]
        yield _counter("at_timeouts", "AT commands without an answer in time.", ["channel"], timeouts)
        yield _counter("recovery_steps", "Tries to bring a module back.", ["channel", "step"], steps)
        what = "What the tries to bring a module back led to."
        yield _counter("recovery_results", what, ["channel", "step", "result"], led_to)

    def _voice(self) -> Iterator[Metric]:
        pace, troubles = self._from.pace, self._from.tally.troubles
        yield _counter("voice_troubles", "Calls whose voice was dead one way or both.", ["channel", "trouble"], troubles)
        for name, text, count in (
            ("ticks", "Steps of 20 ms.", pace.ticks),
            ("ticks_late", "Steps that came a step or more too late.", pace.late),
            ("ticks_skipped", "Steps left out after a stall of the host.", pace.skipped),
        ):
            yield CounterMetricFamily(f"{PREFIX}voice_{name}", text, value=count)


def _counter(name: str, text: str, labels: list[str], counts: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(list(values), count)
    return family
