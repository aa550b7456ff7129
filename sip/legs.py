"""Legs of a call as the call logic sees them: neutral, so that SIP, H.323, WebRTC and simulated legs fit.

Two legs meet only through these events (try, ring, progress, connect, fail, disconnect). A leg is driven
from one event loop; its events arrive in order in `Leg.events`, and the last one is always `Failed` or
`Disconnected`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Side = Literal["local", "remote"]
Headers = Sequence[tuple[str, str]]  # a name may stand twice, as WWW-Authenticate does


@dataclass(frozen=True, slots=True)
class DialogIds:
    """What must be on disk to release a dialog after a restart (RFC 3261 12.1)."""

    call_id: str
    local_tag: str = ""
    remote_tag: str = ""
    local_uri: str = ""
    remote_uri: str = ""
    remote_target: str = ""
    route_set: tuple[str, ...] = ()
    local_cseq: int = 0
    remote_address: str = ""  # "address:port" that messages go to
    remote_cseq: int = 0  # of the other side's last request; 0: not known

    @property
    def complete(self) -> bool:
        """Whether a request can be made from it."""
        host, _, port = self.remote_address.rpartition(":")
        return bool(self.local_tag and self.remote_tag and self.remote_target and host and port.isdigit())


@dataclass(frozen=True, slots=True)
class Trying:
    """100: the other side has the request."""


@dataclass(frozen=True, slots=True)
class Ringing:
    """180 without SDP."""


@dataclass(frozen=True, slots=True)
class Progress:
    """183 (or 180) with SDP: early media."""

    sdp: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """2xx; the dialog's identifiers are complete."""

    sdp: bytes | None
    ids: DialogIds


@dataclass(frozen=True, slots=True)
class Update:
    """The other side offers a new session (re-INVITE); answer with `accept_update` or `refuse_update`.

    With `answers` it is instead the answer to what we offered (by `offer`, or in a 200 to an INVITE without
    SDP) and needs none; `sdp` None then means that our offer was refused with `status` (408: never
    answered) and the session is as before.
    """

    sdp: bytes | None
    answers: bool = False
    status: int = 0


@dataclass(frozen=True, slots=True)
class Info:
    """An INFO inside the dialog, for instance DTMF (`application/dtmf-relay`); it was answered 200."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of `probe`: whether the far end knows the call. Without any answer this does not come."""

    alive: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The call ended before it was answered; `local` when we cancelled or gave up, or the caller's CANCEL.

    `cause` is the Q.850 cause of the Reason header, else mapped from `status` (RFC 3398); `text` is the
    Reason's text or the reason phrase. `no_response` tells a silent host from a refusal.
    """

    status: int
    cause: int
    text: str = ""
    side: Side = "remote"
    headers: Mapping[str, str] = field(default_factory=dict)
    no_response: bool = False


@dataclass(frozen=True, slots=True)
class Disconnected:
    """An answered call ended by BYE (or the loss of the ACK)."""

    cause: int
    text: str = ""
    side: Side = "remote"


Event = Trying | Ringing | Progress | Connected | Update | Info | Probed | Failed | Disconnected


class Leg(Protocol):
    """One side of a call. Methods never wait for the network; its answers come as events."""

    events: asyncio.Queue[Event]

    @property
    def ids(self) -> DialogIds:
        """The dialog as it is known now."""

    def accept_update(self, sdp: bytes | None) -> None:
        """Answer an `Update` 200."""

    def refuse_update(self, status: int) -> None:
        """Answer an `Update` with a failure, for instance 488."""

    def offer(self, sdp: bytes) -> None:
        """Send a re-INVITE with `sdp`; the answer comes as `Update`."""

    def info(self, content_type: str, body: bytes) -> None:
        """Send an INFO inside the dialog; its answer is not reported."""

    def probe(self) -> None:
        """Ask the far end of an answered call whether it still knows it; `Probed` tells."""

    def hang_up(self, cause: int, text: str = "") -> None:
        """End the leg whatever its stage: CANCEL, failure response, or BYE, with a Reason header."""

    def give_up(self, cause: int, text: str = "") -> None:
        """End the leg to a host that is known to be gone: `hang_up`, but an INVITE without any answer is not repeated."""


class IncomingLeg(Leg, Protocol):
    """A call that came to us. Nothing has been sent when the application gets it, not even 100."""

    @property
    def request(self) -> "Invite":
        """The INVITE."""

    def trying(self) -> None:
        """Send 100 Trying."""

    def ring(self) -> None:
        """Send 180 without SDP."""

    def progress(self, sdp: bytes) -> None:
        """Send 183 with SDP."""

    def answer_text(self, sdp: bytes) -> str:
        """What `answer` will send, for the disk: `adopt` repeats it in a later run. "" where nothing can be."""

    def answer(self, sdp: bytes, headers: Headers = ()) -> None:
        """Send 200 with SDP; `Connected` comes with the dialog's identifiers, before the ACK."""

    def reject(self, status: int, cause: int, text: str = "", headers: Headers = ()) -> None:
        """Send a final failure with `Reason: Q.850;cause=...;text=...` and extra headers."""


class OutgoingLeg(Leg, Protocol):
    """A call that we place."""


@dataclass(frozen=True, slots=True)
class Invite:
    """A dialog-forming INVITE, already valid: it has Contact, no unsupported Require, sane sizes."""

    source: tuple[str, int]  # where the packet came from
    method_uri: str  # the request URI
    called: str  # user part of the request URI, visual separators untouched
    calling: str  # user part of From
    call_id: str
    from_tag: str
    sdp: bytes | None
    headers: Mapping[str, str]  # lower-case name -> first value; X-Simrack-* kept only from trusted sources
    authorization: str = ""  # raw Authorization header, or ""
    more_authorizations: tuple[str, ...] = ()  # a client shows one for each realm that it knows (RFC 3261 22.3)


@dataclass(frozen=True, slots=True)
class Rejection:
    """What an INVITE hears that may not come in. Status 0: nothing at all."""

    status: int
    cause: int = 0
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Dial:
    """Where and how to place a call."""

    address: tuple[str, int]
    called: str
    calling: str
    sdp: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    display: str = ""
    username: str = ""  # digest credentials for a peer that challenges
    password: str = ""
    no_response_s: float = 1.5  # a silent host counts as unreachable after this long (routing)
    ring_s: float = 120.0  # give up unanswered after this long
