"""Logging, the same in every process: structlog on standard error, JSON where no person is watching.

The level may change while a process runs; what is written is also kept for a while by the tap, from where it goes to the
control room (`logship.py`).
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog

from simrack.wire.logtap import LogTap
from simrack.wire.ports import Clock, SystemClock, iso_ms

LEVELS = ("debug", "info", "warning", "error")


class Threshold:
    """What this process writes: lines below `level` cost one comparison and are gone."""

    def __init__(self) -> None:
        self.usual = self.level = logging.INFO

    @property
    def name(self) -> str:
        return logging.getLevelName(self.level).lower()

    def start(self, level: str) -> None:
        """The level that this process was started with."""
        self.usual = self.level = logging.getLevelNamesMapping()[level.upper()]

    def change(self, level: str) -> None:
        """Another one for a while. KeyError: there is no such level."""
        self.level = logging.getLevelNamesMapping()[level.upper()]

    def restore(self) -> None:
        self.level = self.usual


THRESHOLD = Threshold()
#: The lines of this process; what is tapped before `configure` is nobody's.
TAP = LogTap()


def _levelled() -> type[Any]:
    """structlog's own filter stands for ever once a logger was used; this one asks each time."""
    base = structlog.make_filtering_bound_logger(logging.NOTSET)

    def asking(whole: Callable[..., Any], number: int) -> Callable[..., Any]:
        def method(self: Any, event: str, *args: Any, **fields: Any) -> Any:
            return whole(self, event, *args, **fields) if number >= THRESHOLD.level else None

        return method

    names = {"debug": 10, "info": 20, "msg": 20, "warning": 30, "warn": 30, "error": 40, "exception": 40, "critical": 50}
    return type("LevelledLogger", (base,), {name: asking(getattr(base, name), number) for name, number in names.items()})


def configure(process: str, *, level: str = "info", clock: Clock | None = None) -> None:
    """Set up logging of this process; every line carries its name and whatever ids are bound."""
    watch = clock or SystemClock()
    THRESHOLD.start(level)

    def stamp(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["at"] = iso_ms(watch.utc())
        event["process"] = process
        return event

    people = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(default=str)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            TAP,
            renderer,
        ],
        wrapper_class=_levelled(),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; their warnings belong in the same place.
    logging.basicConfig(
        level=max(THRESHOLD.level, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s"
    )
