"""Many SIP callers over one socket that behave as RFC 3261 says, and keep books of their own.

Light enough for fifty calls at once in every phase beside the racks they call: no thread, no process a call.
What the books say is what the wire carried: nothing in them comes from the product's own records.
"""

import asyncio
import re
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from system.rawsip import Message, parse, session

#: RFC 3261, table 4.
T1, T2 = 0.5, 4.0
TRANSACTION_S = 64 * T1
RTP_HEAD = 12
SILENCE = frozenset(b"\xff\x7f\xfe\x7e\xd5\x55")
RECEIVE_BUFFER = 1 << 22


class Phase(StrEnum):
    """Where a call is, as its caller sees it."""

    BEFORE_100 = "before 100"
    TRYING = "trying"
    RINGING = "ringing"
    EARLY_MEDIA = "early media"
    TALKING = "talking"
    RELEASING = "releasing"
    OVER = "over"


@dataclass(slots=True)
class Answer:
    """One response to the INVITE; `at` on the monotonic clock."""

    at: float
    status: int
    reason: str
    retry_after: bool


@dataclass(slots=True, eq=False)
class Call:
    """One call in its caller's books."""

    number: str
    kind: str  # what the called number does: "ringing", "early media" or "talking"
    call_id: str
    tag: str
    branch: str
    voice: socket.socket
    invited: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    answered: float | None = None
    bye_sent: float | None = None
    bye_status: int | None = None
    bye_received: float | None = None
    cancelled: float | None = None
    ended: float | None = None
    to_tag: str = ""
    target: str = ""
    cseq: int = 1
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def final(self) -> Answer | None:
        return next((one for one in self.answers if one.status >= 200), None)

    @property
    def phase(self) -> Phase:
        if self.ended is not None:
            return Phase.OVER
        if self.bye_sent is not None or self.cancelled is not None:
            return Phase.RELEASING
        if self.answered is not None:
            return Phase.TALKING
        if any(one.status > 100 for one in self.answers):
            return Phase.EARLY_MEDIA if self.kind == "early media" else Phase.RINGING
        return Phase.TRYING if self.answers else Phase.BEFORE_100

    @property
    def was_answered(self) -> bool:
        return self.answered is not None

    @property
    def told(self) -> str:
        """The call in one line, for findings."""
        seen = ",".join(str(one.status) for one in self.answers) or "nothing"
        if self.final is not None and self.final.status >= 300:
            seen += f" {self.final.reason}"
        return f"{self.number} ({self.kind}; saw {seen}; {self.phase})"

    def heard(self) -> tuple[int, int]:
        """Packets that waited at the voice socket: (all, those that were not silence). Takes them out."""
        packets = sounding = 0
        while True:
            try:
                data = self.voice.recv(2048)
            except (BlockingIOError, OSError):
                return packets, sounding
            packets += 1
            sounding += not set(data[RTP_HEAD:]) <= SILENCE


class Repeat:
    """Sends one request again until it is answered or 64 T1 have passed (RFC 3261 17.1.1.2, 17.1.2.2)."""

    def __init__(self, send: Callable[[], None], cap: float | None, gave_up: Callable[[], None]) -> None:
        self._send, self._cap, self._gave_up = send, cap, gave_up
        loop = asyncio.get_running_loop()
        self._pause = T1
        self._end = loop.call_later(TRANSACTION_S, self._expire)
        send()
        self._next = loop.call_later(self._pause, self._again)

    def _again(self) -> None:
        self._send()
        self._pause = self._pause * 2 if self._cap is None else min(self._pause * 2, self._cap)
        self._next = asyncio.get_running_loop().call_later(self._pause, self._again)

    def quiet(self) -> None:
        """Send no more, but go on waiting (a provisional response to an INVITE)."""
        self._next.cancel()
        self._end.cancel()

    stop = quiet

    def _expire(self) -> None:
        self._next.cancel()
        self._gave_up()


class Callers(asyncio.DatagramProtocol):
    """All calls from one address. Use as an async context manager."""

    def __init__(self, target: str, host: str) -> None:
        name, _, port = target.rpartition(":")
        self.target, self.text, self.host = (name, int(port)), target, host
        self.calls: dict[str, Call] = {}
        self._repeats: dict[tuple[str, str], Repeat] = {}
        self.unknown: list[str] = []  # what came for no call of ours

    async def __aenter__(self) -> Self:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((self.host, 0))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        self.me = "{}:{}".format(*sock.getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        for repeat in self._repeats.values():
            repeat.stop()
        self._transport.close()
        self.forget()

    def forget(self) -> None:
        """Drop all calls; their sockets are closed."""
        for repeat in self._repeats.values():
            repeat.stop()
        self._repeats.clear()
        for call in self.calls.values():
            call.voice.close()
        self.calls.clear()

    # --- what a caller does -------------------------------------------------------------------------------

    def invite(self, number: str, kind: str) -> Call:
        """Place a call; its INVITE is on the wire when this returns."""
        voice = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        voice.bind((self.host, 0))
        voice.setblocking(False)
        name = secrets.token_hex(8)
        call = Call(number, kind, f"{name}@callers", f"t{name}", _branch(), voice, invited=time.monotonic())
        self.calls[call.call_id] = call
        body = session(self.host, voice.getsockname()[1])
        data = self._request(call, "INVITE", call.branch, 1, body=body)
        self._repeat(call, "INVITE", data, None)
        return call

    def bye(self, call: Call) -> None:
        """End a call that was answered."""
        if call.ended is not None or call.bye_sent is not None:
            return
        call.cseq += 1
        call.bye_sent = time.monotonic()
        self._repeat(call, "BYE", self._request(call, "BYE", _branch(), call.cseq), T2)
        call.changed.set()

    def cancel(self, call: Call) -> None:
        """Give up a call that has heard a provisional response."""
        if call.final is not None or call.cancelled is not None:
            return
        call.cancelled = time.monotonic()
        self._repeat(call, "CANCEL", self._request(call, "CANCEL", call.branch, 1, plain_to=True), T2)
        call.changed.set()

    def hang_up(self, call: Call) -> None:
        """End a call by whatever its phase asks for; a call that heard nothing yet goes on trying."""
        if call.was_answered:
            self.bye(call)
        elif call.answers:
            self.cancel(call)

    # --- requests -----------------------------------------------------------------------------------------

    def _request(
        self, call: Call, method: str, branch: str, cseq: int, *, body: str = "", plain_to: bool = False
    ) -> bytes:
        in_dialog = method in ("BYE", "ACK") and bool(call.target)
        uri = call.target if in_dialog else f"sip:{call.number}@{self.text}"
        to_tag = "" if plain_to or not call.to_tag else f";tag={call.to_tag}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.me};branch={branch};rport",
            f"From: <sip:+882109000999@{self.me}>;tag={call.tag}",
            f"To: <sip:{call.number}@{self.text}>{to_tag}",
            f"Call-ID: {call.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:callers@{self.me}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body.encode())}",
        ]
        return "\r\n".join([*lines, "", body]).encode()

    def _repeat(self, call: Call, method: str, data: bytes, cap: float | None) -> None:
        def send() -> None:
            self._transport.sendto(data, self.target)

        self._repeats[call.call_id, method] = Repeat(send, cap, lambda: self._gave_up(call, method))

    def _settled(self, call: Call, method: str) -> None:
        repeat = self._repeats.pop((call.call_id, method), None)
        if repeat is not None:
            repeat.stop()

    def _gave_up(self, call: Call, method: str) -> None:
        self._repeats.pop((call.call_id, method), None)
        # RFC 3261 9.1 and 15.1.1: 64 T1 after CANCEL or BYE without an answer the call counts as ended.
        if method != "INVITE" or not call.answers:
            self._end(call)

    # --- what comes ---------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = parse(data)
        call = self.calls.get(message["call-id"])
        if call is None:
            self.unknown.append(message.start)
            if message.method and message.method != "ACK":
                self._respond(message, "481 Call Does Not Exist", addr)
        elif message.method:
            self._asked(call, message, addr)
        elif message.of == "INVITE":
            self._invite_answered(call, message)
        else:
            self._other_answered(call, message)
        if call is not None:
            call.changed.set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens at the other end just now: that is what repeating is for."""

    def _invite_answered(self, call: Call, message: Message) -> None:
        # A re-INVITE is never sent, so each of these answers the first INVITE.
        known = call.final
        note = Answer(time.monotonic(), message.status, message["reason"], bool(message["retry-after"]))
        if message.status < 200:
            call.answers.append(note)
            self._repeats[call.call_id, "INVITE"].quiet() if (call.call_id, "INVITE") in self._repeats else None
            return
        self._settled(call, "INVITE")
        if known is None:
            call.answers.append(note)
            self._learn(call, message)
        if message.status >= 300:
            self._send(self._request(call, "ACK", call.branch, 1))
            self._settled(call, "CANCEL")
            self._end(call)
            return
        if known is None:
            call.answered = note.at
        self._send(self._request(call, "ACK", _branch(), 1))
        if known is None and call.cancelled is not None:
            self._settled(call, "CANCEL")
            self.bye(call)

    def _learn(self, call: Call, message: Message) -> None:
        tag = re.search(r";tag=([^;>\s]+)", message["to"])
        contact = re.search(r"<([^>]+)>", message["contact"])
        call.to_tag = tag.group(1) if tag else ""
        call.target = contact.group(1) if contact else ""

    def _other_answered(self, call: Call, message: Message) -> None:
        if message.status < 200:
            return
        self._settled(call, message.of)
        if message.of == "BYE":
            call.bye_status = message.status
            self._end(call)
        # 481 to CANCEL: nobody knows the INVITE any more, and nothing more will come of it.
        if message.of == "CANCEL" and message.status == 481 and call.final is None:
            self._end(call)

    def _asked(self, call: Call, message: Message, addr: tuple[str, int]) -> None:
        match message.method:
            case "BYE":
                call.bye_received = call.bye_received or time.monotonic()
                self._respond(message, "200 OK", addr)
                self._end(call)
            case "INVITE" if call.was_answered and call.ended is None:
                body = session(self.host, call.voice.getsockname()[1], version=2)
                self._respond(message, "200 OK", addr, body)
            case "ACK":
                pass
            case "OPTIONS" | "INFO" | "UPDATE" if call.was_answered and call.ended is None:
                self._respond(message, "200 OK", addr)
            case _:
                self._respond(message, "481 Call Does Not Exist", addr)

    def _end(self, call: Call) -> None:
        if call.ended is None:
            call.ended = time.monotonic()
            for method in ("INVITE", "CANCEL"):
                self._settled(call, method)
            # A BYE of ours that crossed theirs is still repeated until it is answered.
            if call.bye_received is None:
                self._settled(call, "BYE")
            call.voice.close()
        call.changed.set()

    def _respond(self, request: Message, status: str, addr: tuple[str, int], body: str = "") -> None:
        copied = [
            f"{name}: {value}" for name, value in request.headers if name in ("via", "from", "to", "call-id", "cseq")
        ]
        kind = ["Content-Type: application/sdp"] if body else []
        head = [f"SIP/2.0 {status}", *copied, f"Contact: <sip:callers@{self.me}>", *kind]
        text = "\r\n".join([*head, f"Content-Length: {len(body.encode())}", "", body])
        self._transport.sendto(text.encode(), addr)

    def _send(self, data: bytes) -> None:
        self._transport.sendto(data, self.target)


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


async def reached(calls: Sequence[Call], wanted: Callable[[Call], bool], seconds: float) -> list[Call]:
    """Wait until all `calls` are as wanted; returns those that are not when the time is over."""
    end = time.monotonic() + seconds
    while left := [call for call in calls if not wanted(call)]:
        remaining = end - time.monotonic()
        if remaining <= 0:
            return left
        first = left[0]
        first.changed.clear()
        if wanted(first):
            continue
        try:
            async with asyncio.timeout(min(remaining, 0.5)):
                await first.changed.wait()
        except TimeoutError:
            continue
    return []
