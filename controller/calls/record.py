"""From what happened in a call to what is stored about it: one record, its attempts, explanation and ladder."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from simrack.controller.calls.attempt import Attempt
from simrack.controller.calls.ladder import Ladder
from simrack.controller.calls.outcome import End
from simrack.controller.calls.ports import Finished, OpenCall
from simrack.controller.models import AttemptRow, Explanation, RecordRow
from simrack.sip.legs import Invite

#: Talk time at the network and at the sender may differ by this much without a mark (architecture: clocks).
DIFFERS_MS = 1000


@dataclass(slots=True)
class History:
    """What a call went through. Moments are wall clock, `..._ms` are measured since the INVITE came in."""

    call: str
    direction: Literal["out", "in"]
    sender: str
    calling: str
    called: str
    ingress: str
    started: datetime
    ladder: Ladder
    progress_ms: int | None = None
    alerting: datetime | None = None
    alerting_ms: int | None = None
    answered: datetime | None = None
    answered_ms: int | None = None
    ended: datetime | None = None
    ended_ms: int = 0
    end: End | None = None
    presented: str = ""
    explanation: Explanation | None = None
    attempts: list[Attempt] = field(default_factory=list)
    tried: tuple[AttemptRow, ...] = ()  # attempts of an earlier run that failed
    marks: list[str] = field(default_factory=list)

    def mark(self, word: str) -> None:
        """Add a mark once."""
        if word not in self.marks:
            self.marks.append(word)

    def open_row(self, invite: Invite) -> OpenCall:
        """What goes on disk before 100 Trying."""
        return OpenCall(
            call=self.call,
            direction=self.direction,
            sender=self.sender,
            call_id=invite.call_id,
            from_tag=invite.from_tag,
            calling=self.calling,
            called=self.called,
            ingress=self.ingress,
            started=self.started,
        )

    @property
    def carrier(self) -> Attempt | None:
        """The attempt that the record is about: the one that was answered, else the last."""
        in_time = [attempt for attempt in self.attempts if attempt.answered and not attempt.late]
        return in_time[-1] if in_time else self.attempts[-1] if self.attempts else None


def build(history: History) -> Finished:
    """Everything that the store keeps of a call that is over."""
    record = _record(history)
    for attempt in history.attempts:
        if attempt.part is not None:
            history.ladder.add_part(attempt.part, attempt.number, attempt.begun_ms)
    return Finished(
        record=record,
        explanation=explained(history),
        ladder=history.ladder.lines(),
        attempts=(*history.tried, *(attempt.row() for attempt in history.attempts)),
    )


def _record(history: History) -> RecordRow:
    end, carrier, told = history.end, history.carrier, history.explanation
    assert end is not None
    part = carrier.part if carrier else None
    talk_sender, talk_network = _talk(history)
    return RecordRow(
        call=history.call,
        direction=history.direction,
        sender=history.sender,
        calling_received=history.calling,
        calling=(told.calling if told else "") or history.presented or history.calling,
        called_received=history.called,
        called=(told.called if told else "") or history.called,
        dialled=(part.number if part else "") or (carrier.candidate.dial if carrier else ""),
        started=history.started,
        alerting=_alerting(history),
        answered=_answered(history),
        ended=history.ended or history.started,
        setup_ms=history.progress_ms or 0,
        ring_ms=part.ring_ms if part else _rang(history),
        talk_network_ms=talk_network,
        talk_sender_ms=talk_sender,
        outcome=end.outcome,
        cause=end.cause,
        cause_original=(part.cause_text if part else "") or (carrier.text if carrier else "") or end.text,
        side=_side(history),
        sip_status=end.status,
        refusal=end.refusal,
        box=carrier.candidate.box if carrier else "",
        channel=carrier.candidate.channel if carrier else None,
        iccid=carrier.candidate.iccid if carrier else "",
        imsi=part.imsi if part else "",
        plan=carrier.candidate.plan if carrier else "",
        pattern=told.pattern if told else "",
        ingress=history.ingress,
        egress=address_text(carrier.candidate.sip) if carrier else "",
        codec=part.media.codec if part else "",
        mos=part.media.mos if part else None,
        attempts=len(history.tried) + len(history.attempts),
        # A box that was restarted in the call can only guess at what it missed.
        estimated=carrier is not None and (carrier.lacks_part or (part is not None and part.estimated)),
        marks=tuple(_marks(history, talk_network - talk_sender)),
    )


def _talk(history: History) -> tuple[int, int]:
    """Talk time in ms at the sender (200 to BYE) and at the network, which the box measured."""
    sender = history.ended_ms - history.answered_ms if history.answered_ms is not None else 0
    carrier = history.carrier
    part = carrier.part if carrier else None
    return max(0, sender), part.talk_ms if part else max(0, sender)


def _alerting(history: History) -> datetime | None:
    carrier = history.carrier
    if carrier and carrier.part and carrier.part.alerting:
        return carrier.part.alerting + carrier.offset
    return history.alerting


def _answered(history: History) -> datetime | None:
    """When the sender heard 200; of a crossed cancel, when the network connected."""
    carrier = history.carrier
    if history.answered is None and carrier and carrier.answered and carrier.part and carrier.part.connected:
        return carrier.part.connected + carrier.offset
    return history.answered


def _rang(history: History) -> int:
    if history.alerting_ms is None:
        return 0
    until = history.answered_ms if history.answered_ms is not None else history.ended_ms
    return max(0, until - history.alerting_ms)


def _side(history: History) -> Literal["called", "calling", "rack"]:
    """The box knows better than we do whether the network or the rack released."""
    end, carrier = history.end, history.carrier
    assert end is not None
    part = carrier.part if carrier else None
    if part is not None and end.side != "calling" and history.direction == "out" and not end.refusal:
        return part.side if part.side != "calling" else end.side
    return end.side


def _marks(history: History, difference_ms: int) -> list[str]:
    marks = list(history.marks)
    if len(history.tried) + len(history.attempts) > 1:
        marks.append("rerouted")
    if abs(difference_ms) > DIFFERS_MS:
        marks.append("talk-differs")
    part = history.carrier.part if history.carrier else None
    if part is not None and part.media.trouble:
        # `one-way:no-rtp` and the like: the direction stands in the attempt's figures.
        marks.append(part.media.trouble.partition(":")[0])
    return marks


def explained(history: History) -> Explanation | None:
    """The explanation with what became of each candidate."""
    told = history.explanation
    if told is None or not history.attempts:
        return told
    outcomes = {(a.candidate.box, a.candidate.channel): a.outcome() for a in history.attempts}
    order = tuple(
        item.model_copy(update={"outcome": outcomes.get((item.box, item.channel), item.outcome)})
        for item in told.order
    )
    return told.model_copy(update={"order": order})


def address_text(address: tuple[str, int]) -> str:
    """ "address:port" for records and pages."""
    return f"{address[0]}:{address[1]}"
