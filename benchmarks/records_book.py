"""Millions of records, put in as fast as the database takes them, with a book of what was put in.

The book is the judge of S9: it counts while it writes, in its own words, and the product's figures are compared with it.
Some days are drawn call by call; the databases themselves repeat them `CYCLES` times with other calls and called
numbers, ten times as fast as it could be told to them. What was begun and not ended is gone on with.
"""

import json
import math
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import dialect as postgres_dialect
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.schema import CreateIndex

from simrack.controller.store.tables import cdr

BATCH = 20_000
CYCLES = 30
Row = tuple[Any, ...]
SENDERS, PLANS, BOXES, CHANNELS = 20, 8, 60, 16
#: Outcome, cause, side, weight in a million. The last is what people look for with a filter that no index answers.
ENDS = (
    ("answered", 16, "calling", 440_000), ("answered", 16, "called", 120_000), ("failed", 17, "called", 110_000),
    ("failed", 19, "called", 120_000), ("failed", 1, "called", 50_000), ("failed", 38, "rack", 59_900),
    ("refused", 34, "rack", 60_000), ("cancelled", 16, "calling", 40_000), ("failed", 65, "called", 100),
)  # fmt: skip
COLUMNS = (
    "id", "call", "direction", "sender", "sip_call_id", "from_tag", "calling_received", "calling", "called_received", "called",
    "dialled", "started", "alerting", "answered", "ended", "setup_ms", "ring_ms", "talk_network_ms", "talk_sender_ms", "outcome",
    "cause", "cause_original", "side", "sip_status", "refusal", "box", "channel", "iccid", "imsi", "plan", "pattern", "ingress",
    "egress", "codec", "mos", "attempts", "estimated", "marks", "config_version",
)  # fmt: skip
ASR_B_S = 10
USER_END = (17, 18, 19, 20, 21, 27)


@dataclass
class Book:
    """What was put in: by (day, field, value) the counts of the days that were drawn, and some numbers to look for."""

    until: datetime
    days: int
    calls: int = 0
    counts: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    numbers: list[tuple[str, str]] = field(default_factory=list)  # (called, call)
    cards: list[str] = field(default_factory=list)

    def note(self, row: dict[str, Any]) -> None:
        """Count one record."""
        self.calls += 1
        if self.calls % 5003 == 0:
            self.numbers.append((row["called"], row["call"]))
            if row["iccid"]:
                self.cards.append(row["iccid"])
        day = row["started"][:10]
        for name in ("sender", "plan", "box", "cause"):
            there = self.counts.setdefault((day, name, str(row[name])), Counter())
            answered = row["outcome"] == "answered"
            there["calls"] += 1
            there["seizures"] += row["outcome"] != "refused"
            there["answers"] += answered
            there["long_answers"] += answered and row["talk_network_ms"] >= ASR_B_S * 1000
            rang_out = row["outcome"] == "cancelled" and row["alerting"] is not None
            there["effective"] += answered or rang_out or (row["outcome"] == "failed" and row["cause"] in USER_END)
            there["talk_ms"] += row["talk_network_ms"] if answered else 0
            there["setup_ms"] += row["setup_ms"]
            there["rung"] += row["setup_ms"] > 0
            there["busy_ms"] += row["setup_ms"] + row["ring_ms"] + row["talk_sender_ms"]

    @property
    def cycle(self) -> timedelta:
        """The time that was drawn, and then repeated."""
        return timedelta(days=self.days // CYCLES)

    @property
    def began(self) -> datetime:
        return self.until - timedelta(days=self.days)

    def of(self, day: datetime, name: str) -> dict[str, Counter[str]]:
        """The counts of one day by the values of a field."""
        drawn = self.began + (day - self.began) % self.cycle
        return {key[2]: there for key, there in self.counts.items() if key[:2] == (f"{drawn:%Y-%m-%d}", name)}

    def save(self, path: Path) -> None:
        """Write it beside the databases that it tells of."""
        counts = [[*key, there] for key, there in self.counts.items()]
        kept = {**vars(self), "until": self.until.isoformat(), "counts": counts}
        path.write_text(json.dumps(kept))

    @classmethod
    def load(cls, path: Path) -> "Book":
        """What `save` wrote."""
        kept = json.loads(path.read_text())
        counts = {(day, name, value): Counter(there) for day, name, value, there in kept.pop("counts")}
        numbers = [(called, call) for called, call in kept.pop("numbers")]
        return cls(**{**kept, "until": datetime.fromisoformat(kept["until"]), "counts": counts, "numbers": numbers})


def rows(count: int, until: datetime, days: int, seed: int = 9) -> Iterator[dict[str, Any]]:
    """So many records of so many days in the order of time, more of them by day than by night."""
    draw = random.Random(seed)
    ends, weights = [end[:3] for end in ENDS], [end[3] for end in ENDS]
    began = until - timedelta(days=days)
    step = days * 86400 / count
    for first in range(0, count, BATCH):
        drawn = draw.choices(ends, weights, k=min(BATCH, count - first))
        for place, end in enumerate(drawn, first):
            second = place * step
            # The clock runs slower by day: the same number of calls in fewer seconds.
            second += 6000 * math.sin(2 * math.pi * second / 86400)
            yield _row(place + 1, began + timedelta(milliseconds=round(max(0.0, second) * 1000)), draw, end)


# Names of calls begin with their place, so that their key is filled in order; no page that is measured reads it.
def _row(ident: int, started: datetime, draw: random.Random, end: tuple[str, int, str]) -> dict[str, Any]:
    outcome, cause, side = end
    placed = outcome != "refused"
    setup = round(1500 + draw.random() * 2500) if placed and cause not in (1, 38) else 0
    ring = round(draw.random() * 12_000) if setup else 0
    talk = round(draw.expovariate(1 / 110_000)) if outcome == "answered" else 0
    place = int(draw.random() * BOXES * CHANNELS)
    box, channel = place // CHANNELS, place % CHANNELS + 1
    called = f"+88210{int(draw.random() * 10**7):07d}"
    calling = f"+88210{int(draw.random() * 200_000):07d}"
    return {
        "id": ident, "call": f"{ident:08x}{draw.getrandbits(64):016x}", "direction": "out", "sender": f"sender-{int(draw.random() ** 2 * SENDERS):02d}",
        "sip_call_id": f"{ident:x}@192.0.2.10", "from_tag": f"{ident & 0xFFFFFF:06x}", "calling_received": calling, "calling": calling,
        "called_received": called[1:], "called": called, "dialled": called if placed else "", "started": _moment(started),
        "alerting": _moment(started, setup) if setup else None,
        "answered": _moment(started, setup + ring) if outcome == "answered" else None,
        "ended": _moment(started, setup + ring + talk), "setup_ms": setup, "ring_ms": ring, "talk_network_ms": talk,
        "talk_sender_ms": max(0, talk - 20), "outcome": outcome, "cause": cause, "cause_original": "", "side": side,
        "sip_status": 200 if talk else 503, "refusal": "all-busy" if not placed else "", "box": f"box-{box:02d}" if placed else "",
        "channel": channel if placed else None, "iccid": f"89882100{box:02d}{channel:02d}00000000" if placed else "",
        "imsi": f"00101{place:010d}" if placed else "", "plan": f"plan-{box % PLANS}" if placed else "",
        "pattern": "international", "ingress": "192.0.2.10:5060", "egress": "10.7.0.11:5062" if placed else "",
        "codec": "PCMA" if talk else "", "mos": 4.1 if talk else None, "attempts": int(placed), "estimated": 0, "marks": "[]",
        "config_version": 1,
    }  # fmt: skip


def _moment(started: datetime, ms: int = 0) -> str:
    at = started + timedelta(milliseconds=ms) if ms else started
    # Three times as fast as strftime; the offset is dropped, for sessions are at UTC.
    return at.isoformat(" ", "microseconds")[:26]


class Base(Protocol):
    """A database that is being filled."""

    def last(self) -> int: ...
    def begin(self) -> None: ...
    def draw(self, batches: Iterator[list[Row]]) -> None: ...
    def run(self, sql: str) -> None: ...
    def end(self) -> None: ...

    moved: str
    call: str
    number: str


def fill(base: Base, count: int, book: Book) -> None:
    """Put the records of a book into a database, from where it stands."""
    drawn, last = count // CYCLES, base.last()
    if last < drawn:
        base.begin()
        base.draw(batches(count, book, note=False))
        last = drawn
    for turn in range(last // drawn, CYCLES):
        _say(f"turn {turn} of {CYCLES}")
        base.run(_repeat(base, turn, drawn, book.cycle.days))
    base.end()


def batches(count: int, book: Book, *, note: bool) -> Iterator[list[Row]]:
    """What is drawn; with `note` it is told to the book."""
    batch: list[Row] = []
    for row in rows(count // CYCLES, book.began + book.cycle, book.cycle.days):
        if note:
            book.note(row)
        batch.append(tuple(row.values()))
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def _repeat(base: Base, turn: int, drawn: int, days: int) -> str:
    ident = f"id + {turn * drawn}"
    number = base.number.format(f"(cast(substr(called, 7) AS integer) + {turn * 1_234_567}) % 10000000")
    other = {
        "id": ident, "call": f"{base.call.format(ident)} || substr(call, 9)",
        "called": f"'+88210' || {number}", "called_received": f"'88210' || {number}",
        "dialled": f"CASE WHEN dialled = '' THEN '' ELSE '+88210' || {number} END",
        **{name: base.moved.format(name, turn * days) for name in ("started", "alerting", "answered", "ended")},
    }  # fmt: skip
    fields = ", ".join(other.get(name, name) for name in COLUMNS)
    return f"INSERT INTO cdr ({', '.join(COLUMNS)}) SELECT {fields} FROM cdr WHERE id <= {drawn} ORDER BY id"


class IntoSqlite:
    """A migrated file; what only searches is made when the rows are in."""

    moved, call, number = "date({0}, '+{1} days') || substr({0}, 11)", "printf('%08x', {})", "printf('%07d', {})"

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        # Only the machine's end could harm it, and then it is made anew.
        for pragma in ("synchronous=OFF", "cache_size=-1500000", "wal_autocheckpoint=200000"):
            self._base.execute(f"PRAGMA {pragma}")

    def last(self) -> int:
        return int(self._base.execute("SELECT coalesce(max(id), 0) FROM cdr").fetchone()[0])

    def begin(self) -> None:
        for index in _indexes():
            self._base.execute(f"DROP INDEX IF EXISTS {index.name}")

    def draw(self, batches: Iterator[list[Row]]) -> None:
        self._base.execute("BEGIN")
        for batch in batches:
            self._base.executemany(f"INSERT INTO cdr ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", batch)
        self._base.execute("COMMIT")

    def run(self, sql: str) -> None:
        self._base.execute(sql)

    def end(self) -> None:
        for index in _indexes():
            _say(str(index.name))
            self.run(str(CreateIndex(index, if_not_exists=True).compile(dialect=sqlite_dialect())))
        self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._base.close()


class IntoPostgres:
    """The same by COPY, as the owner of the tables; without the keys of calls, which only a call's own page reads."""

    moved, call, number = "{0} + interval '{1} days'", "lpad(to_hex({}), 8, '0')", "lpad(({})::text, 7, '0')"

    def __init__(self, dsn: str, book: Book) -> None:
        import psycopg

        options = "-c timezone=UTC -c synchronous_commit=off -c maintenance_work_mem=1GB"
        self._base, self._book = psycopg.connect(dsn, autocommit=True, options=options), book

    def last(self) -> int:
        found = self._base.execute("SELECT coalesce(max(id), 0) FROM cdr").fetchone()
        assert found is not None
        return int(found[0])

    def begin(self) -> None:
        self._base.execute("SELECT simrack_make_partitions(%s, %s)", (self._book.began.date(), self._book.days // 28 + 2))
        self._base.execute("ALTER TABLE cdr DISABLE TRIGGER key_record")
        for index in _indexes():
            self.run(f"DROP INDEX IF EXISTS {index.name}")

    def draw(self, batches: Iterator[list[Row]]) -> None:
        with self._base.cursor() as cursor, cursor.copy(f"COPY cdr ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for batch in batches:
                copy.write("".join([_line(row) for row in batch]))

    def run(self, sql: str) -> None:
        self._base.execute(sql.encode())

    def end(self) -> None:
        for index in _indexes():
            _say(str(index.name))
            self.run(str(CreateIndex(index, if_not_exists=True).compile(dialect=postgres_dialect())))
        self._base.execute("SELECT setval('cdr_id_seq', (SELECT max(id) FROM cdr))")
        self._base.execute("ALTER TABLE cdr ENABLE TRIGGER key_record")
        self._base.execute("VACUUM ANALYZE cdr")
        self._base.close()


def _indexes() -> list[Index]:
    """What searches, in an order that is the same each time."""
    return sorted(cdr.indexes, key=lambda index: str(index.name))


def _say(step: str) -> None:
    """Filling takes long; this is where it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {time.process_time():6.1f} s of CPU: {step}", file=sys.stderr, flush=True)


def _line(row: Row) -> str:
    """One line of COPY's text format; no value here holds a tab or a backslash."""
    return "\t".join(["\\N" if value is None else str(value) for value in row]) + "\n"


def midnight(now: datetime) -> datetime:
    """The last midnight of UTC: records end there, so that all days are whole."""
    return datetime(now.year, now.month, now.day, tzinfo=UTC)
