"""The judge of the voice tests: a detector that finds nothing proves nothing."""

import numpy as np
import pytest
from voice_judge import (
    DIP_AT,
    FRAME,
    PLANTS,
    RATE,
    TONES,
    Ear,
    breaks,
    delays_ms,
    expand,
    mulaw,
    planted,
    second_of,
)


def line(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2").astype(float)


@pytest.mark.parametrize("hz", TONES[::6])
def test_a_clean_tone_has_no_click_even_through_g711(hz: int) -> None:
    """Breaks: a good box fails S3."""
    assert not len(breaks(line(expand(mulaw(second_of(hz) * 2))), hz))


@pytest.mark.parametrize("kind", PLANTS)
@pytest.mark.parametrize("hz", TONES[::6])
def test_each_planted_fault_is_found(kind: str, hz: int) -> None:
    """Breaks: voice that crackles passes S3."""
    assert len(breaks(line(planted(expand(mulaw(second_of(hz) * 2)), kind)), hz))


@pytest.mark.parametrize("late_ms", [3, 23, 140])
def test_the_delay_is_told_to_a_millisecond(late_ms: int) -> None:
    """Breaks: the p95 of S3 is a fantasy."""
    hz = TONES[7]
    ear, voice = Ear(hz), mulaw(second_of(hz))
    said = [100 + second + DIP_AT / RATE for second in range(6)]
    for k in range(300):
        now = 100 + k * 0.02 + late_ms / 1000
        ear.hear(expand(voice[k % 50 * FRAME : (k % 50 + 1) * FRAME]), now)
    found = delays_ms(ear, said)
    assert len(found) == 5
    assert found == pytest.approx([late_ms] * 5, abs=1)


def test_a_click_is_placed_in_time() -> None:
    """Breaks: a click is blamed on the fault that came after it."""
    hz = TONES[3]
    ear, pcm = Ear(hz), bytearray(second_of(hz) * 4)
    pcm[2 * 20_000 : 2 * 20_000 + 48] = bytes(48)
    for k in range(0, len(pcm), 2 * FRAME):
        ear.hear(bytes(pcm[k : k + 2 * FRAME]), 50 + k / 2 / RATE)
    assert ear.clicks == len(ear.places) >= 1
    assert ear.places[0] == pytest.approx(52.5, abs=0.01)
