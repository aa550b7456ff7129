"""A SIP user agent for tests, written on a bare UDP socket: own parser, own books, nothing of simrack's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from sippy.Core.EventDispatcher import ED2

from simrack.sip.legs import Dial, Event, IncomingLeg, Leg, OutgoingLeg
from simrack.sip.stack import Admission, SipStack

WAIT_S = 5.0  # much longer than anything here takes; a test that waits so long has failed
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
SDP2 = SDP.replace(b"4000", b"4002")
_numbers = count(1)


@dataclass
class Message:
    """One SIP message as it was received."""

    raw: bytes
    start: str
    headers: list[tuple[str, str]]
    body: bytes
    source: tuple[str, int]

    @classmethod
    def parse(cls, raw: bytes, source: tuple[str, int]) -> Message:
        head, _, body = raw.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        headers = [(name.strip().lower(), value.strip()) for name, value in pairs]
        return cls(raw, start, headers, body, source)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    @property
    def status(self) -> int:
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        return self.one("cseq").split()[1]

    @property
    def cseq(self) -> int:
        return int(self.one("cseq").split()[0])

    @property
    def branch(self) -> str:
        return tagged(self.all("via")[0], "branch")

    @property
    def to_tag(self) -> str:
        return tagged(self.one("to"), "tag")

    @property
    def from_tag(self) -> str:
        return tagged(self.one("from"), "tag")


def tagged(value: str, name: str) -> str:
    found = re.search(rf";{name}=([^;>\s]+)", value)
    return found.group(1) if found else ""


@dataclass
class Call:
    """What a caller must know of its own call."""

    call_id: str
    from_tag: str
    branch: str
    cseq: int = 1
    to_tag: str = ""
    target: str = ""
    contact: str = ""


@dataclass
class Peer(asyncio.DatagramProtocol):
    """The far end. `expect` takes messages in the order in which they came."""

    far: tuple[str, int]
    heard: list[Message] = field(default_factory=list)
    unread: list[Message] = field(default_factory=list)
    transport: Any = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def open(cls, far: tuple[str, int], host: str = "127.0.0.1") -> Peer:
        peer = cls(far)
        loop = asyncio.get_running_loop()
        peer.transport, _ = await loop.create_datagram_endpoint(lambda: peer, local_addr=(host, 0))
        return peer

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")
        return host, port

    @property
    def hostport(self) -> str:
        return "{}:{}".format(*self.address)

    def close(self) -> None:
        self.transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = Message.parse(data, addr)
        self.heard.append(message)
        self.unread.append(message)
        self._news.set()

    def send(self, data: bytes | str) -> None:
        self.transport.sendto(data if isinstance(data, bytes) else data.encode(), self.far)

    async def next(self, fits: Callable[[Message], bool] = lambda _: True) -> Message:
        """The oldest unread message that fits; those before it are skipped."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self.unread:
                    message = self.unread.pop(0)
                    if fits(message):
                        return message
                self._news.clear()
                await self._news.wait()

    async def status(self, status: int, method: str = "INVITE") -> Message:
        return await self.next(lambda message: message.status == status and message.method == method)

    async def request(self, method: str) -> Message:
        return await self.next(lambda message: message.start.startswith(method + " "))

    async def fence(self) -> None:
        """Wait until the far end has worked off all that was sent to it: it answers in order."""
        call = self.new_call()
        self.send(self.build("OPTIONS", call))
        async with asyncio.timeout(WAIT_S):
            while not any(m.status and m.one("call-id") == call.call_id for m in self.heard):
                self._news.clear()
                await self._news.wait()
        self.unread = [m for m in self.unread if m.one("call-id") != call.call_id]

    def count(self, start: str) -> int:
        return sum(message.start.startswith(start) for message in self.heard)

    # Requests

    def new_call(self) -> Call:
        number = next(_numbers)
        return Call(f"call-{number}@test", f"from{number}", f"z9hG4bK-{number}", contact=f"<sip:me@{self.hostport}>")

    def build(
        self, method: str, call: Call, *, user: str = "+4930123", body: bytes = b"", kind: str = "application/sdp",
        extra: str = "", cseq: int = 0, branch: str = "", contact: str | None = None, uri: str = "",
    ) -> bytes:  # fmt: skip
        contact = call.contact if contact is None else contact
        uri = uri or call.target or "sip:{}@{}:{}".format(user, *self.far)
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.hostport};branch={branch or call.branch};rport",
            "Max-Forwards: 70",
            f"From: <sip:+4940999@test>;tag={call.from_tag}",
            f"To: <sip:{user}@test>" + (f";tag={call.to_tag}" if call.to_tag else ""),
            f"Call-ID: {call.call_id}",
            f"CSeq: {cseq or call.cseq} {method}",
        ]
        lines += [f"Contact: {contact}"] if contact else []
        lines += [line for line in extra.split("\r\n") if line]
        lines += [f"Content-Type: {kind}"] if body else []
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def invite(self, call: Call | None = None, *, body: bytes = SDP, **more: Any) -> Call:
        call = call or self.new_call()
        self.send(self.build("INVITE", call, body=body, **more))
        return call

    def ack(self, call: Call, answer: Message, body: bytes = b"") -> None:
        """ACK: inside the transaction for failures, a request of its own for 2xx (RFC 3261 17.1.1.3, 13.2.2.4)."""
        call.to_tag = answer.to_tag
        branch = call.branch if answer.status >= 300 else f"z9hG4bK-ack-{next(_numbers)}"
        self.send(self.build("ACK", call, cseq=answer.cseq, branch=branch, body=body))

    def within(self, method: str, call: Call, **more: Any) -> int:
        """A request inside the dialog; its CSeq."""
        call.cseq += 1
        self.send(self.build(method, call, branch=f"z9hG4bK-in-{next(_numbers)}", **more))
        return call.cseq

    # Responses

    def reply(
        self, request: Message, status: int, phrase: str = "Whatever", *, tag: str = "peer", body: bytes = b"",
        extra: str = "", contact: str | None = None,
    ) -> bytes:  # fmt: skip
        to = request.one("to")
        if status > 100 and not request.to_tag:
            to += f";tag={tag}"
        lines = [f"SIP/2.0 {status} {phrase}", *(f"Via: {via}" for via in request.all("via"))]
        lines += [f"Record-Route: {route}" for route in request.all("record-route")]
        lines += [f"From: {request.one('from')}", f"To: {to}"]
        lines += [f"Call-ID: {request.one('call-id')}", f"CSeq: {request.one('cseq')}"]
        lines += [f"Contact: {f'<sip:peer@{self.hostport}>' if contact is None else contact}"]
        lines += [line for line in extra.split("\r\n") if line]
        lines += ["Content-Type: application/sdp"] if body else []
        data = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
        self.transport.sendto(data, request.source)
        return data

    def from_callee(self, method: str, invite: Message, cseq: int, *, tag: str = "peer", **more: Any) -> None:
        """A request inside a dialog that the other side's INVITE made."""
        call = Call(invite.one("call-id"), tag, f"z9hG4bK-c-{next(_numbers)}", cseq, invite.from_tag)
        call.target = invite.one("contact").strip("<>")
        call.contact = f"<sip:peer@{self.hostport}>"
        self.send(self.build(method, call, **more))


@dataclass
class Rig:
    """A stack with its application's side in the test's hands."""

    stack: SipStack
    offered: asyncio.Queue[IncomingLeg]
    admission: Admission = Admission.ACCEPT
    trusted: set[str] = field(default_factory=set)
    suspects: list[str] = field(default_factory=list)

    async def leg(self) -> IncomingLeg:
        async with asyncio.timeout(WAIT_S):
            return await self.offered.get()

    def dial(self, peer: Peer, **more: object) -> OutgoingLeg:
        values: dict[str, object] = {"called": "4930123", "calling": "4940999", "sdp": b"v=0\r\n", **more}
        return self.stack.dial(Dial(address=peer.address, **values))  # type: ignore[arg-type]


OpenPeer = Callable[..., Awaitable[Peer]]


async def event(leg: Leg) -> Event:
    """The leg's next event."""
    async with asyncio.timeout(WAIT_S):
        return await leg.events.get()


async def until(true: Callable[[], bool]) -> None:
    """Wait for a condition that no event tells."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - the condition is another object's, which sets no event
            await asyncio.sleep(0.005)


def age(seconds: float) -> None:
    """Let the SIP library's timers believe that `seconds` have gone by."""
    for listener in ED2.tlisteners:
        listener.etime.offset(-seconds)
