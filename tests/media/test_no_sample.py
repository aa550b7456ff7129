"""No sample is lost and none is said twice, whatever the clocks do: a ramp goes in, and its slope comes out unbroken."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.gateway.voice.capture import Capture
from simrack.gateway.voice.playout import Playout
from simrack.sip.rtp import Packet

FRAME, RATE = 160, 8000
SLOPE, TOP = 8, 32_000
#: Until then buffers look for their depth, and what they make up meanwhile is no ramp.
SETTLE_S = 5
SECONDS = 20


class Linear:
    """A codec that changes nothing."""

    def encode(self, pcm: bytes) -> bytes:
        return pcm

    def decode(self, payload: bytes) -> bytes:
        return payload


def ramp(first: int, count: int) -> bytes:
    """Up and down between -TOP and TOP, SLOPE a sample: a sample left out or doubled doubles or halves a step."""
    phase = (np.arange(first, first + count) * SLOPE) % (4 * TOP)
    return bytes((TOP - np.abs(phase - 2 * TOP)).astype("<i2").tobytes())


def broken_steps(pcm: bytes) -> list[tuple[int, int]]:
    """Where the slope is neither SLOPE nor what a stretched frame makes of it (a tenth more or less, and rounding)."""
    line = np.frombuffer(pcm, "<i2").astype(int)
    steps = np.abs(np.diff(line))
    turns = np.abs(line[1:]) > TOP - 20 * SLOPE
    return [(int(at), int(steps[at])) for at in np.flatnonzero((np.abs(steps - SLOPE) > 2) & ~turns)]


@settings(max_examples=25, deadline=None)
@given(st.integers(-300, 300), st.integers(0, 20), st.integers(0, 2**16), st.booleans())
def test_each_sample_of_the_sip_side_reaches_the_module_once(ppm: int, jitter_ms: int, seed: int, doubles: bool) -> None:
    """Breaks: after minutes of clock drift syllables are cut or said twice."""
    dice, playout, out = random.Random(seed), Playout(Linear(), RATE, RATE), bytearray()
    period, sent, flying = 0.02 / (1 + ppm * 1e-6), 0, list[tuple[float, int]]()
    settled = 0
    for tick in range(SECONDS * 50):
        now = tick * 0.02
        while sent * period <= now:
            late = dice.random() * jitter_ms / 1000
            flying += [(sent * period + late, sent)] * (2 if doubles and dice.random() < 0.1 else 1)
            sent += 1
        for _, k in sorted(entry for entry in flying if entry[0] <= now):
            stamp = (k * FRAME + 2**32 - 9000) & 0xFFFFFFFF
            playout.put(Packet(0, (k + 65_400) & 0xFFFF, stamp, 1, ramp(k * FRAME, FRAME)), now)
        flying = [entry for entry in flying if entry[0] > now]
        out += playout.pull(FRAME)
        if tick == SETTLE_S * 50:
            settled = playout.concealed
    assert playout.concealed == settled
    assert playout.late == 0
    assert broken_steps(bytes(out[2 * SETTLE_S * RATE :])) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(-300, 300), st.sampled_from([16, 80, 160, 320, 800]), st.integers(0, 2**16))
def test_each_sample_of_the_module_reaches_the_sip_side_once(ppm: int, piece: int, seed: int) -> None:
    """Breaks: a module with a bad crystal, or one that delivers in bursts, makes people stutter."""
    dice, capture, out = random.Random(seed), Capture(RATE), bytearray()
    said, settled = 0, 0
    for tick in range(SECONDS * 50):
        # The host looks a little late each time.
        now = tick * 0.02 + dice.random() * 0.004
        ready = int(now * RATE * (1 + ppm * 1e-6)) // piece * piece
        if ready > said:
            capture.push(ramp(said, ready - said))
            said = ready
        out += capture.pull(FRAME)[0]
        if tick == SETTLE_S * 50:
            settled = capture.concealed
    assert capture.concealed == settled
    assert capture.dropped == 0
    assert broken_steps(bytes(out[2 * SETTLE_S * RATE :])) == []


def test_the_ramp_finds_one_sample() -> None:
    """Breaks: the two tests above prove nothing."""
    whole = ramp(0, 4000)
    assert broken_steps(whole) == []
    assert broken_steps(whole[:1000] + whole[1002:])
    assert broken_steps(whole[:1000] + whole[998:])
