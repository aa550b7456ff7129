"""What goes into routing and what comes out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from simrack.controller.models import Explanation

EarlyMedia = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class Over:
    """What a test call is to go over; empty fields don't matter. As text: `box=lab-01; channel=3; iccid=8949…`."""

    box: str = ""
    channel: int | None = None
    iccid: str = ""

    def fits(self, box: str, channel: int, iccid: str) -> bool:
        """Whether a channel with its SIM is meant."""
        return self.box in ("", box) and self.channel in (None, channel) and self.iccid in ("", iccid)

    def __str__(self) -> str:
        named = (("box", self.box), ("channel", self.channel), ("iccid", self.iccid))
        return "; ".join(f"{name}={value}" for name, value in named if value not in ("", None))


def read_over(text: str) -> Over | None:
    """None for an empty text. Raises `ValueError` with what is wrong."""
    fields: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in ("box", "channel", "iccid") or not value or name in fields:
            raise ValueError(f"{part[:40]!r} is none of box=NAME, channel=NUMBER, iccid=DIGITS")
        fields[name] = value
    number = fields.get("channel")
    if number is not None and not (number.isascii() and number.isdecimal() and len(number) < 6):
        raise ValueError(f"channel={number[:40]} is no number")
    if not fields:
        return None
    return Over(fields.get("box", ""), int(number) if number else None, fields.get("iccid", ""))


@dataclass(frozen=True, slots=True)
class CallFacts:
    """An identified call that wants a route."""

    sender: str
    called: str  # as received
    calling: str  # as received
    now: datetime
    source: tuple[str, int] = ("", 0)
    anonymous: bool = False  # the caller asked for privacy (RFC 3323)
    over: Over | None = None  # heard from senders of use "test" alone


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
