"""The voice end for programs, and the arithmetic below it."""

import asyncio
import contextlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.sip import codecs, g711
from simrack.sip.rtp import Packet, RtpPort
from simrack.sip.sdp import Chosen
from simrack.sip.tone import (
    BadRecording,
    Recording,
    RtpTalker,
    Silence,
    Sine,
    dominant_hz,
    read_wav,
    write_wav,
)
from simrack.wire.ports import SystemClock, SystemIds

Pair = tuple[RtpTalker, RtpTalker]


def close(heard: tuple[float, float], hz: float, db: float) -> bool:
    """The tone of `Sine(hz)` within 2 Hz and `db`."""
    return abs(heard[0] - hz) <= 2 and abs(heard[1] + 13) <= db


@pytest.fixture
def pair(clock: Any) -> Iterator[Callable[..., Pair]]:
    ports = [RtpPort.bind("127.0.0.1", range(30000, 40000)) for _ in range(2)]

    def make(codec: str = "PCMU", ticking: Any = clock, sources: Any = None) -> Pair:
        row = codecs.row(codec)
        one, other = (
            RtpTalker(
                mine, Chosen(codec, row.payload_type, 101, other.address, 20, True, True), source,
                clock=ticking, ids=SystemIds(),
            )
            for mine, other, source in zip(ports, reversed(ports), sources or (Sine(440), Sine(1000)), strict=True)
        )  # fmt: skip
        return one, other

    yield make
    for port in ports:
        port.close()


@pytest.mark.parametrize("codec", codecs.available())
def test_both_ends_hear_each_other(codec: str, pair: Callable[..., Pair], clock: Any) -> None:
    """Breaks: `simrack call` and the demo can't prove voice."""
    one, other = pair(codec)
    for _ in range(100):
        one.tick()
        other.tick()
        clock.now += 0.02
    assert close(other.heard_tone(), 440, 2)
    assert close(one.heard_tone(), 1000, 2)
    assert len(one.heard()) // 2 == pytest.approx(99 * 160, abs=160)


def test_digits_cross(pair: Callable[..., Pair]) -> None:
    """Breaks: DTMF tests of the lab and `simrack call --digits`."""
    one, other = pair()
    one.send_digits("0*7")
    while one.sending_digits:
        one.tick()
        other.tick()
    other.tick()
    assert other.digits == ["0", "*", "7"]
    one.update(Chosen("PCMU", 0, None, one.chosen.remote, 20, True, True))
    with pytest.raises(ValueError, match="no telephone events"):
        one.send_digits("1")


def test_hold_sends_nothing(pair: Callable[..., Pair]) -> None:
    """Breaks: tests of hold see voice that should not be there."""
    one, other = pair()
    one.update(Chosen("PCMU", 0, 101, one.chosen.remote, 20, False, True))
    for _ in range(10):
        one.tick()
        other.tick()
    assert (one.sent, other.received) == (0, 0)
    assert other.heard_tone() == (0.0, -96.0)


def test_lost_packets_are_silence_in_the_recording(pair: Callable[..., Pair], client: Any) -> None:
    """Breaks: a recording is shorter than the call, its tones out of place."""
    one, _ = pair()
    target = one._port.address
    one.update(Chosen("PCMU", 0, None, client.address, 20, True, True))
    codec = codecs.make("PCMU", 8000)
    client.timestamp = 0xFFFFFF00
    for k in range(50):
        if k % 10 == 9:
            client.skip()
        else:
            client.send(codec.encode(Sine(440).take(160, 8000)), target)
    one.tick()
    assert len(one.heard()) == 49 * 320
    assert one.heard()[9 * 320 : 10 * 320] == bytes(320)
    client.ssrc, client.timestamp = 99, 5
    client.send(codec.encode(bytes(320)), target)
    one.tick()
    assert len(one.heard()) == 50 * 320


async def test_run_sends_fifty_packets_a_second(pair: Callable[..., Pair]) -> None:
    """Breaks: the built-in caller sends too fast or too slow."""
    one, other = pair(ticking=SystemClock())
    tasks = [asyncio.create_task(talker.run()) for talker in (one, other)]
    begun = SystemClock().monotonic()
    async with asyncio.timeout(10):
        while other.received < 25:  # noqa: ASYNC110  waits for real packets
            await asyncio.sleep(0.01)
    elapsed = SystemClock().monotonic() - begun
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert one.sent == pytest.approx(elapsed * 50, abs=4)


def test_wav_round_trip(tmp_path: Path, pair: Callable[..., Pair]) -> None:
    """Breaks: recordings of test calls can't be kept or replayed."""
    pcm = Sine(500).take(8000, 8000)
    write_wav(tmp_path / "a.wav", pcm, 8000)
    assert read_wav(tmp_path / "a.wav") == (pcm, 8000)
    again = Recording(tmp_path / "a.wav", loop=True)
    heard = b"".join(again.take(160, 8000) for _ in range(100))
    assert heard == pcm * 2
    once = Recording(tmp_path / "a.wav")
    heard = b"".join(once.take(320, 16000) for _ in range(60))
    assert dominant_hz(heard[:32000], 16000)[0] == pytest.approx(500, abs=2)
    assert heard[-320:] == bytes(320)
    one, other = pair(sources=(Recording(tmp_path / "a.wav"), Silence()))
    for _ in range(60):
        one.tick()
        other.tick()
    other.save(tmp_path / "b.wav")
    assert dominant_hz(read_wav(tmp_path / "b.wav")[0][:8000], 8000)[0] == pytest.approx(500, abs=2)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a wav file at all"])
def test_bad_recordings_are_named(content: bytes, tmp_path: Path) -> None:
    """Breaks: a traceback instead of the file's name."""
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(BadRecording, match=r"bad\.wav"):
        Recording(tmp_path / "bad.wav")


@settings(max_examples=30, deadline=None)
@given(st.floats(310, 3390), st.floats(-40, -6), st.sampled_from([800, 1600, 4000]))
def test_the_tone_is_named_exactly(hz: float, dbfs: float, count: int) -> None:
    """Breaks: random tones of the proof are judged wrong."""
    heard, level = dominant_hz(Sine(hz, dbfs).take(count, 8000), 8000)
    assert heard == pytest.approx(hz, abs=5)
    assert level == pytest.approx(dbfs, abs=1)


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(16000), bytes(20)])
def test_silence_has_no_tone(pcm: bytes) -> None:
    """Breaks: a mute call passes the demo."""
    assert dominant_hz(pcm, 8000) == (0.0, -96.0)


# G.711 and friends


def segment(magnitude: int) -> int:
    return max(0, (magnitude + 132).bit_length() - 8)


@given(st.lists(st.integers(-32000, 32000), min_size=1, max_size=320))
def test_g711_keeps_each_sample_within_its_step(samples: list[int]) -> None:
    """Breaks: voice through G.711 is distorted."""
    pcm = array("h", samples).tobytes()
    for name in ("PCMA", "PCMU"):
        codec = codecs.make(name, 8000)
        back = array("h", codec.decode(codec.encode(pcm)))
        assert all(abs(a - b) <= 16 << segment(abs(a)) for a, b in zip(samples, back, strict=True))


@pytest.mark.parametrize("hz", [300, 1000, 2000, 3000, 3400])
def test_the_half_band_filter_is_flat_in_the_voice_band(hz: int) -> None:
    """Breaks: 16 kHz modules sound dull on G.711."""
    down, up = g711.Halver(), g711.Doubler()
    wide, narrow = Sine(hz).take(6400, 16000), Sine(hz).take(3200, 8000)
    half = b"".join(down.feed(wide[i : i + 640]) for i in range(0, len(wide), 640))
    double = b"".join(up.feed(narrow[i : i + 320]) for i in range(0, len(narrow), 320))
    assert close(dominant_hz(half[640:], 8000), hz, 0.3)
    assert close(dominant_hz(double[1280:], 16000), hz, 0.3)


def test_what_is_above_the_band_does_not_fold_down() -> None:
    """Breaks: hiss of a 16 kHz module becomes whistles."""
    down = g711.Halver()
    assert g711.level_dbfs(down.feed(Sine(5500).take(6400, 16000))[640:]) < -55


def test_unknown_codecs_are_named() -> None:
    """Breaks: a spelling mistake in a plan's codec list is a KeyError."""
    with pytest.raises(codecs.CodecError, match="PCMA, PCMU"):
        codecs.row("G729")
    with pytest.raises(codecs.CodecError, match="8000 and 16000"):
        codecs.make("PCMA", 11025)


@pytest.mark.parametrize("opposite", [1, -1])
def test_pitch_is_found_in_phase(opposite: int) -> None:
    """Breaks: concealment joins a wave upside down, which is a click."""
    pcm = Sine(2500).take(400, 8000)
    lag = g711.best_lag(g711.amplify(pcm, opposite), 64, 40, 136)
    period = 8000 / 2500
    assert lag / period == pytest.approx(round(lag / period), abs=0.02)


def test_a_frame_packs_one_packet_for_every_codec() -> None:
    """Breaks: a new codec row that does not keep the contract of 20 ms in, 20 ms out."""
    for name in codecs.available():
        for rate in (8000, 16000):
            codec = codecs.make(name, rate)
            for _ in range(3):
                out = codec.decode(codec.encode(bytes(rate // 50 * 2)))
                assert len(out) == rate // 50 * 2


def test_talker_ignores_what_is_not_rtp(pair: Callable[..., Pair], client: Any) -> None:
    """Breaks: a stray packet ends a test call."""
    one, _ = pair()
    client.sock.sendto(b"junk", one._port.address)
    client.sock.sendto(Packet(96, 1, 1, 1, b"x").encode(), one._port.address)
    one.tick()
    assert one.received == 0
