"""The real writer and its jobs on SQLite, in the loop instead of a thread, with the database's own faults.

A batch is committed a moment after its first job came, so that a kill can fall before, between and after: jobs
that were not committed are lost with their run, and answers that were on their way are too.
"""

import asyncio
import queue
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from simrack.controller.store.engine import write_engine
from simrack.controller.store.group import UNDO_EVERY_S, GroupCommit, Work, _settle
from simrack.controller.store.writer import Writer
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
        self.bad: list[tuple[float, float]] = []  # when it was broken, for the judge

    def fail(self, said: str, at: str, now: float) -> None:
        """From now on it refuses each transaction."""
        self.mend(now)
        self.broken, self.at = said, at
        self.bad.append((now, float("inf")))

    def mend(self, now: float) -> None:
        """It is well again."""
        if self.broken:
            self.broken = ""
            self.bad[-1] = (self.bad[-1][0], now)

    def begin(self, _connection: object) -> None:
        self._check("begin")

    def commit(self, _connection: object) -> None:
        self._check("commit")

    def _check(self, at: str) -> None:
        if self.broken and at == self.at:
            self.refused += 1
            raise OperationalError(at.upper(), {}, Exception(self.broken))


class _Mailbox:
    """Stands in for the queue between the loop and the writer's thread: whatever comes wakes the twin."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._items: deque[Any] = deque()
        self._wake = wake

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake()

    def get(self, timeout: float | None = None) -> Any:
        del timeout
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class InlineGroup(GroupCommit):
    """The real group commit, whose thread's work is done in the loop, a moment after the first job came."""

    def __init__(self, url: str, clock: Clock, owner: Incarnation, disk: Disk) -> None:
        super().__init__(url, clock)
        self._owner, self._disk = owner, disk
        self._box = _Mailbox(self._wake)
        self._jobs = self._box  # type: ignore[assignment]  # has what the base class calls
        self._due = False
        owner.ports.append(self._close)

    def start(self) -> None:
        self._engine = write_engine(self._url)
        event.listen(self._engine, "begin", self._disk.begin)
        event.listen(self._engine, "commit", self._disk.commit)

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        while self._owner.alive and len(self._box):
            self._work()
        self._engine.dispose()

    async def do(self, work: Callable[[Connection], R], undo: Work | None = None) -> R:
        if not self._owner.alive:
            # A dead process's code gets no answer.
            await asyncio.get_running_loop().create_future()
        return await super().do(work, undo)

    def _close(self) -> None:
        """The process was killed: what was not committed is gone."""
        self._stopped = True
        self._box = self._jobs = _Mailbox(lambda: None)  # type: ignore[assignment]
        if hasattr(self, "_engine"):
            self._engine.dispose()

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            delay = self._disk.rng.uniform(*COMMIT_S) + self._disk.slow_s
            asyncio.get_running_loop().call_later(delay, self._work)

    def _work(self) -> None:
        self._due = False
        if not self._owner.alive or not (len(self._box) or self._undo):
            return
        batch = self._next() or []
        self._commit(batch)
        if batch:
            asyncio.get_running_loop().call_later(ANSWER_S, _settle, batch)
        if len(self._box):
            self._wake()
        elif self._undo:
            self._due = True
            asyncio.get_running_loop().call_later(UNDO_EVERY_S, self._work)


class InlineWriter(Writer):
    """The real writer on the twin of its thread."""

    def __init__(self, url: str, clock: Clock, run: str, owner: Incarnation, disk: Disk) -> None:
        super().__init__(url, clock, run)
        self.group = InlineGroup(url, clock, owner, disk)


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
