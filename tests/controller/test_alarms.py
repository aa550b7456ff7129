"""Alarms: opened once, closed once, counted for the pages, kept through a database that is down."""

import asyncio
from collections.abc import Callable
from typing import Any

from controller_sim import TestClock, report, status, until

from simrack.controller.alarms.board import AlarmBoard
from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.alarms.watch import GRACE_S, Watch
from simrack.controller.fleet.state import Fleet
from simrack.controller.store.errors import StoreDown
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import AlarmSummary, RecoveryInfo
from simrack.wire.mqtt import MemoryBroker, Stamp

Run = Callable[..., asyncio.Task[Any]]


class Kept:
    """Alarms as the store would keep them."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.down = False

    async def open_alarm(self, cause: str, severity: str, title: str, advice: str = "") -> None:
        self._check()
        self.told.append(f"+{cause} {severity} {title}")

    async def close_alarm(self, cause: str) -> None:
        self._check()
        self.told.append(f"-{cause}")

    async def acknowledge_alarm(self, alarm: int, by: str, note: str, *, release: bool = False) -> str | None:
        self._check()
        self.told.append(f"{'-' if release else '+'}{alarm} {by}: {note}")
        return {1: "box-unreachable:box-1", 2: "box-silent:box-2"}.get(alarm)

    def _check(self) -> None:
        if self.down:
            raise StoreDown("full")


class Board:
    def __init__(self) -> None:
        self.clock, self.kept, self.broker = TestClock(), Kept(), MemoryBroker()
        self.bus = self.broker.bus("c")
        self.board = AlarmBoard(self.kept, self.bus, self.clock, Stamp("c1"))
        self.bus.on_connect(self.board.publish)

    def summary(self) -> AlarmSummary:
        return AlarmSummary.decode(self.broker.retained[topics.controller_alarms()])


async def test_alarm_opens_and_closes_once_and_pages_hear_of_it(run_tasks: Run) -> None:
    """Saying the same thing twice makes one alarm; the count on the page follows."""
    on = Board()
    run_tasks(on.bus.run())
    run_tasks(on.board.run())
    await until(lambda: on.bus.connected)
    for _ in range(3):
        on.board.set("box-unreachable", active=True, subject="box-1")
    await until(lambda: on.summary().major == 1)
    on.board.set("box-unreachable", active=False, subject="box-1")
    on.board.set("box-unreachable", active=False, subject="box-1")
    await until(lambda: on.summary().major == 0)
    await until(lambda: len(on.kept.told) == 2)
    assert on.kept.told == ["+box-unreachable:box-1 major Box box-1 is unreachable", "-box-unreachable:box-1"]


async def test_open_alarm_tells_the_newest_trouble(run_tasks: Run) -> None:
    """Who has mended the line that the alarm names, and is refused again, must see the line that is wrong now."""
    on = Board()
    run_tasks(on.board.run())
    for line in (7, 7, 9):
        on.board.set("config-rejected", active=True, detail=f"routing.toml:{line}")
    on.board.set("config-rejected", active=True)
    on.board.set("config-rejected", active=False)
    await until(lambda: len(on.kept.told) == 3)
    assert [told.rpartition(":")[2] for told in on.kept.told] == ["7", "9", "-config-rejected"]


async def test_alarm_about_the_database_waits_for_the_database(run_tasks: Run, monkeypatch: Any) -> None:
    """The alarm that tells of a full disk is not lost on that disk."""
    monkeypatch.setattr("simrack.controller.alarms.board.RETRY_S", 0.01)
    on = Board()
    on.kept.down = True
    run_tasks(on.board.run())
    on.board.set("store-down", active=True)
    assert on.board.open_causes == ("store-down",)
    for _ in range(5):
        await asyncio.sleep(0)
    on.kept.down = False
    await until(lambda: on.kept.told)


async def test_alarm_of_an_earlier_run_is_closed_by_this_one() -> None:
    on = Board()
    on.board.resume({"box-unreachable:box-1": "major"})
    assert on.board.summary().major == 1
    on.board.set("box-unreachable", active=False, subject="box-1")
    assert on.board.summary().major == 0


async def test_acknowledged_alarm_is_quiet_until_it_closes() -> None:
    """The wall would stay red for what somebody has in hand; or a new trouble would stay pale because of an old one."""
    on = Board()
    heard: list[tuple[str, str]] = []
    on.board.listen(lambda news: heard.append((news.what, news.by)))
    on.board.set("box-unreachable", active=True, subject="box-1")
    assert await on.board.acknowledge(1, "Ada", "driving there") == "box-unreachable:box-1"
    summary = on.board.summary()
    assert (summary.major, summary.acknowledged) == (0, 1)
    on.board.set("box-unreachable", active=False, subject="box-1")
    on.board.set("box-unreachable", active=True, subject="box-1")
    summary = on.board.summary()
    assert (summary.major, summary.acknowledged) == (1, 0)
    assert heard == [("opened", ""), ("acknowledged", "Ada"), ("closed", ""), ("opened", "")]


async def test_acknowledgement_can_be_taken_back_and_outlives_a_restart() -> None:
    on = Board()
    on.board.resume({"box-unreachable:box-1": "major"}, in_hand=("box-unreachable:box-1", "gone:x"))
    assert on.board.summary().acknowledged == 1
    await on.board.acknowledge(1, "Ada", "", release=True)
    assert (on.board.summary().major, on.board.summary().acknowledged) == (1, 0)
    assert await on.board.acknowledge(3, "Ada", "") is None


async def test_held_alarm_closes_by_itself() -> None:
    """Things that happened (an overload) don't stay red for ever, and a repetition renews the time."""
    on = Board()
    on.board.set("overload", active=True, hold_s=60)
    on.clock.forward(50)
    on.board.set("overload", active=True, hold_s=60)
    on.clock.forward(50)
    on.board.sweep()
    assert set(on.board.open_causes) == {"overload"}
    on.clock.forward(10)
    on.board.sweep()
    assert set(on.board.open_causes) == set()


async def test_fleet_raises_its_alarms(run_tasks: Run) -> None:
    """Box gone, twin, silent, plain link, no channel: each opens and closes with its cause."""
    on = Board()
    run_tasks(on.bus.run())
    await until(lambda: on.bus.connected)
    fleet = Fleet(on.clock)
    watch = Watch(on.board, fleet, on.bus, on.clock)

    def causes() -> set[str]:
        watch.look()
        return set(on.board.open_causes)

    fleet.take_status(status(on.clock).model_copy(update={"link": "plain"}))
    assert causes() == {"plain-link:box-1"}
    fleet.take_status(status(on.clock, seq=0, online=False))
    assert causes() == {"plain-link:box-1", "box-unreachable:box-1"}
    fleet.take_status(status(on.clock, seq=2))
    fleet.take_report(report(on.clock, seq=3, state=ChannelState.SEARCHING))
    assert causes() == set()
    on.clock.forward(GRACE_S + 1)
    assert causes() == {"no-channel-ready"}
    fleet.take_report(report(on.clock, seq=4))
    assert causes() == set()
    on.clock.forward(301)
    assert causes() == {"box-silent:box-1"}
    fleet.take_status(status(on.clock, "b2"))
    on.clock.forward(1)
    fleet.take_status(status(on.clock, "b1", seq=9))
    assert "twin-box:box-1" in causes()


async def test_lost_broker_is_an_alarm_after_a_moment() -> None:
    on = Board()
    watch = Watch(on.board, Fleet(on.clock), on.bus, on.clock)
    watch.look()
    assert set(on.board.open_causes) == set()
    on.clock.forward(6)
    watch.look()
    assert set(on.board.open_causes) == {"broker-down"}


def test_every_alarm_says_what_to_do() -> None:
    """An alarm without advice wakes a person for nothing."""
    for kind in CATALOGUE.values():
        assert len(kind.advice) > 20
        assert kind.title.format(subject="x")


async def test_a_module_that_is_being_brought_back_is_an_alarm_per_rung_until_it_serves(run_tasks: Run) -> None:
    """Whoever is on duty sees what was tried; after a restart of the controller, too."""
    on = Board()
    fleet = Fleet(on.clock)
    watch = Watch(on.board, fleet, on.bus, on.clock)
    on.board.resume({"module-out:box-1/1": "major", "module-rung:box-2/1: usb": "minor"})

    def causes() -> set[str]:
        watch.look()
        return {cause for cause in on.board.open_causes if cause.startswith(("module", "box-disk"))}

    assert causes() == {"module-out:box-1/1", "module-rung:box-2/1: usb"}, "nobody was heard yet"
    fleet.take_status(status(on.clock).model_copy(update={"trouble": "disk full"}))
    failing = RecoveryInfo(rung="usb", failed=("reopen", "reset"))
    fleet.take_report(report(on.clock, seq=2).model_copy(update={"recovery": failing}))
    assert causes() == {
        "box-disk:box-1", "module-rung:box-1/1: reopen", "module-rung:box-1/1: reset", "module-rung:box-2/1: usb",
    }  # fmt: skip
    fleet.take_status(status(on.clock, seq=3))
    gone = RecoveryInfo(failed=("reopen", "out"), out=True)
    fleet.take_report(report(on.clock, seq=4).model_copy(update={"recovery": gone}))
    assert causes() == {"module-out:box-1/1", "module-rung:box-1/1: reopen", "module-rung:box-2/1: usb"}
    fleet.take_report(report(on.clock, seq=5))
    assert causes() == {"module-rung:box-2/1: usb"}
