"""The box's side of MQTT: birth, state, facts, the controller's time and its commands.

Everything retained is published anew on each connect, so the broker's memory is never needed. Facts come from
the outbox, oldest first, at most `WINDOW` under way, and are sent again until the controller's own
acknowledgement; PUBACK means nothing here. Commands carry a deadline in the controller's time: without a
known offset only `stop` is taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from pydantic import ValidationError

from simrack.gateway.channel import Channel
from simrack.gateway.errors import GatewayError
from simrack.gateway.host import Host, nothing_known
from simrack.gateway.outbox import Outbox
from simrack.wire import topics
from simrack.wire.errors import LinkDown, UnknownVersion
from simrack.wire.messages import (
    BoxEvent,
    BoxStatus,
    CallPart,
    Command,
    CommandReply,
    ControllerStatus,
    ControllerTime,
    DrainInfo,
    EventAck,
    FaultPart,
    HostFigures,
)
from simrack.wire.mqtt import Bus, Newest, Stamp
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)

# gateway.md: status every 2 min and at each change.
STATUS_EVERY_S = 120.0
# A controller that is up acknowledges within a second; 15 s covers its restart without flooding it.
RESEND_S = 15.0
# Facts under way: enough for a burst of ends, few enough that a backlog of days does not fill any queue.
WINDOW = 100
# Pause after a publish that failed inside a session that stands.
STUMBLE_S = 1.0
#: A frozen broker must not hold up an orderly end; its last will says the same.
FAREWELL_S = 2.0
# A command that failed to be reported is asked for again within its deadline; replies are kept this long.
REPLY_MEMORY_S = 300.0
# The controller publishes its time every 10 s; after three misses the offset is still good, for crystals
# drift by 100 ppm at most, so it is kept until the box restarts.
Action = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
#: The only command that needs no clock: it must work on a box that is lost.
WITHOUT_CLOCK = frozenset({"stop"})


@dataclass(frozen=True, slots=True)
class Self:
    """What the box says of itself in its status."""

    box: str
    site: str = ""
    sip: str = ""
    software: str = ""
    link: Literal["loopback", "tunnel", "plain"] = "loopback"


def will(box: str, boot: str, now: datetime) -> tuple[str, bytes]:
    """Topic and payload of the last will; its sequence is 0, for it is written before the life it ends."""
    status = BoxStatus(boot=boot, seq=0, at=now, box=box, online=False)
    return topics.box_status(box), status.encode()


@dataclass(slots=True)
class Uplink:
    """See the module. `heard` is when the controller last showed life, on the monotonic clock."""

    me: Self
    bus: Bus
    outbox: Outbox
    channels: tuple[Channel, ...]
    clock: Clock
    actions: Mapping[str, Action]
    #: Called when the controller shows a boot that was never seen, other than the first, with the moment on the
    #: monotonic clock since which the one before was known to be gone (None: it was never said).
    on_new_controller: Callable[[float | None], None] = lambda _: None
    host: Host = nothing_known
    drain: DrainInfo | None = None  # what was ordered for the whole box
    controller: str = ""  # boot id of the controller that took another's place, as of `on_new_controller`
    heard: float = field(init=False)
    _stamp: Stamp = field(init=False)
    _started: float = field(init=False)
    _newest: Newest = field(default_factory=Newest)
    _boots: set[str] = field(default_factory=set)
    #: The controller's time, and our monotonic clock when it was said: no jump of our wall clock touches it.
    _told: tuple[datetime, float] | None = None
    _shown: timedelta | None = None
    _host: HostFigures = field(default_factory=HostFigures)
    _sessions: int = 0
    _gone: float | None = None
    _dirty: dict[int, Channel] = field(default_factory=dict)
    _status_due: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _sent: dict[tuple[str, int], float] = field(default_factory=dict)
    _acks: asyncio.Queue[EventAck] = field(default_factory=asyncio.Queue)
    _commands: asyncio.Queue[Command] = field(default_factory=asyncio.Queue)
    _refusals: asyncio.Queue[tuple[str, CommandReply]] = field(default_factory=asyncio.Queue)
    _done: dict[str, tuple[float, asyncio.Future[CommandReply]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stamp = Stamp(self.outbox.boot)
        self._started = self.heard = self.clock.monotonic()
        box = self.me.box
        self.bus.subscribe(topics.controller_time(), self._on_time)
        self.bus.subscribe(topics.controller_status(), self._on_controller)
        self.bus.subscribe(topics.box_event_ack(box), self._on_ack)
        self.bus.subscribe(topics.box_command(box), self._on_command)
        self.bus.on_connect(self._on_connect)
        self.outbox.on_trouble = self.status_changed

    async def run(self) -> None:
        """Publish and obey until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_state())
            group.create_task(self._repeat_status())
            group.create_task(self._publish_facts())
            group.create_task(self._take_acks())
            group.create_task(self._obey(group))
            group.create_task(self._refuse())

    # --- state --------------------------------------------------------------------------------------------

    def channel_changed(self, channel: Channel) -> None:
        """Report a channel soon; several changes at once make one message."""
        self._dirty[channel.number] = channel
        self._changed.set()

    def status_changed(self) -> None:
        """Report the box soon."""
        self._status_due = True
        self._changed.set()

    def show_drain(self, drain: DrainInfo | None) -> None:
        """Tell what was ordered for the whole box, or that nothing is."""
        self.drain = drain
        self.status_changed()

    @property
    def controller_time(self) -> datetime | None:
        """What the controller's clock shows now; None before it was heard."""
        if self._told is None:
            return None
        at, mono = self._told
        return at + timedelta(seconds=self.clock.monotonic() - mono)

    @property
    def offset(self) -> timedelta | None:
        """Controller's clock minus ours, as ours is now."""
        now = self.controller_time
        return None if now is None else now - self.clock.utc()

    @property
    def offset_ms(self) -> int | None:
        """The same in ms, as facts carry it."""
        offset = self.offset
        return None if offset is None else round(offset / timedelta(milliseconds=1))

    async def put(self, body: CallPart | FaultPart) -> None:
        """Keep a fact for the controller."""
        await self.outbox.put(body, self.offset_ms)

    def silent_s(self) -> float:
        """How long the controller has not been heard."""
        return self.clock.monotonic() - self.heard

    async def farewell(self) -> None:
        """Say that the box goes, as its last will would."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._send_status(online=False)
        except (LinkDown, TimeoutError) as error:
            log.info("no farewell", box=self.me.box, error=str(error))

    async def _on_connect(self) -> None:
        # Births and states first, then facts: the controller must know the channel that a fact names.
        self._sessions += 1
        self._dirty = {channel.number: channel for channel in self.channels}
        self._sent.clear()
        self.status_changed()
        self.outbox.news.set()

    async def _publish_state(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self.bus.connected:
                continue
            try:
                await self._send_changes()
            except LinkDown as error:
                log.info("state not published", box=self.me.box, error=str(error))
                # A new session publishes all of it anyway; one that merely stumbled needs another try.
                await asyncio.sleep(STUMBLE_S)
                self._changed.set()

    async def _send_changes(self) -> None:
        if self._status_due:
            self._status_due = False
            await self._send_status(online=True)
        while self._dirty:
            number, channel = self._dirty.popitem()
            report = channel.report(*self._stamp.next())
            try:
                await self.bus.publish(topics.channel_state(self.me.box, number), report.encode(), retain=True)
            except LinkDown:
                self._dirty.setdefault(number, channel)
                raise

    async def _send_status(self, *, online: bool) -> None:
        boot, seq = self._stamp.next()
        status = BoxStatus(
            boot=boot,
            seq=seq,
            at=self.clock.utc(),
            box=self.me.box,
            online=online,
            site=self.me.site,
            sip=self.me.sip,
            software=self.me.software,
            channels=len(self.channels),
            uptime_s=int(self.clock.monotonic() - self._started),
            clock_offset_ms=self.offset_ms,
            outbox=self.outbox.waiting,
            link=self.me.link,
            trouble=self.outbox.trouble,
            drain=self.drain,
            host=self._host.model_copy(update={"sessions": self._sessions}),
        )
        await self.bus.publish(topics.box_status(self.me.box), status.encode(), retain=True)

    async def _repeat_status(self) -> None:
        while True:
            self._host = await self.host()
            self.status_changed()
            await asyncio.sleep(STATUS_EVERY_S)

    # --- facts --------------------------------------------------------------------------------------------

    async def _publish_facts(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RESEND_S):
                    await self.outbox.news.wait()
            except TimeoutError:
                await self.outbox.flush()
            self.outbox.news.clear()
            if not self.bus.connected:
                continue
            try:
                for event in await self.outbox.pending(WINDOW):
                    await self._send_fact(event)
            except LinkDown as error:
                log.info("facts wait", box=self.me.box, error=str(error))

    async def _send_fact(self, event: BoxEvent) -> None:
        now, key = self.clock.monotonic(), (event.boot, event.seq)
        if now - self._sent.get(key, -RESEND_S) < RESEND_S:
            return
        self._sent[key] = now
        await self.bus.publish(topics.box_event(self.me.box), event.encode())

    def _on_ack(self, _topic: str, payload: bytes) -> None:
        ack = EventAck.decode(payload)
        if ack.box == self.me.box:
            self._acks.put_nowait(ack)

    async def _take_acks(self) -> None:
        while True:
            ack = await self._acks.get()
            await self.outbox.acknowledge(ack.ranges)
            self._sent = {key: at for key, at in self._sent.items() if not _covered(key, ack)}

    # --- the controller's time ----------------------------------------------------------------------------

    def _on_time(self, _topic: str, payload: bytes) -> None:
        message = ControllerTime.decode(payload)
        if not self._newest.accept("time", message.boot, message.seq):
            return
        self._met(message.boot)
        self.heard = self.clock.monotonic()
        self._told = message.at, self.heard
        offset, shown = self.offset, self._shown
        if offset is not None and (shown is None or abs(shown - offset) > timedelta(seconds=1)):
            self._shown = offset
            self.status_changed()

    def _on_controller(self, _topic: str, payload: bytes) -> None:
        message = ControllerStatus.decode(payload)
        if not message.online and message.boot in self._boots and self._gone is None:
            self._gone = self.clock.monotonic()
        if message.online and self._newest.accept("status", message.boot, message.seq):
            self.heard = self.clock.monotonic()
            self._met(message.boot)
            # A controller that has just come wants the facts now, not at the next repeat.
            self._sent.clear()
            self.outbox.news.set()

    def _met(self, boot: str) -> None:
        """All boots are kept: a broker that brings back an old controller's word must not look like a restart."""
        known = boot in self._boots
        self._boots.add(boot)
        if not known and len(self._boots) > 1:
            log.info("the controller was restarted", box=self.me.box, boot=boot)
            self.controller = boot
            self.on_new_controller(self._gone)
        self._gone = None

    # --- commands -----------------------------------------------------------------------------------------

    def _on_command(self, _topic: str, payload: bytes) -> None:
        try:
            command = Command.decode(payload)
        except UnknownVersion as error:
            self._refuse_version(payload, str(error))
            raise
        self._commands.put_nowait(command)

    def _refuse_version(self, payload: bytes, error: str) -> None:
        """Answer a command of another message version, if it can be read that far: silence would be a time-out."""
        try:
            command = Command.model_validate_json(payload)
        except ValidationError:
            return
        if command.reply_to:
            self._refusals.put_nowait((command.reply_to, CommandReply(id=command.id, ok=False, error=error)))

    async def _refuse(self) -> None:
        while True:
            topic, reply = await self._refusals.get()
            try:
                await self.bus.publish(topic, reply.encode())
            except LinkDown as error:
                log.warning("refusal lost", id=reply.id, error=str(error))

    async def _obey(self, group: asyncio.TaskGroup) -> None:
        while True:
            command = await self._commands.get()
            self.heard = self.clock.monotonic()
            group.create_task(self._once(command))

    async def _once(self, command: Command) -> None:
        """Do a command once however often it comes, and answer each time."""
        self._forget_replies()
        known = self._done.get(command.id)
        if known is None:
            future: asyncio.Future[CommandReply] = asyncio.get_running_loop().create_future()
            self._done[command.id] = (self.clock.monotonic(), future)
            future.set_result(await self._do(command))
        else:
            future = known[1]
        reply = await future
        if command.reply_to:
            try:
                await self.bus.publish(command.reply_to, reply.encode())
            except LinkDown as error:
                log.warning("reply lost", command=command.action, id=command.id, error=str(error))

    async def _do(self, command: Command) -> CommandReply:
        error = self._why_not(command)
        if error:
            log.warning("command refused", action=command.action, actor=command.actor, error=error)
            return CommandReply(id=command.id, ok=False, error=error)
        log.info("command", action=command.action, actor=command.actor, args=command.args, id=command.id)
        try:
            result = await self.actions[command.action](command.args)
        except GatewayError as failure:
            return CommandReply(id=command.id, ok=False, error=str(failure))
        except Exception as failure:
            # One command's fault must not end the box; the sender hears of it.
            log.exception("command failed", action=command.action, id=command.id)
            return CommandReply(id=command.id, ok=False, error=f"internal: {type(failure).__name__}")
        return CommandReply(id=command.id, ok=True, result=result)

    def _why_not(self, command: Command) -> str:
        if command.action not in self.actions:
            return f"unknown action {command.action}; known are {', '.join(sorted(self.actions))}"
        now = self.controller_time
        if command.action in WITHOUT_CLOCK and now is None:
            return ""
        if now is None:
            return "the controller's time is not known yet"
        if now > command.deadline:
            return "its deadline is over"
        return ""

    def _forget_replies(self) -> None:
        old = self.clock.monotonic() - REPLY_MEMORY_S
        for key in [key for key, (at, future) in self._done.items() if at < old and future.done()]:
            del self._done[key]


def _covered(key: tuple[str, int], ack: EventAck) -> bool:
    return any(item.boot == key[0] and item.first <= key[1] <= item.last for item in ack.ranges)
