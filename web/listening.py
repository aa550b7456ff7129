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
from typing import Any, cast

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
from simrack.web.own_loop import OwnLoop
from simrack.wire.ports import Clock, Ids

log = structlog.get_logger(__name__)

Address = tuple[str, int]

PCMA = 8  # RFC 3551, table 4
RATE = 8000
HEADER = 12
#: Half a second of one direction: a browser that can't take more hears the newest.
MOST_WAITING = 25
#: A browser that was given an answer connects within this, or never will.
CONNECT_S = 15.0
#: Listeners at a time: each is two streams of 80 kbit/s and an encryption.
MOST_SESSIONS = 20
#: Longer than the order to the box takes, or its refusal; shorter than a page waits for this thread.
LEAVING_S = 7.0
#: How often it is looked whether a listener may go on.
WATCH_S = 1.0
#: The page asks every 2 s. One that has not for so long has lost its session, or its right, or stands still.
SILENT_S = 90.0
#: What is said of listeners that were ended here, for pages that ask later.
MOST_OVER = 100
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
        self._waiting: asyncio.Queue[tuple[bytes, int, bytes]] = asyncio.Queue(MOST_WAITING)
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
        self._waiting.put_nowait((data[8:HEADER], int.from_bytes(data[4:8], "big"), data[HEADER:]))

    async def next(self) -> tuple[bytes, int, bytes]:
        """The next packet's stream (its SSRC), RTP time and voice."""
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
        self._stream: bytes | None = None
        self._last = self._pts = 0

    async def recv(self) -> "Packet[Any]":
        """The next packet, when it comes. Raises `MediaStreamError` when the track was ended."""
        if self.readyState != "live":
            raise MediaStreamError
        stream, stamp, voice = await self._inlet.next()
        if stream == self._stream:
            self._pts += (stamp - self._last) & 0xFFFFFFFF
        elif self._stream is not None:
            # A box that was asked anew begins anew; the browser hears one stream that goes on.
            self._pts += len(voice)
        self._stream, self._last = stream, stamp
        packet: Packet[Any] = Packet(voice)
        packet.pts, packet.time_base = self._pts, Fraction(1, RATE)
        return packet


@dataclass(eq=False, slots=True)
class Session:
    """One browser that hears one call.

    `keep` is asked every second, in a thread, why it can't go on; "" when it can. `over` is called once, in a thread of
    its own, when it has gone; `told` is set after that.
    """

    id: str
    owner: int  # the account
    name: str  # of its person
    subject: str  # what it hears: a call's id
    over: Callable[["Session"], None]
    keep: Callable[["Session"], str]
    begun: float
    asked: float  # when its page last asked how it goes
    inlets: tuple[Inlet, ...] = ()
    peer: RTCPeerConnection | None = None
    ended: bool = False
    told: threading.Event = field(default_factory=threading.Event)
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
        self._own = OwnLoop("ears", lambda: NotHeard("the listening thread does not answer"))
        self._sessions: dict[str, Session] = {}
        self._leaving: dict[str, Session] = {}  # by subject: the box may not know yet that they have gone
        self._over: dict[str, tuple[int, str]] = {}

    # --- for page threads -----------------------------------------------------------------------------------

    def open(
        self, owner: int, name: str, subject: str, ways: int, over: Callable[[Session], None],
        keep: Callable[[Session], str] = lambda _session: "",
    ) -> Session:  # fmt: skip
        """Ports for a call's voice. Raises `NotHeard`: somebody hears it already, or too many listen."""
        made = Session(
            self._ids.token(8), owner, name, subject, over, keep, self._clock.monotonic(), self._clock.monotonic()
        )
        return self._own.do(self._open(made, ways))

    def listener(self, subject: str) -> Session | None:
        """Who hears this now."""
        return next((one for one in tuple(self._sessions.values()) if one.subject == subject), None)

    def connect(self, session: Session, offer: str, *, source: str = "", speak: bool = False) -> str:
        """Answer a browser's offer (SDP). `source`: the box's port, where it is known; with `speak` it is sent silence.

        Raises:
            NotHeard: the offer is no offer for this; the session is then over.
        """
        return self._own.do(self._connect(session, offer, source, speak))

    def close(self, session: Session) -> None:
        """End a session; `over` is called."""
        self._own.do(self._close(session))

    def find(self, id_: str, owner: int) -> Session | None:
        """A session of this account, whose page asks for it."""
        found = self._sessions.get(id_)
        if found is None or found.owner != owner:
            return None
        found.asked = self._clock.monotonic()
        return found

    def ended(self, id_: str, owner: int) -> str:
        """Why a session of this account was ended here; "" when it was not."""
        whose, why = self._over.get(id_, (0, ""))
        return why if whose == owner else ""

    def stop(self) -> None:
        """End all sessions and the thread."""
        if not self._own.runs:
            return
        for session in tuple(self._sessions.values()):
            self.close(session)
        self._own.stop()

    # --- in the loop ----------------------------------------------------------------------------------------

    async def _open(self, session: Session, ways: int) -> Session:
        await self._gone(session.subject)
        self._check_free(session)
        # Taken before anything is awaited: of two who come at once one is refused.
        self._sessions[session.id] = session
        loop, inlets = asyncio.get_running_loop(), []
        for _ in range(ways):
            _, inlet = await loop.create_datagram_endpoint(lambda: Inlet(self._clock), local_addr=(self._host, 0))
            inlets.append(inlet)
        session.inlets = tuple(inlets)
        return session

    async def _gone(self, subject: str) -> None:
        """Who has just left: the order to the box to stop must not overtake the next one to begin."""
        leaving = self._leaving.get(subject)
        if leaving is not None:
            await asyncio.to_thread(leaving.told.wait, LEAVING_S)
        self._leaving = {name: one for name, one in self._leaving.items() if not one.told.is_set()}

    def _check_free(self, session: Session) -> None:
        other = self.listener(session.subject)
        if other is not None and other.owner == session.owner:
            raise NotHeard("you listen to this call already, in another window; stop there first")
        if other is not None:
            raise NotHeard(f"{other.name} listens to this call already, and one person at a time can")
        if len(self._sessions) >= MOST_SESSIONS:
            raise NotHeard(f"{MOST_SESSIONS} people listen already; that is the most at a time")

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
        self._begin(session, self._watch(session))
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
            await self._close(session)

    async def _watch(self, session: Session) -> None:
        """End it when it can't go on, and keep the reason for its page."""
        why = ""
        while not why:
            await asyncio.sleep(WATCH_S)
            silent = self._clock.monotonic() - session.asked > SILENT_S
            why = "Its page has not asked for it any more." if silent else await asyncio.to_thread(session.keep, session)
        log.info("listener ended here", session=session.id, subject=session.subject, reason=why)
        self._over[session.id] = session.owner, why
        while len(self._over) > MOST_OVER:
            del self._over[next(iter(self._over))]
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
        self._leaving[session.subject] = session
        # Whichever of them ends the session goes on to here.
        for task in session.tasks - {asyncio.current_task()}:
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
    finally:
        session.told.set()


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
