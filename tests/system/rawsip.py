"""A SIP client of the tests' own that may misbehave: each message is written by hand and sent as it is."""

import hashlib
import itertools
import re
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

PATIENCE_S = 15.0
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Message:
    """A SIP message as it came."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def status(self) -> int:
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        return "" if self.status else self.start.split()[0]

    @property
    def of(self) -> str:
        """The method that a response answers."""
        return self["cseq"].split()[-1]

    def __getitem__(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name.lower()), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def cause(self) -> int | None:
        found = re.search(r"Q\.850;cause=(\d+)", self["reason"])
        return int(found.group(1)) if found else None

    @property
    def voice(self) -> tuple[str, int]:
        """Where the SDP says that voice goes."""
        host = re.search(r"^c=IN IP4 (\S+)", self.body, re.MULTILINE)
        port = re.search(r"^m=audio (\d+)", self.body, re.MULTILINE)
        assert host is not None
        assert port is not None
        return host.group(1), int(port.group(1))


def parse(data: bytes) -> Message:
    head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(start, tuple((name.strip().lower(), value.strip()) for name, _, value in pairs), body)


def session(host: str, port: int, *, way: str = "", formats: Sequence[str] = ("0", "8", "101"), version: int = 1) -> str:
    lines = ["v=0", f"o=t 1 {version} IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    lines += [f"m=audio {port} RTP/AVP {' '.join(formats)}", "a=rtpmap:101 telephone-event/8000"]
    return "\r\n".join([*lines, f"a={way}", ""] if way else [*lines, ""])


@dataclass
class Call:
    """One call as its caller keeps it; header values may be changed at will before a message is sent."""

    client: "Client"
    number: str
    call_id: str
    tag: str
    branch: str
    sdp: str
    cseq: int = 1
    to_tag: str = ""
    target: str = ""
    seen: list[Message] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"sip:{self.number}@{self.client.text}"

    def write(
        self, method: str, *, branch: str = "", cseq: int | None = None, body: str = "", extra: Sequence[str] = (),
        drop: Sequence[str] = (), uri: str = "", to_tag: str | None = None, kind: str = "application/sdp",
    ) -> bytes:  # fmt: skip
        """The text of a request of this call; `drop` leaves headers out."""
        me, tag = self.client.me, self.to_tag if to_tag is None else to_tag
        lines = [
            f"Via: SIP/2.0/UDP {me};branch={branch or self.branch};rport",
            f"From: <sip:+882109000999@{me}>;tag={self.tag}",
            f"To: <{self.uri}>" + (f";tag={tag}" if tag else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq if cseq is None else cseq} {method}",
            f"Contact: <sip:t@{me}>",
            "Max-Forwards: 70",
        ]
        if body:
            lines.append(f"Content-Type: {kind}")
        lines.append(f"Content-Length: {len(body.encode())}")
        kept = [*extra, *(line for line in lines if line.partition(":")[0] not in drop)]
        return "\r\n".join([f"{method} {uri or self.uri} SIP/2.0", *kept, "", body]).encode()

    def invite(self, **changes: object) -> "Call":
        self.client.send(self.write("INVITE", **{"body": self.sdp, **changes}))  # type: ignore[arg-type]
        return self

    def take(self, wanted: int | str, seconds: float = PATIENCE_S) -> Message:
        """The next message with this status or method; provisional ones and retransmissions pass by."""
        end = time.monotonic() + seconds
        while True:
            message = self._next(end - time.monotonic())
            if message is None:
                raise AssertionError(f"no {wanted} for {self.number}; seen: {[m.start for m in self.seen]}")
            self.seen.append(message)
            if wanted in (message.status, message.method):
                self._learn(message)
                return message
            if message.status >= 200 and message.of == "INVITE" and isinstance(wanted, int):
                raise AssertionError(f"{wanted} expected, came {message.start} {message['reason']}")

    def final(self, seconds: float = PATIENCE_S) -> Message:
        """The final response to the INVITE, acknowledged unless it is a 2xx."""
        end = time.monotonic() + seconds
        while True:
            message = self._next(end - time.monotonic())
            if message is None:
                raise AssertionError(f"no end of {self.number}; seen: {[m.start for m in self.seen]}")
            self.seen.append(message)
            if message.status >= 200 and message.of == "INVITE":
                self._learn(message)
                if message.status >= 300:
                    self.client.send(self.write("ACK"))
                return message

    def _next(self, seconds: float) -> Message | None:
        """The next message of this call; two calls may share a Call-ID."""
        return self.client.receive(self.call_id, seconds, f"tag={self.tag}")

    def _learn(self, message: Message) -> None:
        found = re.search(r";tag=([^;>\s]+)", message["to"])
        if message.status and message.of == "INVITE" and found:
            self.to_tag = found.group(1)
        contact = re.search(r"<([^>]+)>", message["contact"])
        if message.status and contact:
            self.target = contact.group(1)

    def fails(self, status: int, cause: int | None, seconds: float = PATIENCE_S) -> Message:
        message = self.final(seconds)
        assert (message.status, message.cause) == (status, cause), (message.start, message["reason"])
        return message

    def ack(self) -> None:
        self.client.send(self.write("ACK", branch=new_branch(), uri=self.target))

    def answered(self, seconds: float = PATIENCE_S) -> Message:
        message = self.take(200, seconds)
        self.ack()
        return message

    def cancel(self) -> None:
        """CANCEL, its 200, the INVITE's 487 and the ACK."""
        self.client.send(self.write("CANCEL", to_tag=""))
        message = self.final()
        assert message.status == 487, message.start

    def ask(self, method: str, **changes: object) -> Message:
        """A request within the dialog, and its final response."""
        self.cseq += 1
        branch = new_branch()
        self.client.send(self.write(method, branch=branch, uri=self.target, **changes))  # type: ignore[arg-type]
        while True:
            message = self._next(PATIENCE_S)
            assert message is not None, f"{method} was never answered"
            self.seen.append(message)
            if message.status >= 200 and message["cseq"] == f"{self.cseq} {method}":
                return message

    def bye(self) -> None:
        message = self.ask("BYE")
        assert message.status == 200, message.start

    def accept(self, request: Message) -> None:
        """Answer a request of the other side with 200."""
        copied = [f"{name}: {value}" for name, value in request.headers if name in ("via", "from", "to", "call-id", "cseq")]
        self.client.send("\r\n".join(["SIP/2.0 200 OK", *copied, "Content-Length: 0", "", ""]).encode())

    def ended(self, seconds: float = PATIENCE_S) -> Message:
        """Wait for the other side's BYE and accept it."""
        message = self.take("BYE", seconds)
        self.accept(message)
        return message


def new_branch() -> str:
    return f"z9hG4bK{secrets.token_hex(6)}"


class Client:
    """One UDP socket at one address, and one for voice."""

    def __init__(self, target: str, host: str) -> None:
        name, _, port = target.partition(":")
        self.target, self.text = (name, int(port)), target
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.voice = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.voice.bind((host, 0))
        self.host = host
        self.waiting: list[Message] = []

    def close(self) -> None:
        self.socket.close()
        self.voice.close()

    @property
    def me(self) -> str:
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def session(self, **changes: object) -> str:
        return session(self.host, self.voice.getsockname()[1], **changes)  # type: ignore[arg-type]

    def call(self, number: str) -> Call:
        """A call that has not been sent."""
        name = f"{next(NUMBERS)}-{secrets.token_hex(6)}"
        return Call(self, number, f"{name}@test", f"t{name}", new_branch(), self.session())

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.target)

    def receive(self, call_id: str, seconds: float, tag: str = "") -> Message | None:
        """The next message of one call ("": of any); those of others wait."""

        def fits(message: Message) -> bool:
            return call_id in ("", message["call-id"]) and tag in message["from"] + message["to"]

        for index, message in enumerate(self.waiting):
            if fits(message):
                return self.waiting.pop(index)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                message = parse(self.socket.recv(65535))
            except TimeoutError:
                return None
            if fits(message):
                return message
            self.waiting.append(message)
        return None

    def speak(self, to: tuple[str, int], packets: int = 5, first: int = 0) -> None:
        """Send packets of G.711 silence."""
        for number in range(first, first + packets):
            head = bytes([0x80, 0]) + number.to_bytes(2, "big") + (number * 160).to_bytes(4, "big") + b"test"
            self.voice.sendto(head + b"\xff" * 160, to)


def digest(challenge: str, user: str, password: str, uri: str, *, count: int = 1, cnonce: str = "0a4f") -> str:
    """An Authorization header that answers `challenge` (RFC 7616)."""
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    kind = hashlib.sha256 if "256" in fields.get("algorithm", "") else hashlib.md5

    def h(text: str) -> str:
        return kind(text.encode()).hexdigest()

    secret, act = h(f"{user}:{fields['realm']}:{password}"), h(f"INVITE:{uri}")
    nc = f"{count:08x}"
    response = h(f"{secret}:{fields['nonce']}:{nc}:{cnonce}:auth:{act}")
    return (
        f'Authorization: Digest username="{user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm={fields["algorithm"]}, qop=auth, nc={nc}, cnonce="{cnonce}"'
    )
