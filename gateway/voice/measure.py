"""Figures of a call's voice: levels, clock drift, dead air, gaps. The MOS estimate is in `mos`."""

import math

from simrack.sip import g711

FRAMES_PER_S = 50
MOST_LEVELS = 300  # wire.messages.FlowFigures
DRIFT_AFTER_S = 5.0  # before that, tick jitter looks like drift
DEAD_RMS = 104  # -50 dBFS
DEAD_FRAMES = 2 * FRAMES_PER_S
GSM_DELAY_MS = 90.0  # one way through radio and transcoder (TS 26.975 gives 80 to 100)


class Levels:
    """Level of one direction: once a second, and over the whole call."""

    def __init__(self) -> None:
        self.each: list[int] = []
        self._second = self._total = 0.0
        self._count = self._frames = 0

    def add(self, rms: int) -> None:
        """One frame of 20 ms."""
        self._second += rms * rms
        self._count += 1
        if self._count < FRAMES_PER_S:
            return
        if len(self.each) < MOST_LEVELS:
            self.each.append(round(g711.to_dbfs(math.sqrt(self._second / self._count))))
        self._total += self._second
        self._frames += self._count
        self._second, self._count = 0.0, 0

    @property
    def mean(self) -> float | None:
        """dBFS over the call, None before the first frame."""
        frames = self._frames + self._count
        if not frames:
            return None
        return round(g711.to_dbfs(math.sqrt((self._total + self._second) / frames)), 1)


class Drift:
    """Rate of a clock against this computer's, by least squares over (arrival, media time)."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._n = 0
        self._x = self._y = self._xx = self._xy = self._span = 0.0

    def add(self, now: float, media_s: float) -> None:
        if self._first is None:
            self._first = (now, media_s)
        x = now - self._first[0]
        # The difference of both clocks is what is regressed: it stays small, so that nothing cancels.
        y = media_s - self._first[1] - x
        self._n += 1
        self._x, self._y = self._x + x, self._y + y
        self._xx, self._xy = self._xx + x * x, self._xy + x * y
        self._span = x

    @property
    def ppm(self) -> float | None:
        """Positive when the other clock is faster; None while not known."""
        spread = self._n * self._xx - self._x * self._x
        if self._span < DRIFT_AFTER_S or spread <= 0:
            return None
        return (self._n * self._xy - self._x * self._y) / spread * 1e6


class DeadAir:
    """Share of the time in which a direction said nothing for two seconds and more; pauses of speech are shorter."""

    def __init__(self) -> None:
        self._run = self._dead = self._frames = 0

    def add(self, rms: int) -> None:
        """One frame of 20 ms; 0 when nothing came."""
        self._frames += 1
        if rms >= DEAD_RMS:
            self._run = 0
            return
        self._run += 1
        if self._run == DEAD_FRAMES:
            self._dead += DEAD_FRAMES
        elif self._run > DEAD_FRAMES:
            self._dead += 1

    @property
    def share(self) -> float:
        """0 to 1."""
        return round(self._dead / self._frames, 3) if self._frames else 0.0


class Gaps:
    """Runs of made-up voice: how many, how long. Lengths are in samples, made up in any pieces."""

    def __init__(self) -> None:
        self.count = self.total = self.longest = 0
        self._run = 0

    def add(self, samples: int) -> None:
        """So much was made up; what follows without `end` is the same gap."""
        self.count += not self._run
        self._run += samples
        self.total += samples
        self.longest = max(self.longest, self._run)

    def end(self) -> None:
        """Real voice came."""
        self._run = 0

    def mean(self, frame: int) -> float:
        """Mean length in frames, 0 without a gap."""
        return self.total / self.count / frame if self.count else 0.0
