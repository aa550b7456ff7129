"""The alarm board: one function opens and closes, deduplicated by cause.

What is open is kept in memory and told at once; the store and the bus hear of it from one task, in order.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import structlog

from simrack.controller.alarms.catalogue import CATALOGUE, Severity
from simrack.controller.store.errors import StoreError
from simrack.wire import topics
from simrack.wire.errors import LinkDown
from simrack.wire.messages import AlarmSummary
from simrack.wire.mqtt import Bus, Stamp
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
#: While the store is down a change is tried again after this long; short, for it may be the very alarm about it.
RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Change:
    """One opening or closing on its way to the store."""

    cause: str
    active: bool
    severity: Severity
    title: str
    advice: str


class AlarmStore(Protocol):
    """Where alarms are kept; both methods raise `StoreError`."""

    async def open_alarm(self, cause: str, severity: Severity, title: str, advice: str = "") -> object:
        """Open the alarm of a cause, or count it once more."""

    async def close_alarm(self, cause: str) -> object:
        """Close the alarm of a cause."""


class AlarmBoard:
    """All open alarms of this installation."""

    def __init__(self, store: AlarmStore, bus: Bus, clock: Clock, stamp: Stamp) -> None:
        self._store, self._bus, self._clock, self._stamp = store, bus, clock, stamp
        self._open: dict[str, Severity] = {}
        self._titles: dict[str, str] = {}
        self._held: dict[str, tuple[float, str, str]] = {}
        self._changes: asyncio.Queue[_Change] = asyncio.Queue()
        self._told = asyncio.Event()

    @property
    def open_causes(self) -> tuple[str, ...]:
        return tuple(self._open)

    def resume(self, causes: dict[str, Severity]) -> None:
        """Take over the alarms that an earlier run left open."""
        self._open.update(causes)
        self._told.set()

    def set(
        self, kind: str, active: bool, subject: str = "", detail: str = "", hold_s: float | None = None
    ) -> None:
        """Open or close the alarm of (`kind`, `subject`); saying the same twice changes nothing.

        `detail` is added to the title; another one renews an open alarm. With `hold_s` it closes by itself that many seconds
        after it was last set: for things that happen, not last.
        """
        entry = CATALOGUE[kind]
        cause = f"{kind}:{subject}" if subject else kind
        self._held.pop(cause, None)
        if active and hold_s is not None:
            self._held[cause] = (self._clock.monotonic() + hold_s, kind, subject)
        title = entry.title.format(subject=subject) + (f": {detail}" if detail else "")
        if active == (cause in self._open) and not self._is_news(cause, title, active and bool(detail)):
            return
        if active:
            self._open[cause], self._titles[cause] = entry.severity, title
            log.warning("alarm opened", cause=cause, title=title)
        else:
            del self._open[cause]
            self._titles.pop(cause, None)
            log.info("alarm closed", cause=cause)
        self._changes.put_nowait(_Change(cause, active, entry.severity, title, entry.advice))
        self._told.set()

    def _is_news(self, cause: str, title: str, told: bool) -> bool:
        """Whether an open alarm is to say something else: the mistake of today, not the one mended yesterday."""
        return told and self._titles.get(cause) != title

    def sweep(self) -> None:
        """Close what was held long enough."""
        now = self._clock.monotonic()
        for until, kind, subject in list(self._held.values()):
            if now >= until:
                self.set(kind, active=False, subject=subject)

    def summary(self) -> AlarmSummary:
        """How many are open, worst first."""
        counts = Counter(self._open.values())
        boot, seq = self._stamp.next()
        return AlarmSummary(
            boot=boot,
            seq=seq,
            at=self._clock.utc(),
            critical=counts["critical"],
            major=counts["major"],
            minor=counts["minor"],
        )

    async def publish(self) -> None:
        """Publish the retained summary. Raises `LinkDown`."""
        await self._bus.publish(topics.controller_alarms(), self.summary().encode(), retain=True)

    async def run(self) -> None:
        """Tell the bus and the store until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_bus())
            group.create_task(self._tell_store())

    async def _tell_bus(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self.publish()
            except LinkDown:
                log.debug("alarm summary waits for the broker")

    async def _tell_store(self) -> None:
        while True:
            change = await self._changes.get()
            await self._store_until_done(change)

    async def _store_one(self, change: _Change) -> None:
        if change.active:
            await self._store.open_alarm(change.cause, change.severity, change.title, change.advice)
        else:
            await self._store.close_alarm(change.cause)

    async def _store_until_done(self, change: _Change) -> None:
        while True:
            try:
                await self._store_one(change)
                return
            except StoreError as error:
                log.warning("alarm waits for the database", cause=change.cause, error=str(error))
            await asyncio.sleep(RETRY_S)
