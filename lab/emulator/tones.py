"""Voice that the network's ends say: tones, DTMF, ringing, an announcement, something like speech.

Everything is 8 kHz, signed 16 bit little endian, in frames of 20 ms. Waves are computed once and looped, so
that a frame costs one slice.
"""

import itertools
import math
import random
from array import array
from collections.abc import Iterator
from functools import lru_cache

RATE = 8000
FRAME_S = 0.02
FRAME_SAMPLES = 160
FRAME_BYTES = 2 * FRAME_SAMPLES
SILENCE = bytes(FRAME_BYTES)
#: Peak of a test tone: -12 dBFS, as loud as speech and far from clipping.
TONE_PEAK = 8231
RINGBACK_HZ = 425
#: Special information tone in front of a recorded announcement (E.180): three tones of 330 ms.
SIT_HZ = (950, 1400, 1800)

DTMF_ROWS = (697, 770, 852, 941)
DTMF_COLUMNS = (1209, 1336, 1477, 1633)
DTMF_KEYS = ("123A", "456B", "789C", "*0#D")


def _pack(samples: "array[int]") -> bytes:
    return samples.tobytes()


@lru_cache(maxsize=256)
def tone_second(hz: int, peak: int = TONE_PEAK) -> bytes:
    """Return one second of a tone; a whole number of hertz makes it loop without a click."""
    step = 2 * math.pi * hz / RATE
    return _pack(array("h", (round(peak * math.sin(step * n)) for n in range(RATE))))


@lru_cache(maxsize=16)
def dtmf_second(key: str) -> bytes:
    """Return one second of a DTMF key, each of its two tones at -15 dBFS."""
    row = next(index for index, keys in enumerate(DTMF_KEYS) if key in keys)
    low, high = DTMF_ROWS[row], DTMF_COLUMNS[DTMF_KEYS[row].index(key)]
    both = zip(
        memoryview(tone_second(low, 5827)).cast("h"), memoryview(tone_second(high, 5827)).cast("h"), strict=True
    )
    return _pack(array("h", (a + b for a, b in both)))


@lru_cache(maxsize=1)
def speech_like() -> bytes:
    """Four seconds of a buzzing voice: harmonics of a moving pitch under syllables of 4 Hz, with pauses."""
    samples, phase = array("h"), 0.0
    for n in range(4 * RATE):
        t = n / RATE
        phase += 2 * math.pi * (120 + 20 * math.sin(2 * math.pi * 0.5 * t)) / RATE
        syllable = max(0.0, math.sin(2 * math.pi * 4 * t)) * (0.0 if t % 2 > 1.6 else 1.0)
        voice = sum(math.sin(k * phase) / k for k in (1, 2, 3, 4, 6, 9))
        samples.append(round(6000 * syllable * voice))
    return _pack(samples)


def frames_of(wave: bytes) -> Iterator[bytes]:
    """Cut a wave of whole frames, over and over."""
    starts = range(0, len(wave), FRAME_BYTES)
    return (wave[start : start + FRAME_BYTES] for start in itertools.cycle(starts))


def tone(hz: int) -> Iterator[bytes]:
    return frames_of(tone_second(hz))


def silence() -> Iterator[bytes]:
    return itertools.repeat(SILENCE)


def speech() -> Iterator[bytes]:
    return frames_of(speech_like())


def _for(seconds: float, frames: Iterator[bytes]) -> Iterator[bytes]:
    return itertools.islice(frames, round(seconds / FRAME_S))


def ringback() -> Iterator[bytes]:
    """Ringing tone of E.180 for most of Europe: 1 s on, 4 s off."""
    while True:
        yield from _for(1.0, tone(RINGBACK_HZ))
        yield from _for(4.0, silence())


def announcement() -> Iterator[bytes]:
    """Three information tones, then a voice."""
    for hz in SIT_HZ:
        yield from _for(0.34, tone(hz))
    yield from speech()


def dtmf(digits: str, after_s: float = 0.5, on_s: float = 0.1, off_s: float = 0.1) -> Iterator[bytes]:
    """Send keys, then silence."""
    yield from _for(after_s, silence())
    for key in digits:
        yield from _for(on_s, frames_of(dtmf_second(key)))
        yield from _for(off_s, silence())
    yield from silence()


def random_hz(dice: random.Random) -> int:
    """Pick a test tone inside the telephone band, away from every signalling tone."""
    taken = (*DTMF_ROWS, *DTMF_COLUMNS, *SIT_HZ, RINGBACK_HZ)
    choice = [hz for hz in range(500, 3000, 10) if all(abs(hz - other) > 25 for other in taken)]
    return dice.choice(choice)
