"""What a call needs from the rest of the controller, as protocols: the store, the router, the SIP stack."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from simrack.controller.fleet.view import FleetView
from simrack.controller.models import AttemptRow, Explanation, KeptCall, LadderLine, RecordRow
from simrack.controller.routing.decision import CallFacts, Decision
from simrack.sip.legs import Dial, DialogIds, Leg, OutgoingLeg
from simrack.wire.messages import BoxEvent, CallPart

Direction = Literal["out", "in"]
#: Mark of a record whose call ended, for all that its sender heard, while the network answered it.
CROSSED = "cancel-crossed"
#: Outcomes that such an answer changes.
UNANSWERED = ("cancelled", "failed")


@dataclass(frozen=True, slots=True)
class OpenCall:
    """What is on disk before 100 Trying. (sender, call_id, from_tag) tells one call from another."""

    call: str
    direction: Direction
    sender: str
    call_id: str
    from_tag: str
    calling: str
    called: str
    ingress: str  # "address:port"
    started: datetime


@dataclass(frozen=True, slots=True)
class Dialogs:
    """What is on disk before 200 is passed on: enough to end both legs after a restart."""

    answered: datetime
    attempt: str
    box: str
    channel: int | None
    plan: str
    sender_leg: DialogIds
    box_leg: DialogIds
    iccid: str = ""
    pattern: str = ""
    calling: str = ""  # as presented
    called: str = ""  # E.164
    box_boot: str = ""  # the run of the box that carries the call
    kept: KeptCall | None = None  # the rest of what a later run needs


@dataclass(frozen=True, slots=True)
class LeftCall:
    """An open row of an earlier run. `dialogs` None: it was not answered. `part`: the box's word, if it is on disk."""

    open: OpenCall
    dialogs: Dialogs | None = None
    part: CallPart | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells one call from another."""
        return self.open.sender, self.open.call_id, self.open.from_tag


@dataclass(frozen=True, slots=True)
class Finished:
    """Everything that is stored when a call ends, in one transaction that also deletes the open row."""

    record: RecordRow
    explanation: Explanation | None
    ladder: tuple[LadderLine, ...]
    attempts: tuple[AttemptRow, ...]


class CallStore(Protocol):
    """The one writer of facts. Every method raises `StoreDown` when the database can't take it."""

    async def open_call(self, call: OpenCall) -> None:
        """Insert the open row."""

    async def connected(self, call: str, dialogs: Dialogs) -> None:
        """Complete the open row before the sender hears 200."""

    async def take_over(self, call: str, dialogs: Dialogs) -> None:
        """Make an earlier run's open row this run's, with the dialogs as they are now."""

    async def finish(self, finished: Finished) -> None:
        """Delete the open row; insert record, attempts, explanation and ladder."""

    async def take_events(self, events: Sequence[BoxEvent]) -> object:
        """Store facts once each; a part completes the `estimated` record of its attempt."""


class Router(Protocol):
    """Routing under the configuration in force."""

    def decide(self, facts: CallFacts, fleet: FleetView) -> Decision:
        """Candidates in order, or a refusal."""


class Dialler(Protocol):
    """The outgoing half of the SIP stack."""

    def dial(self, dial: Dial) -> OutgoingLeg:
        """Place a call; its progress comes as events."""


class Adopter(Protocol):
    """The part of the SIP stack that goes on with calls of an earlier run."""

    def adopt(self, dialog: DialogIds, answer: str = "") -> Leg:
        """A connected leg from stored identifiers; with `answer` that 200 is repeated until its ACK."""


class Senders(Protocol):
    """Senders of the configuration in force, by what a packet shows."""

    def by_address(self, source: tuple[str, int]) -> str | None:
        """The sender that this address alone identifies."""

    def algorithms(self, source: tuple[str, int]) -> frozenset[str]:
        """Hash algorithms that a challenge to this address may name."""

    def may_challenge(self, source: tuple[str, int]) -> bool:
        """Whether a digest sender may come from this address."""

    def secret_of(self, username: str, source: tuple[str, int]) -> str | None:
        """The password of a digest user that may come from this address."""

    def by_user(self, username: str) -> str | None:
        """The sender of a digest user."""

    def knows(self, source: tuple[str, int]) -> bool:
        """Whether a sender names this address (it is warned about, never banned)."""
