"""What pages read, and that reading can't write."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import delete, event, select
from sqlalchemy.exc import DBAPIError
from store.values import NOW, a_record, finished

from simrack.controller.calls.ports import Finished
from simrack.controller.models import RecordFilter
from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.queries import Queries, percentile
from simrack.controller.store.writer import Writer

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def filled(writer: Writer, queries: Queries) -> Queries:
    """Three calls of the last hour (one answered, one busy, one refused) and one a week ago."""
    ago = NOW - 30 * MINUTE
    records = [
        a_record("answered", started=ago, talk_network_ms=60000, setup_ms=1000),
        a_record(
            "busy", started=ago + MINUTE, outcome="failed", cause=17, setup_ms=3000, called="+49999", mos=2.0
        ),
        a_record(
            "refused", started=ago + 2 * MINUTE, outcome="refused", cause=27, setup_ms=0, sender="other"
        ),
        a_record("old", started=ago - timedelta(days=7), talk_network_ms=20000),
    ]
    for record in records:
        await writer.finish(Finished(record, None, (), ()))
    return queries


@pytest.mark.stack
@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        (RecordFilter(), ["refused", "busy", "answered", "old"]),
        (RecordFilter(sort="started"), ["old", "answered", "busy", "refused"]),
        (RecordFilter(sort="-cause", until=NOW, since=NOW - 60 * MINUTE), ["refused", "busy", "answered"]),
        (RecordFilter(sort="mos"), ["busy", "answered", "refused", "old"]),
        (RecordFilter(sort="; drop table cdr"), ["refused", "busy", "answered", "old"]),
        (RecordFilter(text="999"), ["busy"]),
        (RecordFilter(text="%"), []),
        (RecordFilter(text="ans"), ["answered"]),
        (RecordFilter(sender="other"), ["refused"]),
        (RecordFilter(outcome="answered"), ["answered", "old"]),
        (RecordFilter(cause=17), ["busy"]),
        (RecordFilter(plan="none"), []),
        (RecordFilter(text="+49 999"), ["busy"]),
        (RecordFilter(text="49 999 0"), []),
        (RecordFilter(text="999", numbers=False), []),
        (RecordFilter(text="busy", numbers=False), ["busy"]),
        (RecordFilter(channel=3, direction="out", side="called", sender="other"), ["refused"]),
        (RecordFilter(direction="in"), []),
        (RecordFilter(iccid="890010000000000001", cause=17), ["busy"]),
        (RecordFilter(text="a\0b", sender="\0"), []),
    ],
)
def test_records_are_filtered_and_sorted(filled: Queries, wanted: RecordFilter, calls: list[str]) -> None:
    """Every filter of the Records page does what its label says; text is never read as a pattern."""
    page = filled.records(wanted)
    found = [row.call for row in page.rows]
    assert sorted(found) == sorted(calls) if wanted.sort == "mos" else found == calls
    assert (page.total, page.more, page.next, page.previous) == (len(calls), False, "", "")


@pytest.mark.stack
def test_figures_count_what_their_names_say(filled: Queries) -> None:
    """The tiles of the Rack page: a refused call is a call, but no seizure."""
    figures = filled.figures(NOW)
    assert figures.calls_hour == 3
    assert figures.asr_hour == 0.5
    assert (figures.asr_week_ago, figures.acd_week_ago_s) == (1.0, 20.0)
    assert figures.acd_s == 60.0
    assert (figures.pdd_ms, figures.pdd_p95_ms) == (2000.0, 3000.0)
    assert figures.spark_calls == (0,) * 23 + (3,)
    assert len(figures.spark_pdd) == len(figures.spark_asr) == len(figures.spark_acd) == 24


@pytest.mark.stack
def test_an_empty_database_gives_empty_pages(queries: Queries) -> None:
    """The first visit after installation shows nothing, not an error."""
    assert queries.records(RecordFilter()).total == 0
    assert queries.story("nothing") is None
    assert queries.figures(NOW).asr_hour is None
    assert queries.names().senders == {}


@pytest.mark.stack
async def test_a_reader_cannot_write(writer: Writer, queries: Queries) -> None:
    """Web pages open the database so that even a mistake in their code can't change a record."""
    await writer.finish(finished())

    def write() -> None:
        with queries._read() as connection, pytest.raises(DBAPIError, match=r"read-?only"):
            connection.execute(delete(t.cdr))

    await asyncio.to_thread(write)
    assert (await asyncio.to_thread(queries.records, RecordFilter())).total == 1


@pytest.mark.stack
@pytest.mark.parametrize("still", [1, 20], ids=["one", "more than are kept"])
def test_a_reader_that_is_closed_while_pages_are_read_leaves_no_connection(queries: Queries, still: int) -> None:
    """A server that stops under load would drop its connections unclosed, and the database would hold them."""
    opened: list[object] = []
    closed: list[object] = []
    event.listen(queries._engine, "connect", lambda connection, _record: opened.append(connection))
    event.listen(queries._engine, "close", lambda connection, _record: closed.append(connection))
    queries.open_calls()
    with ExitStack() as reading:
        pages = [reading.enter_context(queries._read()) for _ in range(still)]
        queries.close()
        assert [page.execute(select(t.cdr.c.call)).all() for page in pages] == [[]] * still, "what began goes on"
        assert queries.open_calls() == (), "the same page asks for more"
    assert len(opened) == still + 1
    assert {id(connection) for connection in opened} == {id(connection) for connection in closed}


def test_a_missing_database_is_said() -> None:
    """A page before the controller's first start says that the store is down."""
    with pytest.raises(StoreDown):
        Queries("sqlite:////nowhere/at/all.db").open_calls()


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([5], 5.0), ([1, 2, 3, 4], 4.0), (list(range(100)), 94.0)]
)
def test_percentile_is_nearest_rank(values: list[float], expected: float | None) -> None:
    """The tile's p95 is a delay that a caller really had."""
    assert percentile(values, 0.95) == expected
