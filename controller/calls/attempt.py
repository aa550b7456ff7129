"""One candidate tried for a call."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from simrack.controller.models import AttemptRow
from simrack.controller.routing.decision import Candidate
from simrack.sip.legs import Failed, Leg
from simrack.wire.causes import Cause
from simrack.wire.messages import CallPart

#: Refusals that say something of the channel: it is kept from other calls until the box has reported it.
_BUSY_WORDS = frozenset({"taken", "not-ready", "other-sim", "repeated"})


@dataclass(slots=True)
class Attempt:
    """An attempt in progress or gone. `engaged`: the box did more than refuse it, so it will tell its part."""

    id: str
    number: int
    candidate: Candidate
    leg: Leg
    started: datetime
    begun_ms: int
    engaged: bool = False
    heard: bool = False
    rang: bool = False
    answered: bool = False
    late: bool = False
    silent: bool = False
    untouched: bool = False  # the box refused it before the channel was concerned
    ended: datetime | None = None
    cause: int = 0
    text: str = ""
    sdp: bytes | None = None
    part: CallPart | None = None
    offset: timedelta = timedelta()  # controller's clock minus the box's, when the part was made

    @property
    def gone(self) -> bool:
        return self.ended is not None

    @property
    def awaits_part(self) -> bool:
        """Whether the record should wait for the box's part."""
        return self.part is None and self.engaged and not self.silent

    @property
    def lacks_part(self) -> bool:
        """Whether the record can't be sure of what the network did."""
        return self.part is None and (self.engaged or self.silent)

    @property
    def connected_unseen(self) -> bool:
        """Whether the network answered it, as the box's part tells, and the leg never said so."""
        return not self.answered and self.part is not None and self.part.connected is not None

    def fail(self, failed: Failed, now: datetime) -> None:
        """Note how it failed."""
        self.ended, self.cause, self.text = now, failed.cause, failed.text
        self.silent = failed.no_response
        word = failed.headers.get("x-simrack-refusal", "")
        refused = bool(word) or failed.cause == Cause.CHANNEL_UNAVAILABLE or failed.status == 482
        self.untouched = bool(word) and word not in _BUSY_WORDS
        # Nor need we have heard of it: one that was cancelled before the box's 100 may have reached the network.
        self.engaged = not refused and (self.heard or self.engaged or not failed.no_response)
        if failed.no_response and not self.text:
            self.text = "no response"

    def outcome(self) -> str:
        """In a few words, for lists."""
        if self.late:
            return "answered late and ended"
        if self.answered:
            return "answered"
        if self.silent:
            return "no response"
        return self.text or (f"failed, cause {self.cause}" if self.cause else "cancelled")

    def row(self) -> AttemptRow:
        """What the record keeps of it."""
        part = self.part
        return AttemptRow(
            attempt=self.id,
            number=self.number,
            box=self.candidate.box,
            channel=self.candidate.channel,
            iccid=self.candidate.iccid,
            started=self.started,
            ended=self.ended,
            cause=part.cause if part else self.cause,
            cause_text=(part.cause_text if part else "") or self.text,
            outcome=self.outcome(),
            talk_ms=part.talk_ms if part else 0,
            at_log=part.at_log if part else (),
            media=part.media if part else None,
        )
