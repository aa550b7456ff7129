"""From the tapes of a call's legs to its stored trace, a moment after the call, so that its last ACK is on it.

The call path only says which Call-IDs are its own. What is made of the octets is made in the writer's thread,
many calls to a transaction; a trace that can't be stored is lost and said, and holds up no record.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

import structlog
from sqlalchemy.engine import Connection

from simrack.controller.store import jobs
from simrack.controller.store.errors import StoreError
from simrack.controller.store.writer import Writer
from simrack.controller.tracing.messages import Address, TraceMessage, pack
from simrack.sip.trace import Tape, Tapes
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)

Mode = Literal["all", "failed", "off"]
#: A refused sender's ACK and the repeat of a lost BYE come within this; then the tape is cut.
AFTER_S = 2.0
#: Rows of one transaction: making one takes 0.3 ms, and a transaction stays under 50 ms.
MOST_TOGETHER = 25
#: Traces that wait for a slow database; a call's is 10 KB. The oldest go first, because the newest is looked at.
MOST_WAITING = 2_000


@dataclass(frozen=True, slots=True)
class _Due:
    """A call that is over, and when its tapes are cut (monotonic)."""

    at: float
    call: str
    started: datetime
    legs: tuple[str, ...]  # Call-IDs: the sender's, then each attempt's


class TraceKeeper:
    """Told of calls by `hold` and `over`; `run` stores their traces until cancelled."""

    def __init__(self, tapes: Tapes, store: Writer, clock: Clock, local: Address, mode: Mode = "all") -> None:
        self._tapes, self._store, self._clock, self._local = tapes, store, clock, local
        self._due: deque[_Due] = deque()
        self._told = asyncio.Event()
        self.mode = mode

    @property
    def mode(self) -> Mode:
        """Of which calls messages are kept; may be changed at any time."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._tapes.on = mode != "off"

    def here(self, local: Address) -> None:
        """Where SIP is spoken from, once that is known."""
        self._local = local

    def hold(self, call_id: str) -> None:
        """A leg of a call has this Call-ID."""
        self._tapes.hold(call_id)

    def over(self, call: str, started: datetime, legs: Sequence[str], *, failed: bool) -> None:
        """A call has its record: keep its messages, if they are wanted, and forget them here."""
        if self._mode == "off" or (self._mode == "failed" and not failed):
            self.drop(legs)
            return
        self._due.append(_Due(self._clock.monotonic() + AFTER_S, call, started, tuple(legs)))
        if len(self._due) > MOST_WAITING:
            lost = self._due.popleft()
            self.drop(lost.legs)
            log.warning("trace lost: the database is too slow", call=lost.call)
        self._told.set()

    def drop(self, legs: Sequence[str]) -> None:
        """Forget what was said on these legs: their call has no record."""
        for call_id in legs:
            self._tapes.take(call_id)

    async def run(self) -> None:
        """Store traces as they fall due."""
        while True:
            await self._told.wait()
            while self._due:
                wait = self._due[0].at - self._clock.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                await self.flush(self._clock.monotonic())
            self._told.clear()

    async def flush(self, until: float = float("inf")) -> None:
        """Store what falls due by then (monotonic)."""
        while self._due and self._due[0].at <= until:
            batch: list[_Cut] = []
            while self._due and self._due[0].at <= until and len(batch) < MOST_TOGETHER:
                batch.append(self._cut(self._due.popleft()))
            try:
                await self._store.group.do(partial(_write, cuts=batch))
            except StoreError as error:
                log.warning("traces lost", calls=[row.call for row in batch], error=str(error))

    def _cut(self, due: _Due) -> "_Cut":
        # One anchor for all messages: durations in a trace are right even when the wall clock was set meanwhile.
        zero = self._clock.utc() - timedelta(seconds=self._clock.monotonic())
        return _Cut(due.call, due.started, tuple(self._tapes.take(leg) for leg in due.legs), zero, self._local)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The tapes of one call, on their way to the thread."""

    call: str
    started: datetime
    tapes: tuple[Tape, ...]
    zero: datetime
    local: Address

    def row(self) -> dict[str, Any]:
        """The stored row; made in the writer's thread."""
        messages = [
            TraceMessage(self.zero + timedelta(seconds=each.at), leg, each.sent, self.local, each.remote, each.data)
            for leg, tape in enumerate(self.tapes)
            for each in tape.messages
        ]
        packed = pack(messages, self.local, sum(tape.left_out for tape in self.tapes))
        return {"call": self.call, "started": self.started, "messages": packed}


def _write(connection: Connection, cuts: Sequence[_Cut]) -> None:
    jobs.keep_traces(connection, [cut.row() for cut in cuts if any(tape.messages for tape in cut.tapes)])
