"""PCM arithmetic in C: G.711, levels, gain, pitch search and the 8 <-> 16 kHz half-band filter.

The only module that imports `audioop` (part of Python up to 3.12, `audioop-lts` from 3.13 on). PCM is
signed 16 bit little endian, mono, everywhere in simrack.
"""

import math
import warnings
from array import array
from collections.abc import Sequence
from functools import cache
from operator import add, mul

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="'audioop' is deprecated", category=DeprecationWarning)
    import audioop

WIDTH = 2  # octets of a sample
FULL_SCALE = 32768.0
SILENCE_DBFS = -96.0  # the floor of 16 bit; stands for digital silence


def alaw_encode(pcm: bytes) -> bytes:
    return audioop.lin2alaw(pcm, WIDTH)


def alaw_decode(payload: bytes) -> bytes:
    return audioop.alaw2lin(payload, WIDTH)


def ulaw_encode(pcm: bytes) -> bytes:
    return audioop.lin2ulaw(pcm, WIDTH)


def ulaw_decode(payload: bytes) -> bytes:
    return audioop.ulaw2lin(payload, WIDTH)


def rms(pcm: bytes) -> int:
    """Root mean square of the samples, 0 to 32768."""
    return audioop.rms(pcm, WIDTH)


def to_dbfs(value: float) -> float:
    """Level of an rms value; a full-scale sine stands at -3 dBFS."""
    return max(SILENCE_DBFS, 20 * math.log10(value / FULL_SCALE)) if value > 0 else SILENCE_DBFS


def level_dbfs(pcm: bytes) -> float:
    """Level of `pcm`, -96 for digital silence."""
    return to_dbfs(rms(pcm))


def amplify(pcm: bytes, factor: float) -> bytes:
    """Multiply, clipping at full scale."""
    return audioop.mul(pcm, WIDTH, factor)


def gain_factor(gain_db: float) -> float:
    return float(10 ** (gain_db / 20))


def mix(one: bytes, other: bytes) -> bytes:
    """Add two pieces of equal length, clipping at full scale."""
    return audioop.add(one, other, WIDTH)


def ramp(pcm: bytes, start: float, end: float) -> bytes:
    """Multiply by a factor that goes linearly from `start` to `end`, both within 0 and 1."""
    samples = array("h", pcm)
    step = (end - start) / max(1, len(samples))
    return array("h", map(int, map(mul, samples, (start + step * i for i in range(len(samples)))))).tobytes()


@cache
def _fade(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Weights of the old and the new piece."""
    up = tuple(i / count for i in range(count))
    return tuple(1 - value for value in up), up


def cross_fade(old: bytes, new: bytes) -> bytes:
    """Go from `old` to `new` over their common length."""
    down, up = _fade(len(old) // WIDTH)
    both = map(add, map(mul, array("h", old), down), map(mul, array("h", new), up))
    return array("h", map(int, both)).tobytes()


def best_lag(history: bytes, probe: int, shortest: int, longest: int) -> int:
    """Distance in samples, within the limits, at which the last `probe` samples repeat best.

    Not `findfit`: that also takes the opposite phase for a match.
    """
    end = len(history) // WIDTH
    longest = min(longest, end - probe)
    last = history[-probe * WIDTH :]
    best, best_score = min(shortest, end), 0.0
    if not audioop.max(last, WIDTH):
        return best
    for lag in range(shortest, longest + 1):
        start = (end - probe - lag) * WIDTH
        piece = history[start : start + probe * WIDTH]
        power = audioop.rms(piece, WIDTH)
        score = audioop.findfactor(last, piece) * power if power else 0.0
        if score > best_score * 1.001:
            best, best_score = lag, score
    return best


# Odd taps of a half-band low pass (Hann-windowed sinc, 24 taps wide): its even taps are zero but the middle,
# so that one filter serves both directions at a few C calls for each frame.
_HALF = 12
_TAPS: tuple[float, ...] = tuple(
    2 / math.pi * (-1) ** k / (2 * k + 1) * (0.5 + 0.5 * math.cos(math.pi * (2 * k + 1) / (2 * _HALF + 1)))
    for k in range(_HALF)
)
_NORM = 2 * sum(_TAPS)


def _between(line: bytes, count: int) -> bytes:
    """Values half-way between samples; the first lies after sample `_HALF - 1` of `line`."""
    total = bytes(count * WIDTH)
    for k, tap in enumerate(_TAPS):
        left = line[(_HALF - 1 - k) * WIDTH :][: count * WIDTH]
        right = line[(_HALF + k) * WIDTH :][: count * WIDTH]
        # Halved before the sum: two loud neighbours would clip in 16 bit.
        pair = mix(amplify(left, 0.5), amplify(right, 0.5))
        total = mix(total, amplify(pair, 2 * tap / _NORM))
    return total


class Doubler:
    """8 kHz to 16 kHz, frame after frame; delay 1.5 ms."""

    def __init__(self) -> None:
        self._tail = bytes((2 * _HALF - 1) * WIDTH)

    def feed(self, pcm: bytes) -> bytes:
        line = self._tail + pcm
        count = len(pcm) // WIDTH
        self._tail = line[len(line) - len(self._tail) :]
        out = array("h", bytes(2 * len(pcm)))
        out[0::2] = array("h", line[(_HALF - 1) * WIDTH :][: len(pcm)])
        out[1::2] = array("h", _between(line, count))
        return out.tobytes()


class Halver:
    """16 kHz to 8 kHz, frame after frame; delay 0.75 ms. Frames hold an even number of samples."""

    def __init__(self) -> None:
        self._even = bytes((_HALF - 1) * WIDTH)
        self._odd = bytes((2 * _HALF - 1) * WIDTH)

    def feed(self, pcm: bytes) -> bytes:
        samples = array("h", pcm)
        even = self._even + samples[0::2].tobytes()
        odd = self._odd + samples[1::2].tobytes()
        count = len(samples) // 2
        self._even, self._odd = even[len(even) - len(self._even) :], odd[len(odd) - len(self._odd) :]
        middle = even[: count * WIDTH]
        return mix(amplify(middle, 0.5), amplify(_between(odd, count), 0.5))


def resample(pcm: bytes, old: int, new: int) -> bytes:
    """Whole recordings between any two rates (linear; for files, not for live voice)."""
    return pcm if old == new else audioop.ratecv(pcm, WIDTH, 1, old, new, None)[0]


def samples_of(values: Sequence[float]) -> bytes:
    """Round and clip numbers to PCM."""
    try:
        return array("h", map(round, values)).tobytes()
    except OverflowError:
        return array("h", [max(-32768, min(32767, round(v))) for v in values]).tobytes()
