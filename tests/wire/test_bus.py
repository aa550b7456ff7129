"""The message bus: the in-memory twin and the real client pass the same contract.

If one of these fails, rack state on the pages goes stale or a box that died looks alive.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import pytest
from production_parts import Amqtt, Parts

from simrack.wire.errors import CommandFailed, LinkDown
from simrack.wire.messages import Command, CommandReply
from simrack.wire.mqtt import Bus, Commander, MemoryBroker, MqttBus, Newest, Stamp, matches
from simrack.wire.ports import SystemClock, SystemIds

WAIT_S = 10.0
Run = Callable[[Any], asyncio.Task[Any]]


class World(Protocol):
    def bus(self, client_id: str, *, will: tuple[str, bytes] | None = None) -> Bus: ...
    def cut(self, bus: Bus, task: asyncio.Task[Any]) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def bus(self, client_id: str, *, will: tuple[str, bytes] | None = None) -> Bus:
        return self.broker.bus(client_id, will=will)

    def cut(self, bus: Bus, task: asyncio.Task[Any]) -> None:
        bus.cut()  # type: ignore[attr-defined]


class RealWorld:
    def __init__(self, url: str) -> None:
        self.url = url

    def bus(self, client_id: str, *, will: tuple[str, bytes] | None = None) -> Bus:
        return MqttBus(self.url, client_id, will=will, keepalive_s=2)

    def cut(self, bus: Bus, task: asyncio.Task[Any]) -> None:
        # A socket shut down under the client's feet is a connection lost without DISCONNECT.
        sock = bus._client._client.socket()  # type: ignore[attr-defined]
        sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def real_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """amqtt as its own command runs it; with --stack Mosquitto."""
    if request.config.getoption("--stack"):
        parts: Parts = request.getfixturevalue("production")
        yield parts.mosquitto.url()
        return
    broker = Amqtt(tmp_path_factory.mktemp("broker"))
    yield broker.url()
    broker.close()


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.stack)])
async def world(request: pytest.FixtureRequest, real_url: str) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
    else:
        yield RealWorld(real_url)


class Inbox:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    def __call__(self, topic: str, payload: bytes) -> None:
        self.queue.put_nowait((topic, payload))

    async def next(self) -> tuple[str, bytes]:
        async with asyncio.timeout(WAIT_S):
            return await self.queue.get()


async def up(bus: Bus, run: Run) -> asyncio.Task[Any]:
    ready = asyncio.Event()

    async def connected() -> None:
        ready.set()

    bus.on_connect(connected)
    task = run(bus.run())
    async with asyncio.timeout(WAIT_S):
        await ready.wait()
    return task


async def test_publish_without_session_says_link_down(world: World) -> None:
    with pytest.raises(LinkDown):
        await world.bus("nobody").publish("simrack/v1/test/a", b"x")


async def test_what_is_told_without_waiting_arrives_in_order(world: World, run_tasks: Run) -> None:
    """Pages would show a call as speaking that has ended."""
    bus, inbox = world.bus("one"), Inbox()
    bus.subscribe("simrack/v1/t/+", inbox)
    await up(bus, run_tasks)
    other = world.bus("two")
    other.tell("simrack/v1/t/1", b"nobody misses it")  # no session yet
    await up(other, run_tasks)
    for number in range(200):
        other.tell("simrack/v1/t/1", str(number).encode())
    assert [(await inbox.next())[1] for _ in range(200)] == [str(number).encode() for number in range(200)]


async def test_message_reaches_every_matching_handler(world: World, run_tasks: Run) -> None:
    bus, exact, wild = world.bus("one"), Inbox(), Inbox()
    bus.subscribe("simrack/v1/m/1", exact)
    await up(bus, run_tasks)
    bus.subscribe("simrack/v1/m/+", wild)
    other = world.bus("two")
    await up(other, run_tasks)
    await other.publish("simrack/v1/m/1", b"hello")
    assert await exact.next() == ("simrack/v1/m/1", b"hello")
    assert await wild.next() == ("simrack/v1/m/1", b"hello")


async def test_newcomer_gets_retained_state(world: World, run_tasks: Run) -> None:
    one = world.bus("one")
    await up(one, run_tasks)
    await one.publish("simrack/v1/r/state", b"kept", retain=True)
    late, inbox = world.bus("late"), Inbox()
    late.subscribe("simrack/v1/r/+", inbox)
    await up(late, run_tasks)
    assert await inbox.next() == ("simrack/v1/r/state", b"kept")


class Box:
    """A client with a birth and a last will."""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.births = bus, 0
        bus.on_connect(self.birth)

    async def birth(self) -> None:
        self.births += 1
        await self.bus.publish("simrack/v1/w/status", b"here %d" % self.births, retain=True)


async def watched_box(world: World, run: Run) -> tuple[Box, asyncio.Task[Any], Inbox]:
    watcher, inbox = world.bus("watcher"), Inbox()
    watcher.subscribe("simrack/v1/w/status", inbox)
    await up(watcher, run)
    box = Box(world.bus("box", will=("simrack/v1/w/status", b"gone")))
    task = await up(box.bus, run)
    while (await inbox.next())[1] != b"here 1":
        pass
    return box, task, inbox


async def test_dead_client_leaves_its_will(world: World, run_tasks: Run) -> None:
    """A box that dies without a word must not look alive."""
    box, task, inbox = await watched_box(world, run_tasks)
    world.cut(box.bus, task)
    task.cancel()
    assert (await inbox.next())[1] == b"gone"


async def test_client_whose_link_broke_comes_back_by_itself(world: World, run_tasks: Run) -> None:
    box, task, inbox = await watched_box(world, run_tasks)
    world.cut(box.bus, task)
    # A broker that sees the new session before it missed the old one says nothing in between.
    while (await inbox.next())[1] != b"here 2":
        pass


@pytest.mark.stack
async def test_publishing_on_a_lost_session_says_so_at_once(real_url: str, run_tasks: Run) -> None:
    """A process that ends must not wait 10 s for a PUBACK that can't come any more."""
    world = RealWorld(real_url)
    bus = world.bus("one")
    task = await up(bus, run_tasks)

    async def publish_for_ever() -> None:
        while True:
            await bus.publish("simrack/v1/l/1", b"x")

    publishing = run_tasks(publish_for_ever())
    world.cut(bus, task)
    done, _ = await asyncio.wait({publishing}, timeout=3)
    assert done
    assert isinstance(publishing.exception(), LinkDown)


@pytest.mark.stack
async def test_a_session_that_ends_as_cancelled_is_followed_by_the_next(
    real_url: str, run_tasks: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen after a broker was killed: the controller's bus ended without a word and looked for no broker any more."""
    session, begun = MqttBus._session, []

    async def cancelled_first(bus: MqttBus) -> None:
        begun.append(bus)
        if len(begun) == 1:
            raise asyncio.CancelledError
        await session(bus)

    monkeypatch.setattr(MqttBus, "_session", cancelled_first)
    await up(RealWorld(real_url).bus("one"), run_tasks)


async def test_a_handler_that_fails_does_not_end_the_session(world: World, run_tasks: Run) -> None:
    bus, inbox = world.bus("one"), Inbox()

    def broken(_topic: str, _payload: bytes) -> None:
        raise ValueError("a bug in a handler")

    bus.subscribe("simrack/v1/b/1", broken)
    bus.subscribe("simrack/v1/b/+", inbox)
    await up(bus, run_tasks)
    await bus.publish("simrack/v1/b/1", b"x")
    await bus.publish("simrack/v1/b/2", b"y")
    # A broker may deliver once for each overlapping pattern (MQTT 3.1.1 3.3.5), so "x" may come twice.
    while (await inbox.next())[1] != b"y":
        pass


async def test_command_gets_its_reply(world: World, run_tasks: Run) -> None:
    server, client = world.bus("server"), world.bus("client")
    asked, pending = Inbox(), []

    def serve(topic: str, payload: bytes) -> None:
        asked(topic, payload)
        command = Command.decode(payload)
        reply = CommandReply(id=command.id, ok=True, result={"did": command.action}).encode()
        pending.append(run_tasks(server.publish(command.reply_to, reply)))

    server.subscribe("simrack/v1/c/command", serve)
    commander = Commander(client, "client", SystemClock(), SystemIds())
    await up(server, run_tasks)
    await up(client, run_tasks)
    reply = await commander.send("simrack/v1/c/command", "stop", {}, actor="tester")
    assert reply.ok
    assert reply.result == {"did": "stop"}
    with pytest.raises(CommandFailed, match="no answer"):
        await commander.send("simrack/v1/c/nobody", "stop", {}, actor="tester", timeout_s=0.1)


def test_older_state_is_dropped() -> None:
    newest, stamp = Newest(), Stamp("boot-1")
    first, second = stamp.next(), stamp.next()
    assert newest.accept("ch1", *second)
    assert not newest.accept("ch1", *first)
    assert not newest.accept("ch1", *second)
    assert newest.accept("ch2", *first)
    assert newest.accept("ch1", "boot-2", 1)


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [("a/+/c", "a/b/c", True), ("a/+/c", "a/b/d", False), ("a/#", "a/b/c", True), ("a/b", "a/b/c", False),
     ("a/b/c", "a/b", False), ("+/b", "a/b", True)],
)  # fmt: skip
def test_patterns(pattern: str, topic: str, fits: bool) -> None:
    assert matches(pattern, topic) is fits


