"""Alarms on figures: people set the thresholds; a figure that stands at one does not ring all night."""

from datetime import UTC, datetime
from typing import Any

import pytest
from controller_sim import TestClock
from web_demo import DemoIds, _record

from simrack.controller.alarms.board import AlarmBoard
from simrack.controller.alarms.thresholds import LEAST_CALLS, LOOK_EVERY_S, SHORT_FOR_S, Thresholds
from simrack.controller.alarms.traffic import Traffic
from simrack.controller.config.catalogue import CATALOGUE, Values
from simrack.controller.models import RecordRow
from simrack.wire.messages import BoxStatus, HostFigures
from simrack.wire.mqtt import MemoryBroker, Stamp

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Nothing:
    """A store that nobody asks."""

    async def open_alarm(self, *_told: object) -> None: ...
    async def close_alarm(self, *_told: object) -> None: ...
    async def acknowledge_alarm(self, alarm: int, by: str, note: str, *, release: bool = False) -> str | None:
        return None


class Fleet:
    """Boxes as they last reported."""

    def __init__(self) -> None:
        self.boxes: dict[str, BoxStatus] = {}
        self.ready: dict[str, int] = {}

    def statuses(self) -> dict[str, BoxStatus]:
        return self.boxes

    def usable(self) -> dict[str, int]:
        return self.ready


class Stand:
    """The watch with figures that are set by hand."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.fleet, self.traffic, self.free = TestClock(), Fleet(), Traffic(), 50.0
        self.board = AlarmBoard(Nothing(), MemoryBroker().bus("c"), self.clock, Stamp("c1"))
        self.options = Values({f"alarms.{name}": value for name, value in options.items()})
        self.watch = Thresholds(self.board, self.fleet, self.traffic, self.clock, lambda: self.free)

    def box(self, **said: Any) -> None:
        self.fleet.boxes["b1"] = BoxStatus(boot="b", seq=1, at=NOW, box="b1", online=True, channels=16, **said)

    def open(self, after_s: float = LOOK_EVERY_S) -> set[str]:
        self.clock.forward(after_s)
        self.watch.look(self.options)
        return set(self.board.open_causes)


def test_disk_opens_below_and_closes_above_with_a_margin() -> None:
    """The disk fills, and the first word of it is that calls are refused."""
    on = Stand(disk_free_percent=10)
    assert on.open() == set()
    on.free = 9.9
    assert on.open() == {"disk-low"}
    on.free = 10.5
    assert on.open() == {"disk-low"}
    on.free = 11.5
    assert on.open() == set()


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"host": HostFigures(disk_mb=1000, disk_free_mb=20)}, "box-disk-low:b1"),
        ({"host": HostFigures(temperature_c=91.0)}, "box-hot:b1"),
        ({"clock_offset_ms": -9000}, "box-clock:b1"),
        ({"outbox": 501}, "box-queue:b1"),
    ],
    ids=["disk", "heat", "clock", "queue"],
)
def test_boxes_figures_open_their_alarms(said: dict[str, Any], cause: str) -> None:
    """A box in trouble would be found when its calls fail."""
    on = Stand()
    on.box(**said)
    assert on.open() == {cause}
    on.box(host=HostFigures(disk_mb=1000, disk_free_mb=900, temperature_c=40.0), clock_offset_ms=3)
    assert on.open() == set()


def test_short_box_waits_for_a_restart_to_end() -> None:
    """Each restart of a module would ring."""
    on = Stand(box_lines_percent=75)
    on.box()
    on.fleet.ready["b1"] = 16
    assert on.open() == set()
    on.fleet.ready["b1"] = 10
    assert on.open(SHORT_FOR_S / 2) == set()
    assert on.open(SHORT_FOR_S) == {"box-short:b1"}
    on.fleet.ready["b1"] = 16
    assert on.open() == set()


def test_silence_opens_and_a_call_closes() -> None:
    """A sender's trunk is down since Friday, and nobody has noticed."""
    on = Stand(no_call_min=30)
    assert on.open(29 * 60) == set()
    assert on.open(2 * 60) == {"no-calls"}
    on.traffic.begun(on.clock.monotonic())
    assert on.open() == set()


def row(outcome: str) -> RecordRow:
    made = _record(NOW, DemoIds(1)) | {"outcome": outcome, "ingress": "", "egress": "", "pattern": ""}
    return RecordRow(**{name: made.get(name) for name in RecordRow.__dataclass_fields__})  # type: ignore[arg-type]


def test_ratio_needs_calls_and_forgets_the_hour_before() -> None:
    """Two failed calls at night would ring, or a bad morning would ring all day."""
    on = Stand(asr_percent=40)
    for _ in range(LEAST_CALLS - 1):
        on.traffic.ended(row("failed"), on.clock.monotonic())
    on.traffic.ended(row("refused"), on.clock.monotonic())
    assert on.open() == set()
    on.traffic.ended(row("failed"), on.clock.monotonic())
    assert on.open() == {"asr-low"}
    assert on.open(3700) == set()
    assert on.traffic.ratio(on.clock.monotonic()) == (0, 0.0)


def test_nought_means_never() -> None:
    on = Stand(disk_free_percent=0, hot_c=0, clock_off_s=0, queue_facts=0)
    on.free = 0.0
    on.box(host=HostFigures(disk_mb=1000, disk_free_mb=0, temperature_c=200.0), clock_offset_ms=9_999_999, outbox=10**6)
    assert on.open() == set()


def test_every_threshold_is_read() -> None:
    """An option that nobody reads is a promise that is not kept."""
    asked: set[str] = set()

    class Asked(Values):
        def get(self, name: str) -> Any:
            asked.add(name)
            return super().get(name)

    on = Stand()
    on.options = Asked()
    on.box(host=HostFigures(disk_mb=1, disk_free_mb=1, temperature_c=1.0), clock_offset_ms=1)
    on.open()
    assert asked == {name for name in CATALOGUE if name.startswith("alarms.")}
