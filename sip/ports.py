"""What the engine and the layers above it say to each other; nothing of the SIP library in it."""

from collections.abc import Callable
from typing import Protocol

from simrack.sip.legs import Dial, DialogIds, Headers, Invite, OutgoingLeg, Rejection
from simrack.sip.screen import Packet, Refusal

Address = tuple[str, int]  # IPv4 address and UDP port


class CallStack(Protocol):
    """The SIP stack as a process uses it (`sip.stack.SipStack`, or a twin of it)."""

    async def start(self) -> None:
        """Take calls from now on. Raises `UserError`."""

    async def stop(self) -> None:
        """Close at once."""

    @property
    def address(self) -> Address:
        """Where it listens."""

    def dial(self, dial: Dial) -> OutgoingLeg:
        """Place a call."""


class Sink(Protocol):
    """What the owner of an `Agent` hears, in the order of the wire."""

    def provisional(self, status: int, sdp: bytes | None) -> None:
        """A 1xx came."""

    def answered(self, sdp: bytes | None, *, crossed: bool) -> None:
        """A 2xx came; `crossed` when we had already asked to cancel (BYE follows by itself)."""

    def refused(self, status: int, phrase: str, packet: Packet | None) -> None:
        """The call came to nothing; no packet: time ran out."""

    def released(self, packet: Packet | None) -> None:
        """BYE or CANCEL came; no packet: the request expired or the dialog broke."""

    def lost(self) -> None:
        """The ACK never came; a BYE was sent."""

    def offered(self, sdp: bytes | None) -> None:
        """A re-INVITE came and waits for an answer."""

    def offer_answered(self, sdp: bytes | None, status: int) -> None:
        """The answer to our offer came (None: refused with `status`, 408 when nothing came)."""

    def info_received(self, content_type: str, body: bytes) -> None:
        """An INFO came; it was answered 200."""

    def acknowledged(self) -> None:
        """The ACK of our 2xx came."""

    def repeat(self) -> bool:
        """The INVITE of an adopted call came again; False: its answer was acknowledged."""


class Dialog(Protocol):
    """One dialog, as its owner drives it."""

    def dial(
        self, call_id: str, calling: str, called: str, display: str, sdp: bytes | None, headers: Headers
    ) -> None:
        """Send the INVITE."""

    def ring(self) -> None:
        """Send 180."""

    def progress(self, sdp: bytes) -> None:
        """Send 183 with SDP."""

    def answer(self, sdp: bytes, headers: Headers) -> None:
        """Send 200; the dialog stands from now on."""

    def answer_text(self, sdp: bytes, headers: Headers) -> str:
        """The 200 that `answer` will send, so that a later run can repeat it."""

    def fail(self, status: int, phrase: str, headers: Headers) -> None:
        """Send a final failure."""

    def release(self, headers: Headers) -> None:
        """CANCEL or BYE, whichever the stage asks for. A BYE waits for the ACK (RFC 3261 15)."""

    def give_up(self, headers: Headers) -> None:
        """Cancel towards a silent host, at once: no more INVITEs; a late answer is acknowledged and ended."""

    def offer(self, sdp: bytes) -> bool:
        """Send a re-INVITE; False when another exchange is on (RFC 3261 14.1)."""

    def accept_offer(self, sdp: bytes | None) -> bool:
        """Answer a re-INVITE 200, or acknowledge an answer that carried an offer; False: nothing waits."""

    def refuse_offer(self, status: int, phrase: str) -> bool:
        """Answer a re-INVITE with a failure; the session stays as it was."""

    def send_info(self, content_type: str, body: bytes) -> None:
        """Send an INFO."""

    def probe(self, heard: Callable[[int], None]) -> None:
        """Ask by OPTIONS whether the far end knows the dialog; `heard` gets the status, 408 when nothing came."""

    def dialog(self) -> DialogIds:
        """The identifiers as they are now (RFC 3261 12.1)."""


class Arrival(Protocol):
    """A new INVITE in the hands of the application; nothing has been sent (fault 8)."""

    tag: str

    @property
    def packet(self) -> Packet:
        """The INVITE."""

    @property
    def source(self) -> Address:
        """Where it came from."""

    def listen(self, sink: Sink) -> None:
        """Who hears of a CANCEL meanwhile."""

    def accept(self, sink: Sink) -> Dialog:
        """Make a dialog of it, which sends 100."""

    def refuse(self, refusal: Refusal) -> None:
        """Send a final failure without making a dialog."""

    def drop(self) -> None:
        """Never answer; retransmissions are absorbed. Only inside `Front.arrived`."""


class Line(Protocol):
    """Where calls are placed from."""

    @property
    def address(self) -> Address:
        """Our own address."""

    def dial(self, sink: Sink, to: Address, username: str, password: str) -> Dialog:
        """A dialog for a call that we place; `Dialog.dial` sends the INVITE."""

    def adopt(self, sink: Sink, dialog: DialogIds) -> Dialog:
        """The dialog of an earlier run; ValueError: its identifiers are not complete."""

    def send(self, text: str, to: Address) -> None:
        """Send a message as it stands."""


class Front(Protocol):
    """Policy of the stack above."""

    def hears(self, source: Address) -> bool:
        """Tell whether anything of this source is looked at."""

    def trusted(self, source: Address) -> bool:
        """Tell whether `X-Simrack-*` headers of this source count."""

    def arrived(self, inbound: Arrival) -> None:
        """A new dialog-forming INVITE; nothing was sent yet."""

    def outside(self, packet: Packet, source: Address) -> Refusal:
        """The answer to a request outside a dialog that is no INVITE (status 0: silence)."""

    def judge(self, packet: Packet, source: Address) -> Refusal | None:
        """The answer to any request outside a dialog (status 0: silence), before it costs anything; None: an INVITE
        that may come in.
        """

    def answers(self, source: Address) -> bool:
        """Tell whether this source may have one more answer that belongs to no call."""

    def lag(self, late_s: float) -> None:
        """How many seconds after its time the loop came to the timers."""

    def suspect(self, source: Address, problem: str) -> None:
        """A packet that could not be used."""


class Door(Protocol):
    """What may come in, as the application decides it; asked for each packet, so it must be quick."""

    def judge(self, invite: Invite) -> Rejection | None:
        """The answer to a new INVITE that may not come in; asked once, before the stack makes anything of it."""

    def answers(self, source: Address) -> bool:
        """Tell whether this source may have one more answer that belongs to no call."""

    def lag(self, late_s: float) -> None:
        """How many seconds after its time the event loop came to its timers."""


class OpenDoor:
    """Lets everything in."""

    def judge(self, invite: Invite) -> Rejection | None:
        return None

    def answers(self, source: Address) -> bool:
        return True

    def lag(self, late_s: float) -> None:
        """Nothing depends on it."""
