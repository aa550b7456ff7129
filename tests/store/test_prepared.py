"""A call's statements write the same rows as SQLAlchemy's own execution, on each database."""

from collections.abc import Iterator
from datetime import timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from store.values import NOW

from simrack.controller.store import jobs, prepared
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine

OPEN = {
    "call": "c1", "run": "r1", "direction": "out", "sender": "s", "sip_call_id": "x@h", "from_tag": "f", "calling": "1",
    "calling_received": "1", "called": "2", "called_received": "2", "ingress": "127.0.0.1:5060",
    "started": NOW.astimezone(timezone(timedelta(hours=5))),
}  # fmt: skip
ANSWERED = {
    "answered": NOW, "attempt": "a1", "box": "lab-01", "channel": 3, "plan": "p", "iccid": "89", "pattern": "4", "calling": "1",
    "called": "2", "box_boot": "b", "kept": None, "sender_dialog": {"call_id": 'x"%s'}, "box_dialog": {"tag": "ä"},
}  # fmt: skip
EVENT = {
    "box": "lab-01", "boot": "b", "seq": 1, "kind": "part", "at": NOW, "received": NOW, "call": "c1", "attempt": "a1",
    "body": '{"x": "%(y)s ?"}',
}  # fmt: skip


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = write_engine(database_url)
    with engine.connect() as found:
        yield found
    engine.dispose()


def _rows(connection: Connection, table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


def _both(connection: Connection, table: Any, *work: tuple[Any, dict[str, Any]]) -> tuple[Any, Any]:
    """The table's rows after each way of running the same statements."""
    found = []
    for run in (prepared.run, Connection.execute):
        with connection.begin():
            for statement, values in work:
                run(connection, statement, values)
            found.append(_rows(connection, table))
            connection.rollback()
    return found[0], found[1]


@pytest.mark.stack
def test_an_open_row_is_the_same(connection: Connection) -> None:
    """A later run could not go on with a call whose row reads otherwise."""
    ours, theirs = _both(connection, t.open_call, (jobs._OPEN, OPEN), (jobs._CONNECTED, {**ANSWERED, "of": "c1"}))
    assert len(ours) == 1
    assert ours == theirs


@pytest.mark.stack
def test_a_fact_and_its_emptying_are_the_same(connection: Connection) -> None:
    """A box's part would be counted twice, or never."""
    insert = jobs._once(connection.dialect.name, t.box_event_seen)
    taken = (jobs._TAKEN, {"of_box": "lab-01", "of_boot": "b", "of_seq": 1})
    assert (full := _both(connection, t.box_event_seen, (insert, EVENT)))[0] == full[1]
    assert full[0][0]["body"] == EVENT["body"]
    emptied = _both(connection, t.box_event_seen, (insert, EVENT), taken)
    assert emptied[0] == emptied[1]
    assert emptied[0][0]["body"] is None


@pytest.mark.stack
def test_counts_and_returned_rows_are_told(connection: Connection) -> None:
    """A fact that a box repeats must be known as such, and a record needs the Call-ID of the row it replaces."""
    insert = jobs._once(connection.dialect.name, t.box_event_seen)
    with connection.begin():
        assert [prepared.run(connection, insert, EVENT).rowcount for _ in range(2)] == [1, 0]
        assert prepared.run(connection, jobs._CONNECTED, {**ANSWERED, "of": "nobody"}).rowcount == 0
        prepared.run(connection, jobs._OPEN, OPEN)
        gone = prepared.run(connection, jobs._CLOSE, {"ended": "c1"}).one()
        assert (gone.sip_call_id, gone.from_tag) == ("x@h", "f")


@pytest.mark.stack
def test_errors_are_sqlalchemys(connection: Connection) -> None:
    """The writer tells a refused row from a database that is down by them."""
    with connection.begin():
        prepared.run(connection, jobs._OPEN, OPEN)
        with pytest.raises(IntegrityError):
            prepared.run(connection, jobs._OPEN, OPEN)
        connection.rollback()


def test_a_missing_value_is_an_error(connection: Connection) -> None:
    """It must not become NULL in a record."""
    with pytest.raises(KeyError):
        prepared.run(connection, jobs._CONNECTED, {"of": "c1"})
