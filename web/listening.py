"""Voice for a browser: RTP that a box sends here goes on to it over WebRTC, without being decoded on the way.

One thread with a loop of its own, begun with the first listener: what a browser's network does to its connection must
disturb neither pages nor the live thread. Each direction of a call is a track; packets go on as they come, and the
browser's own jitter buffer evens them out.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeVar, cast

import structlog
from aiortc import (
    MediaStreamError,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from av.packet import Packet

from simrack.web.errors import WebError
from simrack.wire.ports import Clock, Ids

log = structlog.get_logger(__name__)

Address = tuple[str, int]
R = TypeVar("R")

PCMA = 8  # RFC 3551, table 4
RATE = 8000
HEADER = 12
#: Half a second of one direction: a browser that can't take more hears the newest.
MOST_WAITING = 25
#: A browser that was given an answer connects within this, or never will.
CONNECT_S = 15.0
#: Making an answer takes some ms; this only guards against a thread that died.
THREAD_S = 10.0
#: Listeners at a time: each is two streams of 80 kbit/s and an encryption.
MOST_SESSIONS = 20
#: Octets of an offer with two audio lines; browsers send 3,000.
MOST_OFFER = 16 * 1024
_PCMA_TYPE = "audio/pcma"
# Names that only a browser's own network can tell (RFC 8828) would be asked for by multicast, for nothing: the
# browser comes to our address, and is known by where it comes from.
_HIDDEN = re.compile(r"a=(?:candidate:[^\r\n]*\.local [^\r\n]*|end-of-candidates)\r?\n")
_SILENCE = bytes((0xD5,)) * 160


class NotHeard(WebError):
    """The browser can't be given this voice; the text says why, for people."""


class Inlet(asyncio.DatagramProtocol):
    """A port for one direction of a call's voice. Only the box's own port is believed, once it is known."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(MOST_WAITING)
        self.address: Address = ("", 0)
        self.source: Address | None = None
        self.packets = 0
        self.last_at: float | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if len(data) <= HEADER or data[0] != 0x80 or data[1] & 0x7F != PCMA:
            return
        if self.source is None:
            self.source = addr[:2]
        if addr[:2] != self.source:
            return
        self.packets, self.last_at = self.packets + 1, self._clock.monotonic()
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait((int.from_bytes(data[4:8], "big"), data[HEADER:]))

    async def next(self) -> tuple[int, bytes]:
        """The next packet's RTP time and its voice."""
        return await self._waiting.get()

    def say(self, data: bytes) -> None:
        """Send to where voice comes from, once that is known."""
        if self.source is not None and self._transport is not None:
            self._transport.sendto(data, self.source)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Way(MediaStreamTrack):
    """One direction as a track; the voice stays as the box has encoded it."""

    kind = "audio"

    def __init__(self, inlet: Inlet) -> None:
        super().__init__()
        self._inlet = inlet
        self._last: int | None = None
        self._pts = 0

    async def recv(self) -> "Packet[Any]":
        """The next packet, when it comes. Raises `MediaStreamError` when the track was ended."""
        if self.readyState != "live":
            raise MediaStreamError
        stamp, voice = await self._inlet.next()
        if self._last is not None:
            self._pts += (stamp - self._last) & 0xFFFFFFFF
        self._last = stamp
        packet: Packet[Any] = Packet(voice)
        packet.pts, packet.time_base = self._pts, Fraction(1, RATE)
        return packet


@dataclass(eq=False, slots=True)
class Session:
    """One browser that hears one call. `over` is called once, in a thread of its own, when it has gone."""

    id: str
    owner: int  # the account
    subject: str  # what it hears: a call's id
    inlets: tuple[Inlet, ...]
    over: Callable[["Session"], None]
    begun: float
    peer: RTCPeerConnection | None = None
    ended: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the box is to send each direction."""
        return tuple("{}:{}".format(*inlet.address) for inlet in self.inlets)

    @property
    def packets(self) -> tuple[int, ...]:
        return tuple(inlet.packets for inlet in self.inlets)


class Ears:
    """All listeners of this process. Methods are called from page threads, and wait for the loop."""

    def __init__(self, host: str, clock: Clock, ids: Ids) -> None:
        self._host, self._clock, self._ids = host, clock, ids
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: dict[str, Session] = {}

    # --- for page threads -----------------------------------------------------------------------------------

    def open(self, owner: int, subject: str, ways: int, over: Callable[[Session], None]) -> Session:
        """Ports for a call's voice. Raises `NotHeard`: too many listen already."""
        return self._do(self._open(owner, subject, ways, over))

    def connect(self, session: Session, offer: str, *, source: str = "", speak: bool = False) -> str:
        """Answer a browser's offer (SDP). `source`: the box's port, where it is known; with `speak` it is sent silence.

        Raises:
            NotHeard: the offer is no offer for this; the session is then over.
        """
        return self._do(self._connect(session, offer, source, speak))

    def close(self, session: Session) -> None:
        """End a session; `over` is called."""
        self._do(self._close(session))

    def find(self, id_: str, owner: int) -> Session | None:
        """A session of this account."""
        found = self._sessions.get(id_)
        return found if found is not None and found.owner == owner else None

    def stop(self) -> None:
        """End all sessions and the thread."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        for session in tuple(self._sessions.values()):
            self.close(session)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(THREAD_S)
        self._thread = self._loop = None

    def _do(self, work: Coroutine[Any, Any, R]) -> R:
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result(THREAD_S)
        except TimeoutError:
            future.cancel()
            raise NotHeard("the listening thread does not answer") from None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="ears", daemon=True)
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    # --- in the loop ----------------------------------------------------------------------------------------

    async def _open(self, owner: int, subject: str, ways: int, over: Callable[[Session], None]) -> Session:
        if len(self._sessions) >= MOST_SESSIONS:
            raise NotHeard(f"{MOST_SESSIONS} people listen already; that is the most at a time")
        loop, inlets = asyncio.get_running_loop(), []
        for _ in range(ways):
            _, inlet = await loop.create_datagram_endpoint(lambda: Inlet(self._clock), local_addr=(self._host, 0))
            inlets.append(inlet)
        session = Session(self._ids.token(8), owner, subject, tuple(inlets), over, self._clock.monotonic())
        self._sessions[session.id] = session
        return session

    async def _connect(self, session: Session, offer: str, source: str, speak: bool) -> str:
        host, _, port = source.rpartition(":")
        for inlet in session.inlets:
            inlet.source = (host, int(port)) if host and port.isdigit() else inlet.source
        try:
            answer = await self._answer(session, offer)
        except NotHeard:
            await self._close(session)
            raise
        except Exception as error:
            # The library raises whatever an offer makes it stumble on; the browser is told, the thread goes on.
            log.warning("an offer could not be answered", session=session.id, error=repr(error))
            await self._close(session)
            raise NotHeard("the browser's offer could not be answered") from error
        self._begin(session, self._give_up(session))
        if speak:
            self._begin(session, self._silence(session))
        return answer

    async def _answer(self, session: Session, offer: str) -> str:
        check_offer(offer, len(session.inlets))
        # No STUN server: the library's own default is a third party's, and nobody there needs to know.
        peer = session.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pcma = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == _PCMA_TYPE]
        for inlet in session.inlets:
            # Whatever else the browser could take: packets go on as they are.
            peer.addTransceiver(Way(inlet), direction="sendonly").setCodecPreferences(pcma)

        @peer.on("connectionstatechange")
        async def changed() -> None:
            log.info("listener", session=session.id, state=peer.connectionState)
            if peer.connectionState in ("failed", "closed"):
                await self._close(session)

        await peer.setRemoteDescription(RTCSessionDescription(_HIDDEN.sub("", offer), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return str(peer.localDescription.sdp)

    def _begin(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        session.tasks.add(task)
        task.add_done_callback(session.tasks.discard)

    async def _give_up(self, session: Session) -> None:
        await asyncio.sleep(CONNECT_S)
        if session.peer is not None and session.peer.connectionState != "connected":
            log.info("listener never connected", session=session.id)
            session.tasks.clear()
            await self._close(session)

    async def _silence(self, session: Session) -> None:
        """Silence to the box, as a party that says nothing sends it: 20 ms a packet."""
        number = 0
        loop = asyncio.get_running_loop()
        begun, ssrc = loop.time(), int(self._ids.token(4), 16)
        while True:
            head = bytes((0x80, PCMA)) + (number & 0xFFFF).to_bytes(2, "big")
            stamp = (number * len(_SILENCE) & 0xFFFFFFFF).to_bytes(4, "big") + ssrc.to_bytes(4, "big")
            session.inlets[0].say(head + stamp + _SILENCE)
            number += 1
            await asyncio.sleep(max(0.0, begun + number * 0.02 - loop.time()))

    async def _close(self, session: Session) -> None:
        if session.ended:
            return
        session.ended = True
        self._sessions.pop(session.id, None)
        for task in tuple(session.tasks):
            task.cancel()
        for inlet in session.inlets:
            inlet.close()
        if session.peer is not None:
            await session.peer.close()
        # It sends a command, which waits for an answer.
        threading.Thread(target=_tell, args=(session,), name=f"over-{session.id}", daemon=True).start()


def _tell(session: Session) -> None:
    try:
        session.over(session)
    except Exception:
        log.exception("the end of a listener could not be told", session=session.id, subject=session.subject)


def check_offer(offer: str, ways: int) -> None:
    """Whether an offer asks for what is given here. Raises `NotHeard`."""
    if len(offer) > MOST_OFFER:
        raise NotHeard("the offer is too long")
    media: Sequence[str] = re.findall(r"^m=([^\r\n]+)", offer, re.MULTILINE)
    if len(media) != ways or not all(line.startswith("audio ") for line in media):
        raise NotHeard(f"the offer must ask for {ways} audio line{'s' * (ways != 1)} and nothing else")
    if len(re.findall(r"^a=recvonly\r?$", offer, re.MULTILINE)) != ways:
        raise NotHeard("the offer must only ask to hear")
    if not re.search(r"^a=rtpmap:8 PCMA/8000\r?$", offer, re.MULTILINE | re.IGNORECASE):
        raise NotHeard("the browser offers no PCMA, which every WebRTC browser has")
