"""The search for records: one page by key out of ten million, and one call's story.

A page is read along an index that leads straight to its rows (`_Way`). What no index answers (a part of a number, a
seldom cause, another order than time) is looked for among the newest records only, `LOOK_MOST` of them at a time;
the page then says how far back that was, and its `next` goes on from there (docs/records.md, ADR 0606).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Select, and_, false, func, literal, or_, select, true, tuple_, union_all
from sqlalchemy.engine import Connection, Row

from simrack.controller.models import (
    AttemptRow,
    Explanation,
    LadderLine,
    Own,
    RecordFilter,
    RecordPage,
    RecordRow,
    Story,
)
from simrack.controller.store import pages
from simrack.controller.store import tables as t
from simrack.controller.store.own import within
from simrack.controller.store.pages import BadPlace, Place
from simrack.controller.store.partitions import record_of
from simrack.controller.store.reader import Reader
from simrack.wire.messages import AtLine, MediaFigures

# A page longer than this helps nobody and costs memory.
MOST_PER_PAGE = 1000
# People read "10,000+"; counting on costs as much as reading on.
COUNT_MOST = 10_000
# Records looked at for one page where no index answers: some 100 ms of work (benchmarks/s9_records.py).
LOOK_MOST = 30_000
# With more senders or plans than this, looking along time is cheaper than one search for each.
WAYS_MOST = 12
# A whole number has this many digits; shorter texts are looked for as a part of one.
WHOLE_NUMBER = 7

LADDER = TypeAdapter(tuple[LadderLine, ...])
AT_LOG = TypeAdapter(tuple[AtLine, ...])
EVERYTHING = Own()

RECORD_FIELDS = tuple(RecordRow.__dataclass_fields__)
_NUMBERS = ("cause", "setup_ms", "ring_ms", "talk_network_ms", "talk_sender_ms", "attempts")
_WORDS = ("sender", "calling", "called", "plan", "box", "outcome")
SORTABLE = frozenset({"started", "mos", *_NUMBERS, *_WORDS})
#: Filters that are compared as they are; the first of `_INDEXED` that is given leads to the rows.
_EQUAL = ("sender", "plan", "box", "outcome", "cause", "channel", "iccid", "pattern", "direction", "side", "refusal")
_TEXTS = ("text", "sender", "plan", "box", "outcome", "iccid", "pattern", "direction", "side", "refusal")
_INDEXED = ("iccid", "sender", "box", "plan")
LAST_ID = 2**63 - 1
# Where a record has no figure, it comes last in either order.
_NO_MOS = 1000.0


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to the rows of a page: what an index leads to, and what is left to be compared row by row."""

    along: ColumnElement[bool]
    rest: ColumnElement[bool] | None = None

    @property
    def whole(self) -> ColumnElement[bool]:
        return self.along if self.rest is None else and_(self.along, self.rest)


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows of one page in its order, and the edge that the search stopped at."""

    rows: list[Row[Any]]
    edge: datetime | None


class RecordQueries(Reader):
    """What pages, command line and API read about calls that are over."""

    def records(self, wanted: RecordFilter, own: Own = EVERYTHING) -> RecordPage:
        """One page of CDRs. An unknown sort key sorts by start, newest first.

        Raises:
            BadPlace: `wanted.after` is no place in this list.
        """
        wanted = storable(wanted)
        order = _Order.of(wanted.sort)
        per_page = max(1, min(wanted.per_page, MOST_PER_PAGE))
        place = pages.read(wanted.after, order.sort)
        order.check(place)
        with self._read() as connection:
            exact = _is_exact(connection, wanted)
            ways = _ways(wanted, own, exact, connection.dialect.name)
            found = _search(connection, ways, wanted, order, place, per_page)
            page = _page(found, order, place, per_page)
            total, more = _count(connection, ways, wanted, page)
        return RecordPage(
            page.rows, total, per_page, more, page.next, page.previous, page.looked_back_to, exact is not None
        )

    def story(self, call: str, own: Own = EVERYTHING) -> Story | None:
        """One closed call with everything about it; None when there is no record of it (yet), or it is not theirs."""
        mine = within(own, t.cdr.c.sender, t.cdr.c.plan)
        with self._read() as connection:
            record = connection.execute(select(t.cdr).where(record_of(connection, call), mine)).first()
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


def storable(wanted: RecordFilter) -> RecordFilter:
    """NUL stands in no record, and PostgreSQL takes it in no text."""
    texts = {name: value.replace("\0", "\ufffd") for name in _TEXTS if "\0" in (value := getattr(wanted, name))}
    return replace(wanted, **texts) if texts else wanted


@dataclass(frozen=True, slots=True)
class _Order:
    """How a list is sorted: by a field, then by id."""

    field: str
    down: bool

    @classmethod
    def of(cls, sort: str) -> "_Order":
        name = sort.removeprefix("-")
        return cls(name, sort.startswith("-")) if name in SORTABLE else cls("started", True)

    @property
    def sort(self) -> str:
        return f"-{self.field}" if self.down else self.field

    @property
    def by_time(self) -> bool:
        return self.field == "started"

    def check(self, place: Place | None) -> None:
        """Raise `BadPlace` unless the place's value is of this field's kind."""
        kind: Any = datetime if self.by_time else str if self.field in _WORDS else int | float
        if place is not None and not isinstance(place.value, kind):
            raise BadPlace("this page belongs to a list in another order")

    def key(self, connection: Connection) -> ColumnElement[Any]:
        """What rows are sorted by, the same for the database and for `value`."""
        column: ColumnElement[Any] = t.cdr.c[self.field]
        if self.field == "mos":
            return func.coalesce(column, -_NO_MOS if self.down else _NO_MOS)
        if self.field in _WORDS and connection.dialect.name == "postgresql":
            # Pages of several searches are merged by code points.
            return column.collate("C")
        return column

    def value(self, row: Row[Any]) -> Any:
        value = row._mapping[self.field]
        return value if value is not None else -_NO_MOS if self.down else _NO_MOS

    def sorted(self, rows: Sequence[Row[Any]], back: bool) -> list[Row[Any]]:
        return sorted(rows, key=lambda row: (self.value(row), row.id), reverse=self.down != back)


# --- which rows, and which way leads to them ------------------------------------------------------------------


def _is_exact(connection: Connection, wanted: RecordFilter) -> list[str] | None:
    """The ways to write a whole number of which there are calls; None: the text is looked for as a part."""
    digits = "".join(wanted.text.split()).removeprefix("+")
    if not wanted.numbers or not digits.isdecimal() or len(digits) < WHOLE_NUMBER:
        return None
    written = [f"+{digits}", digits]
    for column in (t.cdr.c.called, t.cdr.c.calling):
        if connection.execute(select(literal(1)).where(column.in_(written)).limit(1)).first() is not None:
            return written
    return None


def _ways(wanted: RecordFilter, own: Own, exact: list[str] | None, dialect: str) -> list[_Way]:
    """The searches whose rows make the page; no row is found by two of them."""
    columns = t.cdr.c
    given = {name: value for name in _EQUAL if (value := getattr(wanted, name)) not in ("", None)}
    mine = None if own.everything else within(own, columns.sender, columns.plan)
    lead = next((name for name in _INDEXED if name in given), None) if exact is None else None
    if exact is not None:
        alongs = _either(exact)
    elif lead is not None:
        alongs = [columns[lead] == given.pop(lead)]
    else:
        alongs, mine = _along_own(own, mine)
    left = [columns[name] == value for name, value in given.items()]
    if mine is not None:
        left.append(mine)
    if wanted.text and exact is None:
        left.append(_contains(wanted, dialect))
    return [_Way(along, and_(*left) if left else None) for along in alongs]


def _either(written: list[str]) -> list[ColumnElement[bool]]:
    """Calls to and from one number."""
    calling, called = t.cdr.c.calling, t.cdr.c.called
    return [
        *(called == number for number in written),
        *(and_(calling == number, called.not_in(written)) for number in written),
    ]


def _along_own(
    own: Own, mine: ColumnElement[bool] | None
) -> tuple[list[ColumnElement[bool]], ColumnElement[bool] | None]:
    """One search for each of somebody's senders or plans, while they are few; and the bound that this leaves."""
    for name, names in (("sender", own.senders), ("plan", own.plans)):
        if names is not None and len(names) <= WAYS_MOST:
            both = own.senders is not None and own.plans is not None
            return [t.cdr.c[name] == one for one in sorted(names)] or [false()], mine if both else None
    return [true()], mine


def _contains(wanted: RecordFilter, dialect: str) -> ColumnElement[bool]:
    columns = t.cdr.c
    searched = [columns.call]
    if wanted.numbers:
        searched += [columns.calling, columns.calling_received, columns.called, columns.called_received, columns.dialled]
    wide: ColumnElement[str] = searched[0]
    for column in searched[1:]:
        wide = wide + literal("\n") + column
    text = wanted.text.lower()
    if text.upper() != text:
        wide = func.lower(wide)
    # A number may be typed in groups; nothing that is stored has spaces.
    forms = {text, "".join(text.split())} if wanted.numbers else {text}
    # A third of what LIKE costs, and no sign in it is a pattern.
    place = func.instr if dialect == "sqlite" else func.strpos
    return or_(*(place(wide, form) > 0 for form in sorted(forms)))


def _between(since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    parts = []
    if since is not None:
        parts.append(t.cdr.c.started >= since)
    if until is not None:
        parts.append(t.cdr.c.started < until)
    return and_(*parts) if parts else true()


# --- one page ---------------------------------------------------------------------------------------------------


def _search(
    connection: Connection, ways: list[_Way], wanted: RecordFilter, order: _Order, place: Place | None, per_page: int
) -> _Found:
    """One row more than the page holds, so that its end is known."""
    back = place is not None and place.back
    edge = _edge(connection, ways, wanted, order, place)
    key = order.key(connection)
    behind = _behind(key, order, place)
    inside = _inside(order, edge, down=order.down != back)
    rows: list[Row[Any]] = []
    for way in ways:
        statement = select(t.cdr).where(way.whole, _between(wanted.since, wanted.until), behind, inside)
        statement = statement.order_by(*_sorting(key, order.down != back)).limit(per_page + 1)
        rows += connection.execute(statement).all()
    return _Found(order.sorted(rows, back)[: per_page + 1], edge)


def _sorting(key: ColumnElement[Any], down: bool) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return (key.desc(), t.cdr.c.id.desc()) if down else (key.asc(), t.cdr.c.id.asc())


def _behind(key: ColumnElement[Any], order: _Order, place: Place | None) -> ColumnElement[bool]:
    if place is None:
        return true()
    here = tuple_(key, t.cdr.c.id)
    there = tuple_(literal(place.value, key.type), literal(place.id))
    # The first comparison leads along the index, the second tells rows of the same value apart.
    if order.down != place.back:
        return and_(key <= place.value, here < there)
    return and_(key >= place.value, here > there)


def _inside(order: _Order, edge: datetime | None, *, down: bool) -> ColumnElement[bool]:
    if edge is None:
        return true()
    return t.cdr.c.started >= edge if down or not order.by_time else t.cdr.c.started <= edge


def _edge(
    connection: Connection, ways: list[_Way], wanted: RecordFilter, order: _Order, place: Place | None
) -> datetime | None:
    """How far a search goes that compares row by row; None: to its end."""
    if not order.by_time:
        return place.edge if place is not None else _farthest(connection, ways, wanted, True, None)
    if all(way.rest is None for way in ways):
        return None
    back = place is not None and place.back
    return _farthest(connection, ways, wanted, order.down != back, place)


def _farthest(
    connection: Connection, ways: list[_Way], wanted: RecordFilter, down: bool, place: Place | None
) -> datetime | None:
    """The start of the record that is the last to be looked at, the nearest of all ways."""
    started = t.cdr.c.started
    found = []
    for way in ways:
        statement = select(started).where(way.along, _between(wanted.since, wanted.until))
        if place is not None:
            statement = statement.where(started <= place.value if down else started >= place.value)
        ordered = statement.order_by(started.desc() if down else started.asc())
        moment = connection.execute(ordered.offset(LOOK_MOST).limit(1)).scalar()
        if moment is not None:
            found.append(moment)
    if not found:
        return None
    nearest: datetime = max(found) if down else min(found)
    return nearest


def _page(found: _Found, order: _Order, place: Place | None, per_page: int) -> RecordPage:
    """The rows of a page, and the places before and behind it."""
    back = place is not None and place.back
    rows, over = found.rows[:per_page], len(found.rows) > per_page
    edge = None if order.by_time else found.edge
    stopped = found.edge if order.by_time and not over else None
    if back:
        rows.reverse()
    first, last = _turned(place, order), _turned(place, order)
    if rows:
        first = replace(_place_of(rows[0], order, edge), back=True)
        last = _place_of(rows[-1], order, edge)
    if stopped is not None:
        # The row at the edge was looked at: ids begin at 1, so 0 is behind all of that moment.
        beyond = Place(order.sort, stopped, 0 if order.down != back else LAST_ID, back)
        first, last = (beyond, last) if back else (first, beyond)
    has_before = place is not None if not back else over or stopped is not None
    has_behind = over or stopped is not None if not back else True
    return RecordPage(
        tuple(map(_record, rows)), 0, per_page,
        next=pages.write(last) if has_behind and last is not None else "",
        previous=pages.write(first) if has_before and first is not None else "",
        looked_back_to=stopped if stopped is not None else edge,
    )  # fmt: skip


def _turned(place: Place | None, order: _Order) -> Place | None:
    """The way back from a page without rows: from the row that led there, which is on the page before."""
    if place is None:
        return None
    ident = max(0, place.id - 1) if order.down != place.back else min(LAST_ID, place.id + 1)
    return replace(place, id=ident, back=not place.back)


def _place_of(row: Row[Any], order: _Order, edge: datetime | None) -> Place:
    return Place(order.sort, order.value(row), row.id, False, edge)


def _count(connection: Connection, ways: list[_Way], wanted: RecordFilter, page: RecordPage) -> tuple[int, bool]:
    """How many records there are, up to `COUNT_MOST`, and whether there may be more."""
    if not wanted.after and (not page.next or len(page.rows) < page.per_page):
        return len(page.rows), page.looked_back_to is not None
    edge = None
    if any(way.rest is not None for way in ways):
        edge = _farthest(connection, ways, wanted, True, None)
    inside = true() if edge is None else t.cdr.c.started >= edge
    counted: list[Select[Any]] = [
        select(t.cdr.c.id).where(way.whole, _between(wanted.since, wanted.until), inside).limit(COUNT_MOST + 1)
        for way in ways
    ]
    # SQLite takes no LIMIT inside a compound; each part is a query of its own.
    parts = [select(part.subquery().c.id) for part in counted]
    total = connection.execute(select(func.count()).select_from(union_all(*parts).subquery())).scalar_one()
    return min(total, COUNT_MOST), total > COUNT_MOST or edge is not None


def _record(row: Row[Any]) -> RecordRow:
    values = {name: row._mapping[name] for name in RECORD_FIELDS}
    return RecordRow(**{**values, "marks": tuple(values["marks"])})


def _attempt(row: Row[Any]) -> AttemptRow:
    values = {name: row._mapping[name] for name in AttemptRow.model_fields}
    values["at_log"] = AT_LOG.validate_json(row.at_log) if row.at_log else ()
    values["media"] = MediaFigures.model_validate_json(row.media) if row.media else None
    return AttemptRow(**values)
