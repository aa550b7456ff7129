"""Figures over records: counted by the database, grouped by any field of a record, in the words of ITU-T E.425.

One pass over the records of a period for each question, along the index that leads to them. What is no column of a
record (country, owner, operator, a day in a time zone) is put together here from finer groups.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, String, and_, cast, extract, func, select, type_coerce
from sqlalchemy.engine import Connection, Row

from simrack.controller.figures import NAMES, USER_CAUSES, Counts, Peak, Statistics
from simrack.controller.models import Own, RecordFilter
from simrack.controller.store import tables as t
from simrack.controller.store.own import within
from simrack.controller.store.reader import Reader
from simrack.controller.store.records import storable

# Groups beyond these are summed up in one; nobody reads more, and a page must not hold a million callers.
GROUPS_MOST = 2000
# Peaks are counted call by call; more calls than this are too many for a page that is waited for.
PEAK_MOST = 300_000
# A call that began before the period and is still on counts in its peak; longer ones are rare, and cost a look each.
LONGEST = timedelta(hours=4)
# PostgreSQL can't guess how many hours there are and keeps a day's sums on disk when it has 4 MB to sort them in: three
# times as slow. The session has its own setting again at the end of the transaction.
_ROOM = "SET LOCAL work_mem = '64MB'"
SEPARATOR = "\x1f"
EVERYTHING = Own()
_FILTERS = ("sender", "plan", "box", "outcome", "cause", "channel", "iccid", "pattern", "direction", "side", "refusal")


def _fields() -> Mapping[str, tuple[ColumnElement[Any], ...]]:
    """What the database groups by, for each grouping of `FIELDS` that is no time."""
    c = t.cdr.c
    digits = func.substr(c.called, 1, 8)
    return {
        "sender": (c.sender,), "plan": (c.plan,), "owner": (c.plan,), "operator": (c.plan,), "iccid": (c.iccid,),
        "box": (c.box,), "channel": (c.box, c.channel), "pattern": (c.pattern,), "prefix": (func.substr(c.called, 1, 6),),
        "country": (digits,), "direction": (c.direction,), "outcome": (c.outcome,), "cause": (c.cause,),
        "side": (c.side,), "refusal": (c.refusal,), "codec": (c.codec,), "ingress": (c.ingress,),
        "calling": (c.calling,), "called": (c.called,), "pair": (c.calling, c.called),
    }  # fmt: skip


#: Groupings by the database; times are put together from hours or minutes.
FIELDS = _fields()
TIMES = ("minute", "hour", "day", "week", "month", "hour of day", "weekday")
#: Fields whose groups by the hour are still few, and the longest period of which: `both` counts them in one pass.
_FEW = {
    **dict.fromkeys(("sender", "plan", "owner", "operator", "direction", "outcome", "cause", "side", "refusal", "codec"), timedelta(days=400)),
    "box": timedelta(days=8),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What is counted: the period and filters of `wanted`, by which field, answered for how long at least (ASR-B)."""

    wanted: RecordFilter
    by: str = "sender"
    least_s: int = 10


class StatisticsQueries(Reader):
    """Counts over records."""

    @contextmanager
    def _counting(self) -> Iterator[Connection]:
        with self._read() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(_ROOM)
            yield connection

    def groups(self, asked: Question, own: Own = EVERYTHING) -> Statistics:
        """The counts of each group, most calls first. KeyError: there is no such grouping."""
        keys = FIELDS[asked.by]
        named = [cast(key, String).label(f"key{place}") for place, key in enumerate(keys)]
        statement = (
            select(*named, *_sums(asked.least_s)).where(_conditions(asked.wanted, own)).group_by(*keys)
            .order_by(func.count().desc(), *keys).limit(GROUPS_MOST + 1)
        )  # fmt: skip
        with self._counting() as connection:
            found = connection.execute(statement).all()
            total = self._total(connection, asked, own) if len(found) > GROUPS_MOST else None
        groups = {SEPARATOR.join(row[place] or "" for place in range(len(keys))): _counts(row) for row in found[:GROUPS_MOST]}
        summed = total if total is not None else Counts.sum(groups.values())
        return Statistics(groups, summed, cut=total is not None)

    def times(self, asked: Question, own: Own = EVERYTHING, *, minutes: bool = False) -> dict[datetime, Counts]:
        """The counts of each hour (or minute) of UTC in which calls began."""
        with self._counting() as connection:
            bucket = _bucket(connection, t.cdr.c.started, minutes)
            statement = select(bucket.label("bucket"), *_sums(asked.least_s)).where(_conditions(asked.wanted, own))
            return {_moment(row.bucket): _counts(row) for row in connection.execute(statement.group_by("bucket"))}

    def both(
        self, asked: Question, own: Own = EVERYTHING, *, minutes: bool = False
    ) -> tuple[Statistics, dict[datetime, Counts]]:
        """`groups` and `times` of one question, where it may be in one pass over the records."""
        since, until = asked.wanted.since, asked.wanted.until
        if since is None or until is None or until - since > _FEW.get(asked.by, timedelta(0)):
            return self.groups(asked, own), self.times(asked, own, minutes=minutes)
        key = cast(FIELDS[asked.by][0], String).label("key")
        with self._counting() as connection:
            bucket = _bucket(connection, t.cdr.c.started, minutes).label("bucket")
            statement = select(bucket, key, *_sums(asked.least_s)).where(_conditions(asked.wanted, own))
            found = connection.execute(statement.group_by("bucket", "key")).all()
        groups: dict[str, list[Counts]] = {}
        times: dict[str, list[Counts]] = {}
        for row in found:
            counts = _counts(row)
            groups.setdefault(row.key or "", []).append(counts)
            times.setdefault(row.bucket, []).append(counts)
        along = {_moment(bucket): Counts.sum(many) for bucket, many in times.items()}
        ordered = sorted(((key, Counts.sum(many)) for key, many in groups.items()), key=lambda item: (-item[1].calls, item[0]))
        cut = len(ordered) > GROUPS_MOST
        return Statistics(dict(ordered[:GROUPS_MOST]), Counts.sum(along.values()), cut), along

    def peaks(self, wanted: RecordFilter, own: Own = EVERYTHING) -> Peak | None:
        """How many calls were on at the same time at most, with the most of each hour; None: too many to count.

        `wanted.since` and `until` must be given.
        """
        assert wanted.since is not None
        assert wanted.until is not None
        with self._counting() as connection:
            inside = _conditions(wanted, own)
            some = select(t.cdr.c.id).where(inside).limit(PEAK_MOST + 1).subquery()
            if connection.execute(select(func.count()).select_from(some)).scalar_one() > PEAK_MOST:
                return None
            hours = _hour_peaks(connection, inside, _still_on(wanted, own))
        if not hours:
            return Peak(0, None, {})
        most = max(hours, key=lambda hour: hours[hour])
        return Peak(hours[most], most, hours)

    def causes(self, wanted: RecordFilter, own: Own = EVERYTHING) -> list[tuple[str, str, int, int, int]]:
        """(direction, side, cause, calls, talk in ms), most calls first."""
        c = t.cdr.c
        talk = func.coalesce(func.sum(c.talk_network_ms), 0)
        statement = (
            select(c.direction, c.side, c.cause, func.count().label("calls"), talk).where(_conditions(wanted, own))
            .group_by(c.direction, c.side, c.cause).order_by(func.count().desc(), c.cause, c.side)
        )  # fmt: skip
        with self._counting() as connection:
            return [(row[0], row[1], int(row[2]), int(row[3]), int(row[4])) for row in connection.execute(statement)]

    @staticmethod
    def _total(connection: Connection, asked: Question, own: Own) -> Counts:
        statement = select(*_sums(asked.least_s)).where(_conditions(asked.wanted, own))
        return _counts(connection.execute(statement).one())


def regrouped(groups: Mapping[str, Counts], name: Callable[[str], str]) -> dict[str, Counts]:
    """Groups put together under the names that `name` gives them, most calls first."""
    found: dict[str, Counts] = {}
    for key, counts in groups.items():
        there = found.get(to := name(key))
        found[to] = counts if there is None else there + counts
    return dict(sorted(found.items(), key=lambda item: (-item[1].calls, item[0])))


def _conditions(wanted: RecordFilter, own: Own) -> ColumnElement[bool]:
    columns, wanted = t.cdr.c, storable(wanted)
    parts = [within(own, columns.sender, columns.plan)]
    parts += [columns[name] == value for name in _FILTERS if (value := getattr(wanted, name)) not in ("", None)]
    if wanted.since is not None:
        parts.append(columns.started >= wanted.since)
    if wanted.until is not None:
        parts.append(columns.started < wanted.until)
    return and_(*parts)


def _sums(least_s: int) -> list[ColumnElement[Any]]:
    """The columns of `Counts`, in its order."""
    c = t.cdr.c
    answered = c.outcome == "answered"
    rang_out = (c.outcome == "cancelled") & c.alerting.is_not(None)
    return [
        func.count().label("calls"),
        # A refused call never seized a channel (E.425: seizures).
        func.count().filter(c.outcome != "refused").label("seizures"),
        func.count().filter(answered).label("answers"),
        func.count().filter(answered & (c.talk_network_ms >= least_s * 1000)).label("long_answers"),
        func.count().filter(answered | rang_out | ((c.outcome == "failed") & c.cause.in_(USER_CAUSES))).label("effective"),
        func.coalesce(func.sum(c.talk_network_ms).filter(answered), 0).label("talk_ms"),
        func.coalesce(func.sum(c.setup_ms), 0).label("setup_ms"),
        func.count().filter(c.setup_ms > 0).label("rung"),
        func.coalesce(func.sum(c.setup_ms + c.ring_ms + c.talk_sender_ms), 0).label("busy_ms"),
    ]


def _counts(row: Row[*tuple[Any, ...]]) -> Counts:
    # The sums are the last columns of each question.
    return Counts(*map(int, row[-len(NAMES):]))


def _bucket(connection: Connection, column: ColumnElement[Any], minutes: bool) -> ColumnElement[str]:
    """The hour or minute as text: SQLite keeps times as text, which begins with it."""
    if connection.dialect.name == "sqlite":
        return func.substr(column, 1, 16 if minutes else 13)
    return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD HH24:MI" if minutes else "YYYY-MM-DD HH24")


def _moment(bucket: str) -> datetime:
    return datetime.fromisoformat(bucket if ":" in bucket else f"{bucket}:00").replace(tzinfo=UTC)


def _still_on(wanted: RecordFilter, own: Own) -> ColumnElement[bool]:
    """Calls that began before the period and ended in it."""
    assert wanted.since is not None
    before = replace(wanted, since=wanted.since - LONGEST, until=wanted.since)
    return _conditions(before, own) & (t.cdr.c.ended > wanted.since) & (t.cdr.c.outcome != "refused")


def _hour_peaks(
    connection: Connection, inside: ColumnElement[bool], before: ColumnElement[bool]
) -> dict[datetime, int]:
    """The most calls at once in each hour: beginnings and ends, gone through in the order of time.

    Here and not by a window of the database: two sorts of 100,000 moments take a third of the time of a running sum.
    """
    c = t.cdr.c
    began, ended = _sortable(connection, c.started), _sortable(connection, c.ended)
    calls = select(began, ended).where(inside & (c.outcome != "refused")).order_by(c.started)
    starts: list[Any] = []
    ends: list[Any] = list(connection.execute(select(ended).where(before)).scalars())
    base = len(ends)
    for start, end in connection.execute(calls):
        starts.append(start)
        ends.append(end)
    ends.sort()
    found: dict[Any, int] = {}
    hour_of = _hour_of_text if connection.dialect.name == "sqlite" else _hour_of_number
    for at, on in _running(base, starts, ends):
        hour = hour_of(at)
        if on > found.get(hour, -1):
            found[hour] = on
    return {_moment(hour) if isinstance(hour, str) else datetime.fromtimestamp(hour * 3600, UTC): on for hour, on in found.items()}


def _running(base: int, starts: Sequence[Any], ends: Sequence[Any]) -> Iterator[tuple[Any, int]]:
    """Each moment with the calls that are on after it. Of one moment the ends come first: a channel that is let go
    and taken again carries one call."""
    on, place, count = base, 0, len(ends)
    for start in starts:
        while place < count and ends[place] <= start:
            on -= 1
            yield ends[place], on
            place += 1
        on += 1
        yield start, on
    for end in ends[place:]:
        on -= 1
        yield end, on


def _sortable(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A moment in the form that costs least to read and to sort: SQLite's own text, or microseconds since 1970."""
    if connection.dialect.name == "sqlite":
        return type_coerce(column, String)
    return cast(extract("epoch", column) * 1_000_000, BigInteger)


def _hour_of_text(at: str) -> str:
    return at[:13]


def _hour_of_number(at: int) -> int:
    return at // 3_600_000_000
