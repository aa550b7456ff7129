"""A controller that dies and starts again between a sender and a box that both live on.

A death closes the ports of that incarnation first, so that no `finally` of it can do anything any more: nothing
is sent, nothing is written; then its tasks are dropped.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller_sim import until
from controller_world import NUMBER, Box, peer_at, place, settings_for
from gateway_sip import Controller as Peer
from gateway_sip import Dialog, sdp_of
from production_parts import RealBroker, RealBus, bus_broker, url_at

from simrack.controller.app import Controller, Parts
from simrack.controller.calls.ports import Dialogs, Finished, OpenCall
from simrack.controller.calls.services import CallLimits
from simrack.controller.models import AlarmRow, RecordFilter, RecordRow, Story
from simrack.controller.store.queries import Queries
from simrack.controller.store.writer import Severity, Writer
from simrack.sip.stack import SipStack
from simrack.wire.messages import BoxEvent
from simrack.wire.mqtt import Commander, MemoryBroker, MemoryBus
from simrack.wire.ports import Clock, SystemClock, SystemIds

ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")


class MortalWriter(Writer):
    """The real writer until its incarnation dies; nothing is written after that."""

    dead = False
    before_write: Callable[[str], None]

    async def open_call(self, call: OpenCall) -> None:
        await self._check("open_call")
        await super().open_call(call)
        await self._check("open_call done")

    async def connected(self, call: str, dialogs: Dialogs) -> None:
        await self._check("connected")
        await super().connected(call, dialogs)
        await self._check("connected done")

    async def finish(self, finished: Finished) -> None:
        await self._check("finish")
        await super().finish(finished)
        await self._check("finish done")

    async def take_over(self, call: str, dialogs: Dialogs) -> None:
        await self._check("take_over")
        await super().take_over(call, dialogs)

    async def take_events(self, events: Sequence[BoxEvent]) -> None:
        await self._check("take_events")
        await super().take_events(events)

    async def open_alarm(
        self, cause: str, severity: Severity, title: str, advice: str = ""
    ) -> tuple[AlarmRow, bool]:
        await self._check("open_alarm")
        return await super().open_alarm(cause, severity, title, advice)

    async def _check(self, name: str) -> None:
        if not self.dead:
            self.before_write(name)
        if self.dead:
            # A killed process is not told that its write failed: it would go on and refuse the call.
            await asyncio.Event().wait()


@dataclass
class Lives:
    """One address, one database, one controller after the other."""

    folder: Path
    broker: MemoryBroker | RealBroker
    sender: Peer
    box: Box
    web: MemoryBus | RealBus
    clock: Clock = field(default_factory=SystemClock)
    port: int = 0
    limits: CallLimits = field(default_factory=lambda: CallLimits(part_s=1.0))
    app: Controller | None = None
    stack: SipStack | None = None
    store: "MortalWriter | None" = None
    #: Called with the name of each write that calls make, before it is done: the place to die at.
    before_write: Callable[[str], None] = lambda _name: None
    _task: asyncio.Task[None] | None = None
    _bus: MemoryBus | RealBus | None = None

    @property
    def sip(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    async def start(self) -> None:
        settings = settings_for(self.folder, listen=f"127.0.0.1:{self.port}")
        said: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        parts = Parts(make_stack=self._make_stack, make_store=self._make_store)
        self.app = Controller(
            settings, self.clock, SystemIds(), self._make_bus, limits=self.limits, parts=parts
        )
        self._task = asyncio.create_task(self.app.run(said.set_result))
        self._task.add_done_callback(lambda _task: said.cancel())
        await asyncio.wait({said})
        if self._task.done():
            self._task.result()
        self.port = int(said.result()["sip"].rpartition(":")[2])

    def shut_ports(self) -> None:
        """From here on nothing of this incarnation reaches anybody."""
        assert self.stack is not None
        assert self.store is not None
        assert self._bus is not None
        self.stack._engine.close()
        self.store.dead = True
        self._bus.cut()

    async def die(self) -> None:
        """Kill it: no farewell, no BYE, no record."""
        self.shut_ports()
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()  # it has done something after its death
        self._task = None

    async def forget(self) -> None:
        """The broker loses all that it retains."""
        if isinstance(self.broker, RealBroker):
            await self.broker.forget()
        else:
            self.broker.forget()

    async def die_and_rise(self) -> None:
        await self.die()
        await self.start()

    async def stop(self, *, hand_over: bool = False) -> None:
        if self._task is None:
            return
        assert self.app is not None
        if hand_over:
            self.app.hand_over()
        else:
            self.app.stop()
        await self._task
        self._task = None

    def invite(self, number: str = NUMBER) -> Dialog:
        return place(self.sender, self.sip, number, "", sdp_of(("127.0.0.1", 4000)))

    async def speaking(self) -> tuple[Dialog, Dialog]:
        """An answered call: the sender's dialog and the box's. The box has reported it."""
        call = self.invite()
        at_box = await self.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 180, "Ringing")
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        await until(lambda: call.final is not None and call.final.status == 200, "the answer")
        await self.box.carry(at_box)
        return call, at_box

    async def record(self, count: int = 1) -> RecordRow:
        """The newest record, once there are `count` and no call is open."""
        queries = Queries(url_at(self.folder / "simrack.db"))
        try:
            for _ in range(1000):
                page = await asyncio.to_thread(queries.records, RecordFilter())
                if page.total >= count and not await asyncio.to_thread(queries.open_calls):
                    assert page.total == count, "one call, one record"
                    return page.rows[0]
                await asyncio.sleep(0.01)
        finally:
            queries.close()
        raise AssertionError(f"no {count} records")

    async def records(self) -> tuple[RecordRow, ...]:
        """All records, newest first."""
        queries = Queries(url_at(self.folder / "simrack.db"))
        try:
            return (await asyncio.to_thread(queries.records, RecordFilter())).rows
        finally:
            queries.close()

    async def story(self, call: str) -> Story:
        queries = Queries(url_at(self.folder / "simrack.db"))
        try:
            story = await asyncio.to_thread(queries.story, call)
        finally:
            queries.close()
        assert story is not None
        return story

    def _make_stack(self, **arguments: Any) -> SipStack:
        self.stack = SipStack(**arguments)
        return self.stack

    def _make_store(self, url: str, clock: Clock, run: str) -> Writer:
        self.store = MortalWriter(url, clock, run)
        self.store.before_write = self.before_write
        return self.store

    def _make_bus(self, name: str, last: tuple[str, bytes]) -> MemoryBus | RealBus:
        self._bus = self.broker.bus(name, will=last)
        return self._bus

    def commander(self) -> Commander:
        return Commander(self.web, "web", SystemClock(), SystemIds())


@asynccontextmanager
async def lives(folder: Path, **more: Any) -> AsyncIterator[Lives]:
    """Start the first controller; stop the last one in order at the end."""
    broker = bus_broker()
    sender, box_peer = await peer_at("127.0.0.2"), await peer_at("127.0.0.1")
    box_bus, web = broker.bus("box"), broker.bus("web")
    on = Lives(folder, broker, sender, Box(box_bus, box_peer), web, **more)
    tasks = [asyncio.create_task(bus.run()) for bus in (box_bus, web)]
    try:
        await on.start()
        yield on
        await on.stop()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sender.close()
        box_peer.close()
        if isinstance(broker, RealBroker):
            await broker.close()
