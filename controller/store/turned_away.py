"""Records of calls that a box refused by itself: they were never offered, so that its part is all there is."""

from sqlalchemy.engine import Connection

from simrack.controller.calls.ports import Finished
from simrack.controller.models import AttemptRow, RecordRow
from simrack.controller.store import jobs
from simrack.wire.causes import name, sip_of
from simrack.wire.messages import BoxEvent, CallPart

#: In the record, for whoever asks why the call has no sender.
REFUSAL = "channel-closed"


def record(connection: Connection, event: BoxEvent) -> None:
    """Make the record of a call that was turned away; the event's part then belongs to it."""
    part = event.body
    if not isinstance(part, CallPart) or not part.turned_away:
        return
    attempt = AttemptRow(
        attempt=part.attempt, number=1, box=event.box, channel=part.channel, iccid=part.iccid, started=part.invited,
        ended=part.released, cause=part.cause, cause_text=part.cause_text, outcome="refused",
    )  # fmt: skip
    jobs.finish(connection, Finished(_row(event, part), None, (), (attempt,)))


def _row(event: BoxEvent, part: CallPart) -> RecordRow:
    return RecordRow(
        call=part.call, direction="in", sender="", calling_received=part.number, calling=part.number,
        called_received=part.imsi, called=part.imsi, dialled="", started=part.invited, alerting=None, answered=None,
        ended=part.released, setup_ms=0, ring_ms=0, talk_network_ms=0, talk_sender_ms=0, outcome="refused",
        cause=part.cause, cause_original=part.cause_text or name(part.cause), side=part.side,
        sip_status=sip_of(part.cause), refusal=REFUSAL, box=event.box, channel=part.channel, iccid=part.iccid,
        imsi=part.imsi, plan="", pattern="", ingress="", egress="", codec="", mos=None, attempts=1, estimated=False,
    )  # fmt: skip
