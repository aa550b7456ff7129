"""The broker is gone, comes back empty, answers late, or is half dead while a call is on.

The broker's memory is never needed: boxes publish everything again, the controller knows its channels within
seconds, each fact is stored once, and calls in progress hear nothing of it.
"""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from controller_world import World, world
from gateway_sip import Dialog, sdp_of
from production_parts import Broker, RealBroker
from sqlalchemy import create_engine, text

from simrack.wire.errors import LinkDown
from simrack.wire.mqtt import MqttBus

pytestmark = pytest.mark.stack
ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")
WITHIN_S = 30.0
LATE_S = 1.5


@dataclass
class Relay:
    """A link to the broker that a test makes late, or half dead: it takes octets and gives none."""

    to: int
    late_s: float = 0.0
    half: bool = False
    port: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Relay"]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, there]
        await asyncio.gather(self._pass(reader, there), self._pass(there_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(4096):
                await asyncio.sleep(self.late_s)
                if not self.half:
                    writer.write(octets)
        except OSError:
            pass  # cut
        writer.transport.abort()


class Through:
    """The broker as seen through a relay."""

    def __init__(self, broker: Broker, relay: Relay) -> None:
        self._url = broker.url().replace(f":{broker.port}", f":{relay.port}")

    def url(self, user: str = "tester") -> str:
        assert user == "tester"
        return self._url


async def in_time(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            while not condition():  # noqa: ASYNC110  (what is awaited has no event)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what} did not come about within {WITHIN_S} s") from None


async def talking(on: World) -> tuple[Dialog, Dialog]:
    call = on.invite()
    at_box = await on.box.invited()
    assert at_box.invite is not None
    at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
    assert await on.final(call) == 200
    return call, at_box


async def told(on: World, dialog: Dialog) -> None:
    """The box's fact, repeated until it is acknowledged as the outbox does; then once more."""
    end = asyncio.get_running_loop().time() + WITHIN_S
    first = on.box.seq
    while not on.box.acks:
        assert asyncio.get_running_loop().time() < end, "no acknowledgement"
        on.box.seq = first  # the same fact again
        with contextlib.suppress(LinkDown):
            await on.box.tell(dialog, talk_ms=777)
        await asyncio.sleep(0.3)
    on.box.seq = first
    await on.box.tell(dialog, talk_ms=777)


def facts(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        count = int(connection.execute(text("SELECT count(*) FROM box_event_seen")).scalar_one())
    engine.dispose()
    return count


async def over(on: World, hurt: Callable[[], object], heal: Callable[[], object]) -> None:
    """A call that is on before, during and after; its end and its fact fall into the fault."""
    call, at_box = await talking(on)
    hurt()
    call.again("INFO")
    await in_time(lambda: 200 in call.statuses, "an answer within the dialog while the broker is hurt")
    call.again("BYE")
    await in_time(lambda: at_box.request("BYE"), "the end at the box without a broker")
    heal()
    await told(on, at_box)
    row = await on.record(1)
    assert (row.outcome, row.talk_network_ms) == ("answered", 777)
    again, there = await talking(on)
    again.again("BYE")
    await in_time(lambda: there.request("BYE"), "the end of the next call")
    assert await asyncio.to_thread(facts, on.app.settings.database) == 1, "stored once, however often it came"


@pytest.mark.parametrize("fault", ["gone", "frozen"])
async def test_calls_go_on_while_the_broker_is_away(tmp_path: Path, broker: Broker, fault: str) -> None:
    """A killed broker comes back without retained state and sessions; one that stood still goes on as if nothing was."""

    def hurt() -> None:
        broker.kill() if fault == "gone" else broker.send(signal.SIGSTOP)

    def heal() -> None:
        broker.start() if fault == "gone" else broker.send(signal.SIGCONT)

    async with world(tmp_path, RealBroker(broker)) as on:
        await over(on, hurt, heal)


@pytest.mark.parametrize("fault", ["late", "half"])
async def test_calls_go_on_over_a_bad_link_to_the_broker(tmp_path: Path, broker: Broker, fault: str) -> None:
    """Answers that come late, and a link that takes everything and gives nothing."""
    async with Relay(broker.port).serve() as relay, world(tmp_path, RealBroker(Through(broker, relay))) as on:

        def hurt() -> None:
            relay.late_s, relay.half = (LATE_S, False) if fault == "late" else (0.0, True)

        def heal() -> None:
            relay.late_s, relay.half = 0.0, False
            if fault == "half":
                relay.cut()  # octets of the session are missing: no TCP link goes on after that

        await over(on, hurt, heal)


ROUNDS = 20
TOGETHER = 4


@dataclass
class Chatter:
    """A bus that has state to publish again, speaks all the time, and hears everybody."""

    bus: MqttBus
    name: str
    word: bytes = b""
    heard: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bus.subscribe("simrack/v1/tests/+/word", lambda topic, payload: self.heard.update({topic: payload}))
        self.bus.on_connect(self.state)

    async def state(self) -> None:
        for number in range(30):
            await self.bus.publish(f"simrack/v1/tests/{self.name}/{number}", b"state", retain=True)

    async def speak(self) -> None:
        while True:
            with contextlib.suppress(LinkDown):
                await self.bus.publish(f"simrack/v1/tests/{self.name}/word", self.word)
            # Subscriptions change all the time, too: a waiting page, a command's reply.
            undo = self.bus.subscribe(f"simrack/v1/tests/{self.name}/more", lambda _topic, _payload: None)
            await asyncio.sleep(0.01)
            undo()

    def hears(self, word: bytes) -> bool:
        return list(self.heard.values()).count(word) == TOGETHER


def all_hear(buses: list[Chatter], word: bytes) -> bool:
    return all(chatter.hears(word) for chatter in buses)


async def test_every_bus_outlives_kill_after_kill(
    broker: Broker, run_tasks: Callable[..., asyncio.Task[object]], caplog: pytest.LogCaptureFixture
) -> None:
    """One of four sessions stayed silent after a kill, for as long as its keep-alive or for ever."""
    before = len(asyncio.all_tasks())
    buses = [Chatter(MqttBus(broker.url(), f"chatter-{n}"), str(n)) for n in range(TOGETHER)]
    work = [run_tasks(made) for chatter in buses for made in (chatter.bus.run(), chatter.speak())]
    dice = random.Random(4)
    for number in range(ROUNDS):
        word = f"round {number}".encode()
        for chatter in buses:
            chatter.word = word
        await in_time(partial(all_hear, buses, word), f"all hear all in round {number}")
        await asyncio.sleep(dice.choice((0.0, dice.uniform(0.0, 0.1), dice.uniform(0.0, 0.5))))
        broker.kill()
        broker.start()
    for task in work:
        task.cancel()
    await asyncio.wait(work)
    await in_time(lambda: len(asyncio.all_tasks()) <= before, "nothing of the sessions is left")
    # A writer that is planned for a lost socket's number takes it from whatever has that number now.
    assert not [record.getMessage() for record in caplog.records if record.name == "asyncio"]
