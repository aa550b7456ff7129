"""Figures of a call's voice: levels, clock drift, and a MOS estimate."""

import math

from simrack.sip import g711
from simrack.sip.codecs import CodecRow

FRAMES_PER_S = 50
MOST_LEVELS = 300  # wire.messages.FlowFigures
DRIFT_AFTER_S = 5.0  # before that, tick jitter looks like drift
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


def mos(row: CodecRow, delay_ms: float, loss_percent: float) -> float:
    """Mean opinion score of ITU-T G.107 in its short form: delay, codec, loss; 1.0 to 4.5.

    Echo, noise and the radio side's own codec are not in it: it compares calls, it is no verdict on one.
    """
    delay = 0.024 * delay_ms + (0.11 * (delay_ms - 177.3) if delay_ms > 177.3 else 0.0)
    impairment = row.ie + (95 - row.ie) * loss_percent / (loss_percent + row.bpl)
    r = max(0.0, min(100.0, 93.2 - delay - impairment))
    return round(max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)), 2)
