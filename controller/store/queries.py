"""What pages, the command line and the API read; nothing here can write.

Every method opens a short read transaction on the read-only engine and may be called from any thread.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select, union_all
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DBAPIError

from simrack.controller.models import (
    AlarmRow,
    AttemptRow,
    Explanation,
    Figures,
    LadderLine,
    Names,
    OpenCallRow,
    RecordFilter,
    RecordPage,
    RecordRow,
    Story,
)
from simrack.controller.store import tables as t
from simrack.controller.store.engine import read_engine
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.partitions import record_of
from simrack.controller.tracing.messages import Trace, unpack
from simrack.controller.tracing.messages import Trace, unpack
from simrack.wire.messages import AtLine, MediaFigures

# A page longer than this helps nobody and costs memory.
MOST_PER_PAGE = 1000
SPARK_HOURS = 24
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)

LADDER = TypeAdapter(tuple[LadderLine, ...])
AT_LOG = TypeAdapter(tuple[AtLine, ...])

RECORD_FIELDS = tuple(RecordRow.__dataclass_fields__)
SORTABLE = frozenset({
    "started", "answered", "ended", "sender", "calling", "called", "plan", "box", "outcome", "cause",
    "setup_ms", "ring_ms", "talk_network_ms", "talk_sender_ms", "mos", "attempts",
})  # fmt: skip


class Queries:
    """Read-only access to the centre's database."""

    def __init__(self, url: str) -> None:
        self._engine = read_engine(url)

    def close(self) -> None:
        self._engine.dispose()

    def records(self, wanted: RecordFilter) -> RecordPage:
        """One page of CDRs. An unknown sort key sorts by start, newest first."""
        condition = _conditions(wanted)
        per_page = max(1, min(wanted.per_page, MOST_PER_PAGE))
        page = max(1, wanted.page)
        rows = _sorted(select(t.cdr).where(condition), wanted.sort)
        with self._read() as connection:
            total = connection.execute(select(func.count()).select_from(t.cdr).where(condition)).scalar_one()
            found = connection.execute(rows.limit(per_page).offset((page - 1) * per_page)).all()
        return RecordPage(tuple(_record(row) for row in found), total, page, per_page)

    def story(self, call: str) -> Story | None:
        """One closed call with everything about it; None when there is no record of it (yet)."""
        with self._read() as connection:
            record = connection.execute(select(t.cdr).where(record_of(connection, call))).first()
            if record is None:
                return None
            told = connection.execute(select(t.call_story).where(t.call_story.c.call == call)).first()
            attempts = connection.execute(
                select(t.attempt).where(t.attempt.c.call == call).order_by(t.attempt.c.number)
            ).all()
        explanation = told.explanation if told is not None else None
        return Story(
            record=_record(record),
            explanation=Explanation.model_validate_json(explanation) if explanation else None,
            ladder=LADDER.validate_json(told.ladder) if told is not None else (),
            attempts=tuple(_attempt(row) for row in attempts),
        )

    def trace(self, call: str) -> Trace | None:
        """A call's SIP messages; None when none are kept. ValueError: what is kept is damaged."""
        with self._read() as connection:
            kept = connection.execute(select(t.call_trace.c.messages).where(t.call_trace.c.call == call)).scalar()
        return None if kept is None else unpack(kept)

    def trace(self, call: str) -> Trace | None:
        """The SIP messages of a call; None when none are kept of it (any more)."""
        statement = select(t.call_trace.c.messages).where(t.call_trace.c.call == call)
        with self._read() as connection:
            stored = connection.execute(statement).scalar()
        return unpack(stored) if stored is not None else None

    def open_calls(self) -> tuple[OpenCallRow, ...]:
        """Calls in progress, oldest first."""
        names = tuple(OpenCallRow.__dataclass_fields__)
        statement = select(*(t.open_call.c[name] for name in names)).order_by(t.open_call.c.started)
        with self._read() as connection:
            return tuple(OpenCallRow(**row._mapping) for row in connection.execute(statement))

    def alarms(self, open_only: bool = True) -> tuple[AlarmRow, ...]:
        """Alarms, the open ones first and the worst of them first, then the newest."""
        columns = [t.alarm.c[name] for name in AlarmRow.__dataclass_fields__]
        worst = case({"critical": 0, "major": 1}, value=t.alarm.c.severity, else_=2)
        statement = select(*columns).order_by(
            t.alarm.c.closed.is_not(None), worst, t.alarm.c.opened.desc(), t.alarm.c.id.desc()
        )
        if open_only:
            statement = statement.where(t.alarm.c.closed.is_(None))
        with self._read() as connection:
            return tuple(AlarmRow(**row._mapping) for row in connection.execute(statement))

    def figures(self, now: datetime) -> Figures:
        """The tiles: the last hour, the same hour a week ago, and 24 hours of small bars."""
        starts = [now - (hour + 1) * HOUR for hour in reversed(range(SPARK_HOURS))]
        week_ago = now - WEEK - HOUR
        with self._read() as connection:
            hours = [_Hour(row) for row in connection.execute(_hours([week_ago, *starts])).all()]
            delays = list(connection.execute(_delays(now - HOUR, now)).scalars())
        old, spark, last = hours[0], hours[1:], hours[-1]
        return Figures(
            calls_hour=last.calls,
            asr_hour=last.asr, asr_week_ago=old.asr,
            acd_s=last.acd_s, acd_week_ago_s=old.acd_s,
            pdd_ms=last.pdd_ms, pdd_p95_ms=percentile(delays, 0.95),
            spark_calls=tuple(hour.calls for hour in spark),
            spark_asr=tuple(hour.asr or 0.0 for hour in spark),
            spark_acd=tuple(hour.acd_s or 0.0 for hour in spark),
            spark_pdd=tuple(hour.pdd_ms or 0.0 for hour in spark),
        )  # fmt: skip

    def names(self) -> Names:
        """Titles of what the configuration in force names."""
        with self._read() as connection:
            senders = _bodies(connection, "sender")
            plans = _bodies(connection, "plan")
            sites = _bodies(connection, "site")
            sims = connection.execute(
                select(t.config_sim.c.name, t.config_sim.c.plan).where(_in_force(t.config_sim.c.version))
            ).all()
        return Names(
            _titles(senders), _titles(plans), _titles(sites),
            sim_plans={row.name: row.plan for row in sims},
            imsi_plans={prefix: name for name, body in plans for prefix in body.get("imsi_prefixes", ())},
            plan_owners={name: body.get("owner", "") for name, body in plans},
        )  # fmt: skip

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreDown(f"the database can't be read: {error.orig}") from error


def percentile(sorted_values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of values in ascending order; None of nothing."""
    if not sorted_values:
        return None
    return float(sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)])


def _conditions(wanted: RecordFilter) -> ColumnElement[bool]:
    columns = t.cdr.c
    parts: list[ColumnElement[bool]] = []
    if wanted.text:
        searched = (
            columns.call, columns.calling, columns.calling_received, columns.called,
            columns.called_received, columns.dialled,
        )  # fmt: skip
        parts.append(or_(*(column.contains(wanted.text, autoescape=True) for column in searched)))
    for name in ("sender", "plan", "box", "outcome"):
        value = getattr(wanted, name)
        if value:
            parts.append(columns[name] == value)
    if wanted.cause is not None:
        parts.append(columns.cause == wanted.cause)
    if wanted.since is not None:
        parts.append(columns.started >= wanted.since)
    if wanted.until is not None:
        parts.append(columns.started < wanted.until)
    return and_(*parts) if parts else literal(True)


def _sorted(statement: Select[Any], sort: str) -> Select[Any]:
    name = sort.removeprefix("-")
    if name not in SORTABLE:
        sort, name = "-started", "started"
    column = t.cdr.c[name]
    if sort.startswith("-"):
        return statement.order_by(column.desc().nulls_last(), t.cdr.c.id.desc())
    return statement.order_by(column.asc().nulls_last(), t.cdr.c.id)


def _record(row: Row[Any]) -> RecordRow:
    values = {name: row._mapping[name] for name in RECORD_FIELDS}
    return RecordRow(**{**values, "marks": tuple(values["marks"])})


def _attempt(row: Row[Any]) -> AttemptRow:
    values = {name: row._mapping[name] for name in AttemptRow.model_fields}
    values["at_log"] = AT_LOG.validate_json(row.at_log) if row.at_log else ()
    values["media"] = MediaFigures.model_validate_json(row.media) if row.media else None
    return AttemptRow(**values)


def _hours(starts: Sequence[datetime]) -> Select[Any]:
    """Counts of the hours that begin at `starts`, in that order, in one statement."""
    columns = t.cdr.c
    answered = columns.outcome == "answered"
    parts = [
        select(
            literal(position).label("position"),
            # A refused call never seized a channel, so it is no part of the answer-seizure ratio.
            func.count(columns.id).label("calls"),
            func.count(columns.id).filter(columns.outcome != "refused").label("seizures"),
            func.count(columns.id).filter(answered).label("answers"),
            func.sum(columns.talk_network_ms).filter(answered).label("talk_ms"),
            func.avg(columns.setup_ms).filter(_rang()).label("pdd_ms"),
        ).where(columns.started >= start, columns.started < start + HOUR, columns.direction == "out")
        for position, start in enumerate(starts)
    ]
    hours = union_all(*parts).subquery()
    return select(hours).order_by(hours.c.position)


def _delays(since: datetime, until: datetime) -> Select[int]:
    columns = t.cdr.c
    return (
        select(columns.setup_ms)
        .where(columns.started >= since, columns.started < until, columns.direction == "out", _rang())
        .order_by(columns.setup_ms)
    )


def _rang() -> ColumnElement[bool]:
    return t.cdr.c.setup_ms > 0


class _Hour:
    """Counts of one hour, and the ratios made of them."""

    def __init__(self, row: Row[Any]) -> None:
        self.calls: int = row.calls
        self.asr = row.answers / row.seizures if row.seizures else None
        self.acd_s = float(row.talk_ms) / row.answers / 1000 if row.answers else None
        self.pdd_ms = float(row.pdd_ms) if row.pdd_ms is not None else None


def _in_force(version: ColumnElement[Any]) -> ColumnElement[bool]:
    return version == select(t.config_active.c.version).where(t.config_active.c.id == 1).scalar_subquery()


def _bodies(connection: Connection, kind: str) -> list[tuple[str, dict[str, Any]]]:
    table = t.CONFIG_TABLES[kind]
    rows = connection.execute(select(table.c.name, table.c.body).where(_in_force(table.c.version)))
    return [(row.name, json.loads(row.body)) for row in rows]


def _titles(bodies: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    return {name: body.get("title") or name for name, body in bodies}
