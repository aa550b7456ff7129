"""A plain voice end for programs: sends a tone or a recording, keeps what it hears, names the tone in it.

Used by the built-in caller, which has no sound card and no module. Pure Python; exact to a few Hz.
"""

import asyncio
import cmath
import math
import wave
from array import array
from pathlib import Path

from simrack.sip import codecs, dtmf, g711, rtp
from simrack.sip.errors import SipError
from simrack.sip.sdp import Chosen
from simrack.wire.ports import Clock, Ids

TICK_S = 0.02
KEEP_S = 300  # of what was heard; the oldest goes
JUMP_S = 10  # a time stamp that far ahead is a new stream
MOST_FFT = 8192
VOICE_HZ = (300.0, 3400.0)
MOST_CATCH_UP = 25  # ticks made up after a stall of the program


class BadRecording(SipError):
    """The file is not a WAV of 16 bit mono; convert it first."""


class Sine:
    """An endless tone."""

    def __init__(self, hz: float, dbfs: float = -13.0) -> None:
        """`dbfs` is the level as rms: a full-scale sine has -3."""
        self.hz = hz
        self._peak = g711.FULL_SCALE * 10 ** (dbfs / 20) * math.sqrt(2)
        self._at = 0

    def take(self, count: int, rate: int) -> bytes:
        step = 2 * math.pi * self.hz / rate
        out = [self._peak * math.sin(step * (self._at + i)) for i in range(count)]
        self._at = (self._at + count) % (rate * 1000)
        return g711.samples_of(out)


class Recording:
    """A WAV file (16 bit, mono, any rate), then silence, or over again with `loop`."""

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        """Read the file whole. Raises BadRecording."""
        self._pcm, self._rate = read_wav(path)
        self._loop, self._at = loop, 0

    def take(self, count: int, rate: int) -> bytes:
        if self._rate != rate:
            self._pcm, self._rate = g711.resample(self._pcm, self._rate, rate), rate
        size = count * g711.WIDTH
        piece = self._pcm[self._at : self._at + size]
        self._at += size
        if self._loop and self._at >= len(self._pcm):
            self._at = 0
        return piece + bytes(size - len(piece))


class Silence:
    """Nothing to say; packets are sent all the same."""

    def take(self, count: int, rate: int) -> bytes:
        return bytes(count * g711.WIDTH)


Source = Sine | Recording | Silence


class RtpTalker:
    """One end of a call: `run` sends and listens until cancelled; read `heard` and `digits` at any time."""

    def __init__(
        self, port: rtp.RtpPort, chosen: Chosen, source: Source, *, clock: Clock, ids: Ids, rate: int = 8000
    ) -> None:
        self.digits: list[str] = []
        self.sent = self.received = 0
        self._port, self._source, self._clock, self._rate = port, source, clock, rate
        self._stream = rtp.Stream(ids.token(12))
        self._ear = _Ear(rate)
        self._hearing = dtmf.Hearing()
        self._out = b""
        self._load(chosen)
        self._peer = rtp.Peer(chosen.remote, _types(chosen))

    def _load(self, chosen: Chosen) -> None:
        self.chosen, self._row = chosen, codecs.row(chosen.codec)
        self._codec = codecs.make(chosen.codec, self._rate)
        self._speaking = dtmf.Speaking(self._row.clock)

    def update(self, chosen: Chosen) -> None:
        """A re-INVITE or the final answer agreed on something else."""
        if chosen != self.chosen:
            self._peer.update(chosen.remote, _types(chosen))
            self._load(chosen)

    def play(self, source: Source) -> None:
        """Send something else from now on."""
        self._source = source

    def send_digits(self, digits: str) -> None:
        """Queue DTMF events. Raises ValueError for other characters or when no events were agreed."""
        if self.chosen.dtmf_type is None:
            raise ValueError("the other side takes no telephone events")
        for digit in digits:
            self._speaking.say(digit)

    @property
    def sending_digits(self) -> bool:
        return not self._speaking.idle

    def heard(self, last_s: float | None = None) -> bytes:
        """PCM heard so far, or its end; lost packets are silence."""
        size = None if last_s is None else int(last_s * self._rate) * g711.WIDTH
        return bytes(self._ear.pcm if size is None else self._ear.pcm[-size:])

    def heard_tone(self, last_s: float = 1.0) -> tuple[float, float]:
        """(Hz, dBFS) of the strongest tone at the end of what was heard."""
        return dominant_hz(self.heard(last_s), self._rate)

    def save(self, path: Path) -> None:
        """Write what was heard as WAV."""
        write_wav(path, self.heard(), self._rate)

    def tick(self) -> None:
        """One step of 20 ms: take what came, send a packet when one is due."""
        now = self._clock.monotonic()
        for data, source in self._port.poll():
            packet = rtp.parse(data)
            if packet and self._peer.accepts(source, packet.payload_type, now):
                self._take(packet)
        self._send()

    async def run(self) -> None:
        """Tick every 20 ms until cancelled."""
        due = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            due = max(due, now - MOST_CATCH_UP * TICK_S)
            self.tick()
            due += TICK_S
            await asyncio.sleep(max(0.0, due - self._clock.monotonic()))

    def _take(self, packet: rtp.Packet) -> None:
        self.received += 1
        if packet.payload_type == self.chosen.dtmf_type:
            digit = self._hearing.feed(packet.payload, packet.timestamp)
            if digit:
                self.digits.append(digit)
        elif packet.payload_type == self.chosen.payload_type:
            try:
                pcm = self._codec.decode(packet.payload)
            except codecs.CodecError:
                return
            self._ear.put(packet, pcm, self._row.clock)

    def _send(self) -> None:
        self._out += self._source.take(int(self._rate * TICK_S), self._rate)
        ptime = self.chosen.ptime_ms
        size = self._rate * ptime // 1000 * g711.WIDTH
        while len(self._out) >= size:
            piece, self._out = self._out[:size], self._out[size:]
            if self.chosen.sends:
                self._send_packet(piece, ptime)
            self._stream.advance(ptime * self._row.clock // 1000)

    def _send_packet(self, pcm: bytes, ptime: int) -> None:
        events = self._speaking.next(self._stream.timestamp, ptime)
        for event in events:
            self._emit(self.chosen.dtmf_type or 0, event.payload, event.marker, event.timestamp)
        if not events:
            self._emit(self.chosen.payload_type, self._codec.encode(pcm), self.sent == 0, None)

    def _emit(self, kind: int, payload: bytes, marker: bool, at: int | None) -> None:
        packet = self._stream.packet(kind, payload, marker=marker, at=at)
        self.sent += self._port.send(packet, self._peer.target)


class _Ear:
    """Puts packets where their time stamps say."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.pcm = bytearray()
        self._origin: int | None = None
        self._ssrc = -1

    def put(self, packet: rtp.Packet, pcm: bytes, clock: int) -> None:
        at = self._place(packet, clock)
        if at < 0:
            return
        if at > len(self.pcm):
            self.pcm += bytes(at - len(self.pcm))
        self.pcm[at : at + len(pcm)] = pcm
        excess = len(self.pcm) - KEEP_S * self._rate * g711.WIDTH
        if excess > 0:
            del self.pcm[:excess]
            self._origin = self._at_sample(excess // g711.WIDTH, clock)

    def _place(self, packet: rtp.Packet, clock: int) -> int:
        if self._origin is not None and packet.ssrc == self._ssrc:
            ahead = (packet.timestamp - self._origin + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            at = ahead * self._rate // clock * g711.WIDTH
            if abs(at - len(self.pcm)) <= JUMP_S * self._rate * g711.WIDTH:
                return at
        self._ssrc, self._origin = packet.ssrc, packet.timestamp
        self._origin = self._at_sample(-(len(self.pcm) // g711.WIDTH), clock)
        return len(self.pcm)

    def _at_sample(self, sample: int, clock: int) -> int:
        assert self._origin is not None
        return (self._origin + sample * clock // self._rate) & 0xFFFFFFFF


def _types(chosen: Chosen) -> frozenset[int]:
    events = () if chosen.dtmf_type is None else (chosen.dtmf_type,)
    return frozenset((chosen.payload_type, *events))


def dominant_hz(pcm: bytes, rate: int) -> tuple[float, float]:
    """(Hz, dBFS rms) of the strongest tone between 300 and 3400 Hz; (0, -96) in silence.

    Looks at the last 8192 samples; exact to 1 Hz for half a second of a clean tone.
    """
    samples = array("h", pcm[: len(pcm) // g711.WIDTH * g711.WIDTH])[-MOST_FFT:]
    count = len(samples)
    if count < rate // 50 or not any(samples):
        return 0.0, g711.SILENCE_DBFS
    size = 1 << (count - 1).bit_length()
    window = [0.5 - 0.5 * math.cos(2 * math.pi * (i + 0.5) / count) for i in range(count)]
    line = [complex(s * w) for s, w in zip(samples, window, strict=True)]
    spectrum = [abs(v) ** 2 for v in _fft(line + [0j] * (size - count))[: size // 2]]
    first, last = (int(hz * size / rate) for hz in VOICE_HZ)
    peak = max(range(max(1, first), min(last, size // 2 - 2) + 1), key=spectrum.__getitem__)
    # Twice the bins of the window's main lobe, over the window's own power.
    lobe = 2 * math.ceil(size / count) + 1
    power = 2 * sum(spectrum[max(0, peak - lobe) : peak + lobe + 1]) / size / sum(w * w for w in window)
    hz = (peak + _vertex(spectrum[peak - 1 : peak + 2])) * rate / size
    return round(hz, 1), round(g711.to_dbfs(math.sqrt(power)), 1)


def _vertex(three: list[float]) -> float:
    """Offset of the peak of the parabola through three logarithmic values."""
    low, middle, high = (math.log(v + 1e-9) for v in three)
    bend = low - 2 * middle + high
    return 0.5 * (low - high) / bend if bend else 0.0


def _fft(line: list[complex]) -> list[complex]:
    """Radix 2, decimation in time; the length is a power of two."""
    count = len(line)
    if count == 1:
        return line
    even, odd = _fft(line[0::2]), _fft(line[1::2])
    turned = [cmath.exp(-2j * math.pi * k / count) * v for k, v in enumerate(odd)]
    return [e + t for e, t in zip(even, turned, strict=True)] + [
        e - t for e, t in zip(even, turned, strict=True)
    ]


def read_wav(path: Path) -> tuple[bytes, int]:
    """(PCM, rate) of a WAV file. Raises BadRecording."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != g711.WIDTH:
                raise BadRecording(f"{path}: 16 bit mono is needed")
            return file.readframes(file.getnframes()), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise BadRecording(f"{path}: {error or 'the file ends early'}") from error


def write_wav(path: Path, pcm: bytes, rate: int) -> None:
    """Write 16 bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(g711.WIDTH)
        file.setframerate(rate)
        file.writeframes(pcm)
