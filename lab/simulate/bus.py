"""The message broker on the virtual clock: delays, reordering between topics, doubles, cut links, an empty memory.

What MQTT promises holds and no more: clean sessions, retained messages at each subscription, the order within
one topic, at least once at QoS 1 while a session stands, a last will when it ends without a word.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from simrack.lab.simulate.loop import Incarnation, VirtualLoop
from simrack.wire.errors import BadMessage, LinkDown, UnknownVersion
from simrack.wire.mqtt import Handler, OnConnect, matches

log = structlog.get_logger(__name__)
#: One way to or from the broker, seconds.
QUICK_S = (0.001, 0.004)
#: A broker that swaps: everything takes this long.
SLOW_S = (0.3, 3.0)
#: A client looks for its broker again after this long.
RETRY_S = 1.0
#: A client that says nothing is given up by the broker: one and a half times the keep-alive (3.1.1 3.1.2.10).
KEEPALIVE_S = 15.0
#: Calls have topics of their own, so that they pile up.
MOST_TOPICS = 1000


@dataclass
class SimBroker:
    """See the module. `watch` sees every message that the broker takes: (client, topic, payload)."""

    loop: VirtualLoop
    rng: random.Random
    retained: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, "SimBus"] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)  # client names that can't reach it
    up: bool = True
    slow: bool = False
    doubles: float = 0.0
    watch: Callable[[str, str, bytes], None] = lambda _client, _topic, _payload: None
    _last: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def slot(self, way: tuple[str, str, str]) -> float:
        """When a message arrives that goes now from a client, to a client, under a topic: not before the one ahead."""
        at = self._last[way] = max(self.loop.time() + self.delay(), self._last.get(way, 0.0) + 1e-6)
        return at

    def delay(self) -> float:
        """One way."""
        return self.rng.uniform(*(SLOW_S if self.slow else QUICK_S))

    def bus(self, owner: Incarnation, client: str, will: tuple[str, bytes] | None) -> "SimBus":
        """A client; it connects when its `run` starts."""
        return SimBus(self, owner, client, will)

    def reachable(self, bus: "SimBus") -> bool:
        return self.up and not any(bus.client.startswith(name) for name in self.blocked)

    def join(self, bus: "SimBus") -> None:
        """A session begins; an older one of the same name ends (3.1.1 3.1.4-2)."""
        other = self.sessions.get(bus.client)
        if other is not None:
            self.leave(other, other.joined)
        self.sessions[bus.client] = bus
        bus.joined = bus.session

    def leave(self, bus: "SimBus", session: int, *, word: bool = False) -> None:
        """A session ends; without a word the last will is published."""
        if self.sessions.get(bus.client) is not bus or bus.joined != session:
            return
        del self.sessions[bus.client]
        if bus.session == session:
            bus.session_lost()
        if bus.will is not None and not word and self.up:
            self.loop.call_later(self.delay(), self.route, bus.client, *bus.will, True, context=self.loop.world)

    def block(self, name: str) -> None:
        """Cut the link of a client; its peer notices only by the keep-alive."""
        self.blocked.add(name)
        for bus in [bus for bus in self.sessions.values() if bus.client.startswith(name)]:
            bus.stall()
            self.loop.call_later(KEEPALIVE_S, self.leave, bus, bus.joined, context=self.loop.world)

    def unblock(self, name: str) -> None:
        self.blocked.discard(name)

    def freeze(self, bus: "SimBus") -> None:
        """Its process stands still: the keep-alive ends the session if it lasts."""
        self.loop.call_later(KEEPALIVE_S, self._expire_frozen, bus, context=self.loop.world)

    def _expire_frozen(self, bus: "SimBus") -> None:
        if bus.owner.life.value == "frozen":
            self.leave(bus, bus.joined)

    def stop(self, *, forget: bool) -> None:
        """The broker's process ends; with `forget` its memory does too."""
        self.up = False
        if forget:
            self.retained.clear()
        for bus in list(self.sessions.values()):
            del self.sessions[bus.client]
            bus.session_lost()

    def start(self) -> None:
        self.up = True

    def route(self, client: str, topic: str, payload: bytes, retain: bool) -> None:
        """Take a message and hand it to whoever subscribed."""
        if not self.up:
            return
        self.watch(client, topic, payload)
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for bus in self.sessions.values():
            if bus.wants(topic):
                self.send(bus, topic, payload)
                if self.doubles and self.rng.random() < self.doubles:
                    self.send(bus, topic, payload)

    def send(self, bus: "SimBus", topic: str, payload: bytes) -> None:
        """Deliver one message; within a topic in order."""
        at = self.slot(("", bus.client, topic))
        self.loop.call_at(at, bus.arrive, bus.session, topic, payload, context=self.loop.world)

    def tidy(self) -> None:
        """Forget when the last message of each topic went; call it while nothing is under way."""
        self._last.clear()


class SimBus:
    """The twin of `MqttBus`."""

    def __init__(
        self, broker: SimBroker, owner: Incarnation, client: str, will: tuple[str, bytes] | None
    ) -> None:
        self._broker, self.owner, self.client, self.will = broker, owner, client, will
        self._handlers: dict[str, list[Handler]] = {}
        self._callbacks: list[OnConnect] = []
        self._fits: dict[str, list[str]] = {}
        self._loop = broker.loop
        self.session = self.joined = 0
        self.up = self.stalled = False
        self._lost = asyncio.Event()
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._count = 0
        owner.ports.append(self._closed)

    @property
    def connected(self) -> bool:
        return self.up

    def on_connect(self, callback: OnConnect) -> None:
        self._callbacks.append(callback)

    def subscribe(self, pattern: str, handler: Handler) -> Callable[[], None]:
        self._handlers.setdefault(pattern, []).append(handler)
        self._fits.clear()
        if self.up:
            self._replay(pattern)

        def undo() -> None:
            handlers = self._handlers.get(pattern, [])
            if handler in handlers:
                handlers.remove(handler)
            if not handlers:
                self._handlers.pop(pattern, None)
                self._fits.clear()

        return undo

    def wants(self, topic: str) -> bool:
        return bool(self._takers(topic))

    def _takers(self, topic: str) -> list[str]:
        """Patterns that fit a topic; looked up once per topic while the subscriptions stay."""
        found = self._fits.get(topic)
        if found is None:
            found = self._fits[topic] = [pattern for pattern in self._handlers if matches(pattern, topic)]
            if len(self._fits) > MOST_TOPICS:
                self._fits.clear()
        return found

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """As the contract says; the acknowledgement takes its way too."""
        if not self.up:
            raise LinkDown("no session with the broker")
        self._count += 1
        number = self._count
        future = self._loop.create_future()
        self._acks[number] = future
        if not self.stalled:
            self._loop.call_at(
                self._broker.slot((self.client, "", topic)), self._taken, self.session, number, topic, payload, retain,
                context=self._loop.world,
            )  # fmt: skip
        try:
            await future
        finally:
            self._acks.pop(number, None)

    def tell(self, topic: str, payload: bytes) -> None:
        """As the contract says: sent, and no word about it."""
        if self.up and not self.stalled:
            self._loop.call_at(
                self._broker.slot((self.client, "", topic)), self._told, self.session, topic, payload,
                context=self._loop.world,
            )  # fmt: skip

    def _told(self, session: int, topic: str, payload: bytes) -> None:
        if session == self.session or self._broker.sessions.get(self.client) is self:
            self._broker.route(self.client, topic, payload, retain=False)

    def _taken(self, session: int, number: int, topic: str, payload: bytes, retain: bool) -> None:
        # What reached the broker is published, whatever became of its sender meanwhile.
        if session != self.session and self._broker.sessions.get(self.client) is not self:
            return
        self._broker.route(self.client, topic, payload, retain)
        self.owner.soon(self._acknowledged, number)

    def _acknowledged(self, number: int) -> None:
        future = self._acks.get(number)
        if future is not None and not future.done():
            future.set_result(None)

    def arrive(self, session: int, topic: str, payload: bytes) -> None:
        """A message comes out of the network."""
        if session == self.session and self.up and not self.stalled:
            self.owner.soon(self._dispatch, topic, payload)

    def _dispatch(self, topic: str, payload: bytes) -> None:
        handlers = [handler for pattern in self._takers(topic) for handler in self._handlers.get(pattern, ())]
        for handler in handlers:
            try:
                handler(topic, payload)
            except (BadMessage, UnknownVersion) as error:
                log.warning("message refused", topic=topic, error=str(error))
            except Exception:
                log.exception("message handler failed", topic=topic)

    def stall(self) -> None:
        """The link is cut; nobody has noticed yet."""
        self.stalled = True
        self._loop.call_later(KEEPALIVE_S, self._notice, self.session, context=self._loop.world)

    def _notice(self, session: int) -> None:
        if self.stalled and session == self.session:
            self.session_lost()

    def session_lost(self) -> None:
        """The session is over for this side."""
        if not self.up:
            return
        self.up = self.stalled = False
        self.session += 1
        for future in self._acks.values():
            if not future.done():
                future.set_exception(LinkDown("the session with the broker ended"))
        self._acks.clear()
        self.owner.soon(self._lost.set)

    def _closed(self) -> None:
        """Its process was killed: the kernel closes the socket."""
        self.up = False
        self.session += 1
        broker = self._broker
        if broker.sessions.get(self.client) is self:
            if self.stalled or any(self.client.startswith(name) for name in broker.blocked):
                self._loop.call_later(KEEPALIVE_S, broker.leave, self, self.joined, context=self._loop.world)
            else:
                broker.leave(self, self.joined)

    async def run(self) -> None:
        """Keep the session up until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._broker.delay())
                if not self._broker.reachable(self):
                    await asyncio.sleep(RETRY_S)
                    continue
                self._lost = asyncio.Event()
                self.session += 1
                self.up, self.stalled = True, False
                self._broker.join(self)
                for pattern in list(self._handlers):
                    self._replay(pattern)
                for callback in list(self._callbacks):
                    try:
                        await callback()
                    except LinkDown:
                        break
                await self._lost.wait()
                await asyncio.sleep(RETRY_S)
        finally:
            if self.owner.alive:
                self._broker.leave(self, self.joined, word=True)
            self.up = False

    def _replay(self, pattern: str) -> None:
        for topic, payload in list(self._broker.retained.items()):
            if matches(pattern, topic):
                self._broker.send(self, topic, payload)
