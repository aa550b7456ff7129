"""What pages and the HTTP API share: one place that joins the live model with the database's answers."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import structlog

from simrack.controller.config.reading import ConfigReader
from simrack.controller.figures import Counts, Peak, Statistics
from simrack.controller.models import (
    AlarmFilter,
    AlarmPage,
    AlarmRow,
    Figures,
    Names,
    OpenCallRow,
    Own,
    RecordFilter,
    RecordPage,
    Story,
)
from simrack.controller.store.audit import AuditQueries
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.statistics import Question
from simrack.controller.tracing.messages import Trace
from simrack.web.rack import ChannelKey, RackModel
from simrack.wire.ports import Clock

# Titles change when a configuration is activated; a minute late is soon enough for words on a page.
NAMES_LIFE_S = 20.0
FIGURES_LIFE_S = 12.0
# Drawers that are told of changes: more than people can have open, few enough to look through seven times a second.
MOST_OPEN = 500

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Reads(Protocol):
    """What the control room asks the database (controller.store.queries.Queries)."""

    @property
    def config(self) -> ConfigReader: ...
    @property
    def audit(self) -> AuditQueries: ...
    def records(self, wanted: RecordFilter, own: Own = ...) -> RecordPage: ...
    def story(self, call: str, own: Own = ...) -> Story | None: ...
    def trace(self, call: str) -> Trace | None: ...
    def call_of(self, sender: str, sip_call_id: str, since: datetime) -> str: ...
    def open_calls(self) -> tuple[OpenCallRow, ...]: ...
    def alarms(self, open_only: bool = True) -> tuple[AlarmRow, ...]: ...
    def alarm_page(self, wanted: AlarmFilter) -> AlarmPage: ...
    def alarm(self, alarm: int) -> AlarmRow | None: ...
    def figures(self, now: datetime) -> Figures: ...
    def groups(self, asked: Question, own: Own = ...) -> Statistics: ...
    def times(self, asked: Question, own: Own = ..., *, minutes: bool = False) -> dict[datetime, Counts]: ...
    def both(
        self, asked: Question, own: Own = ..., *, minutes: bool = False
    ) -> tuple[Statistics, dict[datetime, Counts]]: ...
    def peaks(self, wanted: RecordFilter, own: Own = ...) -> Peak | None: ...
    def causes(self, wanted: RecordFilter, own: Own = ...) -> list[tuple[str, str, int, int, int]]: ...
    def names(self) -> Names: ...


class _Kept(Generic[T]):
    """A value that is read again when it is old; an old one serves while the database is gone."""

    def __init__(self, read: Callable[[], T], life_s: float, clock: Clock) -> None:
        self._read, self._life_s, self._clock = read, life_s, clock
        self._lock = threading.Lock()
        self._value: T | None = None
        self._at = float("-inf")

    def get(self) -> T | None:
        with self._lock:
            if self._clock.monotonic() - self._at >= self._life_s:
                self._renew()
            return self._value

    @property
    def known(self) -> T | None:
        """The value as it is, without waiting for anything."""
        return self._value

    def refresh(self) -> None:
        """Read now. Raises `StoreDown`."""
        self._value = self._read()
        self._at = self._clock.monotonic()

    def expire(self) -> None:
        """The next `get` reads anew."""
        with self._lock:
            self._at = float("-inf")

    def _renew(self) -> None:
        try:
            self.refresh()
        except StoreDown as error:
            # Wait a life before the next try: each page would otherwise wait for the same time-out.
            self._at = self._clock.monotonic()
            log.warning("figures or names can't be read", error=str(error))


class Desk:
    """Answers the questions of a page."""

    def __init__(self, queries: Reads, model: RackModel, clock: Clock) -> None:
        self.queries, self.model, self.clock = queries, model, clock
        self._opened: dict[ChannelKey, None] = {}  # drawers that somebody has open, the latest last
        self._opened_lock = threading.Lock()
        self._names = _Kept(queries.names, NAMES_LIFE_S, clock)
        self._figures = _Kept(lambda: queries.figures(clock.utc()), FIGURES_LIFE_S, clock)

    def ever_answered(self) -> bool:
        """Whether there is a record of an answered call. Raises `StoreDown`."""
        return bool(self.queries.records(RecordFilter(outcome="answered", per_page=1)).rows)

    def names(self) -> Names:
        return self._names.get() or Names()

    def renamed(self) -> None:
        """A new configuration is in force: its titles show on the next page."""
        self._names.expire()

    def figures(self) -> Figures | None:
        """None: the database could not be asked."""
        return self._figures.get()

    def known_names(self) -> Names:
        """Names without a wait, for the live thread."""
        return self._names.known or Names()

    def known_figures(self) -> Figures | None:
        return self._figures.known

    def refresh(self) -> None:
        """Read names and figures anew; run by the live thread's helper."""
        self._names.refresh()
        self._figures.refresh()

    def seed(self) -> None:
        """Take the calls in progress over from the database. Raises `StoreDown`."""
        before = tuple(self.model.snapshot().calls)
        self.model.seed_calls(self.queries.open_calls(), before)

    @property
    def opened(self) -> frozenset[ChannelKey]:
        """Channels whose drawers are open somewhere, and so are told of changes."""
        with self._opened_lock:
            return frozenset(self._opened)

    def open(self, key: ChannelKey) -> None:
        """Somebody looks at this channel; each change makes the drawer look again, which keeps it here."""
        with self._opened_lock:
            self._opened.pop(key, None)
            self._opened[key] = None
            while len(self._opened) > MOST_OPEN:
                del self._opened[next(iter(self._opened))]
