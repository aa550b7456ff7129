"""Prometheus figures of the controller."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

#: Seconds; the rack's own delay is a few ms, a network's answer takes seconds.
SETUP_BUCKETS = (0.05, 0.1, 0.5, 1, 2, 3, 5, 8, 12, 20, 30)


class Metrics:
    """All figures, in a registry of their own so that two controllers can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = self._counter(
            "calls", "Calls that ended, by direction and outcome.", "direction", "outcome"
        )
        self.causes = self._counter("call_causes", "Ends of calls by Q.850 cause and side.", "cause", "side")
        self.voice_troubles = self._counter("voice_troubles", "Calls without voice, or with voice one way only.", "trouble")
        self.refusals = self._counter("refusals", "Calls that were refused, by reason.", "reason")
        self.strangers = self._counter("unidentified", "INVITEs of nobody we know, by reason.", "reason")
        self.challenges = self._counter("challenges", "401 responses.")
        self.attempts = self._counter("attempts", "Candidates tried, by what became of them.", "result")
        self.events = self._counter("box_events", "Facts taken from boxes.")
        self.commands = self._counter("commands", "Commands, by action and result.", "action", "result")
        self.overload = self._counter("overload", "Calls that were not admitted.")
        self.unheard = self._counter("unheard", "Packets that were not looked at, by reason.", "reason")
        self.bans = self._counter("bans", "Addresses banned.")
        self.admitted_part = Gauge(
            "simrack_admitted_part", "Part of the admitted rate that this machine carries now.", registry=self.registry
        )
        self.admitted_part.set(1)
        self.in_progress = Gauge("simrack_calls_in_progress", "Calls in progress.", registry=self.registry)
        self.setup = Histogram(
            "simrack_call_setup_seconds", "INVITE to the first sign of the called party.",
            buckets=SETUP_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.open_alarms = Gauge("simrack_open_alarms", "Alarms that are open.", registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"simrack_{name}", text, labels, registry=self.registry)
