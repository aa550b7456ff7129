"""The newest log lines of all processes, in memory: what the Logs page, its API and `simrack logs` look through.

Lines come over MQTT and may come again, or late; each is kept once and shown in the order of its time.
"""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from simrack.wire.messages import LogLine, LogLines

#: About a quarter of an hour of a busy rack, and under 20 MB; more is in each process's own log.
KEPT = 10_000
MOST_SHOWN = 500
#: A process says something at least twice a minute.
SILENT_S = 75.0
RANK = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}


@dataclass(frozen=True, slots=True)
class Kept:
    """One line with its process; `number` counts what this memory has taken in."""

    number: int
    process: str
    boot: str
    line: LogLine

    @property
    def place(self) -> tuple[datetime, int]:
        """Where it stands among the others."""
        return self.line.at, self.number


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process as it last said."""

    name: str
    level: str
    level_until: datetime | None
    heard: datetime


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Filters of the Logs page; each travels in the URL. `before` is a place of the list."""

    level: str = ""
    process: str = ""
    box: str = ""
    channel: str = ""
    call: str = ""
    sender: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[datetime, int] | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines, newest first; `next` is the place from which older ones follow, None when there are none."""

    lines: tuple[Kept, ...]
    next: tuple[datetime, int] | None
    kept: int


class LogRing:
    """Takes what processes send; any thread may read."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Kept] = deque()
        self._most = kept
        self._known: set[tuple[str, str, int]] = set()
        self._processes: dict[str, ProcessView] = {}
        self._lock = threading.Lock()
        self._number = 0

    @property
    def number(self) -> int:
        """Grows with each line and with each change of a process."""
        return self._number

    def take(self, message: LogLines, now: datetime) -> None:
        """Keep what is new of a message."""
        with self._lock:
            before = self._processes.get(message.process)
            for line in message.lines:
                self._add(message, line)
            view = ProcessView(message.process, message.level, message.level_until, now)
            self._processes[message.process] = view
            if before is None or (before.level, before.level_until) != (view.level, view.level_until):
                self._number += 1

    def _add(self, message: LogLines, line: LogLine) -> None:
        key = message.process, message.boot, line.seq
        if key in self._known:
            return
        self._number += 1
        self._known.add(key)
        self._kept.append(Kept(self._number, message.process, message.boot, line))
        while len(self._kept) > self._most:
            old = self._kept.popleft()
            self._known.discard((old.process, old.boot, old.line.seq))

    def processes(self) -> tuple[ProcessView, ...]:
        """Every process that was heard, by name."""
        with self._lock:
            return tuple(sorted(self._processes.values(), key=lambda view: view.name))

    def find(self, wanted: LogFilter, most: int = MOST_SHOWN) -> LogPage:
        """The newest lines that fit, newest first."""
        with self._lock:
            lines = list(self._kept)
        # Nearly in order already, so that this costs one pass.
        lines.sort(key=lambda kept: kept.place, reverse=True)
        found: list[Kept] = []
        for kept in _fitting(lines, wanted):
            if len(found) == most:
                return LogPage(tuple(found), found[-1].place, len(lines))
            found.append(kept)
        return LogPage(tuple(found), None, len(lines))


def _fitting(lines: list[Kept], wanted: LogFilter) -> Iterator[Kept]:
    least, text = RANK.get(wanted.level, 0), wanted.text.casefold()
    exact = [(name, value) for name in ("box", "channel", "call", "sender") if (value := getattr(wanted, name))]
    for kept in lines:
        line = kept.line
        if (
            RANK.get(line.level, 1) >= least
            and wanted.process in ("", kept.process)
            and all(getattr(line, name) == value for name, value in exact)
            and (wanted.since is None or line.at >= wanted.since)
            and (wanted.until is None or line.at < wanted.until)
            and (wanted.before is None or kept.place < wanted.before)
            and (not text or text in _hay(line))
        ):
            yield kept


def _hay(line: LogLine) -> str:
    words = (line.event, line.box, line.call, line.sender, line.sim, *line.fields.values())
    return "\n".join(words).casefold()
