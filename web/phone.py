"""A SIP phone of the control room's own, which places test calls toward the rack's controller like any sender.

One thread with a loop of its own, begun with the first call: neither a browser's network nor the signalling may disturb
pages. The SIP stack is one per process and has one address, so it is opened with the first call and closed some seconds
after the last. A call with a browser lasts no longer than the browser; each call ends after its seconds in any case.
"""

import asyncio
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

import structlog

from simrack.sip import digest, sdp, tone
from simrack.sip.errors import SipError
from simrack.sip.legs import (
    Connected,
    Dial,
    Disconnected,
    Event,
    Failed,
    OutgoingLeg,
    Progress,
    Ringing,
    Trying,
    Update,
)
from simrack.sip.rtp import Address, Peer, RtpPort, parse
from simrack.sip.stack import Admission, SipStack
from simrack.web.earpiece import Earpiece, Line, Microphone, NoEarpiece
from simrack.web.errors import WebError
from simrack.web.own_loop import THREAD_S, OwnLoop
from simrack.wire import causes
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock, Ids

log = structlog.get_logger(__name__)

State = Literal["connecting", "calling", "trying", "ringing", "early", "answered", "over"]

CODECS = ("PCMA",)  # what every browser has too, so that nothing is encoded anew on the way to it
RATE = 8000
RTP_PORTS = range(40400, 40600)
USER_AGENT = "simrack-test-call"
#: A controller that starts up answers within seconds.
NO_RESPONSE_S = 5.0
RING_S = 60.0
#: A browser that was given an answer connects within this, or never will.
CONNECT_S = 15.0
#: BYE or CANCEL are sent again until they are answered: 4 s are 3 repetitions.
LINGER_S = 4.0
#: The page asks every half second. One that has not for so long has lost its session, or stands still.
SILENT_S = 60.0
#: Calls that are over and can still be asked for.
MOST_KEPT = 200
#: The tone that a person can send instead of speaking.
TONE_HZ = 1000.0
_UNAUTHORISED = 401
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class NotPlaced(WebError):
    """The call can't be placed; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Order:
    """One call to place. `secret`: the sender's digest hashes as `sip.digest` keeps them; "" where its address is enough."""

    number: str
    sender: str
    calling: str
    controller: Address
    local: str
    user: str = ""
    secret: str = field(default="", repr=False)
    seconds: int = 60  # of the whole call, after the answer
    tone_hz: float = 0.0  # 0: the browser's voice, or silence
    over: str = ""  # what it is to go over, as the controller reads it (docs/routing.md)


@dataclass(eq=False, slots=True)
class PhoneCall:
    """One test call. `times`: ms since the INVITE by state; levels in dBFS."""

    id: str
    owner: int  # the account
    order: Order
    begun: datetime
    over: Callable[["PhoneCall"], None]
    asked: float  # when somebody last asked how it goes
    dialled: float = 0.0
    state: State = "connecting"
    times: dict[str, int] = field(default_factory=dict)
    call_id: str = ""
    status: int = 0
    cause: int = 0
    text: str = ""
    why: str = ""  # why this side ended it
    side: str = ""
    heard_hz: float = 0.0
    heard_dbfs: float | None = None
    received: int = 0
    sent: int = 0
    codec: str = ""
    earpiece: Earpiece | None = None
    microphone: Microphone | None = None
    line: Line = field(default_factory=Line)
    leg: OutgoingLeg | None = None
    talker: tone.RtpTalker | None = None
    task: "asyncio.Task[None] | None" = None

    @property
    def is_over(self) -> bool:
        return self.state == "over"

    @property
    def answered(self) -> bool:
        return "answered" in self.times

    @property
    def cause_text(self) -> str:
        """The cause in words."""
        return causes.name(self.cause) if self.cause else ""

    @property
    def talk_ms(self) -> int:
        """How long both were connected; 0 before the end."""
        return self.times["over"] - self.times["answered"] if self.answered and self.is_over else 0


class Tap(RtpPort):
    """A port for voice that lets a line hear what comes from the far end."""

    line: Line | None = None
    _peer: Peer | None = None
    _clock: Clock | None = None

    def follow(self, line: Line, chosen: sdp.Chosen, clock: Clock) -> None:
        """Pass on what comes from where `chosen` says."""
        self.line, self._clock = line, clock
        types = frozenset((chosen.payload_type,))
        if self._peer is None:
            self._peer = Peer(chosen.remote, types)
        else:
            self._peer.update(chosen.remote, types)

    def poll(self) -> Any:
        for data, source in super().poll():
            self._pass_on(data, source)
            yield data, source

    def _pass_on(self, data: bytes, source: Address) -> None:
        packet = parse(data)
        if packet is None or self.line is None or self._peer is None or self._clock is None:
            return
        if packet.payload and self._peer.accepts(source, packet.payload_type, self._clock.monotonic()):
            self.line.put(packet.ssrc, packet.timestamp, packet.payload)


class Phone:
    """All test calls of this process. Methods are called from page threads, and wait for the loop."""

    def __init__(self, clock: Clock, ids: Ids, at_a_time: int = 2) -> None:
        self._clock, self._ids, self._most = clock, ids, at_a_time
        self._own = OwnLoop("phone", lambda: NotPlaced("the phone's thread does not answer"))
        self._calls: OrderedDict[str, PhoneCall] = OrderedDict()
        self._stack: SipStack | None = None
        self._local = ""
        self._closing: asyncio.TimerHandle | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._telling: list[threading.Thread] = []

    # --- for page threads -----------------------------------------------------------------------------------

    def place(
        self, order: Order, owner: int, over: Callable[[PhoneCall], None], *, offer: str = "", microphone: bool = False
    ) -> tuple[PhoneCall, str]:
        """Place a call; with a browser's `offer` also the answer to it. `over` is called at the end, in a thread.

        Raises:
            NotPlaced: this person, or the installation, has enough calls; or the offer is no use.
        """
        return self._own.do(self._place(order, owner, over, offer, microphone))

    def find(self, id_: str, owner: int) -> PhoneCall | None:
        """A call of this account, whose page asks for it."""
        found = self._calls.get(id_)
        if found is None or found.owner != owner:
            return None
        found.asked = self._clock.monotonic()
        return found

    def of(self, owner: int) -> tuple[PhoneCall, ...]:
        """This account's calls, the newest first."""
        return tuple(call for call in reversed(tuple(self._calls.values())) if call.owner == owner)

    def hang_up(self, call: PhoneCall, why: str = "") -> None:
        """End a call; nothing happens where it is over."""
        self._own.do(self._hang_up(call, why))

    def press(self, call: PhoneCall, digits: str) -> None:
        """Send DTMF. Raises `NotPlaced`: nobody would hear it."""
        self._own.do(self._press(call, digits))

    def stop(self) -> None:
        """End all calls and the thread."""
        if not self._own.runs:
            return
        self._own.do(self._stop())
        self._own.stop()
        for telling in self._telling:
            telling.join(THREAD_S)

    # --- in the loop ----------------------------------------------------------------------------------------

    async def _place(
        self, order: Order, owner: int, over: Callable[[PhoneCall], None], offer: str, microphone: bool
    ) -> tuple[PhoneCall, str]:
        self._check_free(order, owner)
        now = self._clock.monotonic()
        call = PhoneCall(self._ids.token(8), owner, order, self._clock.utc(), over, now, dialled=now)
        # Taken before anything is awaited: of two who come at once one is refused.
        self._calls[call.id] = call
        self._forget()
        answer = ""
        if offer:
            call.microphone = Microphone() if microphone else None
            call.earpiece = Earpiece(call.line, call.microphone, lambda: self._left(call))
            try:
                answer = await call.earpiece.answer(offer)
            except NoEarpiece as error:
                del self._calls[call.id]
                raise NotPlaced(str(error)) from error
        call.task = asyncio.get_running_loop().create_task(self._serve(call))
        return call, answer

    def _check_free(self, order: Order, owner: int) -> None:
        now = [call for call in self._calls.values() if not call.is_over]
        if any(call.owner == owner for call in now):
            raise NotPlaced("you have a test call already, perhaps in another window; end it there first")
        if len(now) >= self._most:
            raise NotPlaced(f"{self._most} test call{'s are' if self._most > 1 else ' is'} in progress; that is the most at a time")
        if now and order.local != self._local:
            raise NotPlaced(f"another test call uses the address {self._local}; this sender's calls come from {order.local}")

    def _forget(self) -> None:
        while len(self._calls) > MOST_KEPT:
            oldest = next((id_ for id_, call in self._calls.items() if call.is_over), None)
            if oldest is None:
                return
            del self._calls[oldest]

    async def _serve(self, call: PhoneCall) -> None:
        """One call from the browser's connection to the end of everything."""
        port: Tap | None = None
        talk: asyncio.Task[None] | None = None
        try:
            if await self._connected(call):
                self._local = call.order.local
                stack = await self._open(call.order.local)
                port = cast(Tap, Tap.bind(call.order.local, RTP_PORTS))
                talk = asyncio.get_running_loop().create_task(self._talk(call))
                await self._follow(call, stack, port)
        except (SipError, UserError, OSError) as error:
            call.why = f"This machine can't place it: {error}"
            log.warning("test call failed", call=call.id, error=str(error))
        except Exception:
            call.why = "The phone made a mistake; it is in the control room's log."
            log.exception("test call failed", call=call.id)
        finally:
            if talk is not None:
                talk.cancel()
            await self._finish(call)
            if port is not None:
                port.close()

    async def _connected(self, call: PhoneCall) -> bool:
        """Whether the browser hears; a call without a browser needs none."""
        if call.earpiece is None:
            return True
        try:
            async with asyncio.timeout(CONNECT_S):
                await call.earpiece.connected.wait()
        except TimeoutError:
            call.why = "Your browser could not be reached by UDP, so nothing was dialled."
            return False
        return not call.is_over and not call.why

    async def _open(self, local: str) -> SipStack:
        """The stack at this address."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._stack is not None and self._stack.address[0] != local:
            await self._stack.stop()
            self._stack = None
        if self._stack is None:
            stack = SipStack(
                listen=(local, 0), on_invite=lambda leg: leg.reject(486, causes.Cause.BUSY), clock=self._clock, ids=self._ids,
                trusted=lambda _source: False, admit=lambda _source: Admission.ACCEPT, user_agent=USER_AGENT,
            )  # fmt: skip
            await stack.start()
            self._stack = stack
        return self._stack

    async def _follow(self, call: PhoneCall, stack: SipStack, port: Tap) -> None:
        """Dial, answer a challenge once, and take what comes until the end."""
        if call.why:
            return
        call.dialled = self._clock.monotonic()
        self._enter(call, "calling")
        credentials: dict[str, str] = {}
        while True:
            call.leg = self._dial(call, stack, port, credentials)
            event = await self._events(call, call.leg, port)
            challenge = event.headers.get("www-authenticate", "") if isinstance(event, Failed) else ""
            if isinstance(event, Failed) and event.status == _UNAUTHORISED and challenge and not credentials and call.order.secret:
                if call.why:
                    return
                credentials = {"Authorization": credentials_for(challenge, _uri(call.order), call.order, self._ids)}
                continue
            self._ended(call, event)
            return

    def _dial(self, call: PhoneCall, stack: SipStack, port: Tap, headers: Mapping[str, str]) -> OutgoingLeg:
        order = call.order
        offer = sdp.offer(CODECS, port.address, 1)
        headers = {**headers, **({"X-Test-Over": order.over} if order.over else {})}
        leg = stack.dial(
            Dial(order.controller, order.number, order.calling, offer, headers, no_response_s=NO_RESPONSE_S, ring_s=RING_S)
        )
        call.call_id = leg.ids.call_id
        return leg

    async def _events(self, call: PhoneCall, leg: OutgoingLeg, port: Tap) -> Failed | Disconnected:
        loop, limit = asyncio.get_running_loop(), None
        try:
            while True:
                event = await leg.events.get()
                if isinstance(event, Failed | Disconnected):
                    return event
                if isinstance(event, Connected) and limit is None:
                    words = f"Test calls last at most {call.order.seconds} s."
                    limit = loop.call_later(call.order.seconds, self._release, call, words)
                self._take(call, leg, port, event)
        finally:
            if limit is not None:
                limit.cancel()

    def _take(self, call: PhoneCall, leg: OutgoingLeg, port: Tap, event: Event) -> None:
        match event:
            case Trying():
                self._enter(call, "trying")
            case Ringing():
                self._enter(call, "ringing")
            case Progress():
                self._speak(call, port, event.sdp)
                self._enter(call, "ringing")
            case Connected():
                self._enter(call, "answered")
                self._speak(call, port, event.sdp)
            case Update() if not event.answers:
                self._update(call, leg, port, event)

    def _update(self, call: PhoneCall, leg: OutgoingLeg, port: Tap, event: Update) -> None:
        """The far end moves the voice; who offers nothing is offered what was there."""
        try:
            if event.sdp is None:
                leg.accept_update(sdp.offer(CODECS, port.address, 1, version=2))
                return
            chosen = sdp.negotiate(sdp.parse(event.sdp), CODECS)
            self._choose(call, port, chosen)
            leg.accept_update(sdp.answer(chosen, port.address, 1, version=2))
        except sdp.SdpError as error:
            log.info("test call: an update was refused", call=call.id, reason=str(error))
            leg.refuse_update(488)

    def _speak(self, call: PhoneCall, port: Tap, body: bytes | None) -> None:
        """Voice as the far end's answer says. A body that is no use ends the call."""
        if body is None and call.talker is not None:
            return
        try:
            self._choose(call, port, sdp.read_answer(CODECS, body or b""))
        except sdp.SdpError as error:
            self._release(call, f"No voice: {error}.")

    def _choose(self, call: PhoneCall, port: Tap, chosen: sdp.Chosen) -> None:
        port.follow(call.line, chosen, self._clock)
        call.codec = chosen.codec
        if call.talker is not None:
            call.talker.update(chosen)
            return
        source: tone.Source = tone.Sine(call.order.tone_hz) if call.order.tone_hz else call.microphone or tone.Silence()
        call.talker = tone.RtpTalker(port, chosen, source, clock=self._clock, ids=self._ids)

    async def _talk(self, call: PhoneCall) -> None:
        """20 ms a turn: voice both ways, and a page that has gone silent is noticed."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due, loop.time() - tone.MOST_CATCH_UP * tone.TICK_S) + tone.TICK_S
            if call.talker is not None:
                call.talker.tick()
                call.received, call.sent = call.talker.received, call.talker.sent
                if call.received and not call.answered:
                    self._enter(call, "early")
            if call.earpiece is not None and self._clock.monotonic() - call.asked > SILENT_S:
                self._release(call, "Its page has not asked for it any more.")
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _enter(self, call: PhoneCall, state: State) -> None:
        if call.is_over or (state in ("trying", "ringing") and call.state == "early"):
            return
        call.state = state
        call.times.setdefault(state, round((self._clock.monotonic() - call.dialled) * 1000))

    def _ended(self, call: PhoneCall, event: Failed | Disconnected) -> None:
        call.cause, call.text, call.side = event.cause, event.text, event.side
        if isinstance(event, Failed):
            call.status = event.status
            if event.no_response and not call.why:
                address = "{}:{}".format(*call.order.controller)
                call.why = f"The controller's SIP at {address} does not answer. Is it running there?"
        else:
            call.status = 200

    async def _finish(self, call: PhoneCall) -> None:
        if call.talker is not None:
            # A transform in pure Python: some 50 ms, which another call would hear.
            call.heard_hz, heard = await asyncio.to_thread(tone.dominant_hz, call.talker.heard(1.0), RATE)
            call.heard_dbfs = heard if call.received else None
        if call.earpiece is not None:
            await call.earpiece.close()
        # Minutes of voice hang on them, and the call is kept.
        call.talker = call.leg = call.earpiece = call.microphone = None
        self._enter(call, "over")
        log.info("test call over", call=call.id, cause=call.cause, status=call.status, why=call.why)
        thread = threading.Thread(target=_tell, args=(call,), name=f"over-{call.id}", daemon=True)
        self._telling = [*(one for one in self._telling if one.is_alive()), thread]
        thread.start()
        if self._stack is not None and all(other.is_over for other in self._calls.values()):
            self._closing = asyncio.get_running_loop().call_later(LINGER_S, self._close)

    def _close(self) -> None:
        stack, self._stack, self._closing = self._stack, None, None
        if stack is not None:
            task = asyncio.get_running_loop().create_task(stack.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    def _left(self, call: PhoneCall) -> None:
        self._release(call, "The browser left.")

    def _release(self, call: PhoneCall, why: str) -> None:
        """End it from this side; the reason of the first who does so stays."""
        if call.is_over or call.why:
            return
        call.why = why
        if call.leg is not None:
            call.leg.hang_up(causes.Cause.NORMAL)
        elif call.earpiece is not None:
            call.earpiece.connected.set()

    async def _hang_up(self, call: PhoneCall, why: str) -> None:
        self._release(call, why or "You hung up.")

    async def _press(self, call: PhoneCall, digits: str) -> None:
        if call.talker is None or call.is_over:
            raise NotPlaced("there is no voice yet that keys could go with")
        try:
            call.talker.send_digits(digits)
        except ValueError as error:
            raise NotPlaced(str(error)) from error

    async def _stop(self) -> None:
        for call in tuple(self._calls.values()):
            self._release(call, "The control room ends.")
        left = [call.task for call in self._calls.values() if call.task is not None and not call.is_over]
        if left:
            await asyncio.wait(left, timeout=THREAD_S / 2)
        if self._closing is not None:
            self._closing.cancel()
        if self._stack is not None:
            await self._stack.stop()
            self._stack = None


def _tell(call: PhoneCall) -> None:
    try:
        call.over(call)
    except Exception:
        log.exception("the end of a test call could not be told", call=call.id)


def _uri(order: Order) -> str:
    """The request URI as the stack writes it."""
    host, port = order.controller
    return f"sip:{order.number}@{f'[{host}]' if ':' in host else host}:{port}"


def credentials_for(challenge: str, uri: str, order: Order, ids: Ids) -> str:
    """The answer to a challenge from the stored hashes of a password (RFC 7616 3.4); the password itself isn't known.

    The controller gives one nonce for all its algorithms, so the first header serves whichever hash there is.
    """
    told = dict(_PARAMETER.findall(challenge))
    algorithm = "SHA-256" if "SHA-256=" in order.secret else "MD5"
    given = digest.Credentials(
        order.user, told.get("realm", ""), told.get("nonce", ""), uri, "", algorithm, "auth", "00000001", ids.token(8)
    )
    response = digest.response_of(given, "INVITE", order.secret)
    return (
        f'Digest username="{given.username}", realm="{given.realm}", nonce="{given.nonce}", uri="{uri}", '
        f'response="{response}", algorithm={algorithm}, qop=auth, nc={given.nc}, cnonce="{given.cnonce}"'
    )
