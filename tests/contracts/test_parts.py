"""Bus, store, outbox, clock and module driver: the simulation's twin and the real part pass the same contract.

If a twin fails, the simulation runs in a world that is not ours; if the real part does, the rack is at fault.
"""

import asyncio
import json
import random
import socket
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from production_parts import Amqtt, Parts, SqliteDatabase
from store.values import a_part_event, an_open_call, finished, some_dialogs
from support import processes

from simrack.controller.store.errors import StoreRefused
from simrack.controller.store.writer import Writer
from simrack.drivers.modems.base import CallProgress, CardChanged, ModemDriver, NetworkChanged, Progress
from simrack.drivers.registry import open_module
from simrack.gateway.errors import StoreBroken
from simrack.gateway.outbox import Outbox
from simrack.lab.simulate.bus import SimBroker, SimBus
from simrack.lab.simulate.loop import Incarnation, VirtualLoop
from simrack.lab.simulate.modem import SimDriver
from simrack.lab.simulate.network import Fate, Kind, SimNetwork
from simrack.lab.simulate.ports import SimClock, SimIds
from simrack.lab.simulate.store import FULL_DISKS, Disk, InlineWriter, simulated_files
from simrack.wire.errors import LinkDown
from simrack.wire.messages import AckRange, FaultPart
from simrack.wire.mqtt import Bus, MqttBus
from simrack.wire.ports import Clock, Ids, SystemClock, SystemIds

pytestmark = pytest.mark.system
Work = Coroutine[Any, Any, None]
PARTS = ("real", "twin")


def run(part: str, work: Callable[..., Work], *args: Any) -> None:
    """Run a scenario in the loop of its part."""
    if part == "real":
        asyncio.run(work(*args))
        return
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work(*args))
    finally:
        loop.close()


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


# --- the bus ------------------------------------------------------------------------------------------------


class RealBuses:
    def __init__(self, url: str) -> None:
        self._url, self._tasks = url, list[asyncio.Task[Any]]()

    def bus(self, name: str, will: tuple[str, bytes] | None = None) -> Bus:
        made = MqttBus(self._url, name, will=will, keepalive_s=2)
        self._tasks.append(asyncio.ensure_future(made.run()))
        return made

    def cut(self, bus: Any) -> None:
        bus._client._client.socket().shutdown(socket.SHUT_RDWR)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class TwinBuses:
    def __init__(self, _url: str) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop, self._broker = loop, SimBroker(loop, random.Random(1))
        self._lives = list[Incarnation]()

    def bus(self, name: str, will: tuple[str, bytes] | None = None) -> Bus:
        life = Incarnation(self._loop, name)
        self._lives.append(life)
        made = self._broker.bus(life, name, will)
        life.start(made.run())
        return made

    def cut(self, bus: Any) -> None:
        assert isinstance(bus, SimBus)
        self._broker.leave(bus, bus.joined)

    async def end(self) -> None:
        for life in self._lives:
            life.kill()
        await asyncio.sleep(0.01)


async def retained_state_comes_at_once(world: Any, prefix: str) -> None:
    one, two = world.bus(f"{prefix}-1"), world.bus(f"{prefix}-2")
    await until(lambda: one.connected and two.connected, "sessions")
    await one.publish(f"{prefix}/state", b"new", retain=True)
    await one.publish(f"{prefix}/said", b"once")
    heard: list[tuple[str, bytes]] = []
    two.subscribe(f"{prefix}/#", lambda topic, payload: heard.append((topic, payload)))
    await until(lambda: heard, "the retained message")
    assert heard == [(f"{prefix}/state", b"new")]


async def last_will_after_a_cut_and_all_state_again(world: Any, prefix: str) -> None:
    one = world.bus(f"{prefix}-1", (f"{prefix}/status", b"gone"))
    two = world.bus(f"{prefix}-2")
    births: list[int] = []

    async def birth() -> None:
        births.append(1)
        await one.publish(f"{prefix}/status", b"here", retain=True)

    one.on_connect(birth)
    heard: list[bytes] = []
    two.subscribe(f"{prefix}/status", lambda _topic, payload: heard.append(payload))
    await until(lambda: one.connected and two.connected, "sessions")
    if not births:
        await birth()
    await until(lambda: b"here" in heard, "the birth")
    before = len(births)
    world.cut(one)
    await until(lambda: b"gone" in heard, "the last will")
    await until(lambda: len(births) > before and heard[-1] == b"here", "the birth after the new session")


async def order_within_a_topic(world: Any, prefix: str) -> None:
    one, two = world.bus(f"{prefix}-1"), world.bus(f"{prefix}-2")
    heard: list[bytes] = []
    two.subscribe(f"{prefix}/n", lambda _topic, payload: heard.append(payload))
    await until(lambda: one.connected and two.connected, "sessions")
    await asyncio.gather(*(one.publish(f"{prefix}/n", b"%d" % number) for number in range(20)))
    await until(lambda: len(set(heard)) == 20, "all of them")
    assert list(dict.fromkeys(heard)) == [b"%d" % number for number in range(20)]


async def no_session_no_publish(world: Any, prefix: str) -> None:
    bus = world.bus(f"{prefix}-1")
    await until(lambda: bus.connected, "a session")
    world.cut(bus)
    await until(lambda: not bus.connected, "the end of the session")
    with pytest.raises(LinkDown):
        await bus.publish(f"{prefix}/x", b"lost")
    await until(lambda: bus.connected, "another session")
    await bus.publish(f"{prefix}/x", b"kept")


BUS = (retained_state_comes_at_once, last_will_after_a_cut_and_all_state_again, order_within_a_topic, no_session_no_publish)


@pytest.fixture(scope="module")
def broker_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """amqtt as its own command runs it; with --stack Mosquitto."""
    if request.config.getoption("--stack"):
        parts: Parts = request.getfixturevalue("production")
        yield parts.mosquitto.url()
        return
    broker = Amqtt(tmp_path_factory.mktemp("broker"))
    yield broker.url()
    broker.close()


@pytest.mark.stack
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("scenario", BUS, ids=lambda scenario: scenario.__name__)
def test_bus(part: str, scenario: Callable[[Any, str], Work], broker_url: str) -> None:
    async def body() -> None:
        world = RealBuses(broker_url) if part == "real" else TwinBuses(broker_url)
        try:
            await scenario(world, f"simrack/v1/box/contract-{scenario.__name__[:8].replace('_', '-')}")
        finally:
            await world.end()

    run(part, body)


# --- the store ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_store(part: str, tmp_path: Path) -> None:
    """One job that is refused fails alone; a record replaces its open row once; facts are stored once."""
    url = SqliteDatabase(tmp_path / "centre.db").url

    async def body() -> None:
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            life = Incarnation(loop, "c")
            writer: Writer = InlineWriter(url, SimClock(loop), "run", life, Disk(random.Random(1)))
        else:
            writer = Writer(url, SystemClock(), "run")
        async with writer:
            await writer.open_call(an_open_call())
            again = writer.open_call(an_open_call("c2", call_id="c1@host"))
            done = await asyncio.gather(again, writer.open_call(an_open_call("c3")), return_exceptions=True)
            assert isinstance(done[0], StoreRefused)
            assert done[1] is None
            await writer.connected("c1", some_dialogs())
            await writer.finish(finished())
            await writer.finish(finished())
            assert len(await writer.store_events([a_part_event(), a_part_event()])) == 1
            assert await writer.last_event("lab-01", "b1") == 1
            assert await writer.last_event("lab-01", "other") == 0

    run(part, body)


# --- outbox and clock ---------------------------------------------------------------------------------------


def _clock_and_ids(part: str) -> tuple[Clock, Ids]:
    if part == "real":
        return SystemClock(), SystemIds()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return SimClock(loop), SimIds(random.Random(1))


@pytest.mark.parametrize("part", PARTS)
def test_clock(part: str) -> None:
    """Durations agree with the loop's own time, both clocks go on together, ids are as long as asked for."""

    async def body() -> None:
        clock, ids = _clock_and_ids(part)
        mono, wall = clock.monotonic(), clock.utc()
        await asyncio.sleep(0.05)
        passed = clock.monotonic() - mono
        assert 0.045 <= passed < 5
        assert abs((clock.utc() - wall).total_seconds() - passed) < 0.05
        assert clock.utc().tzinfo is not None
        assert len(ids.token(4)) == 8
        assert ids.token() != ids.token()

    run(part, body)


@pytest.mark.parametrize("part", PARTS)
def test_outbox(part: str, tmp_path: Path) -> None:
    """Facts outlive a restart and keep their ids; an attempt is new once; a full disk loses nothing."""

    async def body() -> None:
        clock, ids = _clock_and_ids(part)
        with simulated_files() if part == "twin" else nullcontext():
            box = await Outbox.open("lab-01", tmp_path, clock, ids)
            first = await box.put(FaultPart(channel=1, reason="one"), None)
            assert await box.remember("a1")
            assert not await box.remember("a1")
            if part == "twin":
                FULL_DISKS[str(tmp_path)] = "No space left on device"
                with pytest.raises(StoreBroken):
                    await box.remember("a2")
                await box.put(FaultPart(channel=1, reason="two"), None)
                told = {event.body.reason for event in await box.pending(10) if isinstance(event.body, FaultPart)}
                assert {"one", "two"} <= told
                FULL_DISKS.clear()
            await box.close()
            again = await Outbox.open("lab-01", tmp_path, clock, ids)
            waiting = await again.pending(10)
            assert (waiting[0].boot, waiting[0].seq) == (first.boot, first.seq)
            assert again.boot != first.boot
            assert not await again.remember("a1")
            await again.acknowledge([AckRange(boot=first.boot, first=1, last=9)])
            assert not await again.pending(10)
            await again.close()

    run(part, body)


# --- the driver ---------------------------------------------------------------------------------------------


class Seat:
    """A driver and how its network behaves."""

    def __init__(self, driver: ModemDriver, answers: str, busy: str, talk: Callable[[], int]) -> None:
        self.driver, self.answers, self.busy, self.talk = driver, answers, busy, talk

    async def progress(self, state: Progress) -> CallProgress:
        async with asyncio.timeout(20):
            while True:
                event = await self.driver.events.get()
                if isinstance(event, CallProgress) and event.state is state:
                    return event


async def a_call_is_answered_and_hung_up(seat: Seat) -> None:
    await seat.driver.dial(seat.answers)
    await seat.progress(Progress.ALERTING)
    begun = (await seat.progress(Progress.ACTIVE)).at
    assert await seat.driver.in_call()
    await asyncio.sleep(0.5)
    await seat.driver.hang_up()
    assert not await seat.driver.in_call()
    assert begun > 0
    told = await asyncio.to_thread(seat.talk)
    assert told >= 450


async def a_busy_number_releases_with_its_cause(seat: Seat) -> None:
    await seat.driver.dial(seat.busy)
    assert (await seat.progress(Progress.RELEASED)).cause == 17
    assert not await seat.driver.in_call()


async def hanging_up_twice_is_no_error(seat: Seat) -> None:
    await seat.driver.hang_up()
    await seat.driver.hang_up()
    assert not await seat.driver.in_call()


async def a_dial_is_cut_off_by_the_hang_up_behind_it(seat: Seat) -> None:
    await asyncio.gather(seat.driver.dial(seat.answers), seat.driver.hang_up())
    if await seat.driver.in_call():
        await seat.driver.hang_up()
    assert not await seat.driver.in_call()


async def started(driver: ModemDriver) -> None:
    """Card and network come by themselves after `start`."""
    await driver.start()
    seen: set[type[Any]] = set()
    async with asyncio.timeout(30):
        while not {CardChanged, NetworkChanged} <= seen:
            event = await driver.events.get()
            if not isinstance(event, NetworkChanged) or event.network.stat == 1:
                seen.add(type(event))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A module of the emulated network behind a PTY."""
    folder = tmp_path_factory.mktemp("lab")
    with processes(folder) as start:
        start("lab", "up", "--state", str(folder / "lab.json"), "--channels", "1", "--setup", "0.05-0.1")
        yield json.loads((folder / "lab.json").read_text())


def _books(state: dict[str, Any]) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{state['ledger']}/ledger/calls", timeout=5) as reply:
        found: list[dict[str, Any]] = json.load(reply)
        return found


DRIVER = (
    a_call_is_answered_and_hung_up, a_busy_number_releases_with_its_cause, hanging_up_twice_is_no_error,
    a_dial_is_cut_off_by_the_hang_up_behind_it,
)  # fmt: skip


@pytest.mark.parametrize("scenario", DRIVER, ids=lambda scenario: scenario.__name__)
def test_driver_of_the_lab(scenario: Callable[[Seat], Work], lab: dict[str, Any]) -> None:
    async def body() -> None:
        driver = await open_module(lab["boxes"][0]["modules"][0]["at"], clock=SystemClock())
        try:
            await started(driver)
            await scenario(Seat(driver, lab["numbers"]["answer"], lab["numbers"]["busy"], lambda: int(_books(lab)[-1]["talk_ms"])))
        finally:
            await driver.close()

    asyncio.run(body())


@pytest.mark.parametrize("scenario", DRIVER, ids=lambda scenario: scenario.__name__)
def test_driver_of_the_simulation(scenario: Callable[[Seat], Work]) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        network = SimNetwork(loop, random.Random(1), {"1": Fate(Kind.ANSWER, 0.1, 0.2), "2": Fate(Kind.BUSY, 0.1)})
        module = network.module(("box-1", 1), "8988210000000001001", "001010000001001")
        driver = SimDriver(module, Incarnation(loop, "box-1"), SimClock(loop), random.Random(2))
        await started(driver)
        await scenario(Seat(driver, "1", "2", lambda: round(network.rows[-1].talk_s * 1000)))
        await driver.close()

    run("twin", body)
