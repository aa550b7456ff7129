"""The message bus: MQTT through aiomqtt, and an in-memory twin that passes the same contract tests.

What simrack relies on is little: retained state, last will, and at least once while connected (3.1.1
semantics, so that every broker serves). Each link is a clean session; whoever connects publishes all its
state again through `on_connect`, so that a broker with an empty memory is as good as any. What must not be
lost waits in an outbox of its own and is deleted on an application acknowledgement, never on PUBACK.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import aiomqtt
import structlog

from simrack.wire import topics
from simrack.wire.errors import BadMessage, CommandFailed, LinkDown, UnknownVersion, UserError
from simrack.wire.messages import Command, CommandReply
from simrack.wire.mqtt_client import Client
from simrack.wire.ports import Clock, Ids

KEEPALIVE_S = 10  # a dead peer is noticed within 15 s (MQTT 3.1.1 3.1.2.10: one and a half times)
CALL_TIMEOUT_S = 10.0  # connect, subscribe, PUBACK: a broker on a bad link answers within seconds or not at all
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # fast first: a broker restart is the usual reason
GOODBYE_S = 1.0  # a DISCONNECT is a courtesy; a process that ends does not wait for a broker that is gone
ENOUGH_INFLIGHT = 200
MOST_TOPICS = 50_000  # remembered: 1,000 boxes of 32 channels; whoever sends on more costs itself time, not memory

Handler = Callable[[str, bytes], None]
OnConnect = Callable[[], Awaitable[None]]
log = structlog.get_logger(__name__)


class Bus(Protocol):
    """Publish and subscribe; handlers run in the loop and must not block.

    A message may come more than once: redelivered, or once for each overlapping pattern (MQTT 3.1.1 3.3.5).
    """

    @property
    def connected(self) -> bool:
        """True while a session with the broker stands and the subscriptions are in place."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1 and wait for the broker's word. Raises `LinkDown` when there is no session."""

    def tell(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 and wait for nothing: what nobody misses when the link is down."""

    def subscribe(self, pattern: str, handler: Handler) -> Callable[[], None]:
        """Hand every message under `pattern` to `handler`; returns its own undoing."""

    def on_connect(self, callback: OnConnect) -> None:
        """Run `callback` after each connect, once all subscriptions stand."""

    async def run(self) -> None:
        """Keep the session up until cancelled."""


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """`mqtt://user:password@host:port`."""

    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "BrokerUrl":
        parts = urlsplit(url)
        if parts.scheme != "mqtt" or not parts.hostname:
            raise UserError(f"{url!r} is no broker address", todo="Write mqtt://user:password@host:port.")
        user = unquote(parts.username) if parts.username else None
        word = unquote(parts.password) if parts.password else None
        return cls(parts.hostname, parts.port or 1883, user, word)


class _Handlers:
    """Subscriptions of one client, by pattern."""

    def __init__(self) -> None:
        self._by_pattern: dict[str, list[Handler]] = {}
        self._by_topic: dict[str, tuple[Handler, ...]] = {}  # topics that came before

    def add(self, pattern: str, handler: Handler) -> bool:
        """Add one; True when the pattern is new."""
        new = pattern not in self._by_pattern
        self._by_topic.clear()
        self._by_pattern.setdefault(pattern, []).append(handler)
        return new

    def remove(self, pattern: str, handler: Handler) -> bool:
        """Remove one; True when it was the pattern's last."""
        handlers = self._by_pattern.get(pattern, [])
        self._by_topic.clear()
        if handler in handlers:
            handlers.remove(handler)
        if handlers or pattern not in self._by_pattern:
            return False
        del self._by_pattern[pattern]
        return True

    @property
    def patterns(self) -> list[str]:
        return list(self._by_pattern)

    def dispatch(self, topic: str, payload: bytes) -> None:
        for handler in self._of(topic):
            try:
                handler(topic, payload)
            except (BadMessage, UnknownVersion) as error:
                log.warning("message refused", topic=topic, error=str(error))
            except Exception:
                # One bad handler must not end the session that serves all the others.
                log.exception("message handler failed", topic=topic)

    def _of(self, topic: str) -> tuple[Handler, ...]:
        """Boxes speak on the same topics again and again, so each is matched once."""
        known = self._by_topic.get(topic)
        if known is None:
            if len(self._by_topic) >= MOST_TOPICS:
                self._by_topic.clear()
            fits = (handlers for pattern, handlers in self._by_pattern.items() if matches(pattern, topic))
            known = self._by_topic[topic] = tuple(handler for handlers in fits for handler in handlers)
        return known


def matches(pattern: str, topic: str) -> bool:
    """MQTT 3.1.1 4.7 for the patterns that simrack uses: `+` for one level, `#` for the rest."""
    wanted, have = pattern.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(have) or level not in ("+", have[index]):
            return False
    return len(wanted) == len(have)


class _Inbox(asyncio.Queue[aiomqtt.Message]):
    """The client's queue of messages. With `straight` each is handled as it is read, without a task for it."""

    straight: Callable[[aiomqtt.Message], None] | None = None

    def put_nowait(self, item: aiomqtt.Message) -> None:
        if self.straight is None:
            super().put_nowait(item)
        else:
            self.straight(item)


class MqttBus:
    """A session with a real broker that heals by itself."""

    def __init__(
        self,
        url: str,
        client_id: str,
        *,
        will: tuple[str, bytes] | None = None,
        keepalive_s: int = KEEPALIVE_S,
    ) -> None:
        self._url = BrokerUrl.parse(url)
        self._client_id = client_id
        self._will = will
        self._keepalive_s = keepalive_s
        self._handlers = _Handlers()
        self._callbacks: list[OnConnect] = []
        self._client: Client | None = None
        self._sending: set[asyncio.Future[None]] = set()
        self._changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        self._inbox = _Inbox()

    @property
    def connected(self) -> bool:
        return self._client is not None

    def on_connect(self, callback: OnConnect) -> None:
        self._callbacks.append(callback)

    def subscribe(self, pattern: str, handler: Handler) -> Callable[[], None]:
        # A second handler of a known pattern asks the broker again, for the retained messages.
        self._handlers.add(pattern, handler)
        self._changes.put_nowait((pattern, True))

        def undo() -> None:
            if self._handlers.remove(pattern, handler):
                self._changes.put_nowait((pattern, False))

        return undo

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        client = self._client
        if client is None:
            raise LinkDown(f"no session with the broker at {self._url.host}:{self._url.port}")
        sending = asyncio.ensure_future(
            client.publish(topic, payload, qos=1, retain=retain, timeout=CALL_TIMEOUT_S)
        )
        # aiomqtt goes on waiting for a PUBACK that a lost session can't bring any more: `run` cancels it then.
        self._sending.add(sending)
        try:
            await asyncio.wait((sending,))
            if sending.cancelled():
                raise LinkDown("the session with the broker ended")
            sending.result()
        except aiomqtt.MqttError as error:
            raise LinkDown(str(error)) from error
        finally:
            self._sending.discard(sending)
            sending.cancel()

    def tell(self, topic: str, payload: bytes) -> None:
        if self._client is not None:
            # aiomqtt knows no way but to wait: two tasks and two rounds of the loop for each message.
            self._client._client.publish(topic, payload)

    async def run(self) -> None:
        failures = 0
        while True:
            # A task of its own: a TaskGroup that ends by an error swallows a cancellation that comes meanwhile,
            # and a process that ends together with its broker would look for it for ever.
            session = asyncio.create_task(self._session())
            try:
                await asyncio.wait({session})
                if session.cancelled():
                    # Not by us: asyncio.TaskGroup of 3.11 may leave a cancellation behind when a child fails.
                    log.warning("broker session ended", broker=self._url.host, errors=["cancelled inside"])
                else:
                    session.result()
            except* (aiomqtt.MqttError, OSError) as group:
                log.warning("broker session ended", broker=self._url.host, errors=[str(e) for e in group.exceptions])
            finally:
                failures = 0 if self.connected else failures + 1
                self._client = None
                for sending in self._sending:
                    sending.cancel()
                await _end(session)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def _connection(self) -> Client:
        will = aiomqtt.Will(self._will[0], self._will[1], qos=1, retain=True) if self._will else None
        inbox = self._inbox = _Inbox()
        return Client(
            self._url.host,
            self._url.port,
            username=self._url.username,
            password=self._url.password,
            identifier=self._client_id,
            will=will,
            clean_session=True,
            keepalive=self._keepalive_s,
            timeout=CALL_TIMEOUT_S,
            max_inflight_messages=ENOUGH_INFLIGHT,
            queue_type=cast("type[_Inbox]", lambda **_size: inbox),
        )

    async def _session(self) -> None:
        client = self._connection()
        try:
            async with client, asyncio.TaskGroup() as group:
                client.check()
                client.timeout = GOODBYE_S
                await self._serve(client, group)
        finally:
            client.drop()

    async def _serve(self, client: Client, group: asyncio.TaskGroup) -> None:
        while not self._changes.empty():
            self._changes.get_nowait()
        for pattern in self._handlers.patterns:
            await client.stand(pattern, CALL_TIMEOUT_S)
        self._client = client
        group.create_task(self._receive(client))
        group.create_task(self._keep_subscriptions(client))
        for callback in self._callbacks:
            group.create_task(_tolerate_link_down(callback))

    async def _receive(self, client: Client) -> None:
        """Handle what came while subscriptions were made, then each message as it is read."""
        inbox = self._inbox
        while not inbox.empty():
            self._handle(inbox.get_nowait())
        inbox.straight = self._handle
        try:
            async for message in client.messages:
                self._handle(message)
        finally:
            inbox.straight = None

    def _handle(self, message: aiomqtt.Message) -> None:
        payload = message.payload
        # paho always delivers octets; the other types of the annotation are for publishing.
        data = bytes(payload) if isinstance(payload, bytes | bytearray) else str(payload or "").encode()
        self._handlers.dispatch(message.topic.value, data)

    async def _keep_subscriptions(self, client: Client) -> None:
        while True:
            pattern, wanted = await self._changes.get()
            if wanted:
                await client.stand(pattern, CALL_TIMEOUT_S)
            else:
                await client.fall(pattern, CALL_TIMEOUT_S)


async def _end(session: asyncio.Task[None]) -> None:
    """Cancel until it is over: a connect that is answered in that moment goes on (asyncio.wait_for of 3.11)."""
    while not session.done():
        session.cancel()
        await asyncio.wait({session}, timeout=2 * GOODBYE_S)
    if not session.cancelled():
        session.exception()


async def _tolerate_link_down(callback: OnConnect) -> None:
    # The session that the callback belongs to is over; the next one calls it again.
    with contextlib.suppress(LinkDown):
        await callback()


class MemoryBroker:
    """A broker in memory: retained messages, last wills, links that can be cut."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self._buses: list[MemoryBus] = []

    def bus(self, client_id: str, *, will: tuple[str, bytes] | None = None) -> "MemoryBus":
        """A client of this broker; it connects when its `run` starts."""
        bus = MemoryBus(self, client_id, will)
        self._buses.append(bus)
        return bus

    def route(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for bus in self._buses:
            if bus.connected:
                bus.deliver(topic, payload)

    def forget(self) -> None:
        """Lose all retained messages, as a broker does that restarts without a disk."""
        self.retained.clear()


class MemoryBus:
    """In-memory twin of `MqttBus`."""

    def __init__(self, broker: MemoryBroker, client_id: str, will: tuple[str, bytes] | None) -> None:
        self._broker = broker
        self._client_id = client_id
        self._will = will
        self._handlers = _Handlers()
        self._callbacks: list[OnConnect] = []
        self._up = False
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._up

    def on_connect(self, callback: OnConnect) -> None:
        self._callbacks.append(callback)

    def subscribe(self, pattern: str, handler: Handler) -> Callable[[], None]:
        self._handlers.add(pattern, handler)
        if self._up:
            self._replay(pattern)

        def undo() -> None:
            self._handlers.remove(pattern, handler)

        return undo

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await asyncio.sleep(0)
        if not self._up:
            raise LinkDown("no session with the broker")
        self._broker.route(topic, payload, retain=retain)

    def tell(self, topic: str, payload: bytes) -> None:
        if self._up:
            self._broker.route(topic, payload, retain=False)

    def deliver(self, topic: str, payload: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._handlers.dispatch, topic, payload)

    def cut(self) -> None:
        """Lose the session without a word: the broker publishes the last will, `run` connects again."""
        self._up = False
        self._lost.set()
        if self._will:
            self._broker.route(self._will[0], self._will[1], retain=True)

    async def run(self) -> None:
        try:
            while True:
                self._lost.clear()
                self._up = True
                for pattern in self._handlers.patterns:
                    self._replay(pattern)
                for callback in list(self._callbacks):
                    await _tolerate_link_down(callback)
                await self._lost.wait()
        finally:
            self._up = False

    def _replay(self, pattern: str) -> None:
        for topic, payload in list(self._broker.retained.items()):
            if matches(pattern, topic):
                self.deliver(topic, payload)


class Stamp:
    """Numbers the state messages of one run: (boot id, sequence)."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self._seq = 0

    def next(self) -> tuple[str, int]:
        self._seq += 1
        return self.boot, self._seq


class Newest:
    """Drops state that is older than what was seen: brokers redeliver and reorder."""

    def __init__(self) -> None:
        self._seen: dict[Any, tuple[str, int]] = {}

    def accept(self, key: Any, boot: str, seq: int) -> bool:
        """True when this is newer for `key`; another boot id always is (twins are the fleet's to judge)."""
        known = self._seen.get(key)
        if known is not None and known[0] == boot and seq <= known[1]:
            return False
        self._seen[key] = (boot, seq)
        return True


class Commander:
    """Sends commands and waits for their replies."""

    def __init__(self, bus: Bus, client_id: str, clock: Clock, ids: Ids) -> None:
        self._bus, self._clock, self._ids = bus, clock, ids
        self._topic = topics.reply(f"{client_id}-{ids.token(4)}")
        self._waiting: dict[str, asyncio.Future[CommandReply]] = {}
        bus.subscribe(self._topic, self._on_reply)

    async def send(
        self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0
    ) -> CommandReply:
        """Have `action` done.

        Raises:
            CommandFailed: no answer within `timeout_s`, or the link is down; it may or may not have been done.
        """
        command = Command(
            id=self._ids.token(),
            action=action,
            actor=actor,
            deadline=self._clock.utc() + timedelta(seconds=timeout_s),
            reply_to=self._topic,
            args=args,
        )
        waiter = self._waiting[command.id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish(topic, command.encode())
                answer: CommandReply = await waiter
                return answer
        except TimeoutError:
            raise CommandFailed(f"{action}: no answer within {timeout_s:g} s") from None
        except LinkDown as error:
            raise CommandFailed(f"{action}: {error}") from error
        finally:
            del self._waiting[command.id]

    def _on_reply(self, _topic: str, payload: bytes) -> None:
        reply = CommandReply.decode(payload)
        waiter = self._waiting.get(reply.id)
        if waiter and not waiter.done():
            waiter.set_result(reply)
