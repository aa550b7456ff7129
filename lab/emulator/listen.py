"""What an end of a call heard: level, dominant tone, DTMF keys. Plain Python, so nothing runs without need."""

import math
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

from simrack.lab.emulator.tones import DTMF_COLUMNS, DTMF_KEYS, DTMF_ROWS, FRAME_SAMPLES, RATE, SILENCE

#: Voice kept per direction and phase of a call: 30 s.
KEEP_FRAMES = 1500
WINDOW = 2048
#: Share of a window's energy that one tone must hold to be called dominant.
DOMINANT_SHARE = 0.5
FLOOR_DBFS = -60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Figures of one direction: tone in Hz (None when no tone stands out), level in dBFS (None when silent)."""

    hz: float | None
    dbfs: float | None


class Recorder:
    """Keeps one direction's last 30 s before and after the answer; figures are computed when asked for."""

    def __init__(self) -> None:
        self.early: deque[bytes] = deque(maxlen=KEEP_FRAMES)
        self.talk: deque[bytes] = deque(maxlen=KEEP_FRAMES)
        self.answered = False

    def add(self, frame: bytes) -> None:
        (self.talk if self.answered else self.early).append(frame)

    def pcm(self) -> bytes:
        return b"".join((*self.early, *self.talk))

    def telling(self) -> bytes:
        """Return the voice that counts: the talk, or what came before it when nobody answered."""
        return b"".join(self.talk if self.answered else self.early)

    def forget(self) -> None:
        self.early.clear()
        self.talk.clear()


def judge(pcm: bytes) -> Heard:
    """Find level and dominant tone of a piece of voice."""
    samples = array("h", pcm)
    if not samples:
        return Heard(None, None)
    level = dbfs(samples)
    if level < FLOOR_DBFS:
        return Heard(None, None)
    return Heard(dominant_hz(_loudest(samples)), round(level, 1))


def dbfs(samples: Sequence[int]) -> float:
    """Level against a full-scale square wave, in dB; -100 for digital silence."""
    power = sum(map(mul, samples, samples)) / len(samples)
    return 10 * math.log10(power / 32768**2) if power else -100.0


def _loudest(samples: "array[int]") -> "array[int]":
    if len(samples) <= WINDOW:
        return samples
    last = len(samples) - WINDOW
    starts = {last * step // 8 for step in range(9)}
    return max((samples[start : start + WINDOW] for start in starts), key=lambda part: sum(map(mul, part, part)))


def dominant_hz(samples: Sequence[int]) -> float | None:
    """Return the tone that holds most of the energy, to about 0.5 Hz, or None when there is none."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / len(samples)) for n in range(len(samples))]
    shaped = [complex(s * w) for s, w in zip(samples, window, strict=True)]
    shaped += [0j] * (WINDOW - len(shaped))
    power = [abs(value) ** 2 for value in _fft(shaped)[: WINDOW // 2]]
    peak = max(range(2, WINDOW // 2 - 2), key=power.__getitem__)
    around = 2 + 2 * (WINDOW // len(samples) - 1)
    near = sum(power[max(0, peak - around) : peak + around + 1])
    if near < DOMINANT_SHARE * sum(power):
        return None
    below, top, above = (math.log(power[peak + offset] + 1e-9) for offset in (-1, 0, 1))
    shift = 0.5 * (below - above) / ((below - 2 * top + above) or 1.0)
    return round((peak + shift) * RATE / WINDOW, 1)


def _fft(values: list[complex]) -> list[complex]:
    """Transform a power-of-two number of values (Cooley and Tukey, by halves)."""
    size = len(values)
    if size == 1:
        return values
    even, odd = _fft(values[0::2]), _fft(values[1::2])
    turned = list(map(mul, _turns(size), odd))
    return [a + b for a, b in zip(even, turned, strict=True)] + [
        a - b for a, b in zip(even, turned, strict=True)
    ]


_TURNS: dict[int, list[complex]] = {}


def _turns(size: int) -> list[complex]:
    if size not in _TURNS:
        step = -2 * math.pi / size
        _TURNS[size] = [complex(math.cos(step * k), math.sin(step * k)) for k in range(size // 2)]
    return _TURNS[size]


def _probes(tones: Iterable[int]) -> list[tuple[list[float], list[float]]]:
    steps, span = [4 * math.pi * hz / RATE for hz in tones], range(FRAME_SAMPLES // 2)
    return [([math.cos(s * n) for n in span], [math.sin(s * n) for n in span]) for s in steps]


_ROW_PROBES, _COLUMN_PROBES = _probes(DTMF_ROWS), _probes(DTMF_COLUMNS)


class DtmfEar:
    """Detects DTMF keys in frames: a key counts once, after two frames in a row, until it stops.

    Most voice is rejected by its peak or its row tones, and every second sample is enough for tones below
    1,700 Hz, so a frame without keys stays cheap.
    """

    PEAK = 1000  # about -30 dBFS: below it Q.24 lets a receiver ignore keys

    def __init__(self) -> None:
        self._candidate = ""
        self._reported = ""

    def hear(self, frame: bytes) -> str:
        """Return the key that this frame completes, or ""."""
        key = "" if frame is SILENCE else _key_in(frame, self.PEAK)
        confirmed = key if key and key == self._candidate else ""
        self._candidate = key
        if not key:
            self._reported = ""
        if not confirmed or confirmed == self._reported:
            return ""
        self._reported = confirmed
        return confirmed


def _key_in(frame: bytes, peak: int) -> str:
    samples = array("h", frame)
    if len(samples) != FRAME_SAMPLES or max(samples) < peak:
        return ""
    # A pure tone gives power (N*A/2)^2 for N samples, so this scales the whole band's energy to compare.
    energy = sum(map(mul, samples, samples)) * FRAME_SAMPLES / 8
    samples = samples[::2]
    row, row_power = _strongest(samples, _ROW_PROBES)
    if row_power < 0.15 * energy:
        return ""
    column, column_power = _strongest(samples, _COLUMN_PROBES)
    if column_power < 0.15 * energy or row_power + column_power < 0.7 * energy:
        return ""
    return DTMF_KEYS[row][column]


def _strongest(samples: Sequence[int], probes: list[tuple[list[float], list[float]]]) -> tuple[int, float]:
    powers = [sum(map(mul, samples, cos)) ** 2 + sum(map(mul, samples, sin)) ** 2 for cos, sin in probes]
    best = max(range(len(powers)), key=powers.__getitem__)
    return best, powers[best]
