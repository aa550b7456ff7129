"""The real writer and its jobs on SQLite, in the loop instead of a thread, with the database's own faults.

A batch is committed a moment after its first job came, so that a kill can fall before, between and after: jobs
that were not committed are lost with their run, and answers that were on their way are too.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from simrack.controller.store.engine import write_engine
from simrack.controller.store.writer import MOST_TOGETHER, Writer, _Job
from simrack.gateway import outbox as outbox_module
from simrack.gateway.errors import StoreBroken
from simrack.gateway.outbox import _Rows
from simrack.lab.simulate.loop import OWNER, Incarnation
from simrack.wire.ports import Clock

#: Seconds from the first job of a batch to its commit, and from there to whoever waits.
COMMIT_S = (0.0005, 0.008)
ANSWER_S = 0.0003
#: Folders whose disk is full, with what it says; and what the box's file does there that writes.
FULL_DISKS: dict[str, str] = {}
WRITES = frozenset({"add", "delete", "remember", "renew", "set_marks"})
R = TypeVar("R")


class Disk:
    """State of the centre's database as a disk and a server have it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.broken = ""  # what the database says to each transaction, "" while it is well
        self.at = "begin"  # or "commit": a disk that is full takes the rows and refuses the commit
        self.slow_s = 0.0
        self.refused = 0

    def begin(self, _connection: object) -> None:
        self._check("begin")

    def commit(self, _connection: object) -> None:
        self._check("commit")

    def _check(self, at: str) -> None:
        if self.broken and at == self.at:
            self.refused += 1
            raise OperationalError(at.upper(), {}, Exception(self.broken))


class InlineWriter(Writer):
    """See the module."""

    def __init__(self, url: str, clock: Clock, run: str, owner: Incarnation, disk: Disk) -> None:
        super().__init__(url, clock, run)
        self._owner, self._disk = owner, disk
        self._waiting_jobs: list[_Job] = []
        self._due = False
        owner.ports.append(self._cut)

    async def __aenter__(self) -> Self:
        self._engine = write_engine(self._url)
        event.listen(self._engine, "begin", self._disk.begin)
        event.listen(self._engine, "commit", self._disk.commit)
        return self

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._owner.alive:
            self._flush()
        self._engine.dispose()

    def _cut(self) -> None:
        """The process was killed: what was not committed is gone."""
        self._stopped = True
        self._waiting_jobs.clear()
        if hasattr(self, "_engine"):
            self._engine.dispose()

    async def _do(self, work: Callable[..., object]) -> object:  # type: ignore[override]
        if self._stopped:
            # A dead process's code gets no answer.
            await asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        job = _Job(work, loop)
        self._waiting_jobs.append(job)
        if not self._due:
            self._due = True
            loop.call_later(self._disk.rng.uniform(*COMMIT_S) + self._disk.slow_s, self._flush)
        return await job.future

    def _flush(self) -> None:
        self._due = False
        if not self._owner.alive and not self._stopped:
            return
        batch, self._waiting_jobs = self._waiting_jobs[:MOST_TOGETHER], self._waiting_jobs[MOST_TOGETHER:]
        if batch:
            self._commit(batch)
            loop = asyncio.get_running_loop()
            for job in batch:
                loop.call_later(ANSWER_S, job.settle)
        if self._waiting_jobs:
            self._due = True
            asyncio.get_running_loop().call_later(COMMIT_S[0], self._flush)


class SimRows(_Rows):
    """The box's file with its disk's faults; closed with the incarnation that opened it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        owner = OWNER.get()
        if owner is not None:
            owner.ports.append(self._shut)

    async def run(self, work: Callable[..., R], *args: Any) -> R:
        full = FULL_DISKS.get(str(self._folder), "")
        if full and getattr(work, "__name__", "") in WRITES:
            raise StoreBroken(f"{self._folder}: {full}")
        return await super().run(work, *args)


@contextmanager
def simulated_files() -> Iterator[None]:
    """Boxes opened inside use `SimRows`."""
    module: Any = outbox_module
    real, module._Rows = module._Rows, SimRows
    try:
        yield
    finally:
        module._Rows = real
        FULL_DISKS.clear()
