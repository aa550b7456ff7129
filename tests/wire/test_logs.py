"""Log lines reach the control room, at the level that somebody chose for an hour, and never with a secret in them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simrack.wire import logs, topics
from simrack.wire.logship import ALIVE_S, LINES_PER_FLUSH, LogShip
from simrack.wire.logtap import MOST_EVENT, MOST_FIELDS, LogTap
from simrack.wire.messages import LogLines, LogWish
from simrack.wire.mqtt import MemoryBroker

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Hands:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.s = 100.0

    def monotonic(self) -> float:
        return self.s

    def utc(self) -> datetime:
        return NOW + timedelta(seconds=self.s - 100)


class Ship:
    """A ship on a broker in memory, and what was heard of it."""

    def __init__(self) -> None:
        self.clock, self.tap, self.threshold = Hands(), LogTap(kept=300), logs.Threshold()
        broker = MemoryBroker()
        self.bus, self.ear = broker.bus("box"), broker.bus("web")
        self.heard: list[LogLines] = []
        self.ear.subscribe(topics.ALL_LOGS, lambda _, data: self.heard.append(LogLines.decode(data)))
        self.ship = LogShip("box-lab-01", "b1", self.bus, self.clock, tap=self.tap, threshold=self.threshold)
        self.running = [asyncio.create_task(bus.run()) for bus in (self.bus, self.ear)]

    def log(self, event: str, **fields: object) -> None:
        self.tap(None, "info", {"event": event, "level": "info", "at": "2026-11-21T12:00:00.000Z", "process": "box", **fields})

    async def turn(self) -> list[LogLines]:
        self.heard.clear()
        self.ship.turn()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self.heard

    async def wish(self, **wish: Any) -> None:
        await self.ear.publish(topics.log_wish("box-lab-01"), LogWish(**wish).encode())
        await asyncio.sleep(0)


@pytest.fixture
async def on() -> Any:
    ship = Ship()
    await asyncio.sleep(0)
    await ship.turn()
    yield ship
    for task in ship.running:
        task.cancel()
    await asyncio.gather(*ship.running, return_exceptions=True)


async def test_lines_travel_once_in_order_with_their_ids(on: Ship) -> None:
    """Somebody who looks for one call's lines would not find them."""
    on.log("dialled", call="c1", box="lab-01", channel=3, number="+88210")
    on.log("connected", call="c1")
    (message,) = await on.turn()
    first, second = message.lines
    assert (first.event, first.call, first.channel, first.fields) == ("dialled", "c1", "3", {"number": "+88210"})
    assert (first.seq, second.seq) == (1, 2)
    assert await on.turn() == []


async def test_a_storm_goes_in_portions_and_loses_its_oldest(on: Ship) -> None:
    """A box that logs wildly would flood the broker that carries the calls' commands."""
    for number in range(1000):
        on.log(f"line {number}")
    (message,) = await on.turn()
    assert len(message.lines) == LINES_PER_FLUSH
    assert message.lines[0].event == "line 700"


async def test_quiet_process_says_that_it_is_there(on: Ship) -> None:
    """A process that hangs would look like one that has nothing to say."""
    assert await on.turn() == []
    on.clock.s += ALIVE_S
    (message,) = await on.turn()
    assert (message.lines, message.level) == ((), "info")


async def test_level_changes_for_a_while_and_comes_back_by_itself(on: Ship) -> None:
    """A forgotten `debug` would fill the disks of a hundred boxes."""
    await on.wish(level="debug", seconds=600, actor="user:Ada")
    assert on.threshold.name == "debug"
    (message,) = await on.turn()
    assert message.level_until == on.clock.utc() + timedelta(seconds=600)
    on.clock.s += 600
    (message,) = await on.turn()
    assert (on.threshold.name, message.level, message.level_until) == ("info", "info", None)


async def test_earlier_lines_come_again_when_asked_for(on: Ship) -> None:
    """A control room that was restarted would know nothing of the minutes before."""
    for number in range(5):
        on.log(f"line {number}")
    await on.turn()
    await on.wish(recent=2)
    (message,) = await on.turn()
    assert [line.event for line in message.lines] == ["line 3", "line 4"]


async def test_lines_wait_for_the_broker(on: Ship) -> None:
    """What was logged about a lost link is what is wanted when it is back."""
    on.bus._up = False
    on.log("no broker")
    assert await on.turn() == []
    on.bus._up = True
    (message,) = await on.turn()
    assert [line.event for line in message.lines] == ["no broker"]


def test_lines_are_cut_and_secrets_stay_at_home() -> None:
    """A password would travel to everybody who may read logs; a megabyte in one line would stop the page."""
    tap = LogTap()
    wide = {f"field{number}": "x" * 5000 for number in range(50)}
    tap(None, "info", {"event": "e" * 5000, "level": "info", "at": "never", "password": "hunter2", "api_token": "t", **wide})
    (line,) = tap.after(0, 10)
    assert len(line.event) == MOST_EVENT
    assert len(line.fields) == MOST_FIELDS
    assert (line.fields["password"], line.fields["api_token"]) == ("***", "***")
    assert "hunter2" not in line.model_dump_json()


def test_the_level_of_a_running_process_can_be_changed(capfd: pytest.CaptureFixture[str]) -> None:
    """A logger that was used once would keep the level of its first line for ever."""
    import structlog

    logs.configure("test", level="info")
    try:
        log: Any = structlog.get_logger("simrack.levels")
        say: Callable[[], None] = lambda: log.debug("whispered", seen=True)
        say()
        logs.THRESHOLD.change("debug")
        say()
        logs.THRESHOLD.restore()
        say()
    finally:
        logs.configure("test", level="info")
    assert capfd.readouterr().err.count("whispered") == 1
    assert [line.event for line in logs.TAP.after(logs.TAP.seq - 1, 5)] == ["whispered"]
