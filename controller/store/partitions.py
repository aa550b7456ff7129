"""Records by month on PostgreSQL, and each call's record still only once (ADR 0603).

A partitioned table can keep only keys that hold the partition's column, so the one row per call is kept by a
table of its own: `cdr_key` knows when each recorded call began, which also leads to the one partition that
has its record. SQLite has one table and no `cdr_key`.
"""

from datetime import date

from sqlalchemy import Column, ColumnElement, MetaData, String, Table, bindparam, select, text
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

_KNOWN = select(cdr_key.c.call).where(cdr_key.c.call == bindparam("wanted"))


def partitioned(connection: Connection) -> bool:
    """Whether this database keeps its records by month."""
    return connection.dialect.name == "postgresql"


def has_record(connection: Connection, call: str) -> bool:
    """Whether a call has its record already. A trigger takes the key with each new record."""
    return connection.execute(_KNOWN, {"wanted": call}).first() is not None


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
