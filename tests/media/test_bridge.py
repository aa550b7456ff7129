"""Voice through a bridge over a real PTY and UDP loopback, with a clock moved by hand."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from voice_bridge import Clicks, Rig, Strongest, rms

from simrack.drivers.modems.base import AudioFormat
from simrack.gateway.voice import AudioLost, AudioPort, VoiceTicker
from simrack.gateway.voice import audio as audio_file
from simrack.sip import codecs, dtmf
from simrack.sip.rtp import Packet, RtpPort
from simrack.sip.sdp import Chosen


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("codec", codecs.available())
async def test_a_tone_passes_both_ways(
    codec: str, rate: int, make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: nobody hears anything, or not what was said."""
    rig = make_rig(codec=codec, rate=rate)
    rig.run(150, to_module=tone(700, rate=rate), to_client=tone(1100, rate=rate))
    half = rate  # octets of half a second
    heard, level = hz(bytes(rig.module.heard[-2 * half :]), rate)
    assert heard == pytest.approx(700, abs=3)
    assert level == pytest.approx(-13, abs=2)
    heard, level = hz(rig.at_client()[-2 * half :], rate)
    assert heard == pytest.approx(1100, abs=3)
    assert level == pytest.approx(-13, abs=2)
    figures = rig.bridge.figures()
    assert (figures.to_network.lost, figures.to_network.late, figures.to_network.concealed) == (0, 0, 0)
    assert (figures.from_network.late, figures.from_network.concealed) == (0, 0)
    assert figures.mos is not None
    assert figures.mos > 4.0


async def test_delay_through_the_box_stays_human(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: S3, p95 60 ms added; people talk over each other."""
    rig = make_rig()
    rig.run(100)
    mark = len(rig.module.heard), len(rig.at_client())
    rig.run(20, to_module=tone(700), to_client=tone(700))
    for heard, start in ((bytes(rig.module.heard), mark[0]), (rig.at_client(), mark[1])):
        loud = np.abs(np.frombuffer(heard[start:], "<i2")) > 1000
        assert np.argmax(loud) / 8 <= 60


async def test_heard_needs_a_tenth_of_a_second(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: a click of the module is signalled as early media, or an announcement is not heard."""
    rig = make_rig()
    rig.run(100, to_client=tone(400, dbfs=-56))
    assert not rig.bridge.heard.is_set()
    rig.run(3, to_client=tone(400, dbfs=-40))
    rig.run(20, to_client=tone(400, dbfs=-70))
    assert not rig.bridge.heard.is_set()
    rig.run(9, to_client=tone(400, dbfs=-45))
    assert rig.bridge.heard.is_set()


async def test_digits_from_the_sip_side_are_told_once(make_rig: Callable[..., Rig]) -> None:
    """Breaks: voice menus behind the mobile network."""
    rig = make_rig()
    speaking = dtmf.Speaking(8000)
    for digit in "159#":
        speaking.say(digit)
    while not speaking.idle:
        for event in speaking.next(rig.client.timestamp, 20):
            data = Packet(101, rig.client.sequence, event.timestamp, 77, event.payload).encode()
            rig.client.sock.sendto(data, rig.port.address)
            rig.client.skip(0)
        rig.client.skip(160)
        rig.tick()
    assert [rig.bridge.digits.get_nowait() for _ in range(rig.bridge.digits.qsize())] == list("159#")


async def test_digits_to_the_sip_side(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: a called voice menu can't send digits back."""
    rig = make_rig()
    rig.run(10, to_client=tone(400))
    for digit in "42D":
        rig.bridge.speak(digit)
    rig.run(60, to_client=tone(400))
    hearing = dtmf.Hearing()
    heard = [hearing.feed(p.payload, p.timestamp) for p in rig.client.packets if p.payload_type == 101]
    assert [d for d in heard if d] == ["4", "2", "D"]
    numbers = [p.sequence for p in rig.client.packets]
    assert [(b - a) & 0xFFFF for a, b in itertools.pairwise(numbers)] == [1] * (len(numbers) - 1)


async def test_digits_go_as_tones_where_no_events_were_agreed(
    make_rig: Callable[..., Rig], hz: Strongest
) -> None:
    """Breaks: old SIP gear without RFC 4733 gets no digits."""
    rig = make_rig()
    rig.bridge.update(replace(rig.chosen, dtmf_type=None))
    rig.bridge.speak("5")
    rig.run(5)
    assert {p.payload_type for p in rig.client.packets} == {0}
    assert hz(rig.at_client()[-1600:])[0] in (pytest.approx(770, abs=15), pytest.approx(1336, abs=15))


@pytest.mark.parametrize("events", [101, None])
async def test_only_digits_are_spoken(events: int | None, make_rig: Callable[..., Rig]) -> None:
    """Breaks: a bad SIP INFO ends the call."""
    rig = make_rig()
    rig.bridge.update(replace(rig.chosen, dtmf_type=events))
    with pytest.raises(ValueError, match="no DTMF digit"):
        rig.bridge.speak("x")


async def test_hold_and_resume(make_rig: Callable[..., Rig], tone: Any, hz: Strongest) -> None:
    """Breaks: the held side hears the other, or resuming brings no voice back."""
    rig = make_rig()
    rig.run(50, to_module=tone(700), to_client=tone(1100))
    rig.bridge.update(replace(rig.chosen, sends=False, receives=False))
    rig.client.packets.clear()
    rig.module.heard.clear()
    rig.run(400, to_module=tone(700), to_client=tone(1100))
    assert rig.client.packets == []
    assert rms(rig.module.heard[640:]) == 0
    assert not rig.bridge.no_media.is_set()
    rig.bridge.update(rig.chosen)
    rig.run(100, to_module=tone(700), to_client=tone(1100))
    assert hz(bytes(rig.module.heard[-8000:]))[0] == pytest.approx(700, abs=3)
    assert hz(rig.at_client()[-8000:])[0] == pytest.approx(1100, abs=3)
    assert rig.client.packets[0].marker


async def test_a_changed_codec_is_followed(make_rig: Callable[..., Rig], tone: Any, hz: Strongest) -> None:
    """Breaks: noise after a re-INVITE to another codec."""
    rig = make_rig()
    rig.run(50, to_module=tone(700))
    rig.bridge.update(replace(rig.chosen, codec="PCMA", payload_type=8))
    rig.row, rig.far = codecs.row("PCMA"), codecs.make("PCMA", 8000)
    rig.run(100, to_module=tone(700), to_client=tone(1100))
    assert hz(bytes(rig.module.heard[-8000:]))[0] == pytest.approx(700, abs=3)
    assert hz(rig.at_client()[-8000:])[0] == pytest.approx(1100, abs=3)


@pytest.mark.parametrize("ptime", [10, 20, 30, 40, 60])
async def test_each_packet_length_is_kept(
    ptime: int, make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: clients that ask for 30 ms packets get choppy voice."""
    rig = make_rig()
    rig.bridge.update(replace(rig.chosen, ptime_ms=ptime))
    rig.run(150, to_client=tone(1100))
    assert {len(p.payload) for p in rig.client.packets} == {ptime * 8}
    stamps = [p.timestamp for p in rig.client.packets]
    assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == {ptime * 8}
    assert hz(rig.at_client()[-8000:])[0] == pytest.approx(1100, abs=3)


@pytest.mark.parametrize(("sequence", "stamp"), [(7, 0), (100, 2**31), (30_000, 77), (150, 900_000)])
async def test_a_new_source_number_and_a_restart_of_the_numbers_go_on(
    sequence: int, stamp: int, make_rig: Callable[..., Rig], tone: Any, clicks: Clicks
) -> None:
    """Breaks: after a transfer, or a client that starts its stream anew, the called person hears nothing or a crackle."""
    rig, voice = make_rig(), tone(700)
    rig.run(100, to_module=voice)
    rig.client.ssrc += 1
    rig.run(100, to_module=voice)
    rig.client.sequence, rig.client.timestamp = sequence, stamp
    rig.run(100, to_module=voice)
    figures = rig.bridge.figures().to_network
    assert (figures.lost, figures.late, figures.concealed, figures.packets) == (0, 0, 0, 300)
    assert clicks(bytes(rig.module.heard[3200:]), 700, -13) == 0


async def test_silence_suppression_with_comfort_noise_is_no_loss(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: clients with DTX sound chopped, get a bad MOS, or are called one-way."""
    rig, voice = make_rig(), tone(700)
    rig.bridge.answered()
    for _ in range(12):
        rig.run(25, to_module=voice)
        noise = Packet(13, rig.client.sequence, rig.client.timestamp, rig.client.ssrc, bytes([60])).encode()
        rig.client.sock.sendto(noise, rig.port.address)
        rig.client.skip(25 * 160)
        rig.run(25, to_client=tone(500))
    figures = rig.bridge.figures()
    assert figures.to_network.late == 0
    assert figures.to_network.concealed <= 12 * 11
    assert figures.trouble == ""
    tail = bytes(rig.module.heard[-10 * 320 :])
    assert 10 < rms(tail) < 110


async def test_no_media_both_ways_is_told(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: a dead call is held and paid for ever."""
    rig = make_rig()
    rig.run(100, to_module=tone(700), to_client=tone(700))
    rig.run(200)
    assert not rig.bridge.no_media.is_set()
    assert list(rig.bridge.gaps(rig.clock.now)) == pytest.approx([4.0, 4.0], abs=0.1)
    rig.run(60)
    assert rig.bridge.no_media.is_set()


@pytest.mark.parametrize("way", ["to_module", "to_client"])
async def test_one_way_voice_goes_on(
    way: str, make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: an announcement without return path is cut as `no media`."""
    rig = make_rig()
    rig.run(500, **{way: tone(900)})
    assert not rig.bridge.no_media.is_set()
    heard = bytes(rig.module.heard) if way == "to_module" else rig.at_client()
    assert hz(heard[-8000:])[0] == pytest.approx(900, abs=3)
    assert len(rig.client.packets) == 500


async def test_no_stale_voice_at_answer(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: field problem 3, 300 ms of old noise at answer."""
    rig = make_rig()
    rig.run(20)
    rig.module.speak(tone(700, dbfs=-6).take(1900))
    await asyncio.sleep(0)
    rig.bridge.answered()
    mark = len(rig.client.packets)
    rig.run(30)
    voice = b"".join(rig.far.decode(p.payload) for p in rig.client.packets[mark:])
    assert rms(voice) < 110


async def test_nothing_said_before_the_answer_is_heard_after_it(
    make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: at answer both sides hear what was queued while it rang, from sockets, ports, kernel or jitter buffer."""
    rig = make_rig()
    before, after = (tone(2600, dbfs=-6), tone(2600, dbfs=-6)), (tone(500), tone(500))
    rig.run(60, to_module=before[0], to_client=before[1])
    rig.audio.pause()  # 300 ms wait in the jitter buffer, 100 ms in the port
    for _ in range(15):
        rig.client.send(rig.far.encode(before[0].take(160)), rig.port.address)
        rig.ticker.tick()
        rig.clock.now += 0.02
    rig.audio.resume()
    for _ in range(6):
        rig.client.send(rig.far.encode(before[0].take(160)), rig.port.address)
        rig.ticker.tick()  # the module reads nothing: what is written stays with the kernel
        rig.clock.now += 0.02
    rig.client.send(rig.far.encode(before[0].take(160)), rig.port.address)
    rig.module.speak(before[1].take(1900))
    rig.bridge.answered()
    rig.module.listen()
    rig.module.heard.clear()
    rig.client.listen()
    rig.client.packets.clear()
    rig.run(50, to_module=after[0], to_client=after[1])
    for heard in (bytes(rig.module.heard), rig.at_client()):
        pieces = [heard[i : i + 640] for i in range(0, len(heard) - 639, 640)]
        assert not [at for at, piece in enumerate(pieces) if rms(piece) > 110 and abs(hz(piece)[0] - 500) > 100]
        assert hz(heard[-8000:])[0] == pytest.approx(500, abs=3)


async def test_an_idle_port_is_emptied(clock: Any, module: Any, client: Any, tone: Any) -> None:
    """Breaks: a new call begins with voice of the last one."""
    audio = AudioPort.open(module.path, AudioFormat())
    port = RtpPort.bind("127.0.0.1", range(20000, 30000))
    module.speak(tone(700).take(1600))
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not audio.read():
            break
    module.speak(tone(700, dbfs=-6).take(1600))
    chosen = Chosen("PCMU", 0, None, client.address, 20, True, True)
    ticker = VoiceTicker(clock)
    bridge = ticker.open(chosen, port, audio)
    for _ in range(20):
        ticker.tick()
        clock.now += 0.02
    client.listen()
    codec = codecs.make("PCMU", 8000)
    assert rms(b"".join(codec.decode(p.payload) for p in client.packets)) < 110
    with pytest.raises(ValueError, match="already serves"):
        ticker.open(chosen, port, audio)
    bridge.close()
    audio.close()
    port.close()


async def test_a_lost_port_is_told_and_rtp_goes_on(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: an unplugged module stops the ticker, and with it all calls of the box."""
    rig = make_rig()
    rig.run(50, to_client=tone(700))
    rig.module.unplug()
    mark = len(rig.client.packets)
    for _ in range(20):
        rig.ticker.tick()
        rig.client.listen()
        rig.clock.now += 0.02
    assert rig.audio.lost.is_set()
    assert rig.audio.reason
    assert len(rig.client.packets) - mark == 20


async def test_a_port_that_is_not_there() -> None:
    """Breaks: a wrong path in the box's file ends in a traceback."""
    with pytest.raises(AudioLost, match="nowhere"):
        AudioPort.open("/dev/nowhere", AudioFormat())


async def test_a_module_that_does_not_read_costs_only_its_own_voice(
    make_rig: Callable[..., Rig], tone: Any
) -> None:
    """Breaks: a full serial buffer blocks the box, or voice is a second late afterwards."""
    rig = make_rig()
    for _ in range(600):
        payload = rig.far.encode(tone(700).take(160))
        rig.client.send(payload, rig.port.address)
        rig.ticker.tick()
        rig.client.listen()
        rig.clock.now += 0.02
    assert rig.audio.dropped > 0
    while rig.module.listen():
        pass
    rig.audio.pause()
    rig.run(20, to_module=tone(700))
    assert not rig.module.listen()
    rig.audio.resume()
    rig.run(1, to_module=tone(700))
    assert len(rig.module.heard) > 1600


async def test_a_module_that_asks_to_pause_loses_no_voice_and_hears_none_late(
    make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: `+QPCMV: 0,0` costs words, or the call has a fifth of a second more delay for the rest of it."""
    rig = make_rig()
    speech = tone(700)
    rig.run(100, to_module=speech)
    before = rig.bridge._playout.delay_ms
    rig.module.heard.clear()
    rig.audio.pause()
    rig.run(10, to_module=speech)
    assert not rig.module.heard
    rig.audio.resume()
    rig.run(20, to_module=speech)
    assert len(rig.module.heard) == 20 * 320
    assert rig.bridge._playout.delay_ms > before + 150
    rig.run(800, to_module=speech)
    assert rig.bridge._playout.delay_ms < before + 60
    flow = rig.bridge.figures().to_network
    assert (flow.late, flow.concealed, rig.audio.dropped) == (0, 0, 0)
    # Nothing was left out either: every piece holds the tone at its full level.
    levels = [hz(bytes(rig.module.heard[at : at + 1600]))[1] for at in range(0, 200_000, 1600)]
    assert max(levels) - min(levels) < 1.0


async def test_a_pause_that_is_never_taken_back_ends_by_itself(
    make_rig: Callable[..., Rig], tone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks: one lost line at the AT port mutes the rest of the call, or the next one."""
    monkeypatch.setattr(audio_file, "MOST_PAUSE_S", 0.01)
    rig = make_rig()
    rig.audio.pause()
    await asyncio.sleep(0.03)
    assert not rig.audio.paused
    rig.audio.pause()
    rig.bridge.close()
    assert not rig.audio.paused
    rig.audio.pause()
    assert not rig.audio.paused, "without a call there is nothing to hold back"


@pytest.mark.parametrize("ppm", [100, -100])
async def test_the_module_sets_the_pace_of_its_port(ppm: int, make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: minutes into a call the module's buffer overflows or runs dry."""
    rig = make_rig()
    said, speech = 0, tone(700)
    for tick in range(250 * 50):
        ready = int(tick * 160 * (1 + ppm * 1e-6)) // 160 * 160
        if ready > said:
            rig.module.speak(speech.take(ready - said))
            said = ready
        rig.tick()
    assert abs(len(rig.module.heard) // 2 - said) <= 4 * 160
    assert rig.bridge.figures().drift_ppm == pytest.approx(ppm, abs=40)
    assert rig.bridge.figures().from_network.concealed <= 1


async def test_figures_tell_the_levels(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: the record can't tell a silent call from a loud one."""
    rig = make_rig()
    rig.run(260, to_module=tone(700, dbfs=-20), to_client=tone(700, dbfs=-30))
    figures = rig.bridge.figures()
    assert figures.codec == "PCMU"
    assert figures.to_network.packets == 260
    assert figures.to_network.octets == 260 * 160
    assert figures.from_network.packets == 260
    assert figures.to_network.levels[2:] == (-20,) * (len(figures.to_network.levels) - 2)
    assert figures.from_network.levels[2:] == (-30,) * (len(figures.from_network.levels) - 2)
    assert len(figures.from_network.levels) == 5
    assert figures.from_network.level_dbfs == pytest.approx(-30, abs=1)


async def test_gain_is_for_its_direction(
    clock: Any, module: Any, client: Any, tone: Any, hz: Strongest
) -> None:
    """Breaks: a quiet module can't be made louder without making the caller louder too."""
    audio = AudioPort.open(module.path, AudioFormat())
    port = RtpPort.bind("127.0.0.1", range(20000, 30000))
    ticker = VoiceTicker(clock)
    chosen = Chosen("PCMU", 0, None, client.address, 20, True, True)
    bridge = ticker.open(chosen, port, audio, gain_db=6.0, gain_to_module_db=-6.0)
    codec, up, down = codecs.make("PCMU", 8000), tone(700, dbfs=-20), tone(900, dbfs=-20)
    for _ in range(150):
        client.send(codec.encode(down.take(160)), port.address)
        module.speak(up.take(160))
        ticker.tick()
        module.listen()
        client.listen()
        clock.now += 0.02
    heard = b"".join(codec.decode(p.payload) for p in client.packets)
    assert hz(heard[-8000:])[1] == pytest.approx(-14, abs=0.5)
    assert hz(bytes(module.heard[-8000:]))[1] == pytest.approx(-26, abs=0.5)
    bridge.close()
    audio.close()
    port.close()


async def test_bursts_of_the_module_are_smoothed(
    make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: modules that deliver 1600 octets at once sound chopped."""
    rig, speech = make_rig(), tone(1100)
    for tick in range(300):
        if tick % 5 == 0:
            rig.module.speak(speech.take(800))
        rig.tick()
    assert rig.bridge.figures().from_network.concealed == 0
    assert hz(rig.at_client()[-8000:])[0] == pytest.approx(1100, abs=3)


async def test_odd_pieces_keep_their_samples(make_rig: Callable[..., Rig], tone: Any, hz: Strongest) -> None:
    """Breaks: a USB packet that ends inside a sample turns voice into noise."""
    rig, speech = make_rig(), tone(1100)
    line = speech.take(160 * 200)
    for tick in range(199):
        start = tick * 320 + (tick % 2)
        os.write(rig.module.fd, line[start : (tick + 1) * 320 + ((tick + 1) % 2)])
        rig.tick()
    heard, level = hz(rig.at_client()[-8000:])
    assert heard == pytest.approx(1100, abs=3)
    assert level == pytest.approx(-13, abs=1)


async def test_a_call_that_fails_does_not_disturb_its_neighbour(
    make_rig: Callable[..., Rig], clock: Any, tone: Any
) -> None:
    """Breaks: one bad call takes all calls of the box along."""
    rig = make_rig()
    rig.port.close()  # a closed socket under a live bridge is a bug of the owner
    rig.run(3)
    assert rig.ticker.calls == 1
    assert not rig.audio.lost.is_set()
    rig.bridge.close()
    rig.ticker.tick()
    assert rig.ticker.calls == 0


async def test_a_fault_in_a_bridge_is_told_to_its_call(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks: a call goes on without voice until somebody notices."""
    rig = make_rig()
    monkeypatch.setattr(rig.bridge, "_take_rtp", lambda _now: 1 / 0)
    rig.ticker.tick()
    assert rig.bridge.failed.is_set()
    assert rig.bridge.closed


async def test_ticks_that_are_made_up_together_lose_nothing(
    make_rig: Callable[..., Rig], tone: Any, clicks: Clicks
) -> None:
    """Breaks: a box that stood still for 60 ms clicks, or sends too few packets from then on."""
    rig, to_module, to_client = make_rig(), tone(730), tone(1120)
    for turn in range(100):
        steps = 3 if turn % 10 == 9 else 1
        for _ in range(steps):
            rig.client.send(rig.far.encode(to_module.take(160)), rig.port.address)
            rig.module.speak(to_client.take(160))
        rig.clock.now += 0.02 * (steps - 1)
        rig.ticker.tick(steps)
        rig.module.listen()
        rig.client.listen()
        rig.clock.now += 0.02
    figures = rig.bridge.figures()
    assert len(rig.client.packets) == rig.ticker.ticks == 120
    assert len(rig.module.heard) == 120 * 320
    assert clicks(bytes(rig.module.heard[-50 * 320 :]), 730, -13) == 0
    assert clicks(rig.at_client()[-50 * 320 :], 1120, -13) == 0
    assert (figures.to_network.late, figures.to_network.lost) == (0, 0)


async def test_after_a_stall_time_stamps_tell_the_true_time(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: after each stall of the box the SIP side's jitter buffer takes our voice for late, for the rest of the call."""
    rig = make_rig()
    rig.run(20, to_client=tone(400))
    rig.ticker._skip(25)
    rig.run(20, to_client=tone(400))
    before, after = rig.client.packets[19:21]
    assert (after.sequence - before.sequence) & 0xFFFF == 1
    assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 26 * 160
    assert after.marker


async def test_the_ticker_keeps_time() -> None:
    """Breaks: voice too fast or too slow, or a stalled box that never catches up."""
    clock = Jumping()
    ticker = VoiceTicker(clock)
    task = asyncio.create_task(ticker.run())
    try:
        async with asyncio.timeout(5):
            await clock.seen(ticker)
            clock.offset += 0.06
            await clock.seen(ticker)
            clock.offset += 10.0
            await clock.seen(ticker)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    elapsed = clock.monotonic() - clock.start
    assert ticker.skipped > 400
    assert ticker.ticks + ticker.skipped == pytest.approx(elapsed / 0.02, abs=4)


class Jumping:
    """The machine's clock with an offset, as a computer that stood still."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.start = self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_event_loop().time() + self.offset

    def utc(self) -> Any:
        raise NotImplementedError

    async def seen(self, ticker: VoiceTicker) -> None:
        before = ticker.ticks
        while ticker.ticks < before + 8:  # noqa: ASYNC110  the ticker tells nobody of its ticks
            await asyncio.sleep(0.001)
