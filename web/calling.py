"""Calls in progress as their page shows them: found, grouped, sorted, a page of them at a time (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from urllib.parse import urlencode

from simrack.controller.models import Names
from simrack.web import cells
from simrack.web.rack import Rack
from simrack.wire.messages import ChannelReport, LiveCall

#: Rows that a browser draws anew while calls change and nobody notices.
PER_PAGE = 100
GROUPS: Mapping[str, str] = {
    "": "no grouping", "sender": "Sender", "owner": "Owner", "plan": "Plan", "prefix": "Prefix", "box": "Box", "state": "State",
}  # fmt: skip
SORTS: Mapping[str, str] = {"time": "longest first", "-time": "newest first", "sender": "by sender", "called": "by number", "box": "by box"}
# "+882101": enough to tell networks and cities apart, few enough groups to read.
PREFIX_CHARS = 7


@dataclass(frozen=True, slots=True)
class CallView:
    """One call in progress with every name that it has."""

    call: LiveCall
    sender: str
    plan: str
    sim: str
    owner: str
    report: ChannelReport | None

    @property
    def since(self) -> datetime:
        """Where its timer starts: the answer, or the beginning."""
        return self.call.answered or self.call.started


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for; `value` bounds it to one group."""

    text: str = ""
    group: str = ""
    value: str | None = None
    sort: str = "time"
    page: int = 1

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Asked":
        """From the address; what makes no sense is as if it were not there."""
        group, sort, page = given.get("group", ""), given.get("sort", ""), given.get("page", "")
        return cls(
            given.get("text", "").strip()[:100], group if group in GROUPS else "",
            given.get("value") if group in GROUPS and group else None, sort if sort in SORTS else "time",
            max(1, int(page)) if page.isdecimal() and len(page) < 7 else 1,
        )  # fmt: skip

    def link(self, path: str = "/calls", **changed: object) -> str:
        """The address with something else; whatever changes, it begins at the first page."""
        values: dict[str, object] = {"text": self.text, "group": self.group, "sort": self.sort if self.sort != "time" else ""}
        values = {name: value for name, value in (values | changed).items() if value not in ("", None, 1)}
        if "value" not in changed and self.value is not None:
            values["value"] = self.value
        elif changed.get("value") == "":
            values["value"] = ""
        return f"{path}?{urlencode([(name, str(value)) for name, value in values.items()])}" if values else path


@dataclass(frozen=True, slots=True)
class Group:
    """Calls that have something in common; `rows` are those of them that stand on this page."""

    key: str
    title: str
    count: int
    speaking: int
    rows: tuple[CallView, ...]


@dataclass(frozen=True, slots=True)
class CallSheet:
    """One page of calls."""

    asked: Asked
    groups: tuple[Group, ...]
    total: int

    @property
    def last(self) -> int:
        return max(1, -(-self.total // PER_PAGE))


def call_view(call: LiveCall, rack: Rack, names: Names) -> CallView:
    report = rack.channels.get((call.box, call.channel)) if call.channel is not None else None
    plan = names.plans.get(call.plan, call.plan) or cells.plan_of(report, names)
    sim = (report.sim.msisdn or report.sim.iccid) if report is not None and report.sim is not None else ""
    return CallView(call, names.senders.get(call.sender, call.sender), plan, sim, names.plan_owners.get(call.plan, ""), report)


def found(rack: Rack, names: Names, asked: Asked) -> list[CallView]:
    """All calls that are asked for, in their order."""
    views = [view for call in rack.calls.values() if _matches(view := call_view(call, rack, names), asked.text)]
    if asked.value is not None:
        views = [view for view in views if _key(view, asked.group) == asked.value]
    views.sort(key=lambda view: view.call.started, reverse=asked.sort == "-time")
    if asked.sort in ("sender", "called", "box"):
        views.sort(key=lambda view: _sort_key(view, asked.sort))
    return views


def call_sheet(rack: Rack, names: Names, asked: Asked) -> CallSheet:
    """The page that is asked for."""
    views = found(rack, names, asked)
    start = (asked.page - 1) * PER_PAGE
    if not asked.group:
        rows = tuple(views[start : start + PER_PAGE])
        return CallSheet(asked, (Group("", "", len(views), 0, rows),) if rows else (), len(views))
    parts: dict[str, list[CallView]] = {}
    for view in views:
        parts.setdefault(_key(view, asked.group), []).append(view)
    ordered = sorted(parts.items(), key=lambda item: (-len(item[1]), item[0]))
    return CallSheet(asked, tuple(_on_page(ordered, asked.group, start)), len(views))


def _on_page(ordered: Sequence[tuple[str, list[CallView]]], group: str, start: int) -> Iterable[Group]:
    """The groups with rows between `start` and the page's end; their counts are of all their calls."""
    passed = 0
    for key, views in ordered:
        first, passed = max(0, start - passed), passed + len(views)
        if passed > start and passed - len(views) < start + PER_PAGE:
            most = start + PER_PAGE - (passed - len(views))
            rows = tuple(islice(views, first, most))
            speaking = sum(view.call.state == "speaking" for view in views)
            yield Group(key, _title(views[0], group), len(views), speaking, rows)


def _matches(view: CallView, text: str) -> bool:
    call = view.call
    hay = (view.sender, call.calling, call.called, view.plan, view.owner, call.box, view.sim, call.call)
    return not text or any(text.casefold() in value.casefold() for value in hay)


def _sort_key(view: CallView, sort: str) -> tuple[str, int]:
    if sort == "box":
        return view.call.box, view.call.channel or 0
    return (view.sender.casefold() if sort == "sender" else view.call.called), 0


def _key(view: CallView, group: str) -> str:
    call = view.call
    return {
        "sender": call.sender, "owner": view.owner, "plan": call.plan, "prefix": call.called[:PREFIX_CHARS], "box": call.box,
        "state": call.state,
    }.get(group, "")  # fmt: skip


def _title(view: CallView, group: str) -> str:
    return {"sender": view.sender, "plan": view.plan}.get(group, _key(view, group)) or "none yet"
