"""The jitter buffer under bad networks: fixed patterns, packets and ticks fed by hand."""

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.gateway.voice.capture import Capture
from simrack.gateway.voice.playout import Playout
from simrack.gateway.voice.playout import Sequence as Numbers
from simrack.sip import codecs
from simrack.sip.rtp import Packet

FRAME = 160
PEAK = 10_000


class Linear:
    """A codec that changes nothing, so that samples can be counted."""

    def encode(self, pcm: bytes) -> bytes:
        return pcm

    def decode(self, payload: bytes) -> bytes:
        return payload


def sine(hz: float, first: int, count: int = FRAME) -> bytes:
    step = 2 * math.pi * hz / 8000
    return bytes(np.round(PEAK * np.sin(step * (first + np.arange(count)))).astype("<i2").tobytes())


def clicks(pcm: bytes, hz: float) -> int:
    """Samples that break the recurrence x[n] = 2 cos(w) x[n-1] - x[n-2] of a sine by a fifth of its height."""
    line = np.frombuffer(pcm, "<i2").astype(float)
    wave = 2 * math.cos(2 * math.pi * hz / 8000)
    return int((np.abs(line[2:] - wave * line[1:-1] + line[:-2]) > PEAK / 5).sum())


class Sender:
    """Packets of a sine with a clock of its own; each may be lost or late."""

    def __init__(
        self,
        hz: float = 440,
        ppm: float = 0,
        lost: Callable[[int], bool] = lambda k: False,
        late_s: Callable[[int], float] = lambda k: 0.0,
    ) -> None:
        self.hz, self.period = hz, 0.02 / (1 + ppm * 1e-6)
        self.lost, self.late_s = lost, late_s
        self.codec = codecs.make("PCMU", 8000)
        self.next, self.sent = 0, 0
        self.flying: list[tuple[float, int, Packet]] = []

    def due(self, now: float) -> list[Packet]:
        while self.next * self.period <= now:
            k = self.next
            self.next += 1
            if not self.lost(k):
                payload = self.codec.encode(sine(self.hz, k * FRAME))
                packet = Packet(0, (k + 65_500) & 0xFFFF, (k * FRAME + 2**32 - 5000) & 0xFFFFFFFF, 1, payload)
                self.flying.append((k * self.period + self.late_s(k), k, packet))
                self.sent += 1
        arrived = sorted(entry for entry in self.flying if entry[0] <= now)
        self.flying = [entry for entry in self.flying if entry[0] > now]
        return [packet for _, _, packet in arrived]


def play(sender: Sender, seconds: float, playout: Playout | None = None) -> tuple[bytes, Playout]:
    playout = playout or Playout(codecs.make("PCMU", 8000), 8000, 8000)
    out = bytearray()
    for tick in range(int(seconds * 50)):
        for packet in sender.due(tick * 0.02):
            playout.put(packet, tick * 0.02)
        out += playout.pull(FRAME)
    return bytes(out), playout


def every(step: int) -> Callable[[int], bool]:
    """A loss pattern: each `step`-th packet but none of the first."""
    return lambda k: k % step == step - 1


@pytest.mark.parametrize("ppm", [100, -100])
def test_ten_minutes_of_drift_and_loss_make_no_click_and_no_delay(ppm: int) -> None:
    """Breaks: S3; long calls click, or their delay grows with each minute."""
    out, playout = play(Sender(ppm=ppm, lost=every(50)), 600)
    assert clicks(out[1600:], 440) == 0
    assert playout.late == 0
    assert playout.lost == playout.concealed == pytest.approx(600, abs=2)
    assert playout.delay_ms < 60


@pytest.mark.parametrize("ppm", [100, -100])
@pytest.mark.parametrize("hz", [300, 440, 1000, 2500])
def test_two_percent_loss_with_drift_makes_no_click(hz: int, ppm: int) -> None:
    """Breaks: each lost packet is heard as a crackle."""
    out, playout = play(Sender(hz=hz, ppm=ppm, lost=every(50)), 30)
    assert clicks(out[1600:], hz) == 0
    assert playout.lost == pytest.approx(30, abs=1)
    assert playout.concealed == pytest.approx(30, abs=2)


def test_reordered_packets_are_played_in_order_once_the_delay_fits() -> None:
    """Breaks: a network with two paths makes voice stutter for ever."""
    sender = Sender(late_s=lambda k: 0.05 if k % 5 == 0 and k > 50 else 0.0)
    _, playout = play(sender, 20)
    late_at_first = playout.late
    assert late_at_first < 10
    more, playout = play_on(sender, playout, 20, 10)
    assert playout.late == late_at_first
    assert clicks(more, 440) == 0
    assert playout.lost == 0


def play_on(sender: Sender, playout: Playout, start: float, seconds: float) -> tuple[bytes, Playout]:
    out = bytearray()
    for tick in range(int(start * 50), int((start + seconds) * 50)):
        for packet in sender.due(tick * 0.02):
            playout.put(packet, tick * 0.02)
        out += playout.pull(FRAME)
    return bytes(out), playout


def test_doubles_are_played_once() -> None:
    """Breaks: a network that repeats packets makes an echo, and the loss figure goes negative."""
    playout = Playout(Linear(), 8000, 8000)
    out = bytearray()
    for k in range(100):
        packet = Packet(0, k, k * FRAME, 1, sine(440, k * FRAME))
        for _ in range(3):
            playout.put(packet, k * 0.02)
        out += playout.pull(FRAME)
    assert (playout.received, playout.doubles, playout.lost) == (100, 200, 0)
    assert clicks(bytes(out[1600:]), 440) == 0


@pytest.mark.parametrize("jump", [10_000_000, -10_000_000, 2**31 - 5])
def test_a_time_stamp_jump_is_no_gap(jump: int) -> None:
    """Breaks: silence for minutes when the far side changes from announcement to person."""
    playout = Playout(Linear(), 8000, 8000)
    out = bytearray()
    for k in range(200):
        stamp = (k * FRAME + (jump if k >= 100 else 0)) & 0xFFFFFFFF
        playout.put(Packet(0, k, stamp, 1, sine(440, k * FRAME)), k * 0.02)
        out += playout.pull(FRAME)
    assert (playout.late, playout.lost, playout.concealed) == (0, 0, 0)
    assert clicks(bytes(out[1600:]), 440) == 0


def test_a_new_source_goes_on_at_once() -> None:
    """Breaks: after a transfer (other SSRC, other numbers) the call is mute."""
    playout = Playout(Linear(), 8000, 8000)
    out = bytearray()
    for k in range(200):
        ssrc, number, stamp = (1, k, k * FRAME) if k < 100 else (2, k + 30_000, k * FRAME + 999_999)
        playout.put(Packet(0, number, stamp, ssrc, sine(440, k * FRAME)), k * 0.02)
        out += playout.pull(FRAME)
    assert playout.lost == 0
    assert rms(out[-3200:]) > 6000


def rms(pcm: bytes | bytearray) -> float:
    return float(np.sqrt(np.mean(np.frombuffer(bytes(pcm), "<i2").astype(float) ** 2)))


def test_a_stall_costs_its_own_time_only() -> None:
    """Breaks: after one second of network stall everything is a second late for the rest of the call."""
    sender = Sender(late_s=lambda k: max(0.0, 3.0 - k * 0.02) if 100 <= k < 150 else 0.0)
    _, playout = play(sender, 6)
    assert playout.delay_ms < 120
    assert playout.late > 30
    out, playout = play_on(sender, playout, 6, 10)
    assert playout.delay_ms < 60
    assert clicks(out, 440) == 0


def test_silence_suppression_is_not_loss() -> None:
    """Breaks: a sender that sends nothing in pauses gets a bad quality figure."""
    playout = Playout(Linear(), 8000, 8000)
    number = 0
    for k in range(400):
        if k % 100 < 50:
            playout.put(Packet(0, number, k * FRAME, 1, sine(440, k * FRAME)), k * 0.02)
            number += 1
        playout.pull(FRAME)
    assert playout.lost == 0
    assert playout.late == 0
    assert playout.concealed <= 4 * 10 + 4


def test_silence_before_the_first_packet_is_quiet_and_uncounted() -> None:
    """Breaks: the called person hears hiss or the caller's figures start with losses."""
    playout = Playout(Linear(), 8000, 8000)
    out = b"".join(playout.pull(FRAME) for _ in range(500))
    assert rms(out) < 33  # -60 dBFS
    assert playout.concealed == 0


def test_a_long_gap_fades_to_quiet_noise() -> None:
    """Breaks: a lost network makes the module hum the last vowel for ever."""
    _, playout = play(Sender(lost=lambda k: k >= 100), 2)
    out = b"".join(playout.pull(FRAME) for _ in range(50))
    assert rms(out[-8000:]) < 110  # -50 dBFS


def test_garbage_payload_is_counted_not_raised() -> None:
    """Breaks: one bad Opus packet ends the call's voice."""
    if "opus" not in codecs.available():
        pytest.fail("libopus0 is not installed: apt install libopus0")
    playout = Playout(codecs.make("opus", 8000), 8000, 48000)
    playout.put(Packet(111, 1, 0, 1, b"\xff" * 3), 0.0)
    for _ in range(10):
        playout.pull(FRAME)
    assert playout.damaged == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 2), st.binary(max_size=400),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_any_packets_in_any_order_leave_an_even_stream(packets: Sequence[Any]) -> None:
    """Breaks: a hostile or broken sender stops the box's ticker or fills its memory."""
    playout = Playout(codecs.make("PCMU", 8000), 8000, 8000)
    now = 0.0
    for sequence, timestamp, ssrc, payload, pulls in packets:
        playout.put(Packet(0, sequence, timestamp, ssrc, payload), now)
        for _ in range(pulls):
            assert len(playout.pull(FRAME)) == FRAME * 2
            now += 0.02
    assert playout.lost >= 0
    assert playout.delay_ms < 2000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-40, 40), max_size=80), st.integers(0, 0xFFFF))
def test_every_number_is_counted_once(steps: list[int], start: int) -> None:
    """Breaks: loss figures in the record are wrong."""
    numbers, seen, at = Numbers(), set[int](), start + 0x10000
    for step in [0, *steps]:
        at = max(at + step, max(seen, default=at) - 250)  # doubles are known 256 back
        fresh = numbers.feed(at & 0xFFFF) is not None
        assert fresh == (at not in seen)
        seen.add(at)
    assert numbers.received == len(seen)
    assert numbers.expected == max(seen) - min(seen) + 1


# The other direction: module to RTP


def test_pieces_of_any_size_come_out_whole() -> None:
    """Breaks: a module that writes in bursts of 1600 octets crackles."""
    capture, out = Capture(8000), bytearray()
    for tick in range(500):
        if tick % 5 == 0:
            capture.push(sine(440, tick * FRAME, 800))
        pcm, _ = capture.pull(FRAME)
        out += pcm
    assert capture.concealed == 0
    assert clicks(bytes(out[1600:]), 440) == 0


@pytest.mark.parametrize(("ppm", "seconds"), [(100, 600), (-100, 600), (500, 120), (-500, 120)])
def test_a_module_clock_that_drifts_makes_no_click(ppm: int, seconds: int) -> None:
    """Breaks: S3, the SIP side hears clicks in a long call."""
    capture, out, given_out = Capture(8000), bytearray(), 0
    for tick in range(seconds * 50):
        ready = int(tick * 0.02 * 8000 * (1 + ppm * 1e-6)) // 160 * 160
        if ready > given_out:
            capture.push(sine(440, given_out, ready - given_out))
            given_out = ready
        out += capture.pull(FRAME)[0]
    assert clicks(bytes(out[3200:]), 440) == 0
    assert capture.concealed <= 1
    assert capture.delay_ms < 60


def test_host_late_drops_the_oldest_and_says_so() -> None:
    """Breaks: a busy computer leaves the call seconds behind."""
    capture = Capture(8000)
    for _ in range(3):
        capture.push(sine(440, 0, 8000))
    assert capture.delay_ms <= 400
    assert capture.dropped > 16_000


def test_capture_starts_anew_after_clear() -> None:
    """Breaks: 300 ms of stale noise at answer."""
    capture = Capture(8000)
    capture.push(array("h", [20_000] * 2000).tobytes())
    capture.clear()
    capture.push(bytes(320))
    out = b"".join(capture.pull(FRAME)[0] for _ in range(5))
    assert rms(out[640:]) < 110
