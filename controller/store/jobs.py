"""What is written about calls, events and alarms, as functions over one connection inside a transaction.

Everything here is idempotent where its caller may have to try again: a commit whose answer was lost must not
make a second record, and a box repeats an event until it is acknowledged.

A call's statements are made once, below: making one anew costs ten times what running it does (docs/performance.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql.dml import Insert

from simrack.controller.calls.ports import CROSSED, UNANSWERED, Dialogs, Finished, OpenCall
from simrack.controller.models import AlarmRow, AttemptRow, RecordRow
from simrack.controller.routing.explanation import stored_text
from simrack.controller.store import partitions, prepared
from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreRefused
from simrack.controller.store.queries import AT_LOG, LADDER
from simrack.wire.messages import BoxEvent, CallPart

_OPEN = insert(t.open_call)
_CONNECTED = (
    update(t.open_call)
    .where(t.open_call.c.call == bindparam("of"))
    .values({
        name: bindparam(name)
        for name in (
            "answered", "attempt", "box", "channel", "plan", "iccid", "pattern", "calling", "called", "box_boot", "kept",
            "sender_dialog", "box_dialog",
        )
    })
)  # fmt: skip
_TELL = insert(t.call_story)
_RECORD = insert(t.cdr).inline()
_CLOSE = (
    delete(t.open_call)
    .where(t.open_call.c.call == bindparam("ended"))
    .returning(t.open_call.c.sip_call_id, t.open_call.c.from_tag)
)
_ATTEMPT = select(t.attempt.c.call, t.attempt.c.number, t.attempt.c.part, t.attempt.c.box).where(t.attempt.c.attempt == bindparam("of"))
_WAITING = select(*t.box_event_seen.primary_key.columns, t.box_event_seen.c.body).where(
    t.box_event_seen.c.attempt == bindparam("of"), t.box_event_seen.c.body.is_not(None)
)
_TAKEN = (
    update(t.box_event_seen)
    .where(*(column == bindparam(f"of_{column.name}") for column in t.box_event_seen.primary_key.columns))
    .values(body=None)
)


@cache
def _once(dialect: str, table: Table) -> Insert:
    kind = postgresql if dialect == "postgresql" else sqlite
    # SQLAlchemy keeps an INSERT's count only where it is told to.
    statement: Insert = kind.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return statement


def insert_once(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key stands already; tells whether it was new."""
    return prepared.run(connection, _once(connection.dialect.name, table), values).rowcount == 1


def open_call(connection: Connection, call: OpenCall, run: str) -> None:
    """The open row, before 100 Trying."""
    values = {
        "call": call.call, "run": run, "direction": call.direction, "sender": call.sender,
        "sip_call_id": call.call_id, "from_tag": call.from_tag, "calling_received": call.calling,
        "called_received": call.called, "calling": call.calling, "called": call.called,
        "ingress": call.ingress, "started": call.started,
    }  # fmt: skip
    prepared.run(connection, _OPEN, values)


def connected(connection: Connection, call: str, dialogs: Dialogs) -> None:
    """Both dialogs' identifiers, before 200 is passed on.

    Raises:
        StoreRefused: no such open call.
    """
    values = {
        "answered": dialogs.answered, "attempt": dialogs.attempt, "box": dialogs.box,
        "channel": dialogs.channel, "plan": dialogs.plan, "iccid": dialogs.iccid, "pattern": dialogs.pattern,
        "calling": dialogs.calling, "called": dialogs.called, "box_boot": dialogs.box_boot,
        "kept": dialogs.kept.model_dump_json(exclude_defaults=True) if dialogs.kept is not None else None,
        "sender_dialog": asdict(dialogs.sender_leg), "box_dialog": asdict(dialogs.box_leg),
    }  # fmt: skip
    done = prepared.run(connection, _CONNECTED, {**values, "of": call})
    if done.rowcount != 1:
        raise StoreRefused(f"call {call} has no open row")


def finish(connection: Connection, finished: Finished) -> bool:
    """Open row out, record in; False when the record stood already (a repeated try)."""
    record = finished.record
    dialog = prepared.run(connection, _CLOSE, {"ended": record.call}).first()
    values = _record_values(record)
    if dialog is not None:
        values |= {"sip_call_id": dialog.sip_call_id, "from_tag": dialog.from_tag}
    if finished.explanation is not None:
        values["config_version"] = finished.explanation.config_version
    if not _insert_record(connection, values):
        return False
    told = {
        "call": record.call,
        "explanation": stored_text(finished.explanation) if finished.explanation is not None else None,
        "ladder": LADDER.dump_json(finished.ladder).decode(),
    }
    prepared.run(connection, _TELL, told)
    for attempt in finished.attempts:
        _keep_attempt(connection, record, attempt)
    return True


def _keep_attempt(connection: Connection, record: RecordRow, attempt: AttemptRow) -> None:
    """Insert an attempt together with the box's part of it, where that waits already."""
    values = attempt_values(record.call, attempt)
    part = _take_waiting(connection, attempt.attempt)
    if part is not None:
        values |= part_of_attempt(part)
    if not insert_once(connection, t.attempt, values) and part is not None:
        connection.execute(update(t.attempt).where(t.attempt.c.attempt == attempt.attempt).values(**part_of_attempt(part)))
    if part is not None and record.estimated and attempt.number == record.attempts:
        complete(connection, record.call, attempt.box, part)


def _insert_record(connection: Connection, values: Mapping[str, Any]) -> bool:
    """The record of a call; False when it has one."""
    if not partitions.partitioned(connection):
        return insert_once(connection, t.cdr, values)
    if partitions.has_record(connection, values["call"]):
        return False
    prepared.run(connection, _RECORD, values)
    return True


def keep_traces(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """SIP messages of calls that are over; a second trace of one call changes nothing."""
    for row in rows:
        insert_once(connection, t.call_trace, row)


def forget(connection: Connection, call: str) -> None:
    """Take an open row back: its call was refused, because nobody knew whether the row was there."""
    connection.execute(delete(t.open_call).where(t.open_call.c.call == call))


def last_event(connection: Connection, box: str, boot: str) -> int:
    """The highest sequence stored of one run of a box, 0 for none."""
    seen = t.box_event_seen.c
    highest = select(func.max(seen.seq)).where(seen.box == box, seen.boot == boot)
    return int(connection.execute(highest).scalar() or 0)


def take_event(connection: Connection, event: BoxEvent, received: datetime) -> bool:
    """Store a fact; False when it was stored before. A call part completes its record when there is one."""
    body = event.body
    part = body if isinstance(body, CallPart) else None
    new = insert_once(connection, t.box_event_seen, {
        "box": event.box, "boot": event.boot, "seq": event.seq, "kind": body.kind, "at": event.at,
        "received": received, "call": part.call if part else None,
        "attempt": part.attempt if part else None, "body": body.model_dump_json(),
    })  # fmt: skip
    if new and part is not None:
        _settle(connection, part.attempt)
    return new


def _settle(connection: Connection, attempt: str) -> None:
    """Put the box's part of an attempt in its row once both are there, and empty the event's body."""
    row = prepared.run(connection, _ATTEMPT, {"of": attempt}).first()
    if row is None:
        return
    part = _take_waiting(connection, attempt)
    if part is None or row.part:
        return
    connection.execute(update(t.attempt).where(t.attempt.c.attempt == attempt).values(**part_of_attempt(part)))
    # The attempt that carried the call is the last one tried, or one that connected while others were.
    if row.number == _last_attempt(connection, row.call):
        complete(connection, row.call, row.box, part)
    else:
        _connected_late(connection, row.call, row.box, part)


def _take_waiting(connection: Connection, attempt: str) -> CallPart | None:
    """The part of an attempt that waits for its row; its event is emptied."""
    waits = prepared.run(connection, _WAITING, {"of": attempt}).first()
    if waits is None:
        return None
    prepared.run(connection, _TAKEN, {"of_box": waits.box, "of_boot": waits.boot, "of_seq": waits.seq})
    return CallPart.model_validate_json(waits.body)


def _last_attempt(connection: Connection, call: str) -> int | None:
    return connection.execute(select(t.cdr.c.attempts).where(partitions.record_of(connection, call))).scalar()


def complete(connection: Connection, call: str, box: str, part: CallPart) -> None:
    """Put the network's figures in an estimated record: once, because the attempt's row then has its part."""
    columns = t.cdr.c
    estimated = partitions.record_of(connection, call) & columns.estimated
    row = connection.execute(select(columns.outcome, columns.marks, columns.box, columns.channel).where(estimated)).first()
    if row is None or (CROSSED in row.marks and (row.box, row.channel) != (box, part.channel)):
        return  # complete, or about another attempt, which the network answered
    values = {
        "talk_network_ms": part.talk_ms, "ring_ms": part.ring_ms, "cause_original": part.cause_text,
        "codec": part.media.codec or columns.codec, "mos": part.media.mos, "iccid": part.iccid or columns.iccid,
        "imsi": part.imsi or columns.imsi, "dialled": part.number or columns.dialled, "estimated": part.estimated,
    }  # fmt: skip
    if part.alerting is not None:
        values["alerting"] = part.alerting
    connection.execute(update(t.cdr).where(estimated).values(**values, **_crossed(row.outcome, row.marks, part)))


def _connected_late(connection: Connection, call: str, box: str, part: CallPart) -> None:
    """An attempt that others followed: where the network answered it and none of those, the record is about it."""
    columns = t.cdr.c
    record = partitions.record_of(connection, call)
    row = connection.execute(select(columns.outcome, columns.marks).where(record)).first()
    crossed = _crossed(row.outcome, row.marks, part) if row is not None else {}
    if crossed:
        own = {
            "box": box, "channel": part.channel, "iccid": part.iccid, "imsi": part.imsi, "ring_ms": part.ring_ms,
            "talk_network_ms": part.talk_ms, "cause_original": part.cause_text, "estimated": part.estimated,
        }  # fmt: skip
        connection.execute(update(t.cdr).where(record).values(**crossed, **own))


def _crossed(outcome: str, marks: Sequence[str], part: CallPart) -> dict[str, Any]:
    """What changes in a record without an answer when the box tells, later than the record waits, that there was one."""
    if part.connected is None or outcome not in UNANSWERED:
        return {}
    # As the call itself would have noted, had it still been there (`Conversation._cross`).
    return {"outcome": "answered", "answered": part.connected, "marks": [*marks, CROSSED]}


def open_alarm(
    connection: Connection, cause: str, severity: str, title: str, advice: str, now: datetime
) -> tuple[AlarmRow, bool]:
    """Open an alarm or count it again; tells whether it is newly open."""
    columns = t.alarm.c
    standing = (columns.cause == cause) & columns.closed.is_(None)
    counted = update(t.alarm).where(standing).values(
        count=columns.count + 1, last=now, severity=severity, title=title, advice=advice
    )  # fmt: skip
    new = connection.execute(counted).rowcount == 0
    if new:
        values = {"cause": cause, "severity": severity, "title": title, "advice": advice}
        connection.execute(insert(t.alarm).values(**values, opened=now, last=now, count=1))
    row = connection.execute(select(t.alarm).where(standing)).one()
    return _alarm_row(row), new


def close_alarm(connection: Connection, cause: str, now: datetime) -> bool:
    """Close the open alarm of this cause; False when none was open."""
    standing = (t.alarm.c.cause == cause) & t.alarm.c.closed.is_(None)
    return connection.execute(update(t.alarm).where(standing).values(closed=now)).rowcount == 1


def acknowledge_alarm(
    connection: Connection, alarm: int, by: str, note: str, now: datetime | None
) -> str | None:
    """Put an open alarm in somebody's hand, or with `now` None take it out; its cause, None when it is not open."""
    columns = t.alarm.c
    changed = (
        update(t.alarm)
        .where(columns.id == alarm, columns.closed.is_(None))
        .values(acknowledged=now, acknowledged_by=by if now else "", note=note)
        .returning(columns.cause)
    )
    return connection.execute(changed).scalar()


def _alarm_row(row: Row[Any]) -> AlarmRow:
    return AlarmRow(**{name: row._mapping[name] for name in AlarmRow.__dataclass_fields__})


def _record_values(record: RecordRow) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in RecordRow.__dataclass_fields__}
    return {**values, "marks": list(record.marks)}


def attempt_values(call: str, attempt: AttemptRow) -> dict[str, Any]:
    """The columns of an attempt."""
    values = {name: getattr(attempt, name) for name in AttemptRow.model_fields}
    values["at_log"] = AT_LOG.dump_json(attempt.at_log).decode() if attempt.at_log else None
    values["media"] = attempt.media.model_dump_json() if attempt.media else None
    return {**values, "call": call, "part": False}


def part_of_attempt(part: CallPart) -> dict[str, Any]:
    """The columns of an attempt that its box tells."""
    return {
        "cause": part.cause, "cause_text": part.cause_text, "talk_ms": part.talk_ms, "ended": part.released,
        "iccid": part.iccid, "at_log": AT_LOG.dump_json(part.at_log).decode(),
        "media": part.media.model_dump_json(), "part": True,
    }  # fmt: skip


def config_version(connection: Connection, digest: str, source: str, actor: str, now: datetime) -> int:
    """A new configuration version, not in force."""
    values = {"digest": digest, "source": source, "actor": actor, "created": now}
    done = connection.execute(insert(t.config_version).values(**values))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def config_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """One batch of a configuration import."""
    connection.execute(insert(table), list(rows))


def activate(connection: Connection, version: int, now: datetime) -> None:
    """Put a version in force: the one row that the whole import turns on."""
    whole = update(t.config_version).where(t.config_version.c.version == version)
    if connection.execute(whole.values(activated=now)).rowcount == 0:
        raise StoreRefused(f"there is no configuration version {version}")
    changed = update(t.config_active).where(t.config_active.c.id == 1).values(version=version, activated=now)
    if connection.execute(changed).rowcount == 0:
        connection.execute(insert(t.config_active).values(id=1, version=version, activated=now))


def touch(connection: Connection) -> None:
    """Write a row as it is: a disk that is full or a server that only reads refuses that too."""
    connection.execute(update(t.config_active).where(t.config_active.c.id == 1).values(id=1))
