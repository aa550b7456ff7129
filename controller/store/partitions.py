"""Records by month on PostgreSQL, and each call's record still only once (ADR 0603).

A partitioned table can keep only keys that hold the partition's column, so the one row per call is kept by a
table of its own: `cdr_key` knows when each recorded call began, which also leads to the one partition that
has its record. SQLite has one table and no `cdr_key`.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Column, ColumnElement, MetaData, String, Table, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from simrack.controller.store.tables import cdr
from simrack.controller.store.types import UtcTime

# A controller that stands still for a season still finds its months; without one the default partition takes records.
MONTHS_AHEAD = 3

cdr_key = Table(
    "cdr_key",
    MetaData(),
    Column("call", String, primary_key=True),
    Column("started", UtcTime, nullable=False),
)

_KEY = postgresql.insert(cdr_key).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def partitioned(connection: Connection) -> bool:
    """Whether this database keeps its records by month."""
    return connection.dialect.name == "postgresql"


def key_is_new(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Take the key of a record that is to be inserted; False when the call has its record already."""
    key = {"call": values["call"], "started": values["started"]}
    return connection.execute(_KEY, key).rowcount == 1


def record_of(connection: Connection, call: str) -> ColumnElement[bool]:
    """The condition that finds the record of a call, in its one partition."""
    condition = cdr.c.call == call
    if not partitioned(connection):
        return condition
    return condition & (cdr.c.started == select(cdr_key.c.started).where(cdr_key.c.call == call).scalar_subquery())


def make_ahead(connection: Connection, today: date) -> int:
    """Make this month's partition and those to come, where they lack; returns how many were made."""
    if not partitioned(connection):
        return 0
    made = text("SELECT simrack_make_partitions(:today, :months)")
    return int(connection.execute(made, {"today": today, "months": MONTHS_AHEAD}).scalar_one())
