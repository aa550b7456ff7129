"""Judges what far ends of a call hear: clicks in a tone, and the delay of each second of it. None of simrack's own code.

A call says a steady tone of its own frequency whose level dips once a second, smoothly. A click is a sample that breaks the
recurrence x[n] = 2 cos(w) x[n-1] - x[n-2], which every sine keeps; a dip's middle tells when that moment was heard.
"""

import math
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RATE, FRAME = 8000, 160
PEAK = 10_000.0
DIP_AT, DIP = 4000, 480  # samples: middle within the second, length
DEPTH = 0.5
#: Share of the tone's height by which a sample must break the recurrence. G.711 breaks it by a twentieth, a blend of 5 ms
#: between two pieces of opposite phase by an eighth; a sample left out of a tone of 700 Hz by half.
CLICK = 0.2
#: What is carried over from one look to the next: a whole dip.
TAIL = 2 * DIP
#: Half a turn is left over after 20 ms, so that a frame that is said twice or left out can't join by chance.
TONES = tuple(hz for hz in range(310, 2500, 10) if hz % 50 in (20, 30))
Samples = NDArray[np.float64]


def second_of(hz: int) -> bytes:
    """One second of the tone with its dip, 16 bit; a whole number of hertz makes it loop without a step."""
    n = np.arange(RATE)
    shape = np.ones(RATE)
    span = np.arange(DIP)
    shape[DIP_AT - DIP // 2 : DIP_AT + DIP // 2] = 1 - DEPTH * 0.5 * (1 - np.cos(2 * np.pi * (span + 0.5) / DIP))
    return bytes(np.round(PEAK * shape * np.sin(2 * np.pi * hz * n / RATE)).astype("<i2").tobytes())


def _expand(code: int) -> int:
    """G.711 mu-law by its table of segments."""
    code = ~code & 0xFF
    size = (((code & 0x0F) << 3) + 132 << ((code >> 4) & 7)) - 132
    return -size if code & 0x80 else size


EXPANDED = np.array([_expand(code) for code in range(256)], dtype="<i2")
_LIMITS = np.sort(EXPANDED.astype(int))
_CODES = np.argsort(EXPANDED.astype(int), kind="stable")


def mulaw(pcm: bytes) -> bytes:
    """Encode to the nearest value of the table."""
    line = np.frombuffer(pcm, "<i2").astype(int)
    right = np.clip(np.searchsorted(_LIMITS, line), 1, 255)
    nearer = right - (line - _LIMITS[right - 1] < _LIMITS[right] - line)
    return bytes(_CODES[nearer].astype(np.uint8).tobytes())


def expand(payload: bytes) -> bytes:
    return bytes(EXPANDED[np.frombuffer(payload, np.uint8)].tobytes())


def breaks(line: Samples, hz: float, peak: float = PEAK) -> NDArray[np.intp]:
    """Places where samples break the sine's recurrence; neighbours of one break count once."""
    wave = 2 * math.cos(2 * math.pi * hz / RATE)
    places = np.flatnonzero(np.abs(line[2:] - wave * line[1:-1] + line[:-2]) > CLICK * peak)
    return places[np.insert(np.diff(places) > FRAME // 2, 0, True)] if len(places) else places


def dips(line: Samples, hz: float, peak: float = PEAK) -> list[float]:
    """Middles of whole dips, as sample numbers; one that was damaged is left out."""
    w = 2 * math.pi * hz / RATE
    squares = line[:-1] ** 2 + line[1:] ** 2 - 2 * line[:-1] * line[1:] * math.cos(w)
    level = np.sqrt(np.maximum(squares, 0)) / math.sin(w) / peak
    missing = np.where(level < 0.93, 1 - np.minimum(level, 1), 0)
    found, at = [], 0
    while len(hits := np.flatnonzero(missing[at:])) and at + hits[0] + TAIL <= len(line):
        start = at + int(hits[0])
        part = missing[start : start + DIP]
        area = float(part.sum())
        if 0.75 < area / (DIP * DEPTH / 2) < 1.15:
            found.append(start + float((np.arange(len(part)) * part).sum()) / area)
        at = start + DIP
    return found


@dataclass
class Ear:
    """Listens to one direction of one call: `hear` what came when; the figures are there at any time."""

    hz: float
    peak: float = PEAK
    clicks: int = 0
    heard_s: float = 0.0
    moments: list[float] = field(default_factory=list)  # when the middle of a dip was heard
    places: list[float] = field(default_factory=list)  # when a click was heard
    _line: Samples = field(default_factory=lambda: np.zeros(0))
    _chunks: list[tuple[int, float]] = field(default_factory=list)  # first sample, when it was heard
    _done: int = 0  # samples before `_line`
    _skip: int = 0

    def hear(self, pcm: bytes, now: float) -> None:
        """`pcm` arrived at `now`, when its first sample is played."""
        piece = np.frombuffer(pcm, "<i2").astype(float)
        self._chunks.append((self._done + len(self._line), now))
        self._line = np.concatenate((self._line, piece))
        if len(self._line) >= RATE + TAIL:
            self._look(len(self._line) - TAIL)

    def forget(self, seconds: float = 0.0) -> None:
        """Judge from here on, after some seconds more: beginnings are not steady."""
        self._done += len(self._line)
        self._line, self._chunks, self._skip = np.zeros(0), [], round(seconds * RATE)
        self.clicks, self.heard_s = 0, 0.0
        self.moments.clear()
        self.places.clear()

    def _look(self, upto: int) -> None:
        line = self._line[: upto + TAIL]
        if self._skip <= 0:
            bad = breaks(line[: upto + 2], self.hz, self.peak)
            self.clicks += len(bad)
            self.places += [self._when(float(at)) for at in bad]
            # A dip that begins behind `upto` is seen whole next time.
            self.moments += [self._when(middle) for middle in dips(line, self.hz, self.peak) if middle - DIP / 2 < upto]
            self.heard_s += upto / RATE
        self._skip -= upto
        self._line = self._line[upto:]
        self._done += upto
        while len(self._chunks) > 1 and self._chunks[1][0] <= self._done:
            self._chunks.pop(0)

    def _when(self, sample: float) -> float:
        number = self._done + sample
        first, when = max((chunk for chunk in self._chunks if chunk[0] <= number), default=self._chunks[0])
        return when + (number - first) / RATE


def delays_ms(ear: Ear, said: list[float]) -> list[float]:
    """For each dip heard, how long ago it was said; `said` in ascending order, one a second."""
    moments = np.asarray(said)
    out = []
    for moment in ear.moments:
        at = int(np.searchsorted(moments, moment)) - 1
        if at >= 0 and moment - moments[at] < 0.5:
            out.append((moment - float(moments[at])) * 1000)
    return out


def planted(pcm: bytes, kind: str) -> bytes:
    """Faults that a rack could make, for proving the detector: `drop` half a frame, `double` a frame, `gap` of zeros, one bad `sample`."""
    at = 2 * (len(pcm) // 4)
    match kind:
        case "drop":
            return pcm[:at] + pcm[at + FRAME :]
        case "double":
            return pcm[:at] + pcm[at - 2 * FRAME : at] + pcm[at:]
        case "gap":
            return pcm[:at] + bytes(48) + pcm[at + 48 :]
        case "sample":
            (value,) = struct.unpack_from("<h", pcm, at)
            return pcm[:at] + struct.pack("<h", -value if abs(value) > PEAK / 4 else value + int(PEAK / 2)) + pcm[at + 2 :]
    raise ValueError(kind)


PLANTS = ("drop", "double", "gap", "sample")
