"""One box as its messages tell: which run of it is alive, and whether two runs answer to one name.

A box's run is its *boot id*. A new boot id takes the place of the one before (a restart). When the older one
speaks again after that, with a message made later than the newer one's birth, both are alive: a *twin*. A
twin's box gets no calls until one of the two has gone, because nobody can say whose modules are meant.
"""

from dataclasses import dataclass, field
from datetime import datetime

from simrack.wire.messages import BoxStatus, ChannelReport

#: A box reports every 2 min; a run that was silent for two and a half reports isn't a twin any more.
TWIN_FORGET_S = 300.0
#: Runs remembered per box; enough to recognise a crash loop's stragglers.
MOST_RUNS = 8


@dataclass(slots=True)
class Run:
    """One boot id of a box."""

    boot: str
    born: datetime  # the box's own clock at the first status that was heard
    heard: float  # Clock.monotonic() of its last message
    seq: int  # of its last status
    status: BoxStatus
    online: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What the fleet knows of one attempt on one channel."""

    online: bool  # the run that carried it is alive, or else any run of its box
    other_run: bool = False  # the run that carried it has gone and another serves
    carries: bool | None = None  # whether the channel's report names the attempt; None: no report


@dataclass(slots=True)
class BoxState:
    """All that is known of one box."""

    box: str
    current: Run | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    #: Channel reports by boot id; reports may come before the birth, and older runs' are retained.
    reports: dict[str, dict[int, ChannelReport]] = field(default_factory=dict)

    def take_status(self, status: BoxStatus, now: float) -> bool:
        """Note a birth, a life sign or a last will; False when it is a double or out of date."""
        run = self.runs.get(status.boot)
        if run is None:
            self._born(status, now)
            return True
        if not status.online:
            # A will's payload is fixed when its session begins, so that its sequence is older than the run's.
            self._gone(run, status)
            return True
        if status.seq <= run.seq:
            return False
        return self._lives(run, status, now)

    def take_report(self, report: ChannelReport, now: float) -> bool:
        """Note a channel's state; False when it is a double, out of date, or of a run that isn't in force."""
        channels = self.reports.setdefault(report.boot, {})
        known = channels.get(report.channel)
        if known is not None and report.seq <= known.seq:
            return False
        channels[report.channel] = report
        self._prune()
        if self.current is None or self.current.boot != report.boot:
            return False
        self.current.heard = now
        return True

    def twin(self, now: float) -> bool:
        """Whether a second run is alive."""
        return any(
            run.online and run is not self.current and now - run.heard < TWIN_FORGET_S
            for run in self.runs.values()
        )

    def seen(self, channel: int, attempt: str, boot: str) -> Seen:
        """Whether the box carries an attempt; `boot` is the run that it was given to ("": not known)."""
        mine = self.runs.get(boot)
        run = mine if mine is not None and mine.online else self.current
        if run is None or not run.online:
            return Seen(online=False)
        report = self.reports.get(run.boot, {}).get(channel)
        carries = None if report is None else report.call is not None and report.call.attempt == attempt
        return Seen(online=True, other_run=bool(boot) and run.boot != boot, carries=carries)

    @property
    def channels(self) -> dict[int, ChannelReport]:
        """The reports of the run in force."""
        return self.reports.get(self.current.boot, {}) if self.current else {}

    def _born(self, status: BoxStatus, now: float) -> None:
        run = Run(status.boot, status.at, now, status.seq, status, online=status.online)
        self.runs[status.boot] = run
        if not status.online and self.current is not None:
            return
        if self.current is not None:
            self.current.online = False
        self.current = run
        self._prune()

    def _gone(self, run: Run, status: BoxStatus) -> None:
        run.online = False
        run.seq = max(run.seq, status.seq)
        survivors = [other for other in self.runs.values() if other.online]
        if run is self.current and survivors:
            self.current = survivors[-1]

    def _lives(self, run: Run, status: BoxStatus, now: float) -> bool:
        if run is not self.current and self.current is not None:
            # Delivered late, from before the restart: no sign of life.
            if status.at <= self.current.born:
                return False
            if not self.current.online:
                self.current = run
        run.seq, run.status, run.heard, run.online = status.seq, status, now, True
        return True

    def _prune(self) -> None:
        while len(self.runs) > MOST_RUNS:
            oldest = next(boot for boot, run in self.runs.items() if run is not self.current)
            del self.runs[oldest]
            self.reports.pop(oldest, None)
        while len(self.reports) > MOST_RUNS:
            keep = self.current.boot if self.current else ""
            del self.reports[next(boot for boot in self.reports if boot != keep)]
