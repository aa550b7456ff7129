"""Group commit: one thread with one connection, in which jobs that wait share a transaction.

When one of them can't be done, all are done again, each in a savepoint of its own: a job that the database
refuses fails alone. When the database itself fails, the transaction is gone and every job in it fails with
`StoreDown`. Nobody waits for ever: a job that stood in the queue for too long is not begun, and a server that
says nothing is cut off.

A commit whose answer was lost may have been done. Work that may be repeated needs nothing more; a job whose
caller gives up instead brings an `undo`, which is tried until the database has taken it.
"""

import asyncio
import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import structlog
from prometheus_client import Histogram
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from simrack.controller.store.engine import write_engine
from simrack.controller.store.errors import StoreDown, StoreRefused
from simrack.wire.ports import Clock

# A transaction has to stay under 50 ms (other processes wait for the write lock); a job takes up to 1.5 ms.
MOST_TOGETHER = 25
# A sender repeats its INVITE for 32 s and turns elsewhere before that; a job older than this helps nobody.
PATIENCE_S = 5.0
# Longer than a locked table (BUSY_TIMEOUT_S) after a wait in the queue: only a server that hangs takes this long.
HANG_S = 12.0
# What is to be undone is tried again this often.
UNDO_EVERY_S = 1.0
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0)

Work = Callable[[Connection], Any]
R = TypeVar("R")
log = structlog.get_logger(__name__)


class _Job:
    """Work for the thread, and where its result goes."""

    def __init__(self, work: Work, undo: Work | None, made: float, group: "GroupCommit") -> None:
        self.work, self.undo, self.made, self.group = work, undo, made, group
        self.loop = loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None
        self.given_up = False

    def settle(self) -> None:
        """Hand the result over, in the loop's thread."""
        if isinstance(self.error, StoreDown):
            self.group.note_trouble(str(self.error))
        if self.future.done():
            if self.error is not None:
                log.error("a write failed and nobody waits for it any more", error=str(self.error))
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)
        if self.given_up:
            self.future.exception()  # heard: whoever waited was told that it failed
            if self.error is None and self.undo is not None:
                self.group.undo_later(self.undo)


class GroupCommit:
    """The thread. `start` it, `do` work from coroutines, `stop` it."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url, self._clock = url, clock
        self._jobs: queue.SimpleQueue[_Job | Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._undo: list[Work] = []
        self._link: Any = None
        self._stopped = False
        self.trouble = asyncio.Event()  # set when the database could not be used; whoever finds it well clears it
        self.said = ""
        self.seconds = Histogram(
            "simrack_store_transaction_seconds",
            "Transactions of the writer, from their begin to the end of their commit",
            buckets=BUCKETS,
            registry=None,
        )

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, then close the connection."""
        if self._stopped:
            return
        self._stopped = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, HANG_S)
        self._cut()
        await asyncio.to_thread(self._thread.join)

    async def do(self, work: Callable[[Connection], R], undo: Work | None = None) -> R:
        """Have `work` done and on disk.

        Raises:
            StoreDown: it is not, or nobody knows; `undo` then makes sure that it is not.
            StoreRefused: the database refuses this work.
        """
        if self._stopped:
            raise StoreDown("the store is closed")
        job = _Job(work, undo, self._clock.monotonic(), self)
        self._jobs.put(job)
        try:
            async with asyncio.timeout(HANG_S):
                result: R = await asyncio.shield(job.future)
                return result
        except TimeoutError:
            job.given_up = True
            self._cut()
            self.note_trouble("the database does not answer")
            raise StoreDown(self.said) from None

    def undo_later(self, work: Work) -> None:
        """Have something undone that was told to have failed."""
        self._jobs.put(work)

    def note_trouble(self, said: str) -> None:
        self.said = said
        self.trouble.set()

    def _cut(self) -> None:
        """Shut the connection's socket, which ends the thread's wait for a server that hangs."""
        link = self._link
        if link is None or link.closed:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(link.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    # --- in the thread --------------------------------------------------------------------------------------

    def _serve(self) -> None:
        engine = write_engine(self._url)
        self._engine = engine
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", self._note_link)
        while (batch := self._next()) is not None:
            self._commit(batch)
            _hand_over(batch)
        engine.dispose()

    def _note_link(self, connection: Any, _record: object) -> None:
        self._link = connection

    def _next(self) -> list[_Job] | None:
        """Jobs for the next transaction; none of them when only something is to be undone, None at the end."""
        batch: list[_Job] = []
        try:
            item = self._jobs.get(timeout=UNDO_EVERY_S if self._undo else None)
            while item is not None:
                self._sort(item, batch)
                if len(batch) >= MOST_TOGETHER:
                    return batch
                item = self._jobs.get_nowait()
        except queue.Empty:
            return batch
        if not batch:
            return None
        self._jobs.put(None)
        return batch

    def _sort(self, item: _Job | Work, batch: list[_Job]) -> None:
        if isinstance(item, _Job):
            batch.append(item)
        else:
            self._undo.append(item)

    def _commit(self, batch: Sequence[_Job]) -> None:
        due = [job for job in batch if self._is_due(job)]
        if not due and not self._undo:
            return
        undo = tuple(self._undo)
        try:
            if not self._together(due, undo):
                self._apart(due, undo)
        except DBAPIError as error:
            self._failed(due, error)
            return
        del self._undo[: len(undo)]

    def _together(self, jobs: Sequence[_Job], undo: Sequence[Work]) -> bool:
        """All of them or none; False when one can't be done and nothing was."""
        try:
            with self._transaction() as connection:
                for work in undo:
                    work(connection)
                for job in jobs:
                    job.result = job.work(connection)
        except (IntegrityError, DataError):
            return False
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 - not swallowed: it comes again when the jobs are done apart
            log.debug("a job failed; its neighbours are done apart from it", error=repr(error))
            return False
        return True

    def _apart(self, jobs: Sequence[_Job], undo: Sequence[Work]) -> None:
        """Each in a savepoint of its own, so that one that fails leaves the others."""
        with self._transaction() as connection:
            for work in undo:
                work(connection)
            for job in jobs:
                _run(job, connection)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            begun = self._clock.monotonic()
            yield connection
        self.seconds.observe(self._clock.monotonic() - begun)

    def _is_due(self, job: _Job) -> bool:
        if job.given_up or self._clock.monotonic() - job.made > PATIENCE_S:
            job.error = StoreDown("the database is too slow")
            return False
        return True

    def _failed(self, jobs: Sequence[_Job], error: DBAPIError) -> None:
        # The transaction is gone, and with it what the jobs before had done; unless the server committed it and
        # only its answer was lost.
        down = StoreDown(f"the database can't be written: {_short(error)}")
        log.error("the database can't be written", error=_short(error), jobs=len(jobs))
        for job in jobs:
            if error.connection_invalidated and job.undo and job.error is None:
                self._undo.append(job.undo)
            job.error = down


def _run(job: _Job, connection: Connection) -> None:
    savepoint = connection.begin_nested()
    try:
        job.result = job.work(connection)
        savepoint.commit()
    except (IntegrityError, DataError) as error:
        savepoint.rollback()
        job.error = StoreRefused(_short(error))
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 - not swallowed: the caller that waits gets it
        savepoint.rollback()
        job.error = error


def _short(error: DBAPIError) -> str:
    """The server's first line; the rest names rows and positions."""
    return str(error.orig).strip().partition("\n")[0]


def _hand_over(batch: Sequence[_Job]) -> None:
    """Tell everybody who waits, with one wake-up of the loop."""
    if not batch:
        return
    loop = batch[0].loop
    if loop.is_closed():
        log.warning("the loop is closed", errors=[str(job.error) for job in batch if job.error])
        return
    loop.call_soon_threadsafe(_settle, batch)


def _settle(batch: Sequence[_Job]) -> None:
    for job in batch:
        job.settle()
