"""What pages, the command line and the API read; nothing here can write.

Every method opens a short read transaction on the read-only engine and may be called from any thread.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, union_all
from sqlalchemy.engine import Connection, Row

from simrack.controller.config.reading import ConfigReader
from simrack.controller.models import Figures, Names, OpenCallRow
from simrack.controller.store import tables as t
from simrack.controller.store.alarms import AlarmQueries
from simrack.controller.store.audit import AuditQueries
from simrack.controller.store.records import AT_LOG, LADDER, SORTABLE, RecordQueries
from simrack.controller.store.statistics import StatisticsQueries
from simrack.controller.tracing.messages import Trace, unpack

__all__ = ["AT_LOG", "LADDER", "SORTABLE", "Queries", "percentile"]

SPARK_HOURS = 24
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)


class Queries(RecordQueries, StatisticsQueries, AlarmQueries, AuditQueries):
    """Read-only access to the centre's database: records, statistics and alarms have modules of their own."""

    @property
    def audit(self) -> AuditQueries:
        """The audit log."""
        return self

    @cached_property
    def config(self) -> ConfigReader:
        """What is configured, and its history."""
        return ConfigReader(self._engine)

    def trace(self, call: str) -> Trace | None:
        """The SIP messages of a call; None when none are kept of it (any more)."""
        statement = select(t.call_trace.c.messages).where(t.call_trace.c.call == call)
        with self._read() as connection:
            stored = connection.execute(statement).scalar()
        return unpack(stored) if stored is not None else None

    def call_of(self, sender: str, sip_call_id: str, since: datetime) -> str:
        """The call that a sender's Call-ID began since then; "" while it is not on record."""
        statement = select(t.cdr.c.call).where(t.cdr.c.sender == sender, t.cdr.c.started >= since, t.cdr.c.sip_call_id == sip_call_id)
        with self._read() as connection:
            return str(connection.execute(statement.limit(1)).scalar() or "")

    def open_calls(self) -> tuple[OpenCallRow, ...]:
        """Calls in progress, oldest first."""
        names = tuple(OpenCallRow.__dataclass_fields__)
        statement = select(*(t.open_call.c[name] for name in names)).order_by(t.open_call.c.started)
        with self._read() as connection:
            return tuple(OpenCallRow(**row._mapping) for row in connection.execute(statement))

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
            operators = {name: body.get("operator", "") for name, body in _bodies(connection, "agreement")}
            sims = connection.execute(
                select(t.config_sim.c.name, t.config_sim.c.plan).where(_in_force(t.config_sim.c.version))
            ).all()
        return Names(
            _titles(senders), _titles(plans), _titles(sites),
            sim_plans={row.name: row.plan for row in sims},
            imsi_plans={prefix: name for name, body in plans for prefix in body.get("imsi_prefixes", ())},
            plan_owners={name: body.get("owner", "") for name, body in plans},
            plan_operators={name: operators.get(body.get("agreement", ""), "") for name, body in plans},
        )  # fmt: skip


def percentile(sorted_values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile of values in ascending order; None of nothing."""
    if not sorted_values:
        return None
    return float(sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)])


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
