"""Voice codecs as rows: name, RTP numbers, and a maker. One more codec is one class and one row."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Protocol

from simrack.sip import g711

TELEPHONE_EVENT = "telephone-event"


class CodecError(Exception):
    """A payload can't be decoded, or a codec is not present on this machine."""


class Codec(Protocol):
    """One direction pair of a call; holds the codec's state."""

    def encode(self, pcm: bytes) -> bytes:
        """Payload of one packet."""

    def decode(self, payload: bytes) -> bytes:
        """PCM of one packet; raises CodecError on garbage."""


@dataclass(frozen=True, slots=True)
class CodecRow:
    """What SDP, RTP and the MOS estimate need to know of a codec.

    `clock` is the RTP time-stamp rate (G.722 says 8000 by the historical error of RFC 3551 4.5.2);
    `ie` and `bpl` are the equipment impairment and the loss robustness of ITU-T G.113 appendix I.
    """

    name: str
    payload_type: int
    clock: int
    rtpmap: str
    make: Callable[[int], Codec]
    present: Callable[[], bool]
    ptimes: tuple[int, ...] = (10, 20, 30, 40, 60)
    fmtp: str = ""
    ie: float = 0.0
    bpl: float = 25.1


class _G711:
    """A-law or mu-law; at 16 kHz the half-band filter stands between."""

    def __init__(
        self, rate: int, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]
    ) -> None:
        self._encode, self._decode = encode, decode
        if rate not in (8000, 16000):
            raise CodecError(f"G.711 to {rate} Hz is not possible, only 8000 and 16000")
        self._down = g711.Halver() if rate == 16000 else None
        self._up = g711.Doubler() if rate == 16000 else None

    def encode(self, pcm: bytes) -> bytes:
        return self._encode(self._down.feed(pcm) if self._down else pcm)

    def decode(self, payload: bytes) -> bytes:
        pcm = self._decode(payload)
        return self._up.feed(pcm) if self._up else pcm


class _G722:
    """64 kbit/s; at 8 kHz the library keeps the lower band alone."""

    def __init__(self, rate: int) -> None:
        from G722 import G722

        self._in, self._out = G722(rate, 64000), G722(rate, 64000)

    def encode(self, pcm: bytes) -> bytes:
        return bytes(self._out.encode(array("h", pcm)))

    def decode(self, payload: bytes) -> bytes:
        return bytes(self._in.decode(payload).tobytes())


class _Opus:
    """RFC 7587, mono, for voice; the decoder gives 8 or 16 kHz directly."""

    COMPLEXITY = 2  # 0 costs a third of 5 and is heard; 2 is near 5 for narrow-band voice
    LONGEST_MS = 120  # a packet holds at most 120 ms (RFC 6716 3.2.5)

    def __init__(self, rate: int) -> None:
        opuslib = _opus()
        self._rate = rate
        self._error: type[Exception] = opuslib.OpusError
        self._encoder = opuslib.Encoder(rate, 1, opuslib.APPLICATION_VOIP)
        self._encoder.complexity = self.COMPLEXITY
        self._decoder = opuslib.Decoder(rate, 1)

    def encode(self, pcm: bytes) -> bytes:
        return bytes(self._encoder.encode(pcm, len(pcm) // 2))

    def decode(self, payload: bytes) -> bytes:
        try:
            return bytes(self._decoder.decode(payload, self._rate * self.LONGEST_MS // 1000))
        except self._error as error:
            raise CodecError(f"not an Opus packet: {error}") from error


@cache
def _opus() -> ModuleType:
    # opuslib raises a bare Exception when libopus0 is not installed.
    import opuslib

    return opuslib


@cache
def _has_opus() -> bool:
    try:
        _opus()
    except Exception as error:
        if "Opus library" in str(error) or isinstance(error, ImportError):
            return False
        raise
    return True


@cache
def _has_g722() -> bool:
    try:
        import G722
    except ImportError:
        return False
    return bool(G722)


def _pcma(rate: int) -> Codec:
    return _G711(rate, g711.alaw_encode, g711.alaw_decode)


def _pcmu(rate: int) -> Codec:
    return _G711(rate, g711.ulaw_encode, g711.ulaw_decode)


def _always() -> bool:
    return True


ROWS: dict[str, CodecRow] = {
    row.name: row
    for row in (
        CodecRow("PCMA", 8, 8000, "PCMA/8000", _pcma, _always),
        CodecRow("PCMU", 0, 8000, "PCMU/8000", _pcmu, _always),
        CodecRow("G722", 9, 8000, "G722/8000", _G722, _has_g722, bpl=16.0),
        CodecRow(
            "opus", 111, 48000, "opus/48000/2", _Opus, _has_opus,
            ptimes=(10, 20, 40, 60), fmtp="useinbandfec=0;stereo=0;sprop-stereo=0", ie=2.0, bpl=20.0,
        ),
    )
}  # fmt: skip


def available() -> tuple[str, ...]:
    """Names of the codecs that work on this machine, in the order in which we offer them."""
    return tuple(name for name, row in ROWS.items() if row.present())


def row(name: str) -> CodecRow:
    """The row of a codec; raises CodecError for an unknown name."""
    try:
        return ROWS[name]
    except KeyError:
        raise CodecError(f"codec {name!r} is not known; known are {', '.join(ROWS)}") from None


def make(name: str, rate: int) -> Codec:
    """A codec between RTP and PCM of `rate` (8000 or 16000) Hz; raises CodecError."""
    wanted = row(name)
    if not wanted.present():
        raise CodecError(f"codec {name} is not present on this machine")
    return wanted.make(rate)
