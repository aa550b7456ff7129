"""The alarm board: one function opens and closes, deduplicated by cause.

What is open is kept in memory and told at once; the store and the bus hear of it from one task, in order. An alarm that
somebody has acknowledged is in their hand: it counts as quiet until it closes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

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


@dataclass(frozen=True, slots=True)
class AlarmNews:
    """What became of an alarm, for whoever tells people of it."""

    what: Literal["opened", "changed", "acknowledged", "released", "closed"]
    cause: str
    severity: Severity
    title: str
    advice: str
    at: datetime
    by: str = ""

    @property
    def kind(self) -> str:
        """The row of the catalogue."""
        return self.cause.partition(":")[0]


Listener = Callable[[AlarmNews], None]


class AlarmStore(Protocol):
    """Where alarms are kept; the methods raise `StoreError`."""

    async def open_alarm(self, cause: str, severity: Severity, title: str, advice: str = "") -> object:
        """Open the alarm of a cause, or count it once more."""

    async def close_alarm(self, cause: str) -> object:
        """Close the alarm of a cause."""

    async def acknowledge_alarm(self, alarm: int, by: str, note: str, *, release: bool = False) -> str | None:
        """Put an open alarm in somebody's hand, or take it out again; its cause, None when none of this number is open."""


class AlarmBoard:
    """All open alarms of this installation."""

    def __init__(self, store: AlarmStore, bus: Bus, clock: Clock, stamp: Stamp) -> None:
        self._store, self._bus, self._clock, self._stamp = store, bus, clock, stamp
        self._open: dict[str, Severity] = {}
        self._titles: dict[str, str] = {}
        self._held: dict[str, tuple[float, str, str]] = {}
        self._changes: asyncio.Queue[_Change] = asyncio.Queue()
        self._told = asyncio.Event()
        self._in_hand: set[str] = set()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Have each change told, at once and in order; the listener must not block."""
        self._listeners.append(listener)

    @property
    def open_causes(self) -> tuple[str, ...]:
        return tuple(self._open)

    @property
    def open_by_kind(self) -> Counter[tuple[str, Severity]]:
        """How many are open of each kind, acknowledged or not."""
        return Counter((cause.partition(":")[0], severity) for cause, severity in self._open.items())

    def resume(self, causes: dict[str, Severity], in_hand: Iterable[str] = ()) -> None:
        """Take over the alarms that an earlier run left open, and those of them that are acknowledged."""
        self._open.update(causes)
        self._in_hand.update(set(in_hand) & set(causes))
        self._told.set()

    async def acknowledge(self, alarm: int, by: str, note: str, *, release: bool = False) -> str | None:
        """Say that somebody has an alarm in hand (`release`: no longer); its cause, None when it is not open.

        Raises `StoreError`.
        """
        cause = await self._store.acknowledge_alarm(alarm, by, note, release=release)
        if cause is None or cause not in self._open:
            return cause
        (self._in_hand.discard if release else self._in_hand.add)(cause)
        self._tell("released" if release else "acknowledged", cause, self._titles.get(cause, cause), by)
        self._told.set()
        return cause

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
            known = cause in self._open
            self._open[cause], self._titles[cause] = entry.severity, title
            log.warning("alarm opened", cause=cause, title=title)
            self._tell("changed" if known else "opened", cause, title)
        else:
            self._tell("closed", cause, self._titles.get(cause, title))
            del self._open[cause]
            self._titles.pop(cause, None)
            self._in_hand.discard(cause)
            log.info("alarm closed", cause=cause)
        self._changes.put_nowait(_Change(cause, active, entry.severity, title, entry.advice))
        self._told.set()

    def _is_news(self, cause: str, title: str, told: bool) -> bool:
        """Whether an open alarm is to say something else: the mistake of today, not the one mended yesterday."""
        return told and self._titles.get(cause) != title

    def _tell(
        self, what: Literal["opened", "changed", "acknowledged", "released", "closed"], cause: str, title: str, by: str = ""
    ) -> None:
        entry = CATALOGUE.get(cause.partition(":")[0])
        news = AlarmNews(what, cause, self._open[cause], title, entry.advice if entry else "", self._clock.utc(), by)
        for listener in self._listeners:
            listener(news)

    def sweep(self) -> None:
        """Close what was held long enough."""
        now = self._clock.monotonic()
        for until, kind, subject in list(self._held.values()):
            if now >= until:
                self.set(kind, active=False, subject=subject)

    def summary(self) -> AlarmSummary:
        """How many are open, worst first; those in somebody's hand count apart."""
        counts = Counter(severity for cause, severity in self._open.items() if cause not in self._in_hand)
        boot, seq = self._stamp.next()
        return AlarmSummary(
            boot=boot,
            seq=seq,
            at=self._clock.utc(),
            critical=counts["critical"],
            major=counts["major"],
            minor=counts["minor"],
            acknowledged=len(self._in_hand),
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
