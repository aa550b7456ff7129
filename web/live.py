"""The one thread of the control room that has a loop: MQTT in, event streams and commands out.

Page threads never touch the loop but through `command`. Changes are gathered for a moment and drawn once
for all browsers; drawing happens here, so it must not wait for anything.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

import structlog

from simrack.controller.store.errors import StoreError
from simrack.web.feed import EVERYBODY, Feed
from simrack.web.logs import LogRing
from simrack.web.rack import Changes, RackModel
from simrack.wire import topics
from simrack.wire.errors import CommandFailed, LinkDown
from simrack.wire.messages import (
    AlarmSummary,
    BoxStatus,
    ChannelReport,
    CommandReply,
    ConsoleLines,
    ControllerStatus,
    LiveCall,
    LogLines,
    LogWish,
)
from simrack.wire.mqtt import Bus, Commander
from simrack.wire.ports import Clock, Ids

# Eyes take this for "at once"; a busy rack is drawn seven times a second, not once per message.
FLUSH_S = 0.15
# Without changes the drawing is asked for what it has put off, about once a second.
IDLE_TURNS = 7
# Shorter than the idle time-outs of proxies, and it finds dead browsers (components: heartbeat every 10 s).
HEARTBEAT_S = 10.0
# Ratios over an hour don't change faster than a person reads.
FIGURES_S = 15.0
COMMAND_TIMEOUT_S = 5.0
# Each fifth turn of the flush tells of lines. Not the browser's throttle: that drops the last line of a burst.
LOGS_TURNS = 5
# Lines that each process is asked for once, at the first connect.
EARLIER_LINES = 500
# The loop answers within a few ms; this only guards against a thread that died.
THREAD_TIMEOUT_S = 10.0

Drawn = Iterable[tuple[str, str, str]]  # (topic, event name, data)
log = structlog.get_logger(__name__)


class Live:
    """Feeds the model from the bus and the ring from the model's changes."""

    def __init__(
        self,
        model: RackModel,
        feed: Feed,
        *,
        bus: Callable[[], Bus],
        draw: Callable[[Changes], Drawn],
        seed: Callable[[], None],
        figures: Callable[[], None],
        clock: Clock,
        ids: Ids,
        client_id: str = "web",
    ) -> None:
        self._model, self._feed = model, feed
        self._make_bus, self._draw, self._seed, self._figures = bus, draw, seed, figures
        self._clock, self._ids, self._client_id = clock, ids, client_id
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._reseed = asyncio.Event()
        self.commander: Commander | None = None
        self.logs = LogRing()
        self._logs_shown = self._turns = 0
        #: Work that runs beside, with the bus, as long as the thread does.
        self.services: list[Callable[[Bus], Coroutine[Any, Any, None]]] = []

    def start(self) -> None:
        """Start the thread; returns once its loop runs."""
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()
        if not self._ready.wait(THREAD_TIMEOUT_S):
            raise RuntimeError("the live thread did not start")

    def stop(self) -> None:
        self._feed.close()
        loop, main = self.loop, self._main
        if loop is not None and main is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(main.cancel)
        if self._thread is not None:
            self._thread.join(THREAD_TIMEOUT_S)

    def command(
        self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> CommandReply:
        """Have something done and wait for the answer; called from page threads. Raises `CommandFailed`."""
        if self.loop is None or self.commander is None:
            raise CommandFailed(f"{action}: the live link is not running")
        work = self.commander.send(topic, action, args, actor=actor, timeout_s=timeout_s)
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout_s + THREAD_TIMEOUT_S)
        except TimeoutError as error:
            raise CommandFailed(f"{action}: the live link does not answer") from error

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            log.info("live thread ended")
        except BaseExceptionGroup as group:
            log.exception("live thread failed", errors=[str(error) for error in group.exceptions])
            self._model.broker(False)

    async def _serve(self) -> None:
        self.loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        bus = self._make_bus()
        self.commander = Commander(bus, self._client_id, self._clock, self._ids)
        self._listen(bus)
        bus.on_connect(self._connected)
        self._ready.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(bus.run())
            group.create_task(self._flushing(bus))
            group.create_task(self._seeding())
            group.create_task(self._every(FIGURES_S, self._refresh_figures))
            group.create_task(self._every(HEARTBEAT_S, self._beat))
            for service in self.services:
                group.create_task(service(bus))

    def _listen(self, bus: Bus) -> None:
        model = self._model
        bus.subscribe(topics.ALL_BOX_STATUS, self._on_box)
        bus.subscribe(topics.ALL_CHANNEL_STATE, lambda _, data: model.channel(ChannelReport.decode(data)))
        bus.subscribe(topics.ALL_CONSOLES, lambda _, data: model.console(ConsoleLines.decode(data)))
        bus.subscribe(topics.ALL_CALLS, lambda _, data: model.call(LiveCall.decode(data)))
        bus.subscribe(topics.controller_alarms(), lambda _, data: model.alarms(AlarmSummary.decode(data)))
        bus.subscribe(topics.controller_status(), self._on_controller)
        bus.subscribe(topics.ALL_LOGS, lambda _, data: self.logs.take(LogLines.decode(data), self._clock.utc()))
        self._bus = bus

    def _on_box(self, topic: str, data: bytes) -> None:
        if data:
            self._model.box(BoxStatus.decode(data))
        else:
            self._model.forget_box(topics.box_of(topic))

    def _on_controller(self, _topic: str, data: bytes) -> None:
        if self._model.controller(ControllerStatus.decode(data)):
            self._reseed.set()

    async def _connected(self) -> None:
        self._reseed.set()
        if not self.logs.number:
            # What was logged before this run of ours: each process still has its last lines.
            with suppress(LinkDown):
                await self._bus.publish(topics.log_wish(topics.EVERY_PROCESS), LogWish(recent=EARLIER_LINES).encode())

    async def _seeding(self) -> None:
        """Calls in progress come from the database at each connect and at each new run of the controller."""
        while True:
            await self._reseed.wait()
            self._reseed.clear()
            await _tolerant(self._seed)

    async def _refresh_figures(self) -> None:
        await _tolerant(self._figures)
        self._publish(Changes(top=True))

    async def _flushing(self, bus: Bus) -> None:
        idle = 0
        while True:
            self._model.broker(bus.connected)
            changes = self._model.take_changes()
            idle = 0 if changes else idle + 1
            if changes or idle % IDLE_TURNS == 0:
                self._publish(changes)
            self._tell_logs()
            await asyncio.sleep(FLUSH_S)

    def _publish(self, changes: Changes) -> None:
        if not self._feed.streams:
            if changes:
                self._feed.skip()
            return
        if changes.channels or changes.boxes or changes.layout:
            self._feed.touch()
        try:
            for topic, name, data in self._draw(changes):
                self._feed.publish(topic, name, data)
        except Exception:
            # A cell that can't be drawn must not end the thread that feeds everything else.
            log.exception("live changes could not be drawn")
            self._feed.skip()

    def _tell_logs(self) -> None:
        # Only to whoever looks: other streams must not lose their place in the ring to a storm of lines.
        self._turns += 1
        due = self._turns % LOGS_TURNS == 0 and self.logs.number != self._logs_shown
        if due and "logs" in self._feed.watched:
            self._logs_shown = self.logs.number
            self._feed.publish("logs", "logs", "changed")

    async def _beat(self) -> None:
        self._feed.publish(EVERYBODY, "beat", self._clock.utc().isoformat())

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await act()
            await asyncio.sleep(seconds)


async def _tolerant(read: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(read)
    except StoreError as error:
        log.warning("database can't be read now", error=str(error))
