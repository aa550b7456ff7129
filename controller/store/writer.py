"""The controller's one writer: a thread with one connection, and group commit.

Coroutines hand over small jobs; the thread runs all that wait in one transaction and commits once, so that one
flush to disk serves many calls. When one of them can't be done, all are done again, each in a savepoint of its own:
a job that the database refuses fails alone. When the database itself fails, every job fails with `StoreDown`.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, TypeVar

import structlog
from sqlalchemy import Table
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from simrack.controller.calls.ports import Dialogs, Finished, LeftCall, OpenCall
from simrack.controller.models import AlarmRow
from simrack.controller.store import jobs, leftover
from simrack.controller.store.engine import write_engine
from simrack.controller.store.errors import StoreDown, StoreRefused
from simrack.wire.messages import BoxEvent
from simrack.wire.ports import Clock

# A transaction has to stay under 50 ms (other processes wait for the write lock); a job takes up to 1.5 ms.
MOST_TOGETHER = 25
# Rows of a configuration import per transaction (architecture: who writes what).
IMPORT_BATCH = 1000

R = TypeVar("R")
Severity = Literal["critical", "major", "minor"]

log = structlog.get_logger(__name__)


class _Job:
    """Work for the thread, and where its result goes."""

    def __init__(self, work: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Hand the result over, in the loop's thread."""
        if self.future.done():
            if self.error is not None:
                log.error("a write failed and nobody waits for it any more", error=str(self.error))
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Everything that the controller writes. Use as an async context manager, after `migrate(url)`.

    Every method returns when its rows are on disk, and raises `StoreDown` when the database can't take them
    now or `StoreRefused` when it will never take them.
    """

    def __init__(self, url: str, clock: Clock, run: str) -> None:
        self._url = url
        self._clock = clock
        self._run = run
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Write what waits, then close the connection."""
        if self._stopped:
            return
        self._stopped = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def open_call(self, call: OpenCall) -> None:
        """The open row of a call. `StoreRefused` when (sender, Call-ID, From tag) has one already."""
        await self._do(lambda connection: jobs.open_call(connection, call, self._run))

    async def connected(self, call: str, dialogs: Dialogs) -> None:
        """Both dialogs' identifiers."""
        await self._do(lambda connection: jobs.connected(connection, call, dialogs))

    async def finish(self, finished: Finished) -> None:
        """Open row out, record in, in one transaction. Safe to repeat after `StoreDown`."""
        await self._do(lambda connection: jobs.finish(connection, finished))

    async def take_events(self, events: Sequence[BoxEvent]) -> None:
        """Store facts once each; all of them may be acknowledged afterwards."""
        await self.store_events(events)

    async def store_events(self, events: Sequence[BoxEvent]) -> tuple[BoxEvent, ...]:
        """As `take_events`, and return those that had not been stored before."""
        now = self._clock.utc()

        def work(connection: Connection) -> tuple[BoxEvent, ...]:
            return tuple(event for event in events if jobs.take_event(connection, event, now))

        return await self._do(work)

    async def left_calls(self) -> tuple[LeftCall, ...]:
        """The open calls of earlier runs, with what is known of each."""
        return await self._do(lambda connection: leftover.left_calls(connection, self._run))

    async def take_over(self, call: str, dialogs: Dialogs) -> None:
        """Make an earlier run's open row this run's. `StoreRefused` when there is none."""
        await self._do(lambda connection: leftover.take_over(connection, call, dialogs, self._run))

    async def close_left_over(self, keep: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Close the other open calls of earlier runs with cause 41, side rack; returns their ids."""
        now = self._clock.utc()
        return await self._do(lambda connection: leftover.close_left_over(connection, self._run, now, keep))

    async def open_alarm(
        self, cause: str, severity: Severity, title: str, advice: str = ""
    ) -> tuple[AlarmRow, bool]:
        """Open an alarm, or count it when one of this cause stands; (row, newly open)."""
        now = self._clock.utc()
        return await self._do(lambda c: jobs.open_alarm(c, cause, severity, title, advice, now))

    async def close_alarm(self, cause: str) -> bool:
        """Close the alarm of this cause; False when none stood."""
        now = self._clock.utc()
        return await self._do(lambda connection: jobs.close_alarm(connection, cause, now))

    async def import_config(
        self,
        digest: str,
        source: str,
        actor: str,
        rows: Iterable[tuple[Table, Sequence[Mapping[str, Any]]]],
    ) -> int:
        """Write a whole configuration under a new version, then put it in force by one row."""
        now = self._clock.utc()
        version = await self._do(lambda c: jobs.config_version(c, digest, source, actor, now))
        for table, all_rows in rows:
            for start in range(0, len(all_rows), IMPORT_BATCH):
                batch = [{**row, "version": version} for row in all_rows[start : start + IMPORT_BATCH]]
                await self._do(partial(jobs.config_rows, table=table, rows=batch))
        await self._do(lambda connection: jobs.activate(connection, version, now))
        return version

    async def activate_config(self, version: int) -> None:
        """Put a stored version in force."""
        now = self._clock.utc()
        await self._do(lambda connection: jobs.activate(connection, version, now))

    async def _do(self, work: Callable[[Connection], R]) -> R:
        if self._stopped:
            raise StoreDown("the store is closed")
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.put(job)
        result: R = await job.future
        return result

    def _serve(self) -> None:
        self._engine = write_engine(self._url)
        while (job := self._jobs.get()) is not None:
            batch = [job, *self._waiting()]
            self._commit(batch)
            _hand_over(batch)
        self._engine.dispose()

    def _waiting(self) -> Iterable[_Job]:
        for _ in range(MOST_TOGETHER - 1):
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)
                return
            yield job

    def _commit(self, batch: Sequence[_Job]) -> None:
        try:
            if not self._together(batch):
                self._apart(batch)
        except DBAPIError as error:
            # The transaction is gone, and with it what the jobs before had done.
            down = StoreDown(f"the database can't be written: {error.orig}")
            log.error("the database can't be written", error=str(error.orig), jobs=len(batch))
            for job in batch:
                job.error = down

    def _together(self, batch: Sequence[_Job]) -> bool:
        """All of them or none; False when one can't be done and nothing was."""
        try:
            with self._engine.begin() as connection:
                for job in batch:
                    job.result = job.work(connection)
        except IntegrityError:
            return False
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 - not swallowed: it comes again when the jobs are done apart
            log.debug("a job failed; its neighbours are done apart from it", error=repr(error))
            return False
        return True

    def _apart(self, batch: Sequence[_Job]) -> None:
        """Each in a savepoint of its own, so that one that fails leaves the others."""
        with self._engine.begin() as connection:
            for job in batch:
                _run(job, connection)


def _run(job: _Job, connection: Connection) -> None:
    savepoint = connection.begin_nested()
    try:
        job.result = job.work(connection)
        savepoint.commit()
    except IntegrityError as error:
        savepoint.rollback()
        job.error = StoreRefused(str(error.orig))
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 - not swallowed: the caller that waits gets it
        savepoint.rollback()
        job.error = error


def _hand_over(batch: Sequence[_Job]) -> None:
    """Tell everybody who waits, with one wake-up of the loop."""
    loop = batch[0].loop
    if loop.is_closed():
        log.warning("the loop is closed", errors=[str(job.error) for job in batch if job.error])
        return
    loop.call_soon_threadsafe(_settle, batch)


def _settle(batch: Sequence[_Job]) -> None:
    for job in batch:
        job.settle()
