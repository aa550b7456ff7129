"""The last lines that a process has logged, bounded, for people who look at the control room's Logs page."""

import re
import threading
from collections import deque
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simrack.wire.messages import LogLine

#: Lines kept while nobody takes them, and for whoever asks later: a few minutes of a busy process, under 2 MB.
KEPT_LINES = 1000
#: A line that a person can read; a traceback is longer than the rest.
MOST_EVENT, MOST_VALUE, MOST_TRACE, MOST_FIELDS = 400, 200, 3000, 16
#: Ids that lines are searched by; everything else is a field among others.
IDS = ("box", "channel", "call", "sender", "sim")
_NOT_FIELDS = frozenset({"event", "level", "at", "process", *IDS})
_AS_IT_IS = (str, int, float, bool, type(None))
# No line should hold a secret; what is named like one never leaves the process.
_SECRET = re.compile(r"password|secret|token|\bpin\b|\bpuk\b|authorization|cookie", re.IGNORECASE)


class LogTap:
    """A processor of structlog that keeps each line and passes it on unchanged; any thread may log."""

    def __init__(self, kept: int = KEPT_LINES) -> None:
        self._lines: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=kept)
        self._lock = threading.Lock()
        self._seq = 0

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        # Objects become text at once: what they say later, or hold on to, is not what was logged.
        kept = {name: value if isinstance(value, _AS_IT_IS) else str(value)[:MOST_TRACE] for name, value in event.items()}
        with self._lock:
            self._seq += 1
            self._lines.append((self._seq, kept))
        return event

    @property
    def seq(self) -> int:
        """The number of the newest line."""
        return self._seq

    def after(self, seq: int, most: int) -> "tuple[LogLine, ...]":
        """At most so many lines after number `seq`, oldest first; what is no longer kept is left out."""
        with self._lock:
            kept = len(self._lines)
            skip = max(0, kept - max(0, self._seq - seq))
            found = [self._lines[index] for index in range(skip, min(kept, skip + most))]
        return tuple(line_of(number, event) for number, event in found)


def line_of(seq: int, event: Mapping[str, Any]) -> "LogLine":
    """One line as it travels: everything is text, cut to a length that a page can show."""
    # The command line configures logging at each start, and most of its commands need no messages.
    from simrack.wire.messages import LogLine

    named = [item for item in event.items() if item[0] not in _NOT_FIELDS][:MOST_FIELDS]
    return LogLine(
        seq=seq, at=_moment(event.get("at")), level=str(event.get("level", "info")),
        event=_cut(event.get("event", ""), MOST_EVENT), fields={_cut(name, 60): _shown(name, value) for name, value in named},
        **{name: _cut(value, 80) for name in IDS if (value := event.get(name)) is not None},
    )  # fmt: skip


def _shown(name: str, value: object) -> str:
    if _SECRET.search(name):
        return "***"
    return _cut(value, MOST_TRACE if name == "exception" else MOST_VALUE)


def _cut(value: object, most: int) -> str:
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _moment(text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        # A line without its time came around `configure`; it must not end whoever logs.
        return datetime.fromtimestamp(0, UTC)
