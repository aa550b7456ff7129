"""What pages and the HTTP API share: one place that joins the live model with the database's answers."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import structlog

from simrack.controller.models import (
    AlarmRow,
    Figures,
    Names,
    OpenCallRow,
    RecordFilter,
    RecordPage,
    Story,
)
from simrack.controller.store.errors import StoreDown
from simrack.web import cells
from simrack.web.rack import Rack, RackModel
from simrack.wire.messages import ChannelReport, LiveCall
from simrack.wire.ports import Clock

# Titles change when a configuration is activated; a minute late is soon enough for words on a page.
NAMES_LIFE_S = 20.0
FIGURES_LIFE_S = 12.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Reads(Protocol):
    """What the control room asks the database (controller.store.queries.Queries)."""

    def records(self, wanted: RecordFilter) -> RecordPage: ...
    def story(self, call: str) -> Story | None: ...
    def open_calls(self) -> tuple[OpenCallRow, ...]: ...
    def alarms(self, open_only: bool = True) -> tuple[AlarmRow, ...]: ...
    def figures(self, now: datetime) -> Figures: ...
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

    def _renew(self) -> None:
        try:
            self.refresh()
        except StoreDown as error:
            # Wait a life before the next try: each page would otherwise wait for the same time-out.
            self._at = self._clock.monotonic()
            log.warning("figures or names can't be read", error=str(error))


@dataclass(frozen=True, slots=True)
class CallView:
    """One call in progress with every name that it has."""

    call: LiveCall
    sender: str
    plan: str
    sim: str
    report: ChannelReport | None

    @property
    def since(self) -> datetime:
        """Where its timer starts: the answer, or the beginning."""
        return self.call.answered or self.call.started


GROUPS = {"": "no grouping", "sender": "Sender", "plan": "Plan", "box": "Box", "state": "State"}


class Desk:
    """Answers the questions of a page."""

    def __init__(self, queries: Reads, model: RackModel, clock: Clock) -> None:
        self.queries, self.model, self.clock = queries, model, clock
        self._names = _Kept(queries.names, NAMES_LIFE_S, clock)
        self._figures = _Kept(lambda: queries.figures(clock.utc()), FIGURES_LIFE_S, clock)

    def names(self) -> Names:
        return self._names.get() or Names()

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

    def sites(self) -> tuple[cells.SiteView, ...]:
        return cells.sites(self.model.snapshot(), self.names(), self.clock.utc())

    def calls(self, text: str = "", group: str = "") -> list[tuple[str, list[CallView]]]:
        """Calls in progress, longest first, under a heading each if grouped."""
        rack, names = self.model.snapshot(), self.names()
        views = [view for call in rack.calls.values() if _matches(view := call_view(call, rack, names), text)]
        views.sort(key=lambda view: view.call.started)
        if group not in GROUPS or not group:
            return [("", views)] if views else []
        groups: dict[str, list[CallView]] = {}
        for view in views:
            groups.setdefault(_group_of(view, group), []).append(view)
        return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def call_view(call: LiveCall, rack: Rack, names: Names) -> CallView:
    report = rack.channels.get((call.box, call.channel)) if call.channel is not None else None
    plan = names.plans.get(call.plan, call.plan) or cells.plan_of(report, names)
    sim = (report.sim.msisdn or report.sim.iccid) if report is not None and report.sim is not None else ""
    return CallView(call, names.senders.get(call.sender, call.sender), plan, sim, report)


def _matches(view: CallView, text: str) -> bool:
    call = view.call
    hay = (view.sender, call.calling, call.called, view.plan, call.box, view.sim, call.call)
    return not text or any(text.casefold() in value.casefold() for value in hay)


def _group_of(view: CallView, group: str) -> str:
    value = {"sender": view.sender, "plan": view.plan, "box": view.call.box, "state": view.call.state}[group]
    return value or "none yet"
