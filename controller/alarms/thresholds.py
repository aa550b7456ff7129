"""Alarms on figures: each opens beyond a threshold that people set, and closes a little inside it.

A figure that stands at its threshold would otherwise open and close its alarm all night.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import structlog

from simrack.controller.alarms.traffic import Traffic
from simrack.wire.messages import BoxStatus
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
#: Figures change slowly.
LOOK_EVERY_S = 10.0
#: Closes when the figure is this much better than its threshold.
MARGIN = 0.1
#: A box that starts, or restarts a module, is short of channels for a while.
SHORT_FOR_S = 300.0
#: A ratio over fewer calls says nothing.
LEAST_CALLS = 20


class Options(Protocol):
    """The global options in force (controller.config.catalogue.Values)."""

    def number(self, name: str) -> float: ...


class Board(Protocol):
    """The alarm board."""

    @property
    def open_causes(self) -> tuple[str, ...]: ...
    def set(
        self, kind: str, active: bool, subject: str = "", detail: str = "", hold_s: float | None = None
    ) -> None: ...


class FleetFigures(Protocol):
    """What the fleet tells of boxes that are reachable."""

    def statuses(self) -> Mapping[str, BoxStatus]: ...
    def usable(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure against its threshold; `above`: more is worse. A threshold of 0 means never."""

    kind: str
    subject: str
    value: float
    threshold: float
    detail: str
    above: bool = False

    def beyond(self, open_already: bool) -> bool:
        """Whether the alarm is to be open."""
        if not self.threshold:
            return False
        margin = MARGIN if open_already else 0.0
        return self.value > self.threshold * (1 - margin) if self.above else self.value < self.threshold * (1 + margin)


def free_share(folder: Path) -> float:
    """Free space of a folder's disk, 0..100."""
    usage = shutil.disk_usage(folder)
    return 100 * usage.free / usage.total


class FreeDisk:
    """The free space of a folder's disk, measured in a thread: a disk that hangs must not hold up calls."""

    def __init__(self, folder: Path, measure: Callable[[Path], float] | None) -> None:
        self._folder, self._measure = folder, measure
        self.share = 100.0  # until it is known

    async def run(self) -> None:
        """Measure until cancelled; returns at once where nothing is to be measured."""
        while self._measure is not None:
            try:
                self.share = await asyncio.to_thread(self._measure, self._folder)
            except OSError as error:
                log.warning("the disk's free space can't be read", folder=str(self._folder), error=str(error))
            await asyncio.sleep(LOOK_EVERY_S)


class Thresholds:
    """Looks at all figures from time to time."""

    def __init__(
        self, board: Board, fleet: FleetFigures, traffic: Traffic, clock: Clock, disk: Callable[[], float] | None
    ) -> None:
        self._board, self._fleet, self._traffic, self._clock, self._disk = board, fleet, traffic, clock, disk
        self._since = clock.monotonic()
        self._looked = float("-inf")
        self._whole: dict[str, float] = {}

    def look(self, options: Options) -> None:
        """Judge each figure, unless that was done a moment ago."""
        now = self._clock.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        for reading in self._readings(options, now):
            cause = f"{reading.kind}:{reading.subject}" if reading.subject else reading.kind
            is_open = cause in self._board.open_causes
            beyond = reading.beyond(is_open)
            # The figure goes on changing; the title keeps what it was when the alarm opened.
            if beyond != is_open:
                self._board.set(reading.kind, beyond, reading.subject, reading.detail if beyond else "")

    def _readings(self, options: Options, now: float) -> Iterable[Reading]:
        if self._disk is not None:
            free = self._disk()
            yield Reading("disk-low", "", free, options.number("alarms.disk_free_percent"), f"{free:.0f} % free")
        yield from self._traffic_readings(options, now)
        usable = self._fleet.usable()
        for box, status in self._fleet.statuses().items():
            yield from _box_readings(options, box, status)
            yield self._short(options, box, status, usable.get(box, 0), now)

    def _traffic_readings(self, options: Options, now: float) -> Iterator[Reading]:
        silent = self._traffic.silent_s(now, self._since) / 60
        yield Reading(
            "no-calls", "", silent, options.number("alarms.no_call_min"), f"none for {silent:.0f} min", above=True
        )
        calls, answered = self._traffic.ratio(now)
        percent = 100 * answered if calls >= LEAST_CALLS else 100.0
        text = f"{percent:.0f} % of {calls} in the last hour"
        yield Reading("asr-low", "", percent, options.number("alarms.asr_percent"), text)

    def _short(self, options: Options, box: str, status: BoxStatus, usable: int, now: float) -> Reading:
        threshold = options.number("alarms.box_lines_percent")
        share = 100 * usable / status.channels if status.channels else 100.0
        if share >= threshold or box not in self._whole:
            self._whole[box] = now
        waited = now - self._whole[box] >= SHORT_FOR_S
        return Reading(
            "box-short", box, share if waited else 100.0, threshold, f"{usable} of {status.channels}"
        )


def _box_readings(options: Options, box: str, status: BoxStatus) -> Iterator[Reading]:
    host = status.host
    if host is not None and host.disk_mb and host.disk_free_mb is not None:
        free = 100 * host.disk_free_mb / host.disk_mb
        yield Reading("box-disk-low", box, free, options.number("alarms.disk_free_percent"), f"{free:.0f} % free")
    if host is not None and host.temperature_c is not None:
        heat = host.temperature_c
        yield Reading("box-hot", box, heat, options.number("alarms.hot_c"), f"{heat:.0f} °C", above=True)
    if status.clock_offset_ms is not None:
        off = abs(timedelta(milliseconds=status.clock_offset_ms).total_seconds())
        yield Reading("box-clock", box, off, options.number("alarms.clock_off_s"), f"{off:.0f} s off", above=True)
    waiting = status.outbox
    yield Reading("box-queue", box, waiting, options.number("alarms.queue_facts"), f"{waiting} facts", above=True)
