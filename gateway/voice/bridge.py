"""One call's voice between an RTP port and a module's audio port, moved on by the ticker every 20 ms."""

import asyncio

import structlog

from simrack.gateway.voice.audio import AudioPort
from simrack.gateway.voice.capture import Capture
from simrack.gateway.voice.ear import Ear
from simrack.gateway.voice.measure import FRAMES_PER_S, GSM_DELAY_MS, DeadAir, Drift, Levels
from simrack.gateway.voice.mos import mos
from simrack.gateway.voice.pacer import Pacer
from simrack.gateway.voice.playout import FRAME_MS, Playout
from simrack.gateway.voice.verdict import NO_MEDIA, Way, verdict
from simrack.sip import codecs, dtmf, g711, rtp
from simrack.sip.sdp import Chosen
from simrack.wire.messages import FlowFigures, MediaFigures

HEARD_DBFS = -50.0  # gateway.md, early media
HEARD_FRAMES = 5  # 100 ms
MOST_DIGITS = 64  # that nobody fetched; more is a flood
TICK_S = FRAME_MS / 1000

log = structlog.get_logger()


class Bridge:
    """Voice both ways. Made by `VoiceTicker.open`; `close` ends it and leaves both ports open."""

    def __init__(
        self,
        chosen: Chosen,
        port: rtp.RtpPort,
        audio: AudioPort,
        *,
        seed: str,
        now: float,
        gain_db: float = 0.0,
        gain_to_module_db: float = 0.0,
        no_media_s: float = 30.0,
    ) -> None:
        self.heard = asyncio.Event()
        self.no_media, self.failed = asyncio.Event(), asyncio.Event()
        self.digits: asyncio.Queue[str] = asyncio.Queue(MOST_DIGITS)
        self.closed = False
        self._port, self._audio = port, audio
        self._rate, self._frame = audio.format.rate, audio.frame
        self._stream = rtp.Stream(seed)
        self._gain = g711.gain_factor(gain_db)
        self._gain_to_module = g711.gain_factor(gain_to_module_db)
        self._no_media_s = no_media_s
        self._capture = Capture(self._rate)
        self._pacer = Pacer(self._frame)
        self._peer = rtp.Peer(chosen.remote, _types(chosen))
        self._hearing = dtmf.Hearing()
        self._levels_in, self._levels_out = Levels(), Levels()
        self._begin_talk()
        self._drift_pcm = Drift()
        self._loud = self._ticks = 0
        self._talks = False
        self._now = self._rtp_at = self._pcm_at = now
        self._delay_in = self._delay_out = 0.0
        self._jitter_out = 0.0
        self._packets_out = self._octets_out = self.foreign = self.digits_lost = 0
        self._marker = True
        self._out = bytearray()
        self._tone = b""
        self._ear: Ear | None = None
        self._load(chosen.codec)
        self._use(chosen)
        audio.acquire()

    def _load(self, codec: str) -> None:
        self._row = codecs.row(codec)
        self._codec = codecs.make(codec, self._rate)
        self._playout = Playout(self._codec, self._rate, self._row.clock)
        self._drift_rtp = Drift()

    def _begin_talk(self) -> None:
        self._way_in, self._way_out = Way(), Way()
        self._dead_in, self._dead_out = DeadAir(), DeadAir()

    def _use(self, chosen: Chosen) -> None:
        self.chosen, row = chosen, self._row
        self._packet = self._rate * chosen.ptime_ms // 1000 * g711.WIDTH
        self._speaking = dtmf.Speaking(row.clock)
        self._out.clear()

    # What the call logic says

    def update(self, chosen: Chosen) -> None:
        """A re-INVITE agreed on something new: hold, resume, another address, another codec.

        The jitter buffer lives on unless the codec changed.
        """
        if chosen.codec != self.chosen.codec:
            self._load(chosen.codec)
        self._peer.update(chosen.remote, _types(chosen))
        self._use(chosen)
        self._marker = True

    def answered(self) -> None:
        """Empty what waits in either direction, so that nobody hears at answer what was said before it.

        Sockets, ports with the kernel's buffers, queues, and what gaps would repeat of it. Dead air and one-way voice are judged from here on.
        """
        self._take_rtp(self._now)
        self._playout.clear()
        self._audio.drain()
        self._capture.clear()
        self._out.clear()
        self._begin_talk()
        self._talks = True

    def speak(self, digit: str) -> None:
        """Send a digit to the SIP side, as an event or, where none were agreed, as a tone.

        Raises ValueError for a character that is no digit.
        """
        if self.chosen.dtmf_type is not None:
            self._speaking.say(digit)
        elif len(digit) == 1 and digit.upper() in dtmf.DIGITS:
            pause = bytes(self._rate * dtmf.PAUSE_MS // 1000 * g711.WIDTH)
            self._tone += dtmf.tone(digit.upper(), self._rate) + pause
        else:
            raise ValueError(f"{digit!r} is no DTMF digit; allowed are {dtmf.DIGITS}")

    def listen(self, said: tuple[str, int], heard: tuple[str, int], seeds: tuple[str, str], seconds: float) -> None:
        """Copy both directions to two addresses for a time; a new listener takes the place of the one before."""
        self._ear = Ear(self._port, said, heard, seeds, self._rate, self._now + seconds)

    def unlisten(self) -> None:
        """No more copies."""
        self._ear = None

    @property
    def listened(self) -> bool:
        """Whether somebody gets copies."""
        return self._ear is not None

    def gaps(self, now: float) -> tuple[float, float]:
        """Seconds since the last RTP packet and since the last PCM of the module."""
        return now - self._rtp_at, now - self._pcm_at

    @property
    def audio(self) -> AudioPort:
        return self._audio

    @property
    def strangers(self) -> int:
        """Packets from sources that have no part in this call."""
        return self._peer.strangers

    def close(self) -> None:
        """Stop; idempotent. The RTP port and the audio port stay with their owners."""
        if not self.closed:
            self.closed = True
            self._audio.release()

    def figures(self) -> MediaFigures:
        """Voice of the call so far."""
        return MediaFigures(
            codec=self.chosen.codec,
            to_network=self._flow_in(),
            from_network=self._flow_out(),
            drift_ppm=round(self._drift_ppm(), 1),
            mos=self._mos(),
            strangers=self.strangers,
            trouble=self.trouble,
        )

    @property
    def trouble(self) -> str:
        """What is wrong with the voice since the answer, as `verdict` says it."""
        if not self._talks:
            return ""
        return NO_MEDIA if self.no_media.is_set() else verdict(self._way_in, self._way_out)

    # What the ticker does

    def tick(self, now: float, steps: int = 1) -> None:
        """One step of 20 ms: take what came, play, send, look whether media still flows.

        Steps that are made up after a stall come together: one look at the ports, one write, so that being late costs less, not more.
        """
        self._now = now
        if self._ear is not None and now >= self._ear.until:
            self._ear = None
        self._take_rtp(now)
        read = self._take_pcm(now)
        frames = self._pacer.frames(read, steps)
        # While the module is full, voice waits in the jitter buffer, which afterwards sheds the delay unheard.
        if frames > 0 and not self._audio.paused:
            self._audio.write(b"".join([self._play() for _ in range(frames)]))
        for _ in range(steps):
            self._send()
        if (self._ticks + steps) // FRAMES_PER_S > self._ticks // FRAMES_PER_S:
            self._port.drain_rtcp()
        self._ticks += steps
        self._watch(now, steps * TICK_S)

    def skip(self, steps: int) -> None:
        """The host stood still for so long that these steps are left out: our time stamps tell how late it is."""
        self._stream.advance(steps * FRAME_MS * self._row.clock // 1000)
        self._marker = True

    def _take_rtp(self, now: float) -> None:
        came = 0
        for data, source in self._port.poll():
            packet = rtp.parse(data)
            if packet is None:
                self.foreign += 1
            elif self._peer.accepts(source, packet.payload_type, now):
                self._rtp_at = now
                came += self._sort(packet, now)
        if came:
            self._drift_rtp.add(now, self._playout.stamp / self._row.clock)

    def _sort(self, packet: rtp.Packet, now: float) -> int:
        """Give a packet to its part; 1 when it was voice."""
        chosen = self.chosen
        if not chosen.receives:
            return 0
        if packet.payload_type == chosen.payload_type:
            self._way_in.pieces += 1
            self._playout.put(packet, now)
            return 1
        if packet.payload_type == chosen.dtmf_type:
            self._hear_digit(packet)
        elif packet.payload:
            self._playout.pause_noise(packet.payload[0] & 0x7F)
        return 0

    def _hear_digit(self, packet: rtp.Packet) -> None:
        digit = self._hearing.feed(packet.payload, packet.timestamp)
        if digit is None:
            return
        try:
            self.digits.put_nowait(digit)
        except asyncio.QueueFull:
            self.digits_lost += 1

    def _take_pcm(self, now: float) -> int:
        pcm = self._audio.read()
        if not pcm:
            return 0
        samples = len(pcm) // g711.WIDTH
        self._way_out.pieces += 1
        late_ms = (now - self._pcm_at) * 1000 - samples * 1000 / self._rate
        self._jitter_out += (abs(late_ms) - self._jitter_out) / 16
        self._pcm_at = now
        self._capture.push(pcm)
        self._drift_pcm.add(now, self._capture.samples / self._rate)
        return samples

    def _play(self) -> bytes:
        """A frame for the module; a module's uplink must be fed even when nothing is to say."""
        pcm = self._pull()
        if self._ear is not None:
            self._ear.said.feed(pcm)
        return pcm

    def _pull(self) -> bytes:
        if not self.chosen.receives:
            return bytes(self._frame * g711.WIDTH)
        pcm = self._playout.pull(self._frame)
        level = self._playout.level if self._playout.speaking else 0
        self._way_in.heard(level)
        self._dead_in.add(level)
        if self._gain_to_module != 1.0:
            pcm = g711.amplify(pcm, self._gain_to_module)
        if self._playout.received:
            self._levels_in.add(self._playout.level)
            self._delay_in += (self._playout.delay_ms - self._delay_in) / FRAMES_PER_S
        return pcm

    def _send(self) -> None:
        pcm, real = self._capture.pull(self._frame)
        self._judge(real)
        if self._gain != 1.0:
            pcm = g711.amplify(pcm, self._gain)
        if self._tone:
            pcm = (self._tone[: len(pcm)] + bytes(len(pcm)))[: len(pcm)]
            self._tone = self._tone[len(pcm) :]
        if self._ear is not None:
            self._ear.heard.feed(pcm)
        self._out += pcm
        while len(self._out) >= self._packet:
            piece = bytes(self._out[: self._packet])
            del self._out[: self._packet]
            self._send_packet(piece)

    def _judge(self, real: bool) -> None:
        level = self._capture.level if real else 0
        self._way_out.heard(level)
        self._dead_out.add(level)
        if real:
            self._levels_out.add(self._capture.level)
            self._delay_out += (self._capture.delay_ms - self._delay_out) / FRAMES_PER_S
        if self.heard.is_set():
            return
        loud = real and g711.to_dbfs(self._capture.level) >= HEARD_DBFS
        self._loud = self._loud + 1 if loud else 0
        if self._loud >= HEARD_FRAMES:
            self.heard.set()

    def _send_packet(self, pcm: bytes) -> None:
        chosen, stream = self.chosen, self._stream
        units = chosen.ptime_ms * self._row.clock // 1000
        if chosen.sends:
            spoken = self._speaking.next(stream.timestamp, chosen.ptime_ms)
            for event in spoken:
                assert chosen.dtmf_type is not None
                self._out_packet(chosen.dtmf_type, event.payload, event.marker, event.timestamp)
            if not spoken:
                self._out_packet(chosen.payload_type, self._codec.encode(pcm), self._marker, None)
                self._marker = False
        stream.advance(units)

    def _out_packet(self, kind: int, payload: bytes, marker: bool, at: int | None) -> None:
        data = self._stream.packet(kind, payload, marker=marker, at=at)
        if self._port.send(data, self._peer.target):
            self._packets_out += 1
            self._octets_out += len(payload)

    def _watch(self, now: float, passed_s: float) -> None:
        self._way_in.asked_s += passed_s * self.chosen.receives
        self._way_out.asked_s += passed_s * self.chosen.sends
        if self.no_media.is_set() or not (self.chosen.sends or self.chosen.receives):
            return
        rtp_gap, pcm_gap = self.gaps(now)
        if rtp_gap > self._no_media_s and pcm_gap > self._no_media_s:
            self.no_media.set()

    # Figures

    def _flow_in(self) -> FlowFigures:
        playout = self._playout
        return FlowFigures(
            packets=playout.received, octets=playout.octets, lost=playout.lost, late=playout.late,
            concealed=playout.concealed, jitter_ms=round(playout.jitter_ms, 2),
            level_dbfs=self._levels_in.mean, levels=tuple(self._levels_in.each), bursts=playout.gaps.count,
            longest_burst_ms=self._ms(playout.gaps.longest), dead_air=self._dead_in.share,
            delay_ms=round(self._delay_in, 1),
        )  # fmt: skip

    def _flow_out(self) -> FlowFigures:
        capture = self._capture
        return FlowFigures(
            packets=self._packets_out, octets=self._octets_out, lost=capture.dropped // self._frame,
            late=capture.late, concealed=capture.concealed, jitter_ms=round(self._jitter_out, 2),
            level_dbfs=self._levels_out.mean, levels=tuple(self._levels_out.each), bursts=capture.gaps.count,
            longest_burst_ms=self._ms(capture.gaps.longest), dead_air=self._dead_out.share,
            delay_ms=round(self._delay_out, 1),
        )  # fmt: skip

    def _drift_ppm(self) -> float:
        """The module's clock against the RTP sender's; against ours while no RTP has come."""
        return (self._drift_pcm.ppm or 0.0) - (self._drift_rtp.ppm or 0.0)

    def _ms(self, samples: int) -> int:
        return samples * 1000 // self._rate

    def _mos(self) -> float | None:
        """Of the worse direction: people talk about what they could not hear."""
        playout, capture = self._playout, self._capture
        if not playout.received:
            return None
        ways = (
            (self._delay_in, playout.concealed, playout.frames, playout.gaps),
            (self._delay_out, capture.concealed, self._ticks, capture.gaps),
        )
        return min(
            mos(
                self._row, delay + FRAME_MS + GSM_DELAY_MS, 100 * made_up / max(1, frames), gaps.mean(self._frame)
            )
            for delay, made_up, frames, gaps in ways
        )  # fmt: skip


def _types(chosen: Chosen) -> frozenset[int]:
    events = () if chosen.dtmf_type is None else (chosen.dtmf_type,)
    return frozenset((chosen.payload_type, rtp.COMFORT_NOISE, *events))
