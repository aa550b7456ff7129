"""Turns what the fleet and the link tell into alarms."""

import asyncio
from collections.abc import Callable

from simrack.controller.alarms.board import AlarmBoard
from simrack.controller.fleet.state import BoxChange, Fleet
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock

#: Often enough for a person, seldom enough to cost nothing.
LOOK_EVERY_S = 2.0
#: After a start or a new session the boxes' retained state needs a moment.
GRACE_S = 15.0
#: A broker that restarts is back within seconds.
BROKER_GRACE_S = 5.0


class Watch:
    """Looks at the fleet from time to time, and at once when a box changes."""

    def __init__(self, board: AlarmBoard, fleet: Fleet, bus: Bus, clock: Clock) -> None:
        self._board, self._fleet, self._bus, self._clock = board, fleet, bus, clock
        self._connected_at = self._seen_at = self._served_at = clock.monotonic()
        fleet.listen(self.box_changed)

    def box_changed(self, change: BoxChange) -> None:
        """Open or close what one change of a box means."""
        match change.kind:
            case "reachable" | "unreachable":
                self._board.set("box-unreachable", change.kind == "unreachable", change.box)
            case "twin" | "alone":
                self._board.set("twin-box", change.kind == "twin", change.box)
            case "replaced":
                pass

    def look(self) -> None:
        """Judge what changes by time."""
        now = self._clock.monotonic()
        self._fleet.watch()
        self._board.sweep()
        if self._bus.connected:
            self._seen_at = now
        else:
            self._connected_at = now
        self._board.set("broker-down", now - self._seen_at > BROKER_GRACE_S)
        for box, silent in self._fleet.silent().items():
            # Without a session of our own, their silence says nothing.
            self._board.set("box-silent", silent and self._bus.connected, box)
        for box, plain in self._fleet.plain_links().items():
            self._board.set("plain-link", plain, box)
        for box, trouble in self._fleet.troubles().items():
            self._board.set("box-disk", bool(trouble), box, trouble)
        self._look_at_modules()
        self._look_at_channels(now)

    def _look_at_modules(self) -> None:
        """One alarm per rung that did not help, until the module serves again."""
        now: set[tuple[str, str]] = set()
        heard = set()
        for box, channel, recovery in self._fleet.recoveries():
            place = f"{box}/{channel}"
            heard.add(box)
            now |= {("module-rung", f"{place}: {rung}") for rung in recovery.failed if rung != "out"}
            if recovery.out:
                now.add(("module-out", place))
        for kind, subject in self._in_trouble() - now:
            # A box that was not heard yet, by this run of ours, has closed nothing.
            if subject.partition("/")[0] in heard:
                self._board.set(kind, False, subject)
        for kind, subject in now:
            self._board.set(kind, True, subject)

    def _in_trouble(self) -> set[tuple[str, str]]:
        """What is open, also from an earlier run of the controller."""
        pairs = (cause.partition(":")[::2] for cause in self._board.open_causes)
        return {(kind, subject) for kind, subject in pairs if kind in ("module-rung", "module-out")}

    def _look_at_channels(self, now: float) -> None:
        usable, _total = self._fleet.in_service()
        if usable or not self._fleet.size:
            self._served_at = now
        over = now - max(self._served_at, self._connected_at) > GRACE_S
        self._board.set("no-channel-ready", over)

    async def run(self, also: Callable[[], None] = lambda: None) -> None:
        """Look until cancelled; `also` is called each time."""
        while True:
            self.look()
            also()
            await asyncio.sleep(LOOK_EVERY_S)
