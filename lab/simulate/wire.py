"""The network between SIP hosts: addresses, delay, loss, cut paths, hosts that are down or stand still."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simrack.lab.simulate.loop import Incarnation, VirtualLoop
from simrack.sip.screen import Packet

Address = tuple[str, int]
#: One way of a packet in seconds: a loaded link of a rack.
DELAY_S = (0.001, 0.006)


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message: what the twin's transactions and dialogs need of it, and the rest as headers.

    `branch` names the transaction; a CANCEL carries that of the INVITE which it cancels.
    """

    method: str  # of a response: that of its request
    status: int  # 0 for a request
    call_id: str
    from_tag: str
    to_tag: str
    branch: str
    cseq: int
    called: str = ""
    calling: str = ""
    body: bytes = b""
    content_type: str = ""
    phrase: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def sdp(self) -> bytes | None:
        return self.body if self.body and self.content_type == "application/sdp" else None

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def packet(self, source: Address, *, trusted: bool = True) -> Packet:
        """As the screen would hand it on."""
        host = f"{source[0]}:{source[1]}"
        to = f"<sip:{self.called}@rack>" + (f";tag={self.to_tag}" if self.to_tag else "")
        kept = [
            (name.lower(), value) for name, value in self.headers if trusted or not name.lower().startswith("x-simrack-")
        ]
        headers = [
            ("via", f"SIP/2.0/UDP {host};branch={self.branch}"), ("from", f"<sip:{self.calling}@{source[0]}>;tag={self.from_tag}"), ("to", to), ("call-id", self.call_id),
            ("cseq", f"{self.cseq} {self.method}"), ("contact", f"<sip:peer@{host}>"),
            ("content-type", self.content_type), *kept,
        ]  # fmt: skip
        method = "" if self.status else self.method
        return Packet(method, f"sip:{self.called}@rack", self.status, self.phrase, tuple(headers), self.body)


Receiver = Callable[[Message, Address], None]


@dataclass
class SipWire:
    """See the module. `watch` sees every message that is sent: (from, to, message, arrives)."""

    loop: VirtualLoop
    rng: random.Random
    hosts: dict[Address, tuple[Incarnation, Receiver]] = field(default_factory=dict)
    cut: set[frozenset[Address]] = field(default_factory=set)
    loss: float = 0.0
    watch: Callable[[Address, Address, Message], None] = lambda _from, _to, _message: None
    packets: int = 0
    _last: dict[tuple[Address, Address], float] = field(default_factory=dict)

    def open(self, address: Address, owner: Incarnation, receive: Receiver) -> None:
        """Bind. OSError: somebody has this address."""
        if address in self.hosts:
            raise OSError(98, "Address already in use")
        self.hosts[address] = (owner, receive)

    def close(self, address: Address) -> None:
        self.hosts.pop(address, None)

    def send(self, source: Address, to: Address, message: Message) -> None:
        """Let a packet go; nobody tells whether it arrives."""
        self.packets += 1
        self.watch(source, to, message)
        if frozenset((source, to)) in self.cut or (self.loss and self.rng.random() < self.loss):
            return
        at = max(self.loop.time() + self.rng.uniform(*DELAY_S), self._last.get((source, to), 0.0) + 1e-6)
        self._last[source, to] = at
        self.loop.call_at(at, self._arrive, source, to, message, context=self.loop.world)

    def _arrive(self, source: Address, to: Address, message: Message) -> None:
        found = self.hosts.get(to)
        if found is not None:
            owner, receive = found
            owner.soon(receive, message, source)
