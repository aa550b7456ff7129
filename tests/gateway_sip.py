"""A controller stand-in over a raw UDP socket: it knows nothing of simrack's own SIP code."""

import asyncio
import itertools
import re
from dataclasses import dataclass, field
from typing import cast

Address = tuple[str, int]


@dataclass
class Message:
    """One SIP message, cut into its parts."""

    start: str
    headers: dict[str, str]
    body: bytes
    source: Address

    @property
    def status(self) -> int:
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0") else 0

    @property
    def method(self) -> str:
        return "" if self.status else self.start.split()[0]

    @property
    def cseq(self) -> str:
        return self.headers.get("cseq", "").split()[-1]

    @property
    def cause(self) -> int:
        found = re.search(r"Q\.850\s*;\s*cause\s*=\s*(\d+)", self.headers.get("reason", ""))
        return int(found.group(1)) if found else 0


def cut(data: bytes, source: Address) -> Message:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        # Via may stand several times; the topmost one is the one that is answered.
        headers.setdefault(name.strip().lower(), value.strip())
    return Message(lines[0], headers, body, source)


@dataclass(eq=False)
class Dialog:
    """One call, placed by or offered to the stand-in."""

    peer: "Controller"
    call_id: str
    remote: Address
    local_uri: str
    remote_uri: str
    target: str
    sdp: bytes = b""
    cseq: int = 1
    invite: Message | None = None
    got: list[Message] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        """Answers to the INVITE so far, without 100."""
        return [m.status for m in self.got if m.status > 100 and m.cseq == "INVITE"]

    @property
    def final(self) -> Message | None:
        return next((m for m in self.got if m.status >= 200 and m.cseq == "INVITE"), None)

    def request(self, method: str) -> Message | None:
        return next((m for m in self.got if m.method == method), None)

    def answer_to(self, method: str) -> Message | None:
        return next((m for m in self.got if m.status >= 200 and m.cseq == method), None)

    def send(self, method: str, *, cseq: int | None = None, headers: str = "", body: bytes = b"", kind: str = "",
             branch: str = "") -> None:  # fmt: skip
        number = self.cseq if cseq is None else cseq
        text = (
            f"{method} {self.target} SIP/2.0\r\nVia: SIP/2.0/UDP {self.peer.host}:{self.peer.port}"
            f";branch=z9hG4bK{branch or f'{self.call_id}{number}{method}'}\r\nMax-Forwards: 70\r\n"
            f"From: {self.local_uri}\r\nTo: {self.remote_uri}\r\nCall-ID: {self.call_id}\r\n"
            f"CSeq: {number} {method}\r\nContact: <sip:controller@{self.peer.host}:{self.peer.port}>\r\n{headers}"
        )
        if body:
            text += f"Content-Type: {kind or 'application/sdp'}\r\n"
        self.peer.transport.sendto(text.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, self.remote)

    def again(self, method: str, *, headers: str = "", body: bytes = b"", kind: str = "") -> None:
        """A further request inside the dialog."""
        self.cseq += 1
        self.send(method, headers=headers, body=body, kind=kind)

    def cancel(self) -> None:
        self.send("CANCEL", cseq=1, branch=f"{self.call_id}1INVITE")

    def respond(self, request: Message, status: int, words: str, *, headers: str = "", body: bytes = b"") -> None:
        fields = request.headers
        to = fields["to"] if "tag=" in fields["to"] else f"{fields['to']};tag=ctl{self.call_id[:6]}"
        text = (
            f"SIP/2.0 {status} {words}\r\nVia: {fields['via']}\r\nFrom: {fields['from']}\r\nTo: {to}\r\n"
            f"Call-ID: {self.call_id}\r\nCSeq: {fields['cseq']}\r\n"
            f"Contact: <sip:controller@{self.peer.host}:{self.peer.port}>\r\n{headers}"
        )
        if body:
            text += "Content-Type: application/sdp\r\n"
        self.peer.transport.sendto(
            text.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body, request.source
        )


class Controller(asyncio.DatagramProtocol):
    """The socket; ACKs finals, answers BYE, keeps everything per Call-ID."""

    def __init__(self) -> None:
        self.dialogs: dict[str, Dialog] = {}
        self.offered: asyncio.Queue[Dialog] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self.host, self.port = "127.0.0.1", 0
        self.transport: asyncio.DatagramTransport

    @classmethod
    async def open(cls) -> "Controller":
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        message = cut(data, addr)
        call_id = message.headers.get("call-id", "")
        dialog = self.dialogs.get(call_id)
        if dialog is None and message.method == "INVITE":
            dialog = self._offered(message, call_id)
        if dialog is None:
            return
        dialog.got.append(message)
        if message.status:
            self._take_answer(dialog, message)
        elif message.method in ("BYE", "CANCEL", "INFO"):
            dialog.respond(message, 200, "OK")
            if message.method == "CANCEL" and dialog.invite is not None:
                dialog.respond(dialog.invite, 487, "Request Terminated")

    def _offered(self, message: Message, call_id: str) -> Dialog:
        dialog = Dialog(
            self, call_id, message.source, f"{message.headers['to']};tag=ctl{call_id[:6]}", message.headers["from"],
            target_of(message), invite=message,
        )  # fmt: skip
        self.dialogs[call_id] = dialog
        self.offered.put_nowait(dialog)
        return dialog

    def _take_answer(self, dialog: Dialog, message: Message) -> None:
        if message.cseq != "INVITE" or message.status < 200:
            return
        number = int(message.headers["cseq"].split()[0])
        dialog.remote_uri = message.headers["to"]
        if message.status < 300:
            dialog.target = target_of(message) or dialog.target
            dialog.send("ACK", cseq=number)
        else:
            dialog.send("ACK", cseq=number, branch=f"{dialog.call_id}{number}INVITE")

    def invite(self, box: Address, number: str, sdp: bytes, headers: dict[str, str]) -> Dialog:
        call_id = f"t{next(self._numbers)}x{self.port}"
        uri = f"sip:{number}@{box[0]}:{box[1]}"
        dialog = Dialog(
            self, call_id, box, f"<sip:tester@{self.host}:{self.port}>;tag=f{call_id}", f"<{uri}>", uri, sdp
        )
        self.dialogs[call_id] = dialog
        dialog.send("INVITE", headers="".join(f"{k}: {v}\r\n" for k, v in headers.items()), body=sdp)
        return dialog

    def close(self) -> None:
        self.transport.close()


def target_of(message: Message) -> str:
    found = re.search(r"<([^>]+)>", message.headers.get("contact", ""))
    return found.group(1) if found else ""


def sdp_of(address: Address, *, direction: str = "sendrecv", kinds: str = "0 101") -> bytes:
    """PCMU with telephone events."""
    host, port = address
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP {kinds}\r\n"
        f"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na={direction}\r\n"
    ).encode()
