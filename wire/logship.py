"""Sends a process's log lines over MQTT, as many as people can read, and takes wishes about level and earlier lines.

Lines are worth less than calls: they go at QoS 0, in small portions, and a storm loses its middle rather than load the
broker. Receivers see from the numbers what is missing.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from simrack.wire import topics
from simrack.wire.logs import TAP, THRESHOLD, Threshold
from simrack.wire.logtap import KEPT_LINES, LogTap
from simrack.wire.messages import LogLines, LogWish
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock

#: Often enough to look live, seldom enough to cost an idle box nothing.
FLUSH_S = 0.5
#: Lines in one message, and so 200 lines a second at most: nobody reads faster, and a message stays below 100 KB.
LINES_PER_FLUSH = 100
#: A process that has nothing to log still says that it is there, and at which level.
ALIVE_S = 30.0
#: Another level ends by itself: a forgotten `debug` would fill disks.
LONGEST_WISH_S = 3600

log = structlog.get_logger(__name__)


class LogShip:
    """One process's lines on their way to the control room; `process` is its name there, for instance `box-lab-01`."""

    def __init__(
        self, process: str, boot: str, bus: Bus, clock: Clock, *, tap: LogTap = TAP, threshold: Threshold = THRESHOLD
    ) -> None:
        self.process, self._boot, self._bus, self._clock = process, boot, bus, clock
        self._tap, self._threshold = tap, threshold
        self._sent = max(0, tap.seq - KEPT_LINES)
        self._said = float("-inf")
        self._back: tuple[float, datetime] | None = None
        bus.subscribe(topics.log_wish(process), self._on_wish)
        bus.subscribe(topics.log_wish(topics.EVERY_PROCESS), self._on_wish)

    async def run(self) -> None:
        """Send until cancelled; the level is the usual one again afterwards."""
        try:
            while True:
                self.turn()
                await asyncio.sleep(FLUSH_S)
        finally:
            self._threshold.restore()

    def turn(self) -> None:
        """One portion, if there is something to say."""
        now = self._clock.monotonic()
        if self._back is not None and now >= self._back[0]:
            self._restore()
        if not self._bus.connected:
            return
        lines = self._tap.after(self._sent, LINES_PER_FLUSH)
        if not lines and now - self._said < ALIVE_S:
            return
        if lines:
            self._sent = lines[-1].seq
        self._said = now
        message = LogLines(
            process=self.process, boot=self._boot, level=self._threshold.name,
            level_until=self._back[1] if self._back else None, lines=lines,
        )  # fmt: skip
        self._bus.tell(topics.log_lines(self.process), message.encode())

    def _on_wish(self, _topic: str, payload: bytes) -> None:
        wish = LogWish.decode(payload)
        if wish.recent:
            self._sent = min(self._sent, max(0, self._tap.seq - wish.recent))
        if wish.level is not None:
            self._change(wish.level, wish.seconds, wish.actor)
        self._said = float("-inf")

    def _change(self, level: str, seconds: int, actor: str) -> None:
        self._threshold.change(level)
        self._back = self._clock.monotonic() + seconds, self._clock.utc() + timedelta(seconds=seconds)
        log.warning("log level changed", to=level, seconds=seconds, actor=actor)

    def _restore(self) -> None:
        self._back = None
        self._threshold.restore()
        self._said = float("-inf")
        log.warning("log level is as usual again", to=self._threshold.name)
