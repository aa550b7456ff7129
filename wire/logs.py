"""Logging, the same in every process: structlog on standard error, JSON where no person is watching."""

import logging
import sys
from typing import Any

import structlog

from simrack.wire.ports import Clock, SystemClock, iso_ms


def configure(process: str, *, level: str = "info", clock: Clock | None = None) -> None:
    """Set up logging of this process; every line carries its name and whatever ids are bound."""
    watch = clock or SystemClock()

    def stamp(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["at"] = iso_ms(watch.utc())
        event["process"] = process
        return event

    people = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(default=str)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; their warnings belong in the same place.
    logging.basicConfig(level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
