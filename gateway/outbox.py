"""The box's own file: identity, attempt ids and those under way, marks, and the outbox of facts for the controller.

A fact (a call's part, a fault) is on disk before it is published, keeps the id that it got here (box, boot,
sequence), and goes only when the controller acknowledged it, for days if need be. What can't be written now
(disk full) stays in memory, is published all the same, and is written as soon as the disk takes it.

One thread holds the only connection, so the loop never waits for the disk. WAL with `synchronous = FULL`:
a row that was reported as stored survives a pulled plug. A file that SQLite calls corrupt is set aside under
another name and said; a file of a newer release, or one that can't be written, stops the start.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from sqlite_utils import Database

from simrack.gateway.attempts import OpenAttempt
from simrack.gateway.errors import StoreBroken
from simrack.wire.channel import Mark
from simrack.wire.errors import UserError
from simrack.wire.messages import AckRange, BoxEvent, CallPart, FaultPart
from simrack.wire.ports import Clock, Ids, iso_ms

R = TypeVar("R")
log = structlog.get_logger(__name__)

SCHEMA_VERSION = 1
FILE = "box.db"
# architecture: a box remembers the attempts that it dialled for 24 h.
ATTEMPT_MEMORY = timedelta(hours=24)
# Old attempts go in passing, one sweep in this many.
SWEEP_EVERY = 256


@dataclass(slots=True)
class _Opened:
    """What the thread hands back when the file is open."""

    boot: str
    waiting: int
    marks: dict[int, frozenset[Mark]]
    set_aside: str
    left: tuple[OpenAttempt, ...]


@dataclass(slots=True)
class Outbox:
    """See the module. `news` is set whenever something may be there to publish."""

    box: str
    boot: str
    clock: Clock
    marks: dict[int, frozenset[Mark]]
    set_aside: str  # the corrupt file's new name, or ""
    left: tuple[OpenAttempt, ...] = ()  # attempts that an earlier run left open, oldest first
    news: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    _db: "_Rows" = field(init=False)
    _seq: int = 0
    _unsaved: dict[int, BoxEvent] = field(default_factory=dict)
    #: Attempts that are over and whose rows the disk must still let go.
    _over: set[str] = field(default_factory=set)
    #: Why the file can't be written now, or ""; `on_trouble` is called when that changes.
    trouble: str = ""
    on_trouble: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, box: str, folder: Path, clock: Clock, ids: Ids) -> "Outbox":
        """Open (or make) the file in `folder` and begin a new boot.

        Raises:
            UserError: the folder can't be used, another box process has it, or a newer release wrote it.
        """
        rows = _Rows(folder)
        opened = await rows.run(rows.open, clock.utc(), ids.token(4))
        outbox = cls(
            box, opened.boot, clock, opened.marks, opened.set_aside, opened.left, waiting=opened.waiting
        )
        outbox._db = rows
        return outbox

    async def put(self, body: CallPart | FaultPart, offset_ms: int | None) -> BoxEvent:
        """Keep a fact until the controller has it. Never fails: what the disk refuses waits in memory."""
        self._seq += 1
        event = BoxEvent(
            box=self.box, boot=self.boot, seq=self._seq, at=self.clock.utc(), offset_ms=offset_ms, body=body
        )
        self._unsaved[event.seq] = event
        self.waiting += 1
        await self.flush()
        self.news.set()
        return event

    async def flush(self) -> bool:
        """Write what waits in memory; False when the disk still refuses."""
        unsaved, over = list(self._unsaved.values()), tuple(self._over)
        if not unsaved and not over:
            return True
        try:
            await self._write(self._db.add, unsaved, over)
        except StoreBroken as error:
            log.error("facts wait in memory", box=self.box, count=len(unsaved), error=str(error))
            return False
        for event in unsaved:
            self._unsaved.pop(event.seq, None)
        self._over.difference_update(over)
        return True

    async def pending(self, limit: int) -> list[BoxEvent]:
        """The oldest facts that nobody acknowledged, in order."""
        try:
            stored = await self._db.run(self._db.oldest, limit)
        except StoreBroken as error:
            log.error("outbox can't be read", box=self.box, error=str(error))
            stored = []
        return [*stored, *self._unsaved.values()][:limit]

    async def acknowledge(self, ranges: Iterable[AckRange]) -> None:
        """The controller has these; what can't be deleted now is sent again and acknowledged again."""
        kept = tuple(ranges)
        for item in kept:
            if item.boot == self.boot:
                for seq in [seq for seq in self._unsaved if item.first <= seq <= item.last]:
                    # Its row must not make a second part at the next start.
                    self._over |= _attempts((self._unsaved.pop(seq),))
        over = tuple(self._over)
        try:
            stored = await self._write(self._db.delete, kept, over)
        except StoreBroken as error:
            log.error("outbox can't be emptied", box=self.box, error=str(error))
            return
        self._over.difference_update(over)
        self.waiting = stored + len(self._unsaved)
        self.news.set()

    async def remember(self, attempt: str, row: OpenAttempt | None = None) -> bool:
        """Note an attempt id, and its journal's row, before it is dialled; False when it was before (24 h).

        Raises:
            StoreBroken: it can't be noted, so it must not be dialled.
        """
        body = row.model_dump_json() if row is not None else ""
        return await self._write(self._db.remember, attempt, self.clock.utc(), body)

    async def note(self, row: OpenAttempt) -> None:
        """Renew the row of an attempt that is under way; one that is over stays over. Raises `StoreBroken`."""
        await self._write(self._db.renew, row.attempt, row.model_dump_json())

    async def forget(self, attempt: str) -> None:
        """The attempt is over without a part. Never fails: what the disk refuses is done later."""
        self._over.add(attempt)
        await self.flush()

    async def keep_marks(self, channel: int, marks: frozenset[Mark]) -> None:
        """Keep the marks of a channel over a restart. Raises `StoreBroken`."""
        self.marks[channel] = marks
        await self._db.run(self._db.set_marks, channel, marks)

    async def _write(self, work: Callable[..., R], *args: Any) -> R:
        """Do it, and keep in mind whether the disk takes anything at all."""
        try:
            done = await self._db.run(work, *args)
        except StoreBroken as error:
            self._is_well(str(error))
            raise
        self._is_well("")
        return done

    def _is_well(self, trouble: str) -> None:
        if bool(trouble) is bool(self.trouble):
            return
        log.log(40 if trouble else 20, "the box's file", box=self.box, trouble=trouble or "over")
        reason, self.trouble = trouble or self.trouble, trouble
        # Told as a fact, too; while the disk refuses it waits in memory like any other.
        self._seq += 1
        body = FaultPart(channel=0, reason=reason, cleared=not trouble)
        self._unsaved[self._seq] = BoxEvent(
            box=self.box, boot=self.boot, seq=self._seq, at=self.clock.utc(), offset_ms=None, body=body
        )
        self.waiting += 1
        self.news.set()
        self.on_trouble()

    async def close(self) -> None:
        await self.flush()
        await self._db.close()


class _Rows:
    """The file, seen from its one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self._db: Database | None = None
        self._lock = -1
        self._remembered = 0

    async def run(self, work: Callable[..., R], *args: Any) -> R:
        """Do `work` in the thread. Raises `StoreBroken` for whatever SQLite or the disk says."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args))
        except (sqlite3.Error, OSError) as error:
            raise StoreBroken(f"{self._folder / FILE}: {error}") from error

    async def close(self) -> None:
        try:
            await self.run(self._shut)
        finally:
            self._thread.shutdown(wait=False)

    def _shut(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def db(self) -> Database:
        if self._db is None:
            raise sqlite3.ProgrammingError("the file is closed")
        return self._db

    # --- opening ------------------------------------------------------------------------------------------

    def open(self, now: datetime, token: str) -> _Opened:
        set_aside = ""
        try:
            self._claim()
            try:
                self._db = self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_corrupt(error):
                    raise
                set_aside = self._put_aside(now, error)
                self._db = self._connect()
            boot = self._next_boot(token)
            return _Opened(boot, self.db["events"].count, self._marks(), set_aside, self._journal())
        except (sqlite3.Error, OSError) as error:
            self._shut()
            raise UserError(
                f"the box's file can't be used: {error}",
                str(self._folder / FILE),
                "See that the folder exists, is writable by this user and has free space.",
            ) from error
        except UserError:
            self._shut()
            raise

    def _claim(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / "box.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another box process uses this folder", str(self._folder), "Stop it, or give this one its own."
            ) from None

    def _connect(self) -> Database:
        db = Database(self._folder / FILE)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: Database) -> None:
        problem = db.execute("PRAGMA quick_check").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(f"malformed: {problem}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise UserError(
                f"the file has version {version}, this release knows {SCHEMA_VERSION}",
                str(self._folder / FILE),
                "Start the release that wrote it, or move the file away.",
            )
        db.enable_wal()
        db.execute("PRAGMA synchronous = FULL")
        with db.atomic():
            db.table("identity").create({"key": str, "value": str}, pk="key", if_not_exists=True)
            events = {"id": int, "boot": str, "seq": int, "body": str}
            db.table("events").create(events, pk="id", not_null={"boot", "seq", "body"}, if_not_exists=True)
            db.table("events").create_index(["boot", "seq"], unique=True, if_not_exists=True)
            db.table("attempts").create({"attempt": str, "at": str}, pk="attempt", if_not_exists=True)
            db.table("attempts").create_index(["at"], if_not_exists=True)
            # A table more: a release that doesn't know it can use the file all the same.
            db.table("journal").create({"id": int, "attempt": str, "body": str}, pk="id", if_not_exists=True)
            db.table("journal").create_index(["attempt"], unique=True, if_not_exists=True)
            db.table("marks").create({"channel": int, "marks": str}, pk="channel", if_not_exists=True)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _put_aside(self, now: datetime, error: sqlite3.DatabaseError) -> str:
        name = f"{FILE}.corrupt-{now:%Y%m%dT%H%M%S}"
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                (self._folder / f"{FILE}{suffix}").rename(self._folder / f"{name}{suffix}")
        log.error("corrupt file set aside", file=name, error=str(error))
        return name

    def _next_boot(self, token: str) -> str:
        with self.db.atomic():
            row = self.db.execute("SELECT value FROM identity WHERE key = 'boots'").fetchone()
            count = int(row[0]) + 1 if row else 1
            self.db.table("identity").upsert({"key": "boots", "value": str(count)}, pk="key")
        return f"{count}-{token}"

    def _marks(self) -> dict[int, frozenset[Mark]]:
        rows = self.db.table("marks").rows
        return {row["channel"]: frozenset(Mark(text) for text in row["marks"].split()) for row in rows}

    def _journal(self) -> tuple[OpenAttempt, ...]:
        rows = []
        for row in self.db.table("journal").rows_where(order_by="id"):
            try:
                rows.append(OpenAttempt.model_validate_json(row["body"]))
            except ValidationError as error:
                log.error("open attempt can't be read", attempt=row["attempt"], error=str(error))
        return tuple(rows)

    # --- rows ---------------------------------------------------------------------------------------------

    def add(self, events: list[BoxEvent], over: tuple[str, ...]) -> None:
        """Keep facts; the attempts that they close leave the journal in the same transaction."""
        with self.db.atomic():
            for event in events:
                row = {"boot": event.boot, "seq": event.seq, "body": event.encode().decode()}
                self.db.table("events").insert(row, ignore=True)
            self._end({*over, *_attempts(events)})

    def _end(self, attempts: Iterable[str]) -> None:
        for attempt in attempts:
            self.db.execute("DELETE FROM journal WHERE attempt = ?", [attempt])

    def oldest(self, limit: int) -> list[BoxEvent]:
        rows = self.db.table("events").rows_where(order_by="id", limit=limit)
        return [BoxEvent.decode(row["body"]) for row in rows]

    def delete(self, ranges: tuple[AckRange, ...], over: tuple[str, ...]) -> int:
        with self.db.atomic():
            self._end(over)
            for item in ranges:
                where = "boot = ? and seq between ? and ?"
                self.db.table("events").delete_where(where, [item.boot, item.first, item.last])
        return int(self.db.table("events").count)

    def remember(self, attempt: str, now: datetime, body: str) -> bool:
        self._remembered += 1
        with self.db.atomic():
            if self._remembered % SWEEP_EVERY == 1:
                self.db.table("attempts").delete_where("at < ?", [iso_ms(now - ATTEMPT_MEMORY)])
            values = [attempt, iso_ms(now)]
            cursor = self.db.execute("INSERT OR IGNORE INTO attempts (attempt, at) VALUES (?, ?)", values)
            fresh = cursor.rowcount == 1
            if fresh and body:
                self.db.execute("INSERT OR IGNORE INTO journal (attempt, body) VALUES (?, ?)", [attempt, body])
            return fresh

    def renew(self, attempt: str, body: str) -> None:
        with self.db.atomic():
            self.db.execute("UPDATE journal SET body = ? WHERE attempt = ?", [body, attempt])

    def set_marks(self, channel: int, marks: frozenset[Mark]) -> None:
        with self.db.atomic():
            self.db.table("marks").upsert({"channel": channel, "marks": " ".join(sorted(marks))}, pk="channel")


def _attempts(events: Iterable[BoxEvent]) -> set[str]:
    """The attempts whose parts are among these facts."""
    return {event.body.attempt for event in events if isinstance(event.body, CallPart)}


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    words = str(error).lower()
    return any(word in words for word in ("malformed", "not a database", "disk image", "corrupt"))
