"""What an earlier run of the controller has left open, and how its rows go on or are closed."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection, Row

from simrack.controller.calls.ports import Dialogs, Finished, LeftCall, OpenCall
from simrack.controller.models import AttemptRow, KeptCall, RecordRow
from simrack.controller.store import jobs, partitions
from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreRefused
from simrack.controller.store.jobs import finish, insert_once
from simrack.sip.legs import DialogIds
from simrack.wire.messages import CallPart

# Temporary failure (Q.850): the rack itself lost the call.
LOST_CAUSE = 41
LOST_SIP = 503


def left_calls(connection: Connection, run: str) -> tuple[LeftCall, ...]:
    """The open calls of earlier runs, oldest first."""
    rows = connection.execute(
        select(t.open_call).where(t.open_call.c.run != run).order_by(t.open_call.c.started)
    ).all()
    return tuple(_left(connection, row) for row in rows)


def take_over(connection: Connection, call: str, dialogs: Dialogs, run: str) -> None:
    """Make a row of an earlier run this run's: its legs go on with higher numbers.

    Raises:
        StoreRefused: no such open call.
    """
    values = {
        "run": run, "sender_dialog": asdict(dialogs.sender_leg), "box_dialog": asdict(dialogs.box_leg),
    }  # fmt: skip
    done = connection.execute(update(t.open_call).where(t.open_call.c.call == call).values(**values))
    if done.rowcount != 1:
        raise StoreRefused(f"call {call} has no open row")


def close_left_over(connection: Connection, run: str, now: datetime, keep: frozenset[str]) -> tuple[str, ...]:
    """Close the open calls of earlier runs but those to `keep` as lost by the rack; returns their ids."""
    rows = connection.execute(select(t.open_call).where(t.open_call.c.run != run)).all()
    lost = [row for row in rows if row.call not in keep]
    for row in lost:
        finish(connection, Finished(_lost(row, now), None, (), _lost_attempt(row, now)))
        if not row.attempt:
            claim_parts(connection, row.call)
    return tuple(row.call for row in lost)


def lost_calls(connection: Connection, since: datetime) -> frozenset[str]:
    """Calls that were closed as lost without a word of an answer: a box may still have a part of them."""
    columns = t.cdr.c
    unknown = columns.estimated & (columns.outcome == "failed") & (columns.cause == LOST_CAUSE)
    return frozenset(connection.execute(select(columns.call).where(unknown & (columns.ended >= since))).scalars())


def claim_parts(connection: Connection, call: str) -> None:
    """Give a lost call the attempts that boxes tell of: it died before its row named one.

    The network may even have connected it: then it was an answered call, for as long as the box says.
    """
    seen = t.box_event_seen.c
    rows = connection.execute(
        select(seen.box, seen.body).where(seen.call == call, seen.body.is_not(None)).order_by(seen.at)
    ).all()
    for row in rows:
        _claim(connection, call, row.box, CallPart.model_validate_json(row.body))


def _claim(connection: Connection, call: str, box: str, part: CallPart) -> None:
    known = select(func.count()).select_from(t.attempt).where(t.attempt.c.call == call)
    number = connection.execute(known).scalar_one() + 1
    attempt = AttemptRow(
        attempt=part.attempt, number=number, box=box, channel=part.channel, started=part.invited,
        outcome="answered" if part.connected else "lost",
    )  # fmt: skip
    new = insert_once(connection, t.attempt, jobs.attempt_values(call, attempt) | jobs.part_of_attempt(part))
    connection.execute(update(t.box_event_seen).where(t.box_event_seen.c.attempt == part.attempt).values(body=None))
    if not new:
        return
    record = {"attempts": number, "box": box, "channel": part.channel, "iccid": part.iccid}
    if part.connected is not None:
        record |= {"outcome": "answered", "answered": part.connected}
    connection.execute(update(t.cdr).where(partitions.record_of(connection, call)).values(**record))
    jobs.complete(connection, call, box, part)
    if part.connected is None:
        # Another attempt may have followed this one, whose part is still to come.
        connection.execute(update(t.cdr).where(partitions.record_of(connection, call)).values(estimated=True))


def _left(connection: Connection, row: Row[Any]) -> LeftCall:
    opened = OpenCall(
        call=row.call, direction=row.direction, sender=row.sender, call_id=row.sip_call_id, from_tag=row.from_tag,
        calling=row.calling_received, called=row.called_received, ingress=row.ingress, started=row.started,
    )  # fmt: skip
    if row.answered is None or not (row.sender_dialog and row.box_dialog):
        return LeftCall(opened)
    dialogs = Dialogs(
        answered=row.answered, attempt=row.attempt, box=row.box, channel=row.channel, plan=row.plan,
        sender_leg=_dialog(row.sender_dialog), box_leg=_dialog(row.box_dialog), iccid=row.iccid,
        pattern=row.pattern, calling=row.calling, called=row.called, box_boot=row.box_boot,
        kept=KeptCall.model_validate_json(row.kept) if row.kept else None,
    )  # fmt: skip
    return LeftCall(opened, dialogs, _part(connection, row.attempt))


def _dialog(stored: Mapping[str, Any]) -> DialogIds:
    return DialogIds(**{**stored, "route_set": tuple(stored["route_set"])})


def _part(connection: Connection, attempt: str) -> CallPart | None:
    """The box's word that came before the crash and waits for its record."""
    seen = t.box_event_seen.c
    body = connection.execute(
        select(seen.body).where(seen.attempt == attempt, seen.body.is_not(None))
    ).scalar()
    return CallPart.model_validate_json(body) if body else None


def _lost(row: Row[Any], now: datetime) -> RecordRow:
    talk = int((now - row.answered).total_seconds() * 1000) if row.answered else 0
    return RecordRow(
        call=row.call, direction=row.direction, sender=row.sender, calling_received=row.calling_received,
        calling=row.calling, called_received=row.called_received, called=row.called, dialled="",
        started=row.started, alerting=None, answered=row.answered, ended=max(now, row.answered or row.started),
        setup_ms=0, ring_ms=0, talk_network_ms=0, talk_sender_ms=max(0, talk),
        outcome="answered" if row.answered else "failed", cause=LOST_CAUSE, cause_original="controller restarted",
        side="rack", sip_status=200 if row.answered else LOST_SIP, refusal="", box=row.box, channel=row.channel,
        iccid=row.iccid, imsi="", plan=row.plan, pattern=row.pattern, ingress=row.ingress, egress="", codec="",
        mos=None, attempts=1 if row.attempt else 0, estimated=True, marks=("lost",),
    )  # fmt: skip


def _lost_attempt(row: Row[Any], now: datetime) -> tuple[AttemptRow, ...]:
    """The attempt that carried it, so that the box's part still finds the record."""
    if not row.attempt:
        return ()
    return (
        AttemptRow(
            attempt=row.attempt, number=1, box=row.box, channel=row.channel or 0, iccid=row.iccid or "",
            started=row.started, ended=now, cause=LOST_CAUSE, cause_text="controller restarted", outcome="answered",
        ),
    )  # fmt: skip
