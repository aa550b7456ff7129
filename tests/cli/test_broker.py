"""The embedded broker answers every newcomer, also while others subscribe."""

import asyncio
import socket
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from support import StartProcess

from simrack.cli.broker import Steady
from simrack.wire.mqtt import MqttBus

pytestmark = pytest.mark.system
NEWCOMERS, TOPICS, WITHIN_S = 12, 40, 9.0


def test_a_walk_sees_the_table_as_it_was() -> None:
    table = Steady({"a": [], "b": []})
    seen = []
    for topic in table:
        seen.append(topic)
        table[topic + "x"] = []
    assert seen == ["a", "b"]


async def test_newcomers_are_served_while_others_subscribe(start_process: StartProcess, tmp_path: Path) -> None:
    """A command that connects at the wrong moment would say that the broker can't be reached."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    users, config = tmp_path / "users", tmp_path / "broker.toml"
    users.write_text(f"tester:{PasswordHasher(time_cost=1, memory_cost=1024).hash('secret')}\n")
    config.write_text(f'listen = "127.0.0.1:{port}"\nusers = "{users}"\n')
    await asyncio.to_thread(start_process, "broker", "--config", str(config))

    async def newcomer(number: int) -> None:
        bus, connected = MqttBus(f"mqtt://tester:secret@127.0.0.1:{port}", f"client-{number}"), asyncio.Event()

        async def mark() -> None:
            for topic in range(TOPICS):
                await bus.publish(f"simrack/v1/s/{number}/{topic}", b"kept", retain=True)
            connected.set()

        for topic in range(TOPICS):
            bus.subscribe(f"simrack/v1/s/{number}/{topic}", lambda _topic, _payload: None)
        bus.on_connect(mark)
        session = asyncio.create_task(bus.run())
        try:
            await connected.wait()
            if number == 0:
                first.set()
                await served.wait()
        finally:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)

    # The first one stays, with retained messages that amqtt offers to all who come.
    first, served = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        group.create_task(newcomer(0))
        await first.wait()
        async with asyncio.TaskGroup() as others:
            for number in range(1, NEWCOMERS):
                others.create_task(newcomer(number))
        served.set()
