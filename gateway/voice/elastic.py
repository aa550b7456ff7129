"""PCM queue whose reader goes a little faster or slower than its writer, without clicks.

Two clocks that differ by 100 ppm drift apart by 60 ms in ten minutes, so that samples must be added or
removed. Most frames pass untouched; now and then one frame is read as N+k samples and written as N (or the
other way round) through a windowed-sinc interpolation that starts and ends exactly on samples, so that its
neighbours join without a step. One sample in 5 ms is a pitch change of 2.5 % for 5 ms, which nobody hears.
"""

from array import array
from functools import cache
from math import cos, pi, sin
from operator import mul

from simrack.sip import g711

TAPS = 16
BEFORE = TAPS // 2 - 1
AFTER = TAPS // 2
MOST_STEP = 16  # samples of one frame; only silence takes more than 4
BEND_MS = 5  # of voice over which one sample is added or removed
SEAM_MS = 5  # cross-fade where samples are cut out


@cache
def _plan(count: int, used: int) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """For each of `count` outputs that stretch over `used` inputs: first input index and the weights."""
    plan = []
    for i in range(count):
        whole, part = divmod(i * used, count)
        plan.append((whole, _weights(part / count)))
    return tuple(plan)


def _weights(fraction: float) -> tuple[float, ...]:
    raw = []
    for k in range(-BEFORE, AFTER + 1):
        x = k - fraction
        window = 0.5 + 0.5 * cos(pi * x / (AFTER + 1))
        raw.append(window * (sin(pi * x) / (pi * x) if x else 1.0))
    total = sum(raw)
    return tuple(w / total for w in raw)


class Elastic:
    """A bounded queue of samples. `most` samples at the most: what exceeds is cut out, oldest first."""

    def __init__(self, rate: int, most: int) -> None:
        self._seam = rate * SEAM_MS // 1000
        self._bend = rate * BEND_MS // 1000
        self._most = most
        self._pcm = bytearray()
        self._past = bytes(BEFORE * g711.WIDTH)  # samples already taken, for the interpolation
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._pcm) // g711.WIDTH

    def push(self, pcm: bytes) -> None:
        self._pcm += pcm
        if len(self) > self._most:
            self.cut(len(self) - self._most // 2)

    def cut(self, samples: int) -> None:
        """Remove the oldest samples with a cross-fade over the seam."""
        samples = min(samples, len(self) - self._seam)
        if samples <= 0:
            return
        seam, gone = self._seam * g711.WIDTH, samples * g711.WIDTH
        joint = g711.cross_fade(bytes(self._pcm[:seam]), bytes(self._pcm[gone : gone + seam]))
        self._pcm[: gone + seam] = joint
        self.dropped += samples

    def clear(self) -> None:
        self._pcm.clear()

    def take(self, count: int, step: int = 0) -> bytes:
        """`count` samples made of `count + step` queued ones.

        The caller sees to it that so many are there, and for a step those that `allows` wants.
        """
        if step:
            return self._stretched(count, step)
        out = bytes(self._pcm[: count * g711.WIDTH])
        self._consume(count)
        return out

    def allows(self, count: int, step: int) -> bool:
        """Whether enough waits for the interpolation to look ahead."""
        return len(self) >= count + step + AFTER + 1

    def _consume(self, samples: int) -> None:
        size = samples * g711.WIDTH
        keep = BEFORE * g711.WIDTH
        self._past = (self._past + self._pcm[max(0, size - keep) : size])[-keep:]
        del self._pcm[:size]

    def _stretched(self, count: int, step: int) -> bytes:
        """Only as much of the frame as the step needs: Python pays for each of these samples."""
        length = min(count, abs(step) * self._bend)
        plain = self.take(count - length)
        line = array("h", self._past + self._pcm[: (length + step + AFTER + 1) * g711.WIDTH])
        out = [sum(map(mul, weights, line[i : i + TAPS])) for i, weights in _plan(length, length + step)]
        self._consume(length + step)
        return plain + g711.samples_of(out)


class Regulator:
    """Decides when a reader stretches: keeps the smallest margin of the last seconds inside a band.

    A margin is how many samples were in hand before a frame was due. The band is wider than one frame,
    because packets and ticks are 20 ms apart and a slow drift shows as a jump of a whole frame; the low edge is
    one frame and what the interpolation looks ahead, so that the jump itself costs nothing. Where margins already
    spread by a frame the jump is among those seen, and half a frame of the delay is given back.
    """

    WINDOW = 100  # frames of a half window; the smallest margin is known over 2 to 4 s
    PATIENCE = 10  # frames to wait for a quiet one; one sample in 10 frames still follows 600 ppm

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self.low, self.high = frame + 2 * MOST_STEP, frame * 2
        self.reset()

    def reset(self) -> None:
        self._smallest: int | None = None
        self._before: int | None = None
        self._largest = self._largest_before = -self._frame
        self._frames = self._waited = 0
        self.slipped = 0  # samples removed (positive) or added, in sum

    def seen(self, margin: int) -> None:
        if self._smallest is None or margin < self._smallest:
            self._smallest = margin
        self._largest = max(self._largest, margin)

    @property
    def slack(self) -> int | None:
        """The smallest margin lately."""
        known = [m for m in (self._smallest, self._before) if m is not None]
        return min(known) if known else None

    def step(self, *, quiet: bool) -> int:
        """Called once for each frame: samples to remove (positive) or add (negative) in it."""
        self._frames += 1
        if self._frames % self.WINDOW == 0:
            self._before, self._smallest = self._smallest, None
            self._largest_before, self._largest = self._largest, -self._frame
        excess = self._excess()
        if not excess:
            return 0
        self._waited += 1
        if not quiet and self._waited < self.PATIENCE and abs(excess) < self._frame:
            return 0
        return max(-MOST_STEP, min(MOST_STEP, self._size(excess) * (4 if quiet else 1)))

    def done(self, step: int) -> None:
        """The frame was stretched by `step`: margins known so far move with it."""
        self._waited = 0
        self.slipped += step
        if self._smallest is not None:
            self._smallest -= step
        if self._before is not None:
            self._before -= step
        self._largest -= step
        self._largest_before -= step

    def _excess(self) -> int:
        slack = self.slack
        if slack is None:
            return 0
        eased = self._eased(slack)
        if slack < self.low - eased:
            return slack - self.low + eased
        # Too much is believed only after a whole window: a late packet may still come.
        if slack > self.high - eased and self._before is not None:
            return slack - self.high + eased
        return 0

    def _eased(self, slack: int) -> int:
        spread = max(self._largest, self._largest_before) - slack
        return max(0, min(spread, self._frame)) // 2

    def _size(self, excess: int) -> int:
        size = 1 if abs(excess) < self._frame else 2 if abs(excess) < 3 * self._frame else 4
        return size if excess > 0 else -size
