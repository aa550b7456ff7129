"""Millions of records, put in as fast as the database takes them, with a book of what was put in.

The book is the judge of S9: it counts while it writes, in its own words, and the product's figures are compared with it.
"""

import math
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BATCH = 20_000
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
    """What was put in: by (day, field, value) the counts of the judged days, and some numbers to look for."""

    days: frozenset[str]
    calls: int = 0
    counts: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    numbers: list[tuple[str, str]] = field(default_factory=list)  # (called, call)
    cards: list[str] = field(default_factory=list)
    senders: Counter[str] = field(default_factory=Counter)

    def note(self, row: dict[str, Any]) -> None:
        """Count one record."""
        self.calls += 1
        self.senders[row["sender"]] += 1
        if self.calls % 5003 == 0:
            self.numbers.append((row["called"], row["call"]))
            if row["iccid"]:
                self.cards.append(row["iccid"])
        day = f"{row['started']:%Y-%m-%d}"
        if day not in self.days:
            return
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


def rows(count: int, until: datetime, days: int, seed: int = 9) -> Iterator[dict[str, Any]]:
    """So many records of so many days in the order of time, more of them by day than by night."""
    draw = random.Random(seed)
    ends, weights = [end[:3] for end in ENDS], [end[3] for end in ENDS]
    began = until - timedelta(days=days)
    step = days * 86400 / count
    for place in range(count):
        second = place * step
        # The clock runs slower by day: the same number of calls in fewer seconds.
        second += 6000 * math.sin(2 * math.pi * second / 86400)
        yield _row(place + 1, began + timedelta(milliseconds=round(max(0.0, second) * 1000)), draw, draw.choices(ends, weights)[0])


def _row(ident: int, started: datetime, draw: random.Random, end: tuple[str, int, str]) -> dict[str, Any]:
    outcome, cause, side = end
    placed = outcome != "refused"
    setup = round(1500 + draw.random() * 2500) if placed and cause not in (1, 38) else 0
    ring = round(draw.random() * 12_000) if setup else 0
    talk = round(draw.expovariate(1 / 110_000)) if outcome == "answered" else 0
    box, channel = draw.randrange(BOXES), draw.randint(1, CHANNELS)
    called = f"+88210{draw.randrange(10**7):07d}"
    calling = f"+88210{draw.randrange(200_000):07d}"
    rang = started + timedelta(milliseconds=setup) if setup else None
    return {
        "id": ident, "call": f"{draw.getrandbits(96):024x}", "direction": "out", "sender": f"sender-{int(draw.random() ** 2 * SENDERS):02d}",
        "sip_call_id": f"{ident:x}@192.0.2.10", "from_tag": f"{ident & 0xFFFFFF:06x}", "calling_received": calling, "calling": calling,
        "called_received": called[1:], "called": called, "dialled": called if placed else "", "started": started, "alerting": rang,
        "answered": started + timedelta(milliseconds=setup + ring) if outcome == "answered" else None,
        "ended": started + timedelta(milliseconds=setup + ring + talk), "setup_ms": setup, "ring_ms": ring, "talk_network_ms": talk,
        "talk_sender_ms": max(0, talk - 20), "outcome": outcome, "cause": cause, "cause_original": "", "side": side,
        "sip_status": 200 if talk else 503, "refusal": "all-busy" if not placed else "", "box": f"box-{box:02d}" if placed else "",
        "channel": channel if placed else None, "iccid": f"89882100{box:02d}{channel:02d}00000000" if placed else "",
        "imsi": f"00101{box * CHANNELS + channel:010d}" if placed else "", "plan": f"plan-{box % PLANS}" if placed else "",
        "pattern": "international", "ingress": "192.0.2.10:5060", "egress": "10.7.0.11:5062" if placed else "",
        "codec": "PCMA" if talk else "", "mos": 4.1 if talk else None, "attempts": int(placed), "estimated": False, "marks": "[]",
        "config_version": 1,
    }  # fmt: skip


def fill_sqlite(path: Path, count: int, until: datetime, days: int, book: Book) -> None:
    """Put them into a migrated database; indexes are made when the rows are in."""
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA synchronous=OFF")
    base.execute("PRAGMA cache_size=-200000")
    indexes = [row[0] for row in base.execute("SELECT sql FROM sqlite_master WHERE type='index' AND tbl_name='cdr' AND sql IS NOT NULL")]
    for name in [row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type='index' AND tbl_name='cdr' AND sql IS NOT NULL")]:
        base.execute(f"DROP INDEX {name}")
    statement = f"INSERT INTO cdr ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    for batch in _batches(count, until, days, book):
        base.execute("BEGIN")
        base.executemany(statement, [tuple(map(_sqlite, row.values())) for row in batch])
        base.execute("COMMIT")
    for sql in indexes:
        base.execute(sql)
    base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    base.close()


def _sqlite(value: Any) -> Any:
    return f"{value.replace(tzinfo=None):%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else value


def fill_postgres(dsn: str, count: int, until: datetime, days: int, book: Book) -> None:
    """The same by COPY, as the owner of the tables; the keys of the calls afterwards in one statement."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as base:
        months = days // 28 + 2
        base.execute("SELECT simrack_make_partitions(%s, %s)", ((until - timedelta(days=days)).date(), months))
        base.execute("ALTER TABLE cdr DISABLE TRIGGER key_record")
        # Keys stay; what only searches is made when the rows are in.
        indexes = base.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'cdr' AND indexname LIKE 'ix_%'"
        ).fetchall()
        for name, _ in indexes:
            base.execute(f'DROP INDEX "{name}"')
        for batch in _batches(count, until, days, book):
            with base.cursor() as cursor, cursor.copy(f"COPY cdr ({', '.join(COLUMNS)}) FROM STDIN") as copy:
                for row in batch:
                    copy.write_row(tuple(row.values()))
        for _, definition in indexes:
            # As it is told, the definition would leave the partitions without.
            base.execute(definition.replace(" ON ONLY ", " ON "))
        base.execute("INSERT INTO cdr_key (call, started) SELECT call, started FROM cdr")
        base.execute("ALTER TABLE cdr ENABLE TRIGGER key_record")
        base.execute("SELECT setval('cdr_id_seq', %s)", (count,))
        base.execute("VACUUM ANALYZE cdr")


def _batches(count: int, until: datetime, days: int, book: Book) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows(count, until, days):
        book.note(row)
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def midnight(now: datetime) -> datetime:
    """The last midnight of UTC: records end there, so that all days are whole."""
    return datetime(now.year, now.month, now.day, tzinfo=UTC)
