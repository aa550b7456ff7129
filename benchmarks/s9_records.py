"""S9: a filtered page of records and a grouped day, on ten million records, on SQLite and PostgreSQL.

Measured is what a browser waits for: the control room's own answer, from the request to the last octet, drawn and all, in
this process. Reference: the bare SQL that a person would write for the same rows, or for all figures of the same day (its
table, its hours, both a week before, and the most calls at once), on the same database in the same run, one after
another. The figures of the grouped days are compared with the generator's own book.

    s9_records.py --keep FOLDER --fill     # minutes; may be ended and begun again at any time
    s9_records.py --keep FOLDER            # measures what stands there
    s9_records.py --keep FOLDER --tenth    # also on a tenth of the calls a day, for the growth
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import records_book
from common import Figure, keep, percentile, spread
from production_parts import Postgres
from records_book import Book
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from web_helpers import Browser

from simrack.controller.figures import NAMES
from simrack.controller.models import RecordFilter
from simrack.controller.store.migrate import migrate
from simrack.controller.store.rights import OWNER, WEB
from simrack.controller.store.statistics import Question
from simrack.wire.ports import SystemClock

DAYS = 90
WEEK, LONGEST = timedelta(days=7), timedelta(hours=4)
MOMENTS = ("since", "until", "since_ago", "until_ago", "before")
#: Days before the end that the book judges.
JUDGED = (1, 8, 40)
LOOKED = 30_000
FIELDS = ("sender", "plan", "box", "cause")
# A quarter of a small server's memory, as its handbook advises; the rest hastens the filling and changes no reading.
PG_SETTINGS = ("shared_buffers=1GB", "fsync=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=8GB")
Taken = tuple[str, float, float]  # kind, page in ms, by hand in ms
Measured = dict[tuple[str, int], dict[str, list[Taken]]]
NEWEST = "ORDER BY started DESC, id DESC LIMIT 51"


@dataclass(frozen=True)
class Asked:
    """One page, and the statements that a person would write for what it shows."""

    kind: str
    path: str
    sql: tuple[str, ...]
    values: dict[str, Any]


def pages(book: Book, until: datetime, count: int, draw: random.Random) -> Iterator[Asked]:
    """The filters that people use, with other values each time; time is as the database keeps it."""
    for _ in range(count):
        sender, box, plan = f"sender-{draw.randrange(20):02d}", f"box-{draw.randrange(60):02d}", f"plan-{draw.randrange(8)}"
        (number, _call), card = draw.choice(book.numbers), draw.choice(book.cards)
        day = until - timedelta(days=draw.randint(1, DAYS - 1))
        span = {"since": day.isoformat(), "until": (day + timedelta(days=1)).isoformat()}
        yield _page("newest", {}, "TRUE", {})
        yield _page("sender", {"sender": sender}, "sender = :sender", {"sender": sender})
        yield _page("sender, day", {"sender": sender, **span}, "sender = :sender AND started >= :since AND started < :until", {"sender": sender, **span})
        yield _page("plan, outcome", {"plan": plan, "outcome": "failed"}, "plan = :plan AND outcome = 'failed'", {"plan": plan})
        yield _page("box, cause", {"box": box, "cause": "17"}, "box = :box AND cause = 17", {"box": box})
        yield _page("outcome, day", {"outcome": "refused", **span}, "outcome = 'refused' AND started >= :since AND started < :until", span)
        yield _page("whole number", {"text": number}, "(called = :number OR calling = :number)", {"number": number})
        yield _page("SIM", {"iccid": card}, "iccid = :iccid", {"iccid": card})
        yield _page("part of a number", {"text": number[-6:]}, f"{_RECENT} AND (called LIKE :part OR calling LIKE :part)", {"part": f"%{number[-6:]}%"})
        yield _page("seldom cause", {"cause": "65"}, f"{_RECENT} AND cause = 65", {})
        yield Asked(
            "longest of a day", f"/records?{urlencode({**span, 'sort': '-talk_network_ms'})}",
            (f"SELECT * FROM cdr WHERE {_DAY} ORDER BY talk_network_ms DESC, id DESC LIMIT 51",), span,
        )  # fmt: skip


_RECENT = f"started >= coalesce((SELECT started FROM cdr ORDER BY started DESC LIMIT 1 OFFSET {LOOKED}), '1970-01-01')"


def _page(kind: str, filters: dict[str, str], where: str, values: dict[str, Any]) -> Asked:
    return Asked(kind, f"/records?{urlencode(filters)}", (f"SELECT * FROM cdr WHERE {where} {NEWEST}",), values)


def days(until: datetime, count: int, draw: random.Random) -> Iterator[Asked]:
    """A day grouped by a field, as the page shows it: table, charts, the same day a week before, most calls at once."""
    for place in range(count):
        since = until - timedelta(days=draw.randint(1, DAYS - 9))
        ends, by = (since, since + timedelta(days=1)), FIELDS[place % len(FIELDS)]
        parts = [f"SELECT {what}, {_SUMS} FROM cdr WHERE {day} GROUP BY 1" for what in (by, "{hour}") for day in (_DAY, _WEEK_AGO)]
        moments = {"since": ends[0], "until": ends[1], "since_ago": ends[0] - WEEK, "until_ago": ends[1] - WEEK, "before": ends[0] - LONGEST}
        yield Asked(
            f"day by {by}", f"/statistics?{urlencode({'by': by, 'since': ends[0].isoformat(), 'until': ends[1].isoformat()})}",
            (*parts, _PEAK), {name: moment.isoformat() for name, moment in moments.items()},
        )  # fmt: skip


_DAY, _WEEK_AGO = "started >= :since AND started < :until", "started >= :since_ago AND started < :until_ago"
_SUMS = (
    "count(*), count(*) FILTER (WHERE outcome <> 'refused'), count(*) FILTER (WHERE outcome = 'answered'), "
    "count(*) FILTER (WHERE outcome = 'answered' AND talk_network_ms >= 10000), count(*) FILTER (WHERE outcome = 'answered' "
    "OR outcome = 'cancelled' AND alerting IS NOT NULL OR outcome = 'failed' AND cause IN (17, 18, 19, 20, 21, 27)), "
    "sum(talk_network_ms), sum(setup_ms), count(*) FILTER (WHERE setup_ms > 0), sum(setup_ms + ring_ms + talk_sender_ms)"
)
_PEAK = (
    "SELECT max(calls) FROM (SELECT at, sum(step) OVER (ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS calls FROM ("
    "SELECT started AS at, 1 AS step FROM cdr WHERE started >= :before AND started < :until AND outcome <> 'refused' UNION ALL "
    "SELECT ended, -1 FROM cdr WHERE started >= :before AND started < :until AND outcome <> 'refused') AS moves) AS along WHERE at >= :since"
)


# --- measuring ----------------------------------------------------------------------------------------------------


def ask(browser: "Browser", asked: Asked) -> float:
    """Milliseconds of one page."""
    began = time.perf_counter()
    answer = browser.get(asked.path)
    took = (time.perf_counter() - began) * 1000
    assert answer.status_code == 200, (asked.path, answer.text[:300])
    return took


def by_hand(engine: Engine, asked: Asked) -> float:
    """Milliseconds of the bare statements."""
    values = {name: _as_stored(engine, value) if name in MOMENTS else value for name, value in asked.values.items()}
    hour = "date_trunc('hour', started)" if engine.dialect.name == "postgresql" else "substr(started, 1, 13)"
    with engine.connect() as connection:
        began = time.perf_counter()
        for sql in asked.sql:
            connection.execute(text(sql.replace("{hour}", hour)), values).all()
        return (time.perf_counter() - began) * 1000


def _as_stored(engine: Engine, value: str) -> Any:
    moment = datetime.fromisoformat(value)
    return moment if engine.dialect.name == "postgresql" else f"{moment.replace(tzinfo=None):%Y-%m-%d %H:%M:%S.%f}"


def measure(name: str, url: str, book: Book, samples: int) -> dict[str, list[Taken]]:
    """What each page and each grouped day took."""
    # Here, for whoever only fills has no need of the control room.
    from web_helpers import Hands, stand

    draw, until, engine = random.Random(4), book.until, create_engine(url)
    with engine.begin() as connection:
        # Each run draws the same names for its sessions.
        connection.execute(text("DELETE FROM web_session"))
    room = stand(url, clock=Hands(until))
    try:
        browser = room.signed_in()
        _judge(room.room.desk.queries, book, until)
        found: dict[str, list[Taken]] = {}
        for what, asked in (("page", list(pages(book, until, samples, draw))), ("day", list(days(until, samples, draw)))):
            for one in asked[:11]:
                ask(browser, one)  # templates are compiled once
            # Alternating who is first, so that neither finds the pages of the disk warm by the other more often.
            found[what] = [_both(browser, engine, one, place % 2 == 0) for place, one in enumerate(asked)]
        for what, taken in found.items():
            _say(name, what, taken)
        return found
    finally:
        engine.dispose()
        room.close()


def _both(browser: "Browser", engine: Engine, asked: Asked, first: bool) -> Taken:
    if first:
        took = ask(browser, asked)
        return asked.kind, took, by_hand(engine, asked)
    hand = by_hand(engine, asked)
    return asked.kind, ask(browser, asked), hand


def _say(name: str, what: str, taken: list[Taken]) -> None:
    for kind in dict.fromkeys(kind for kind, _, _ in taken):
        page = [value for k, value, _ in taken if k == kind]
        hand = [value for k, _, value in taken if k == kind]
        print(
            f"{name:10} {what:4} {kind:18} p50 {statistics.median(page):7.1f} p95 {percentile(page, 0.95):7.1f} ms, "
            f"by hand p50 {statistics.median(hand):7.1f} p95 {percentile(hand, 0.95):7.1f} ms", file=sys.stderr,
        )  # fmt: skip


def _judge(queries: Any, book: Book, until: datetime) -> None:
    """The product's figures are the book's."""
    for back in JUDGED:
        day = until - timedelta(days=back)
        wanted = RecordFilter(since=day, until=day + timedelta(days=1))
        for by in FIELDS:
            found = queries.groups(Question(wanted, by, records_book.ASR_B_S)).groups
            assert {key: [getattr(counts, name) for name in NAMES] for key, counts in found.items()} == {
                key: [counts[name] for name in NAMES] for key, counts in book.of(day, by).items()
            }, f"{day:%Y-%m-%d} by {by} differs from the book"
    number, call = book.numbers[len(book.numbers) // 2]
    assert any(row.call == call for row in queries.records(RecordFilter(text=number)).rows), "a call is not found by its number"


# --- databases ------------------------------------------------------------------------------------------------------


class Store(Protocol):
    """One kind of database, in a folder of its own."""

    def base(self, count: int, book: Book) -> records_book.Base: ...
    def url(self, count: int) -> str: ...
    def files(self, count: int) -> Iterable[Path]: ...
    def close(self) -> None: ...


class Sqlite:
    """One file for each number of records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def base(self, count: int, book: Book) -> records_book.Base:
        if not self._path(count).exists():
            migrate(self.url(count), SystemClock())
        return records_book.IntoSqlite(self._path(count))

    def url(self, count: int) -> str:
        return f"sqlite:///{self._path(count)}"

    def files(self, count: int) -> Iterable[Path]:
        return [self._path(count)]

    def _path(self, count: int) -> Path:
        return self._folder / f"s9-{count}.db"

    def close(self) -> None:
        pass


class PostgreSql:
    """A server of its own, with the memory that somebody gives it who keeps millions of records."""

    def __init__(self, folder: Path) -> None:
        self._server = Postgres(folder / "postgres", PG_SETTINGS)

    def base(self, count: int, book: Book) -> records_book.Base:
        if not self._server.has(self._name(count)):
            self._server.database(name=self._name(count))
        return records_book.IntoPostgres(self._server.plain(self._name(count), OWNER), book)

    def url(self, count: int) -> str:
        return self._server.url(self._name(count), WEB)

    def files(self, count: int) -> Iterable[Path]:
        return (self._server.data / "base" / self._server.number(self._name(count))).iterdir()

    @staticmethod
    def _name(count: int) -> str:
        return f"s9_{count}"

    def close(self) -> None:
        self._server.close()


STORES: dict[str, Callable[[Path], Store]] = {"sqlite": Sqlite, "postgresql": PostgreSql}


def filled(folder: Path, stores: dict[str, Store], count: int, until: datetime) -> Book:
    """The book of what stands in all of these; what is not there yet, or not whole, is made."""
    path = folder / f"book-{count}.json"
    if path.exists():
        book = Book.load(path)
    else:
        book = Book(until, DAYS)
        for _ in records_book.batches(count, book, note=True):
            pass
        book.save(path)
    for name, store in stores.items():
        whole, began = folder / f"{name}-{count}.whole", time.perf_counter()
        if not whole.exists():
            records_book.fill(store.base(count, book), count, book)
            whole.touch()
            print(f"{name}: {count:,} records within {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return book


def _warm(files: Iterable[Path]) -> None:
    """Into the machine's memory, where whoever keeps so many records has them: the disk is not what is measured."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def main() -> None:
    """Measure and keep the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--samples", type=int, default=20, help="of each kind of page")
    parser.add_argument("--tenth", action="store_true", help="also on a tenth of the records, for the growth")
    parser.add_argument("--only", choices=STORES)
    parser.add_argument("--keep", type=Path, help="keep the databases in this folder, and use those that are there (10 GB for ten million)")
    parser.add_argument("--fill", action="store_true", help="make what lacks in the folder, and measure nothing")
    parser.add_argument("--trial", action="store_true", help="keep no figure")
    args = parser.parse_args()
    until = records_book.midnight(datetime.now(UTC))
    sizes = [args.records // 10, args.records] if args.tenth else [args.records]
    measured: Measured = {}
    with ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simrack-s9-")))
        folder.mkdir(parents=True, exist_ok=True)
        # PostgreSQL's own user must get there.
        folder.chmod(0o755)
        stores = {}
        for name in [args.only] if args.only else list(STORES):
            stores[name] = STORES[name](folder)
            stack.callback(stores[name].close)
        for size in sizes:
            book = filled(folder, stores, size, until)
            for name, store in () if args.fill else stores.items():
                _warm(store.files(size))
                measured[name, size] = measure(name, store.url(size), book, args.samples)
    if args.fill:
        return
    figure = result(measured, args.records, sizes)
    if not args.trial:
        keep(figure)
    else:
        print(figure)


def result(measured: Measured, records: int, sizes: list[int]) -> Figure:
    """The figure of all that was measured."""
    figure: dict[str, float] = {"records": records}
    reference: dict[str, float] = {}
    whole = {name: found for (name, size), found in measured.items() if size == records}
    for what, key in (("page", "page_p95_ms"), ("day", "day_p95_ms")):
        for name, found in whole.items():
            figure[f"{key}_{name}"] = round(percentile([row[1] for row in found[what]], 0.95), 1)
            reference[f"{key}_{name}"] = round(percentile([row[2] for row in found[what]], 0.95), 1)
            if len(sizes) > 1:
                small = percentile([row[1] for row in measured[name, sizes[0]][what]], 0.95)
                figure[f"{what}_growth_x10_{name}"] = round(figure[f"{key}_{name}"] / small, 2)
        slower = max(whole, key=lambda name: figure[f"{key}_{name}"])
        figure[key], reference[key] = figure[f"{key}_{slower}"], reference[f"{key}_{slower}"]
    taken = [row for found in whole.values() for row in found["page"]]
    days_taken = [row for found in whole.values() for row in found["day"]]
    return Figure(
        id="s9_records", what=f"a filtered page of records and a grouped day, {records:,} records of {DAYS} days, in memory", unit="ms",
        figure=figure, reference=reference, reference_what="the bare SQL by hand for the same rows or figures, in ms",
        ratio=round(statistics.median(row[1] for row in days_taken) / statistics.median(row[2] for row in days_taken), 2),
        limited_by="a page: drawing fifty rows, and looking one by one at 30,000 records where no index answers; a day: "
        "one pass over its records, one over those of a week before, and sorting its beginnings and ends for the peak, side by side",
        samples=len(taken) + len(days_taken), spread=spread([row[1] for row in taken]),
    )  # fmt: skip


if __name__ == "__main__":
    main()
