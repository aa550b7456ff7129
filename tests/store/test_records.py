"""Searching records by key: every page, both ways, in every order, against a plain sort in memory."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from production_parts import as_owner
from sqlalchemy import insert
from store.values import NOW, a_record

from simrack.controller.models import Own, RecordFilter, RecordRow
from simrack.controller.store import pages, records
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.controller.store.pages import BadPlace, Place
from simrack.controller.store.queries import SORTABLE, Queries

SENDERS, PLANS, BOXES = ("alpine", "moravia", "own"), ("nova", "orbit", ""), ("b1", "b2", "")
EVERYTHING = Own()


def drawn(count: int, seed: int = 3) -> list[RecordRow]:
    """Records with many equal values, so that order within a value matters."""
    pick = random.Random(seed)
    return [
        a_record(
            f"c{index:04d}", sender=pick.choice(SENDERS), plan=pick.choice(PLANS), box=pick.choice(BOXES),
            started=NOW - timedelta(seconds=pick.randrange(count // 2)), called=f"+4930{pick.randrange(12):07d}",
            calling=f"+4940{pick.randrange(9):07d}", outcome=pick.choice(("answered", "failed", "refused")),
            cause=pick.choice((16, 17, 34)), talk_network_ms=pick.randrange(5) * 1000, setup_ms=pick.randrange(3) * 1000,
            mos=pick.choice((None, 4.1, 3.2)), marks=(),
        )
        for index in range(count)
    ]  # fmt: skip


def fill(url: str, rows: list[RecordRow]) -> None:
    engine = write_engine(as_owner(url))
    with engine.begin() as connection:
        for row in rows:
            values = {name: getattr(row, name) for name in records.RECORD_FIELDS}
            connection.execute(insert(t.cdr).values(**{**values, "marks": list(row.marks)}))
    engine.dispose()


@pytest.fixture
def rows() -> list[RecordRow]:
    return drawn(90)


@pytest.fixture
def filled(url: str, queries: Queries, rows: list[RecordRow]) -> Queries:
    fill(url, rows)
    return queries


def flat(found: list[list[str]]) -> list[str]:
    return [call for page in found for call in page]


def walk(queries: Queries, wanted: RecordFilter, own: Own = EVERYTHING) -> list[list[str]]:
    """All pages from the first to the last."""
    found = []
    while True:
        page = queries.records(wanted, own)
        found.append([row.call for row in page.rows])
        if not page.next:
            return found
        wanted = replace(wanted, after=page.next)


def walk_back(queries: Queries, wanted: RecordFilter) -> list[list[str]]:
    """From the last page to the first, each in its own order."""
    page = queries.records(wanted)
    while page.next:
        page = queries.records(replace(wanted, after=page.next))
    found = [[row.call for row in page.rows]]
    while page.previous:
        page = queries.records(replace(wanted, after=page.previous))
        found.insert(0, [row.call for row in page.rows])
    return found


def ordered(rows: list[RecordRow], sort: str) -> list[str]:
    """A plain sort: by the field, then by when the row was stored; no figure comes last."""
    name, down = sort.removeprefix("-"), sort.startswith("-")

    def key(item: tuple[int, RecordRow]) -> tuple[Any, int]:
        value = getattr(item[1], name)
        return (value if value is not None else (-9e9 if down else 9e9), item[0])

    return [row.call for _, row in sorted(enumerate(rows), key=key, reverse=down)]


@pytest.mark.stack
@pytest.mark.parametrize("sign", ["", "-"])
def test_pages_of_every_order_hold_every_record_once(filled: Queries, rows: list[RecordRow], sign: str) -> None:
    """Paging would skip calls or show them twice, or its two ways would differ."""
    for name in sorted(SORTABLE):
        _pages(filled, rows, sign + name)


def _pages(filled: Queries, rows: list[RecordRow], sort: str) -> None:
    forth = walk(filled, RecordFilter(sort=sort, per_page=23))
    assert flat(forth) == ordered(rows, sort)
    assert {len(page) for page in forth[:-1]} == {23}
    assert flat(walk_back(filled, RecordFilter(sort=sort, per_page=23))) == ordered(rows, sort)


FILTERS: dict[str, tuple[RecordFilter, Callable[[RecordRow], bool]]] = {
    "sender": (RecordFilter(sender="alpine"), lambda r: r.sender == "alpine"),
    "plan and cause": (RecordFilter(plan="nova", cause=17), lambda r: r.plan == "nova" and r.cause == 17),
    "box": (RecordFilter(box="b1", outcome="failed"), lambda r: r.box == "b1" and r.outcome == "failed"),
    "outcome": (RecordFilter(outcome="refused"), lambda r: r.outcome == "refused"),
    "a part of a number": (RecordFilter(text="00001"), lambda r: "00001" in r.called + r.calling),
    "a whole number": (RecordFilter(text="+4930 0000001"), lambda r: r.called == "+49300000001"),
    "a caller": (RecordFilter(text="49400000003"), lambda r: r.calling == "+49400000003"),
    "time": (
        RecordFilter(since=NOW - timedelta(seconds=50), until=NOW - timedelta(seconds=9), plan="orbit"),
        lambda r: r.plan == "orbit" and NOW - timedelta(seconds=50) <= r.started < NOW - timedelta(seconds=9),
    ),
}


@pytest.mark.stack
@pytest.mark.parametrize("sort", ["-started", "started", "-talk_network_ms"])
@pytest.mark.parametrize("looked", [7, 50_000])
def test_a_bounded_search_finds_all_in_the_end(
    filled: Queries, rows: list[RecordRow], sort: str, looked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that no index answers would end early, or show a call twice, where the search is cut into pieces."""
    monkeypatch.setattr(records, "LOOK_MOST", looked)
    for name in FILTERS:
        _judge(filled, rows, name, sort, looked)


def _judge(filled: Queries, rows: list[RecordRow], name: str, sort: str, looked: int) -> None:
    wanted, fits = FILTERS[name]
    expected = [call for call in ordered(rows, sort) if any(fits(r) for r in rows if r.call == call)]
    found = flat(walk(filled, replace(wanted, sort=sort, per_page=11)))
    if looked == 7 and sort == "-talk_network_ms":
        assert set(found) <= set(expected)
        assert found == [call for call in expected if call in found]
    else:
        assert found == expected, name
        assert flat(walk_back(filled, replace(wanted, sort=sort, per_page=11))) == expected, name


@pytest.mark.stack
@pytest.mark.parametrize(
    "own",
    [
        Own(senders=frozenset({"alpine"})), Own(senders=frozenset({"alpine", "own"})), Own(plans=frozenset({"nova", "orbit"})),
        Own(senders=frozenset()), Own(senders=frozenset({"nobody"})),
        Own(senders=frozenset({"own"}), plans=frozenset({"orbit"})), Own(senders=frozenset(f"s{n}" for n in range(40)) | {"own"}),
    ],
)  # fmt: skip
def test_nobody_finds_another_ones_record(filled: Queries, rows: list[RecordRow], own: Own) -> None:
    """A customer would see another customer's calls, or count them."""
    for row in rows[::9]:
        assert (filled.story(row.call, own) is not None) == own.sees(row.sender, row.plan)
    for wanted in (
        RecordFilter(), RecordFilter(text="0000"), RecordFilter(text="49300000001"), RecordFilter(box="b2"),
        RecordFilter(sender="moravia", sort="called"),
    ):  # fmt: skip
        _only_theirs(filled, rows, own, wanted)


def _only_theirs(filled: Queries, rows: list[RecordRow], own: Own, wanted: RecordFilter) -> None:
    everything = set(flat(walk(filled, replace(wanted, per_page=50))))
    theirs = {row.call for row in rows if row.call in everything and own.sees(row.sender, row.plan)}
    found = flat(walk(filled, replace(wanted, per_page=9), own))
    assert set(found) == theirs
    assert len(found) == len(theirs)
    assert filled.records(wanted, own).total == len(theirs)


@pytest.mark.stack
def test_counting_stops_where_people_stop_reading(filled: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page would wait for ten million rows to be counted."""
    monkeypatch.setattr(records, "COUNT_MOST", 50)
    page = filled.records(RecordFilter(per_page=10))
    assert (page.total, page.more) == (50, True)
    assert filled.records(RecordFilter(sender="alpine", per_page=10)).total <= 50


@pytest.mark.stack
def test_a_call_that_comes_meanwhile_moves_no_page(filled: Queries, url: str, rows: list[RecordRow]) -> None:
    """Under load every next page would repeat calls of the one before."""
    first = filled.records(RecordFilter(per_page=20))
    fill(url, [replace(row, call=f"new-{row.call}", started=NOW + timedelta(seconds=5)) for row in rows[:30]])
    second = filled.records(RecordFilter(per_page=20, after=first.next))
    assert [row.call for row in (*first.rows, *second.rows)] == ordered(rows, "-started")[:40]


@pytest.mark.stack
@pytest.mark.parametrize(
    "place",
    [
        "x", "%%%", "W10", "WzFd", pages.write(Place("started", NOW, 1)), pages.write(Place("-started", "text", 1)),
        pages.write(Place("-started", 5, 1)), pages.write(Place("-started", NOW, -1)), pages.write(Place("-started", NOW, 2**70)), "a" * 4000,
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(filled: Queries, place: str) -> None:
    """A mistyped address would be a server error, or silently show the wrong page."""
    with pytest.raises(BadPlace):
        filled.records(RecordFilter(after=place))


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60), sort=st.sampled_from(["-started", "called", "-mos"]))
def test_no_text_upsets_the_reading_of_a_place(text: str, sort: str) -> None:
    """Whatever stands in an address is a place or is refused."""
    try:
        place = pages.read(text, sort)
    except BadPlace:
        return
    assert place is None or place.sort == sort


@given(
    value=st.one_of(st.integers(0, 2**40), st.text(max_size=20).filter(lambda text: "\0" not in text), st.datetimes(timezones=st.just(NOW.tzinfo))),
    ident=st.integers(0, 2**63 - 1), back=st.booleans(),
)  # fmt: skip
def test_a_place_survives_its_way_through_an_address(value: Any, ident: int, back: bool) -> None:
    """The next page would begin elsewhere."""
    place = Place("-x", value, ident, back, NOW)
    assert pages.read(pages.write(place), "-x") == place


def test_what_is_searched_by_leads_along_an_index(queries: Queries) -> None:
    """A page would read ten million rows. The counts of the benchmark are these plans at work."""
    with queries._read() as connection:
        for column in ("sender", "box", "plan", "iccid", "called", "calling"):
            asked = f"EXPLAIN QUERY PLAN SELECT * FROM cdr WHERE {column} = 'x' AND started < '2026' ORDER BY started DESC, id DESC LIMIT 50"
            steps = " ".join(str(row[3]) for row in connection.exec_driver_sql(asked))
            assert f"ix_cdr_{column}_started" in steps
            assert "TEMP B-TREE" not in steps
