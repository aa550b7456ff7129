"""The controller's side of MQTT over the broker in memory."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from controller_sim import MemoryStore, TestClock, report, status, until

from simrack.controller.fleet.link import FleetLink, acknowledgements, will
from simrack.controller.fleet.state import Fleet
from simrack.controller.store.errors import StoreRefused
from simrack.wire import topics
from simrack.wire.messages import (
    BoxEvent,
    CallPart,
    ConfigChanged,
    ControllerStatus,
    ControllerTime,
    EventAck,
    FaultPart,
)
from simrack.wire.mqtt import MemoryBroker, Stamp

Run = Callable[..., asyncio.Task[Any]]


class Linked:
    """A controller's link and a box's session with one broker."""

    def __init__(self, run_tasks: Run) -> None:
        self.clock = TestClock()
        self.broker = MemoryBroker()
        self.bus = self.broker.bus("controller", will=will("c1", self.clock))
        self.box = self.broker.bus("box")
        self.store = MemoryStore([])
        self.fleet = Fleet(self.clock)
        self.parts: list[tuple[CallPart, timedelta]] = []
        self.link = FleetLink(
            self.bus, self.fleet, self.store, self.clock, Stamp("c1"), lambda p, o: self.parts.append((p, o))
        )
        self.acks: list[EventAck] = []
        self.box.subscribe(topics.box_event_ack("box-1"), lambda _t, p: self.acks.append(EventAck.decode(p)))
        self._run_tasks = run_tasks

    def start(self) -> None:
        for work in (self.bus.run, self.box.run, self.link.run):
            self._run_tasks(work())

    def event(self, seq: int, box: str = "box-1") -> BoxEvent:
        now = self.clock.utc()
        part = CallPart(
            call="c", attempt=f"a{seq}", channel=1, invited=now, released=now, cause=16, side="called"
        )
        return BoxEvent(box=box, boot="b1", seq=seq, at=now, offset_ms=250, body=part)


async def test_connect_publishes_birth_version_and_time(run_tasks: Run) -> None:
    """A broker with an empty memory learns all of it from the controller."""
    on = Linked(run_tasks)
    on.link.config_version, on.link.sip = 7, "127.0.0.1:5060"
    times: list[ControllerTime] = []
    on.box.subscribe(topics.controller_time(), lambda _t, p: times.append(ControllerTime.decode(p)))
    on.start()
    await until(lambda: times)
    born = ControllerStatus.decode(on.broker.retained[topics.controller_status()])
    assert (born.online, born.config_version, born.sip) == (True, 7, "127.0.0.1:5060")
    assert ConfigChanged.decode(on.broker.retained[topics.controller_config()]).version == 7
    on.bus.cut()
    assert not ControllerStatus.decode(on.broker.retained[topics.controller_status()]).online
    await until(lambda: ControllerStatus.decode(on.broker.retained[topics.controller_status()]).online)


async def test_retained_state_reaches_the_fleet(run_tasks: Run) -> None:
    on = Linked(run_tasks)
    on.broker.retained[topics.channel_state("box-1", 1)] = report(on.clock).encode()
    on.broker.retained[topics.box_status("box-1")] = status(on.clock).encode()
    on.start()
    await until(lambda: on.fleet.view(on.clock.utc()).channels)
    assert on.fleet.view(on.clock.utc()).boxes["box-1"].reachable


async def test_facts_are_stored_once_and_acknowledged_each_time(run_tasks: Run) -> None:
    """A box that repeats itself makes no second fact, and gets the acknowledgement that it missed."""
    on = Linked(run_tasks)
    on.start()
    await until(lambda: on.bus.connected and on.box.connected)
    for seq in (1, 2, 2, 1):
        await on.box.publish(topics.box_event("box-1"), on.event(seq).encode())
    await until(lambda: sum(len(ack.ranges) for ack in on.acks) >= 1 and len(on.store.events) == 2)
    assert {part.attempt for part, _ in on.parts} == {"a1", "a2"}
    assert on.parts[0][1] == timedelta(milliseconds=250)


async def test_fact_is_not_acknowledged_before_it_is_stored(run_tasks: Run) -> None:
    """While the database is down the box keeps its facts."""
    on = Linked(run_tasks)
    on.store.down = True
    on.start()
    await until(lambda: on.bus.connected and on.box.connected)
    await on.box.publish(topics.box_event("box-1"), on.event(1).encode())
    for _ in range(20):
        await asyncio.sleep(0)
    assert on.acks == []
    assert on.parts == []


async def test_box_that_speaks_for_another_is_not_heard(run_tasks: Run) -> None:
    on = Linked(run_tasks)
    on.start()
    await until(lambda: on.bus.connected and on.box.connected)
    await on.box.publish(topics.box_event("box-1"), on.event(1, box="box-2").encode())
    await on.box.publish(topics.box_event("box-1"), on.event(1).encode())
    await until(lambda: on.store.events)
    assert [(event.box, event.seq) for event in on.store.events] == [("box-1", 1)]


async def test_fact_that_overtook_another_waits_for_it(run_tasks: Run) -> None:
    """What a box tells is stored in the order in which it happened, although a message was lost on its way."""
    on = Linked(run_tasks)
    on.start()
    await until(lambda: on.bus.connected and on.box.connected)
    for seq in (2, 3, 1, 2, 3):
        await on.box.publish(topics.box_event("box-1"), on.event(seq).encode())
    await until(lambda: len(on.store.events) == 3)
    assert [event.seq for event in on.store.events] == [1, 2, 3]


async def test_fact_is_stored_when_the_one_before_never_comes(run_tasks: Run) -> None:
    """After the database was set aside the boxes' old facts are gone, and the new ones must still be taken."""
    on = Linked(run_tasks)
    on.start()
    await until(lambda: on.bus.connected and on.box.connected)
    for forward in (0.0, 30.0, 30.0):
        on.clock.forward(forward)
        await on.box.publish(topics.box_event("box-1"), on.event(7).encode())
        for _ in range(20):
            await asyncio.sleep(0)
    await until(lambda: on.store.events)
    assert [event.seq for event in on.store.events] == [7]


def test_acknowledgements_are_ranges() -> None:
    """A backlog of days is acknowledged in a few words."""
    clock = TestClock()

    def event(box: str, boot: str, seq: int) -> BoxEvent:
        return BoxEvent(box=box, boot=boot, seq=seq, at=clock.utc(), body=FaultPart(channel=1, reason="x"))

    found = acknowledgements(
        [event("b", "x", 3), event("b", "x", 1), event("b", "x", 2), event("b", "x", 7), event("b", "y", 8)]
    )
    assert [(r.boot, r.first, r.last) for r in found["b"]] == [("x", 1, 3), ("x", 7, 7), ("y", 8, 8)]


async def test_fact_that_the_database_refuses_holds_up_no_other(run_tasks: Run) -> None:
    """One poisoned fact must not keep a box's outbox full for ever."""
    on = Linked(run_tasks)
    real = on.store.take_events

    async def choosy(events: Sequence[BoxEvent]) -> object:
        if any(event.seq == 2 for event in events):
            raise StoreRefused("no")
        return await real(events)

    on.store.take_events = choosy  # type: ignore[assignment,method-assign]
    on.start()
    await until(lambda: on.bus.connected and on.box.connected)
    for seq in (1, 2, 3):
        await on.box.publish(topics.box_event("box-1"), on.event(seq).encode())
    await until(lambda: {r.first for ack in on.acks for r in ack.ranges} == {1, 3})
