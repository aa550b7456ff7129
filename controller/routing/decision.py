"""What goes into routing and what comes out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from simrack.controller.models import Explanation

EarlyMedia = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class CallFacts:
    """An identified call that wants a route."""

    sender: str
    called: str  # as received
    calling: str  # as received
    now: datetime
    source: tuple[str, int] = ("", 0)
    anonymous: bool = False  # the caller asked for privacy (RFC 3323)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One concrete (channel, SIM) with everything that the attempt needs."""

    box: str
    sip: tuple[str, int]
    channel: int
    iccid: str
    plan: str
    dial: str  # the number in the plan's dial format
    early_media: EarlyMedia
    hide_number: bool | None
    max_ring_s: int
    max_call_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Candidates in order, or none and a refusal in `explanation.refusal`."""

    explanation: Explanation
    candidates: tuple[Candidate, ...]
    calling: str = ""  # what may be presented
