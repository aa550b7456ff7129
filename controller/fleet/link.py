"""The controller's side of MQTT: births, states and facts of the boxes come in; time and acknowledgements go out."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from simrack.controller.fleet.state import Fleet
from simrack.controller.store.errors import StoreError, StoreRefused
from simrack.wire import topics
from simrack.wire.errors import LinkDown
from simrack.wire.messages import (
    AckRange,
    BoxEvent,
    CallPart,
    ConfigChanged,
    ControllerStatus,
    ControllerTime,
    EventAck,
)
from simrack.wire.mqtt import Bus, Stamp
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
#: Boxes keep their clock's offset from this (architecture: clocks).
TIME_EVERY_S = 10.0
#: Facts stored in one transaction; a transaction should stay under 50 ms.
MOST_TOGETHER = 40
#: While the database is down facts wait here, once each, and unacknowledged; the boxes keep them.
RETRY_S = 1.0
#: A box sends what was not acknowledged every 15 s; what is missing after three times is not there any more.
GAP_S = 45.0
#: A frozen broker must not hold up an orderly end; its last will says the same.
FAREWELL_S = 2.0


class EventStore(Protocol):
    """Where facts are kept."""

    async def take_events(self, events: Sequence[BoxEvent]) -> object:
        """Store facts once each. Raises `StoreError`."""

    async def last_event(self, box: str, boot: str) -> int:
        """The highest sequence stored of one run of a box, 0 for none. Raises `StoreError`."""


class FleetLink:
    """Subscriptions, acknowledgements, and the controller's own birth, life and time."""

    def __init__(
        self,
        bus: Bus,
        fleet: Fleet,
        store: EventStore,
        clock: Clock,
        stamp: Stamp,
        on_part: Callable[[CallPart, timedelta], None],
        taken: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._bus, self._fleet, self._store = bus, fleet, store
        self._clock, self._stamp, self._on_part, self._taken = clock, stamp, on_part, taken
        self._events: asyncio.Queue[BoxEvent] = asyncio.Queue()
        self._waiting: set[tuple[str, str, int]] = set()  # what a box sends again while it waits here
        self._last: dict[tuple[str, str], int] = {}  # sequence stored last, of each run of a box
        self._gaps: dict[tuple[str, str], float] = {}  # since when the next one is missing
        self.sip = ""
        self.software = ""
        self.config_version = 0
        bus.subscribe(topics.ALL_BOX_STATUS, fleet.on_status)
        bus.subscribe(topics.ALL_CHANNEL_STATE, fleet.on_report)
        bus.subscribe(topics.ALL_BOX_EVENTS, self._on_event)
        bus.on_connect(self.publish)

    async def publish(self) -> None:
        """Publish all retained state. Raises `LinkDown`."""
        await self._bus.publish(topics.controller_status(), self._status(online=True), retain=True)
        await self._publish_config()
        await self._publish_time()

    async def farewell(self) -> None:
        """Say goodbye, as the last will would."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._bus.publish(topics.controller_status(), self._status(online=False), retain=True)
        except (LinkDown, TimeoutError) as error:
            log.info("no farewell", error=str(error))

    async def config_changed(self, version: int) -> None:
        """Tell the version in force."""
        self.config_version = version
        try:
            await self._publish_config()
        except LinkDown:
            log.info("the version in force is told at the next connect", version=version)

    async def run(self) -> None:
        """Take facts and tell the time until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_time())
            group.create_task(self._take_events())

    def _status(self, *, online: bool) -> bytes:
        boot, seq = self._stamp.next()
        return ControllerStatus(
            boot=boot,
            seq=seq,
            at=self._clock.utc(),
            online=online,
            sip=self.sip,
            config_version=self.config_version,
            software=self.software,
        ).encode()

    async def _publish_config(self) -> None:
        boot, seq = self._stamp.next()
        changed = ConfigChanged(boot=boot, seq=seq, at=self._clock.utc(), version=self.config_version)
        await self._bus.publish(topics.controller_config(), changed.encode(), retain=True)

    async def _tell_time(self) -> None:
        while True:
            await asyncio.sleep(TIME_EVERY_S)
            try:
                await self._publish_time()
            except LinkDown:
                log.debug("time waits for the broker")

    async def _publish_time(self) -> None:
        boot, seq = self._stamp.next()
        message = ControllerTime(boot=boot, seq=seq, at=self._clock.utc())
        await self._bus.publish(topics.controller_time(), message.encode())

    # --- facts --------------------------------------------------------------------------------------------

    def _on_event(self, topic: str, payload: bytes) -> None:
        event = BoxEvent.decode(payload)
        # A box speaks for itself only; brokers with rights per identity enforce it, others don't.
        if topics.box_of(topic) != event.box:
            log.error("a box speaks for another", topic=topic, box=event.box)
            return
        key = (event.box, event.boot, event.seq)
        if key not in self._waiting:
            self._waiting.add(key)
            self._events.put_nowait(event)

    async def _take_events(self) -> None:
        while True:
            waiting = [await self._events.get()]
            while len(waiting) < MOST_TOGETHER and not self._events.empty():
                waiting.append(self._events.get_nowait())
            events = await self._stored(await self._in_order(waiting))
            self._waiting.difference_update((event.box, event.boot, event.seq) for event in waiting)
            self._taken(len(events))
            # A double may be handed over again: a call takes the part of an attempt once.
            for event in events:
                if isinstance(event.body, CallPart):
                    self._on_part(event.body, timedelta(milliseconds=event.offset_ms or 0))
            await self._acknowledge(events)

    async def _in_order(self, events: Sequence[BoxEvent]) -> list[BoxEvent]:
        """Without those that overtook one which was lost on its way: the box sends all of them again, in order."""
        ready = []
        for event in events:
            run = (event.box, event.boot)
            if run not in self._last:
                self._last[run] = await self._last_stored(*run)
            if event.seq <= self._last[run] + 1 or self._gave_up(run):
                self._last[run] = max(self._last[run], event.seq)
                self._gaps.pop(run, None)
                ready.append(event)
        return ready

    def _gave_up(self, run: tuple[str, str]) -> bool:
        """Whether what is missing will never come: an earlier database had it."""
        now = self._clock.monotonic()
        if now - self._gaps.setdefault(run, now) < GAP_S:
            return False
        log.warning("a box's facts have a gap", box=run[0], boot=run[1], after=self._last[run])
        return True

    async def _last_stored(self, box: str, boot: str) -> int:
        while True:
            try:
                return await self._store.last_event(box, boot)
            except StoreError as error:
                log.warning("facts wait for the database", box=box, error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _stored(self, events: Sequence[BoxEvent]) -> Sequence[BoxEvent]:
        """Store facts, however long it takes: those behind them must not come first. Returns what is on disk."""
        while events:
            try:
                await self._store.take_events(events)
                return events
            except StoreRefused as error:
                if len(events) > 1:
                    return await self._one_by_one(events)
                log.error("the database refuses a fact", box=events[0].box, seq=events[0].seq, error=str(error))
                return []
            except StoreError as error:
                log.warning("facts wait for the database", count=len(events), error=str(error))
                await asyncio.sleep(RETRY_S)
            except Exception:
                # A fault of ours in one fact must not end the controller; the box keeps what is not acknowledged.
                if len(events) > 1:
                    return await self._one_by_one(events)
                log.exception("a fact can't be taken", box=events[0].box, seq=events[0].seq)
                return []
        return events

    async def _one_by_one(self, events: Sequence[BoxEvent]) -> list[BoxEvent]:
        """Store what can be: one that can't must not hold up its neighbours for ever."""
        return [event for one in events for event in await self._stored([one])]

    async def _acknowledge(self, events: Iterable[BoxEvent]) -> None:
        for box, ranges in acknowledgements(events).items():
            try:
                await self._bus.publish(topics.box_event_ack(box), EventAck(box=box, ranges=ranges).encode())
            except LinkDown:
                # The box sends them again, and they are acknowledged then.
                log.info("acknowledgement lost", box=box)


def acknowledgements(events: Iterable[BoxEvent]) -> dict[str, tuple[AckRange, ...]]:
    """Sequences as ranges, per box and boot."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for event in events:
        numbers.setdefault((event.box, event.boot), set()).add(event.seq)
    ranges: dict[str, list[AckRange]] = {}
    for (box, boot), seqs in numbers.items():
        found = ranges.setdefault(box, [])
        for seq in sorted(seqs):
            if found and found[-1].boot == boot and found[-1].last == seq - 1:
                found[-1] = AckRange(boot=boot, first=found[-1].first, last=seq)
            else:
                found.append(AckRange(boot=boot, first=seq, last=seq))
    return {box: tuple(found) for box, found in ranges.items()}


def will(boot: str, clock: Clock) -> tuple[str, bytes]:
    """Topic and payload of the controller's last will."""
    status = ControllerStatus(boot=boot, seq=0, at=clock.utc(), online=False)
    return topics.controller_status(), status.encode()
