"""Lets a person read what passes at a module's AT port, live and for a bounded time.

The last lines of each module are kept, so that whoever opens a console sees at once what went before. Nothing can be
typed here; the `at` command with its allow-list is another thing. Secrets were masked where the line was read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from simrack.drivers.modems.base import AtTrace
from simrack.wire import topics
from simrack.wire.messages import ConsoleLine, ConsoleLines
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock

# A screen full: what a person reads back when something has just gone wrong.
KEPT = 60
# One message for what passes in this time; a module in a call says two lines a second.
GATHER_S = 0.25
# More would be a start-up list or a storm, which nobody reads as it passes.
MOST_LINES = 100
# A line of a module that talks nonsense must not fill the link.
MOST_CHARS = 200


@dataclass(slots=True)
class _Watch:
    """One console that is open until `until` on the monotonic clock."""

    until: float
    ends: datetime
    waiting: deque[AtTrace]
    left_out: int = 0

    def add(self, line: AtTrace) -> None:
        self.left_out += len(self.waiting) == MOST_LINES
        self.waiting.append(line)


@dataclass(slots=True)
class Consoles:
    """The consoles of one box. `now` is the controller's time as the box knows it."""

    box: str
    bus: Bus
    clock: Clock
    now: Callable[[], datetime]
    _kept: dict[int, deque[AtTrace]] = field(default_factory=dict)
    _open: dict[int, _Watch] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, channel: int, line: AtTrace) -> None:
        """A line has passed at a module's port."""
        self._kept.setdefault(channel, deque(maxlen=KEPT)).append(line)
        watch = self._open.get(channel)
        if watch is not None:
            watch.add(line)
            self._news.set()

    def watch(self, channel: int, seconds: float) -> datetime:
        """Open a console for so long from now, or end it (0); returns until when."""
        ends = self.now() + timedelta(seconds=seconds)
        if not seconds:
            self._open.pop(channel, None)
            return ends
        known = self._open.get(channel)
        before = deque(maxlen=MOST_LINES) if known is not None else deque(self._kept.get(channel, ()), MOST_LINES)
        self._open[channel] = watch = _Watch(self.clock.monotonic() + seconds, ends, before)
        if known is not None:
            watch.waiting.extend(known.waiting)
        self._news.set()
        return ends

    async def run(self) -> None:
        """Send what has passed until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            self.send()
            await asyncio.sleep(GATHER_S)

    def send(self) -> None:
        """Send what waits, and close what has had its time."""
        mono, now = self.clock.monotonic(), self.now()
        for channel, watch in tuple(self._open.items()):
            if mono >= watch.until:
                del self._open[channel]
                continue
            lines = tuple(
                ConsoleLine(at=now - timedelta(seconds=mono - line.at), way=line.way, text=line.text[:MOST_CHARS])
                for line in watch.waiting
            )
            message = ConsoleLines(box=self.box, channel=channel, until=watch.ends, left_out=watch.left_out, lines=lines)
            watch.waiting.clear()
            watch.left_out = 0
            # At most once: a line that is lost on the way is better than one that comes late.
            self.bus.tell(topics.channel_console(self.box, channel), message.encode())
