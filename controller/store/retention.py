"""Retention: how long each class of data is kept, and the nightly run that removes what is older.

What is to go is looked for on the read-only connection; the writer then removes a few rows by their keys at a time, with
pauses between, so that no call waits for it. The audit log is kept for ever and holds what each run removed.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import and_, delete, func, or_, select, tuple_, update
from sqlalchemy.engine import Connection

from simrack.controller.audit.chain import Fact
from simrack.controller.config.catalogue import Values
from simrack.controller.store import partitions
from simrack.controller.store import tables as t
from simrack.controller.store.audit import AuditFilter, AuditQueries
from simrack.controller.store.errors import StoreError
from simrack.controller.store.writer import Writer
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
ACTION = "retention"
#: Rows that one transaction removes: it takes some 10 ms, and calls wait for it.
BATCH = 100
#: Between two batches, so that calls have the writer for themselves nearly all the time.
PAUSE_S = 0.25
#: After a fault of the database.
AGAIN_S = 600.0
#: The night is looked for so often: clocks are set, machines sleep.
LOOK_S = 1800.0
#: A rack that stood still at night makes up for it this long after its start, when it is in full work.
AFTER_START_S = 600.0
DUE_AFTER = timedelta(hours=26)
#: A call's story is removed by when it began; one that lasted long got its record later.
OVERLAP = timedelta(days=1)

Keys = Sequence[Any]
Cursor = tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of data. `pick` finds what began before a moment, behind a cursor; `drop` removes what was found."""

    name: str
    option: str
    pick: Callable[[Connection, datetime | None, datetime, Cursor], tuple[Keys, Cursor]]
    drop: Callable[[Connection, Keys], int]


def _calls(connection: Connection, since: datetime | None, before: datetime, cursor: Cursor) -> tuple[Keys, Cursor]:
    columns = t.cdr.c
    conditions = [columns.started < before]
    if since is not None:
        conditions.append(columns.started >= since)
    if cursor is not None:
        started, number = cursor
        conditions.append(or_(columns.started > started, and_(columns.started == started, columns.id > number)))
    found = select(columns.call, columns.started, columns.id).where(*conditions)
    rows = connection.execute(found.order_by(columns.started, columns.id).limit(BATCH)).all()
    return [row.call for row in rows], (rows[-1].started, rows[-1].id) if rows else None


def _drop_records(connection: Connection, calls: Keys) -> int:
    connection.execute(delete(t.call_story).where(t.call_story.c.call.in_(calls)))
    connection.execute(delete(t.attempt).where(t.attempt.c.call.in_(calls)))
    connection.execute(delete(t.call_trace).where(t.call_trace.c.call.in_(calls)))
    removed = connection.execute(delete(t.cdr).where(t.cdr.c.call.in_(calls))).rowcount
    if partitions.partitioned(connection):
        connection.execute(delete(partitions.cdr_key).where(partitions.cdr_key.c.call.in_(calls)))
    return removed


def _drop_stories(connection: Connection, calls: Keys) -> int:
    removed = connection.execute(delete(t.call_story).where(t.call_story.c.call.in_(calls))).rowcount
    full = or_(t.attempt.c.at_log.is_not(None), t.attempt.c.media.is_not(None))
    connection.execute(update(t.attempt).where(t.attempt.c.call.in_(calls), full).values(at_log=None, media=None))
    return removed


def _traces(connection: Connection, _since: datetime | None, before: datetime, _cursor: Cursor) -> tuple[Keys, Cursor]:
    columns = t.call_trace.c
    found = select(columns.call).where(columns.started < before).order_by(columns.started).limit(BATCH)
    return connection.execute(found).scalars().all(), None


def _drop_traces(connection: Connection, calls: Keys) -> int:
    return connection.execute(delete(t.call_trace).where(t.call_trace.c.call.in_(calls))).rowcount


def _events(connection: Connection, _since: datetime | None, before: datetime, _cursor: Cursor) -> tuple[Keys, Cursor]:
    """Facts of boxes; the last one of each run stays, because it tells what of that run is known."""
    seen, other = t.box_event_seen.c, t.box_event_seen.alias().c
    last = select(func.max(other.seq)).where(other.box == seen.box, other.boot == seen.boot).scalar_subquery()
    found = select(seen.box, seen.boot, seen.seq).where(seen.received < before, seen.seq < last).limit(BATCH)
    return [tuple(row) for row in connection.execute(found)], None


def _drop_events(connection: Connection, keys: Keys) -> int:
    seen = t.box_event_seen.c
    return connection.execute(delete(t.box_event_seen).where(tuple_(seen.box, seen.boot, seen.seq).in_(keys))).rowcount


def _alarms(connection: Connection, _since: datetime | None, before: datetime, _cursor: Cursor) -> tuple[Keys, Cursor]:
    columns = t.alarm.c
    found = select(columns.id).where(columns.closed < before).order_by(columns.id).limit(BATCH)
    return connection.execute(found).scalars().all(), None


def _drop_alarms(connection: Connection, numbers: Keys) -> int:
    return connection.execute(delete(t.alarm).where(t.alarm.c.id.in_(numbers))).rowcount


#: In this order: what goes with its record is not removed piece by piece before.
KINDS: tuple[Kind, ...] = (
    Kind("records", "retention.records_days", _calls, _drop_records),
    Kind("stories", "retention.stories_days", _calls, _drop_stories),
    Kind("traces", "retention.traces_days", _traces, _drop_traces),
    Kind("events", "retention.events_days", _events, _drop_events),
    Kind("alarms", "retention.alarms_days", _alarms, _drop_alarms),
)


def _drop(kind: Kind, keys: Keys, connection: Connection) -> int:
    return kind.drop(connection, keys)


class Looking(AuditQueries):
    """What is old enough."""

    def pick(self, kind: Kind, since: datetime | None, before: datetime, cursor: Cursor) -> tuple[Keys, Cursor]:
        """The next keys of a class that are to go. Blocks."""
        with self._read() as connection:
            return kind.pick(connection, since, before, cursor)

    def last_run(self) -> tuple[datetime | None, dict[str, Any]]:
        """When a run was last finished, and what it removed."""
        entries = self.audit_page(AuditFilter(action=ACTION, per_page=1)).entries
        return (entries[0].at, json.loads(entries[0].detail)) if entries else (None, {})


class Retention:
    """The nightly run."""

    def __init__(self, store: Writer, url: str, clock: Clock, options: Callable[[], Values]) -> None:
        self._store, self._clock, self._options = store, clock, options
        self._looking = Looking(url)
        self._started = clock.utc()
        self._done_on: datetime | None = None

    def close(self) -> None:
        self._looking.close()

    async def run(self) -> None:
        """Remove what is too old, once a night, until cancelled."""
        while True:
            try:
                if await self._is_due():
                    await self.once()
            except StoreError as error:
                log.warning("retention waits for the database", error=str(error))
                await asyncio.sleep(AGAIN_S)
                continue
            await asyncio.sleep(LOOK_S)

    async def _is_due(self) -> bool:
        now = self._clock.utc()
        if self._done_on is None:
            self._done_on, _ = await asyncio.to_thread(self._looking.last_run)
        last = self._done_on
        if last is None or now - last > DUE_AFTER:
            return now - self._started >= timedelta(seconds=AFTER_START_S)
        return now.hour == self._options().whole("retention.hour") and now - last > timedelta(hours=2)

    async def once(self) -> dict[str, Any]:
        """One run over all classes; what was removed, by class. Raises `StoreError`: what is done stays done."""
        now, options = self._clock.utc(), self._options()
        _, earlier = await asyncio.to_thread(self._looking.last_run)
        told: dict[str, Any] = {}
        for kind in KINDS:
            days = options.whole(kind.option)
            before = now - timedelta(days=days)
            removed = await self._remove(kind, _since(earlier.get(kind.name)), before)
            told[kind.name] = {"days": days, "before": before.astimezone(UTC).isoformat(), "removed": removed}
        keep = options.whole("config.keep_versions")
        told["versions"] = {"keep": keep, "removed": await self._store.thin_config(keep)}
        source = f"{ACTION}:{now.isoformat()}"
        head = await self._store.audit((Fact(now, "controller", ACTION, detail=told, source=source),))
        self._done_on = now
        # In the log of the process it is beyond the reach of whoever can write the database.
        log.info("retention done; the audit log's head", head=str(head), **{name: row["removed"] for name, row in told.items()})
        return told

    async def _remove(self, kind: Kind, since: datetime | None, before: datetime) -> int:
        total, cursor = 0, None
        # Only stories leave their calls behind, so that only there the beginning is known to be done.
        start = since if kind.name == "stories" else None
        while True:
            keys, cursor = await asyncio.to_thread(self._looking.pick, kind, start, before, cursor)
            if not keys:
                return total
            removed = await self._store.remove(partial(_drop, kind, keys))
            total += removed
            if removed == 0 and cursor is None:
                log.error("retention found what it could not remove", data=kind.name, found=len(keys))
                return total
            await asyncio.sleep(PAUSE_S)


def _since(earlier: Any) -> datetime | None:
    """Where the last run ended; a shorter time than then begins anew where that one ended."""
    try:
        return datetime.fromisoformat(earlier["before"]) - OVERLAP
    except (TypeError, KeyError, ValueError):
        return None
