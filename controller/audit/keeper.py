"""The keeper: hands facts to the store's one writer in their order, and takes over what the control room has noted.

While the database can't be written, facts wait here and are chained as soon as it can, with the moment at which they
happened. What must not be done without a trace asks for `must`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Protocol

import structlog

from simrack.controller.audit.chain import Fact, Head
from simrack.controller.store.audit import AuditQueries
from simrack.controller.store.errors import StoreDown, StoreError, StoreRefused

log = structlog.get_logger(__name__)
#: A person who looks at the Audit page after an act finds it there.
EVERY_S = 2.0
#: A command waits this long for its entry; a database that is slower is away, and the act is done meanwhile.
PATIENCE_S = 1.0
#: Facts that wait for the database: hours of a busy desk. More are lost in memory anyway when the process ends.
MOST_WAITING = 20_000
#: Numbers of acts are given before their commit, so that a lower one may become visible after a higher one.
OVERLAP = 1000


class AuditStore(Protocol):
    """The writer; both methods raise `StoreError`."""

    async def audit(self, facts: Iterable[Fact]) -> Head:
        """Chain facts, each source once."""

    async def take_acts(self, since: int) -> int:
        """Chain acts of the control room; how many were taken."""


class Keeper:
    """Everything that the controller writes into the audit log but for what belongs to another transaction."""

    def __init__(self, store: AuditStore, queries: AuditQueries, run: str, every_s: float = EVERY_S) -> None:
        self._store, self._queries, self._run, self._every_s = store, queries, run, every_s
        self._count = 0
        self._since = 0
        self._waiting: deque[Fact] = deque()
        self._writing = asyncio.Lock()
        self._flushes: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Facts that the database has not taken yet."""
        return len(self._waiting)

    def source(self) -> str:
        """A name for one fact, so that trying it again writes it once."""
        self._count += 1
        return f"run:{self._run}:{self._count}"

    async def write(self, fact: Fact, *, must: bool = False) -> None:
        """Have a fact in the log, or soon.

        Raises:
            StoreError: `must` was asked and it is not there; it is then not written later either.
        """
        if must:
            await self._flush()
            await self._store.audit((fact,))
            return
        if len(self._waiting) >= MOST_WAITING:
            log.error("too much waits for the audit log; the oldest is lost", lost=self._waiting.popleft().action)
        self._waiting.append(fact)
        # The flush goes on when the caller has no patience any more.
        flush = asyncio.create_task(self._try())
        self._flushes.add(flush)
        flush.add_done_callback(self._flushes.discard)
        await asyncio.wait({flush}, timeout=PATIENCE_S)

    async def run(self) -> None:
        """Take acts over and write what waits, until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(self._every_s)

    async def turn(self) -> None:
        """One turn of `run`."""
        await self._try()
        try:
            await self._take_acts()
        except StoreError as error:
            log.warning("acts of the control room wait for the audit log", error=str(error))

    async def stop(self) -> None:
        """Write what waits, once."""
        await self.turn()
        if self._waiting:
            log.error("the audit log could not be written at the end", lost=len(self._waiting))

    async def _try(self) -> None:
        try:
            await self._flush()
        except StoreError as error:
            log.warning("the audit log waits for the database", waiting=len(self._waiting), error=str(error))

    async def _flush(self) -> None:
        async with self._writing:
            while self._waiting:
                facts = tuple(self._waiting)[:100]
                try:
                    await self._store.audit(facts)
                except StoreDown:
                    raise
                except StoreRefused as error:
                    log.error("facts were refused by the audit log", actions=[fact.action for fact in facts], error=str(error))
                for fact in facts:
                    if self._waiting and self._waiting[0] is fact:
                        self._waiting.popleft()

    async def _take_acts(self) -> None:
        """Read first: a turn without news costs the writer nothing."""
        while first := await asyncio.to_thread(self._queries.first_waiting_act, self._since):
            await self._store.take_acts(first)
        last = await asyncio.to_thread(self._queries.last_act)
        self._since = max(0, last - OVERLAP)
