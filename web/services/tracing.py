"""A call's SIP messages as somebody may read them: one way for the story, the API and the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from simrack.controller.models import AttemptRow, RecordRow
from simrack.controller.tracing.messages import Trace, TraceMessage
from simrack.web.masks import Mask

#: Answers below this are no failure (RFC 3261 21.4).
FAILED_FROM = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One message: `ms` since the first one, who to whom, its first line, all of it."""

    ms: float
    source: str
    target: str
    source_address: str
    target_address: str
    start: str
    text: str
    octets: int
    tone: str  # "", "good", "bad"
    repeated: bool  # the very octets went the same way before


@dataclass(frozen=True, slots=True)
class Messages:
    """What is shown. `whole`: nothing is masked, so that a capture of it may be taken away."""

    lines: tuple[Line, ...]
    left_out: int
    whole: bool


class Told(Protocol):
    """A story, as it is stored or as it is drawn."""

    @property
    def record(self) -> RecordRow: ...

    @property
    def attempts(self) -> tuple[AttemptRow, ...]: ...


def parties(story: Told) -> Mapping[int, str]:
    """Who is at the far end of each leg."""
    record = story.record
    first = (record.box or "box") if record.direction == "in" else (record.sender or "sender")
    return {0: first, **{attempt.number: attempt.box or "box" for attempt in story.attempts}}


def readable(trace: Trace, story: Told, mask: Mask) -> Messages | None:
    """The messages as one session reads them; None when it may not read any.

    Messages name boxes and senders in many places: whoever is kept from one of them gets none.
    """
    if not mask.trace or mask.hidden:
        return None
    ends, seen = parties(story), set[tuple[int, bool, bytes]]()
    lines = []
    for message in trace.messages:
        key = (message.leg, message.sent, message.data)
        lines.append(_line(message, trace.messages[0], ends.get(message.leg, "box"), mask, repeated=key in seen))
        seen.add(key)
    return Messages(tuple(lines), trace.left_out, mask.whole)


def _line(message: TraceMessage, first: TraceMessage, far: str, mask: Mask, *, repeated: bool) -> Line:
    ends = ("controller", far) if message.sent else (far, "controller")
    return Line(
        ms=(message.at - first.at).total_seconds() * 1000,
        source=ends[0],
        target=ends[1],
        source_address="{}:{}".format(*message.source),
        target_address="{}:{}".format(*message.target),
        start=mask.text(message.start),
        text=mask.text(message.text),
        octets=len(message.data),
        tone=_tone(message),
        repeated=repeated,
    )


def _tone(message: TraceMessage) -> str:
    status = message.start[:3]
    if status.isdecimal():
        # A challenge is the ordinary way in, no failure.
        return "bad" if int(status) >= FAILED_FROM and status not in ("401", "407") else "good" if status[0] == "2" else ""
    return "bad" if message.method == "CANCEL" else ""
