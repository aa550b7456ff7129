"""Voice for a gap: the last pitch period goes on, fades, and becomes quiet noise.

In the spirit of ITU-T G.711 appendix I, without its delay: the step at the seam is spread over the first
samples instead, and the first real samples after the gap are cross-faded with what was made up.
"""

from array import array
from functools import cache
from operator import add, mul

from simrack.sip import g711

PITCH_MS = (5.0, 17.0)  # 60 to 200 Hz; shorter periods fit as multiples
PROBE_MS = 8
HISTORY_MS = 50
FULL_MS = 20  # at full level, then a fade of 60 ms
FADE_MS = 60
JOIN_MS = 5
NOISE_CEILING_DBFS = -50.0
NOISE_FLOOR_DBFS = -75.0
RISE_DB = 0.02  # of the noise estimate in each frame: 1 dB a second, so that speech does not lift it


@cache
def _noise(rate: int) -> bytes:
    """One second of white noise at -20 dBFS rms, the same in each run (a linear congruential generator)."""
    value, out = 1, []
    for _ in range(rate):
        value = (value * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        out.append((value >> 8) / 0x7FFFFF * 2 - 1)
    return g711.samples_of([v * 32768 * 0.1 * 3**0.5 for v in out])


class Concealer:
    """Follows one stream: `good` for real frames, `gap` for missing ones."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._past = bytes(self._count(HISTORY_MS) * g711.WIDTH)
        self._join = self._count(JOIN_MS) * g711.WIDTH
        self._cycle = b""
        self._position = 0
        self._error, self._most, self._turn = [0.0, 0.0], 0.0, 0.0
        self._made = 0  # samples of this gap so far
        self._noise_at = 0
        self.noise_dbfs = NOISE_FLOOR_DBFS

    def _count(self, ms: float) -> int:
        return int(self._rate * ms / 1000)

    @property
    def concealing(self) -> bool:
        return bool(self._cycle)

    def good(self, pcm: bytes) -> bytes:
        """A real frame; its beginning is joined to the made-up voice before it."""
        if self._cycle and len(pcm) >= self._join:
            made = self._make(self._join // g711.WIDTH)
            pcm = g711.cross_fade(made, pcm[: self._join]) + pcm[self._join :]
            self._cycle = b""
        self._remember(pcm)
        return pcm

    def gap(self, count: int) -> bytes:
        """`count` samples made up."""
        if not self._cycle:
            self._begin()
        pcm = self._make(count)
        self._remember(pcm)
        return pcm

    def noise(self, count: int) -> bytes:
        """Quiet noise at the level of the pauses."""
        line = _noise(self._rate)
        start = self._noise_at % (self._rate - count) * g711.WIDTH
        # A stride that shares no factor with the length, so that the noise has no rhythm.
        self._noise_at += count + 1237
        return g711.amplify(line[start : start + count * g711.WIDTH], g711.gain_factor(self.noise_dbfs + 20))

    def forget(self) -> None:
        """The next gap is quiet: what was said before belongs to another part of the call."""
        self._past, self._cycle = bytes(len(self._past)), b""

    def heard_level(self, dbfs: float) -> None:
        """Follow the level of the pauses: down at once, up slowly."""
        self.told_level(min(dbfs, self.noise_dbfs + RISE_DB))

    def told_level(self, dbfs: float) -> None:
        """Take over the level of the pauses as the sender states it."""
        self.noise_dbfs = max(NOISE_FLOOR_DBFS, min(NOISE_CEILING_DBFS, dbfs))

    def _remember(self, pcm: bytes) -> None:
        self._past = (self._past + pcm)[-len(self._past) :]

    def _begin(self) -> None:
        past = self._past
        shortest, longest = self._count(PITCH_MS[0]), self._count(PITCH_MS[1])
        lag = g711.best_lag(past, self._count(PROBE_MS), shortest, longest)
        join = min(self._join, (lag - 1) * g711.WIDTH)
        cycle = past[-lag * g711.WIDTH :]
        # The cycle's end turns into what stood before its beginning, so that it repeats without a step.
        before = past[-lag * g711.WIDTH - join : -lag * g711.WIDTH]
        self._cycle = cycle[:-join] + g711.cross_fade(cycle[-join:], before)
        self._position, self._made = 0, 0
        line = array("h", past)
        self._error = [float(line[-1] - line[-1 - lag]), float(line[-2] - line[-2 - lag])]
        self._most = 2 * max(map(abs, self._error))
        self._turn = _turn_of(line[-self._count(PROBE_MS) :])

    def _make(self, count: int) -> bytes:
        size, line = count * g711.WIDTH, self._cycle
        repeats = (self._position + size) // len(line) + 1
        pcm = (line * repeats)[self._position : self._position + size]
        self._position = (self._position + size) % len(line)
        if self._made < self._join // g711.WIDTH and self._most:
            pcm = self._without_step(pcm)
        start = self._level()
        self._made += count
        end = self._level()
        if start == end == 1.0:
            return pcm
        if start == end == 0.0:
            return self.noise(count)
        return g711.mix(g711.ramp(pcm, start, end), g711.ramp(self.noise(count), 1 - start, 1 - end))

    def _level(self) -> float:
        return max(0.0, min(1.0, 1 - (self._made * 1000 / self._rate - FULL_MS) / FADE_MS))

    def _without_step(self, pcm: bytes) -> bytes:
        """Let the error at the seam ring out as the voice itself would, in however many pieces the first samples come.

        A mere offset that fades is heard in no vowel, but it stands out of a tone.
        """
        samples, join = array("h", pcm), self._join // g711.WIDTH
        length = min(len(samples), join - self._made)
        line = []
        for i in range(length):
            last, before = self._error
            error = max(-self._most, min(self._most, self._turn * last - before))
            self._error = [error, last]
            line.append(samples[i] + error * (1 - (self._made + i) / join))
        return g711.samples_of(line) + samples[length:].tobytes()


def _turn_of(line: "array[int]") -> float:
    """2 cos(w) of the strongest swing: the factor of x[n] = turn * x[n-1] - x[n-2] with the least error."""
    power = sum(map(mul, line[1:-1], line[1:-1]))
    return max(-2.0, min(2.0, sum(map(mul, line[1:-1], map(add, line[2:], line[:-2]))) / power)) if power else 0.0
