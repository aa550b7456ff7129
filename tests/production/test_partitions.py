"""Records by month on PostgreSQL: none is lost, none is doubled, and questions about a month look at that month."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from production_parts import Postgres, PostgresDatabase, stack
from sqlalchemy import MetaData, Table, create_engine, insert, select, text
from sqlalchemy.engine import Connection
from store.values import NOW, FixedClock, a_part_event, a_record, an_open_call, finished

from simrack.controller.calls.ports import Finished
from simrack.controller.models import RecordFilter
from simrack.controller.store import migrate as steps
from simrack.controller.store import partitions
from simrack.controller.store.engine import write_engine
from simrack.controller.store.queries import Queries
from simrack.controller.store.rights import OWNER
from simrack.controller.store.writer import Writer

pytestmark = pytest.mark.stack
MONTHS = [datetime(year, month, 15, 12, tzinfo=UTC) for year, month in ((1999, 1), (2025, 12), (2026, 1), (2026, 11), (2031, 7))]


@pytest.fixture
def empty_url(production_in_use: None, tmp_path: Path) -> Iterator[str]:
    """A database without tables, for whoever may make them."""
    on = stack()
    if on is None:
        yield f"sqlite:///{tmp_path / 'old.db'}"
        return
    postgres = on.parts.postgres
    name = postgres.empty()
    yield postgres.url(name, OWNER)
    postgres.drop(name)


def upgrade(connection: Connection, revision: str) -> None:
    config = steps._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def value(column: Any, n: int) -> Any:
    """Something for a column that must have something."""
    kind = column.type.python_type if column.type.__class__.__name__ != "JSON" else dict
    made: dict[type, Any] = {
        str: f"{column.name}-{n}", int: n, float: 1.5, bool: True, datetime: MONTHS[n % len(MONTHS)], dict: ["x", n],
    }  # fmt: skip
    return made[kind]


def filled(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Five rows in every table of the first release, records in five months; returns them as read."""
    tables = MetaData()
    tables.reflect(connection)
    for table in tables.sorted_tables:
        if table.name in ("alembic_version", "config_active"):
            continue
        for n in range(len(MONTHS)):
            row = {c.name: value(c, n + 1 if c.name in ("id", "version", "user_id") else n) for c in table.columns}
            connection.execute(insert(table).values(**row))
    return {table.name: rows(connection, table) for table in tables.sorted_tables if table.name != "alembic_version"}


def rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    ordered = select(table).order_by(*(column for column in table.primary_key.columns))
    return [dict(row._mapping) for row in connection.execute(ordered)]


def test_every_row_of_the_first_release_survives_all_steps(empty_url: str) -> None:
    """An upgrade that lost a record, or changed one, would be found at the next bill."""
    engine = write_engine(empty_url)
    with engine.begin() as connection:
        upgrade(connection, "0001")
        before = filled(connection)
    with engine.begin() as connection:
        upgrade(connection, "head")
    with engine.connect() as connection:
        tables = MetaData()
        tables.reflect(connection, only=list(before))
        after = {name: rows(connection, tables.tables[name]) for name in before}
    engine.dispose()
    for name, old in before.items():
        kept = [{key: row[key] for key in old[0]} for row in after[name]] if old else []
        assert kept == old, name
    assert len(before["cdr"]) == len(MONTHS)


async def test_a_call_has_one_record_whatever_month_a_second_try_says(on_server: PostgresDatabase) -> None:
    """A key that holds the month alone would let a call be billed twice; the call's own key does not."""
    async with Writer(on_server.url, FixedClock(), "run") as writer:
        await writer.open_call(an_open_call())
        await writer.finish(finished())
        await writer.finish(finished())
        await writer.finish(finished(started=NOW + timedelta(days=40)))
        await writer.take_events([a_part_event()])
    queries = Queries(on_server.web)
    page, story = queries.records(RecordFilter()), queries.story("c1")
    queries.close()
    assert [(row.call, row.started, row.talk_network_ms) for row in page.rows] == [("c1", NOW, 29950)]
    assert story is not None
    assert story.attempts


async def test_a_record_without_partition_is_kept_and_moved_when_there_is_one(on_server: PostgresDatabase) -> None:
    """A clock that is wrong, or a controller that stood still for half a year, must not cost a record."""
    far = datetime(2044, 5, 31, 23, 59, 59, 999000, tzinfo=UTC)
    clock = FixedClock()
    async with Writer(on_server.url, clock, "run") as writer:
        for n, started in enumerate((far, far + timedelta(milliseconds=1), far - timedelta(days=40))):
            await writer.finish(Finished(replace(a_record(f"c{n}"), started=started), None, (), ()))
        assert held(on_server, "cdr_default") == ["c0", "c1", "c2"]
        clock.now = far
        assert await writer.make_partitions() == partitions.MONTHS_AHEAD + 1
        assert await writer.make_partitions() == 0
    assert (held(on_server, "cdr_2044_05"), held(on_server, "cdr_2044_06")) == (["c0"], ["c1"])
    assert held(on_server, "cdr_default") == ["c2"]
    assert held(on_server, "cdr") == ["c0", "c1", "c2"]


def held(on: PostgresDatabase, table: str) -> list[str]:
    engine = create_engine(on.owner)
    with engine.connect() as connection:
        found = list(connection.execute(text(f"SELECT call FROM {table} ORDER BY call")).scalars())
    engine.dispose()
    return found


def test_months_are_made_ahead_by_the_steps(on_server: PostgresDatabase) -> None:
    """A new database takes this month's and the next months' records apart from its first call on."""
    engine = create_engine(on_server.owner)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT relname FROM pg_class WHERE relname ~ '^cdr_[0-9_]+$' AND relkind = 'r'"))
        months = sorted(names.scalars())
    engine.dispose()
    assert len(months) == partitions.MONTHS_AHEAD + 1
    assert f"cdr_{datetime.now(UTC):%Y_%m}" in months


def test_questions_look_at_their_month_only(on_server: PostgresDatabase, postgres: Postgres) -> None:
    """A page of this month would read years; the story of one call would ask every month for it."""
    engine = create_engine(on_server.owner)
    with engine.begin() as connection:
        partitions.make_ahead(connection, date(2030, 1, 1))
        month = plan(connection, "SELECT * FROM cdr WHERE started >= '2030-02-03Z' AND started < '2030-02-04Z'")
        connection.execute(text("INSERT INTO cdr_key VALUES ('c9', '2030-03-04Z')"))
        condition = partitions.record_of(connection, "c9").compile(connection, compile_kwargs={"literal_binds": True})
        one = plan(connection, f"SELECT * FROM cdr WHERE {condition}", analyze=True)
    engine.dispose()
    assert "cdr_2030_02" in month
    assert "cdr_2030_03" not in month
    asked = [line for line in one.splitlines() if "cdr_2" in line or "cdr_default" in line]
    assert [line for line in asked if "never executed" not in line and "on cdr_2030_03" in line]
    assert not [line for line in asked if " on cdr_" in line and "never executed" not in line and "cdr_2030_03" not in line]


def plan(connection: Connection, statement: str, *, analyze: bool = False) -> str:
    asked = f"EXPLAIN ({'ANALYZE' if analyze else 'COSTS OFF'}) {statement}"
    return "\n".join(connection.exec_driver_sql(asked).scalars())
