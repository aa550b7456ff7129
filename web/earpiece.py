"""A browser's end of a test call: it hears one line of voice, and with a microphone its voice goes back (WebRTC, PCMA).

What the browser hears goes on to it as it came. What it says is decoded, because the far end may want another law.
"""

import asyncio
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import structlog
from aiortc import (
    MediaStreamError,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from av.audio.frame import AudioFrame
from av.packet import Packet

from simrack.sip.g711 import WIDTH
from simrack.sip.tone import Silence
from simrack.web.errors import WebError

log = structlog.get_logger(__name__)

RATE = 8000
FRAME = RATE // 50
#: Half a second: a browser that can't take more hears the newest.
MOST_WAITING = 25
#: A jump of the sender's time of more than this is a new stream, not a pause.
PAUSE = 10 * RATE
#: What a microphone may be ahead: more would be a delay that the far end hears.
MOST_AHEAD = 10 * FRAME * WIDTH
#: Octets of an offer with one audio line; browsers send 3,000.
MOST_OFFER = 16 * 1024
_PCMA_TYPE = "audio/pcma"
# Names that only a browser's own network can tell (RFC 8828) would be asked for by multicast, for nothing: the
# browser comes to our address, and is known by where it comes from.
_HIDDEN = re.compile(r"a=(?:candidate:[^\r\n]*\.local [^\r\n]*|end-of-candidates)\r?\n")


class NoEarpiece(WebError):
    """The browser can't take part; the text says why, for people."""


class Line:
    """Voice on its way to a browser: packets of PCMA, with time that never jumps back."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(MOST_WAITING)
        self._stream: int | None = None
        self._last = self._at = 0

    def put(self, stream: int, stamp: int, voice: bytes) -> None:
        """One packet: its stream (SSRC), its time there, its octets."""
        ahead = (stamp - self._last) & 0xFFFFFFFF
        if self._stream is not None:
            # Early media and the answer may be two streams; the browser hears one that goes on.
            self._at += ahead if stream == self._stream and ahead < PAUSE else len(voice)
        self._stream, self._last = stream, stamp
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait((self._at, voice))

    async def next(self) -> tuple[int, bytes]:
        """The next packet's time and its voice."""
        return await self._waiting.get()


class Heard(MediaStreamTrack):
    """A line as a track."""

    kind = "audio"

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    async def recv(self) -> "Packet[Any]":
        """The next packet, when it comes. Raises `MediaStreamError` when the track was ended."""
        if self.readyState != "live":
            raise MediaStreamError
        at, voice = await self._line.next()
        packet: Packet[Any] = Packet(voice)
        packet.pts, packet.time_base = at, Fraction(1, RATE)
        return packet


class Microphone(Silence):
    """What a browser says, for a talker; silence while nothing has come."""

    def __init__(self) -> None:
        self._pcm = bytearray()

    def put(self, pcm: bytes) -> None:
        self._pcm += pcm
        if len(self._pcm) > MOST_AHEAD:
            del self._pcm[:-MOST_AHEAD]

    def take(self, count: int, rate: int) -> bytes:
        size = count * WIDTH
        piece = bytes(self._pcm[:size])
        del self._pcm[:size]
        return piece + bytes(size - len(piece))


class Earpiece:
    """One browser. `gone` is called once in the loop, when it has left; `connected` is set when voice can go."""

    def __init__(self, line: Line, microphone: Microphone | None, gone: Callable[[], None]) -> None:
        self.connected = asyncio.Event()
        self._line, self._microphone, self._gone = line, microphone, gone
        self._peer: RTCPeerConnection | None = None
        self._listening: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        """The answer to a browser's offer (SDP). Raises `NoEarpiece`; it is closed then."""
        check_offer(offer, speaks=self._microphone is not None)
        try:
            return await self._answer(offer)
        except Exception as error:
            # The library raises whatever an offer makes it stumble on; the browser is told, the thread goes on.
            log.warning("an offer could not be answered", error=repr(error))
            await self.close()
            raise NoEarpiece("the browser's offer could not be answered") from error

    async def _answer(self, offer: str) -> str:
        # No STUN server: the library's own default is a third party's, and nobody there needs to know.
        peer = self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pcma = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == _PCMA_TYPE]
        way = "sendonly" if self._microphone is None else "sendrecv"
        peer.addTransceiver(Heard(self._line), direction=way).setCodecPreferences(pcma)

        @peer.on("track")
        def spoken(track: MediaStreamTrack) -> None:
            if self._microphone is not None and self._listening is None:
                self._listening = asyncio.get_running_loop().create_task(_listen(track, self._microphone))

        @peer.on("connectionstatechange")
        def changed() -> None:
            if peer.connectionState == "connected":
                self.connected.set()
            elif peer.connectionState in ("failed", "closed") and self._peer is not None:
                self._gone()

        await peer.setRemoteDescription(RTCSessionDescription(_HIDDEN.sub("", offer), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return str(peer.localDescription.sdp)

    async def close(self) -> None:
        """End it; `gone` is not called any more."""
        peer, self._peer = self._peer, None
        if self._listening is not None:
            self._listening.cancel()
        if peer is not None:
            await peer.close()


async def _listen(track: MediaStreamTrack, microphone: Microphone) -> None:
    """Take what the browser says until its track ends."""
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if isinstance(frame, AudioFrame) and frame.sample_rate == RATE:
            # A plane may be longer than its samples.
            microphone.put(bytes(frame.planes[0])[: frame.samples * WIDTH])


def check_offer(offer: str, *, speaks: bool) -> None:
    """Whether an offer asks for what is given here. Raises `NoEarpiece`."""
    if len(offer) > MOST_OFFER:
        raise NoEarpiece("the offer is too long")
    media = re.findall(r"^m=([^\r\n]+)", offer, re.MULTILINE)
    if len(media) != 1 or not media[0].startswith("audio "):
        raise NoEarpiece("the offer must hold one audio line and nothing else")
    if not re.search(rf"^a={'sendrecv' if speaks else 'recvonly'}\r?$", offer, re.MULTILINE):
        raise NoEarpiece("the offer must ask to speak and to hear" if speaks else "the offer must only ask to hear")
    if not re.search(r"^a=rtpmap:8 PCMA/8000\r?$", offer, re.MULTILINE | re.IGNORECASE):
        raise NoEarpiece("the browser offers no PCMA, which every WebRTC browser has")
