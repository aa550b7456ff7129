"""Alarms for pages and the API: lists, the catalogue, and the commands about them.

Acts go to the controller, which checks the right again, audits and answers. They raise `CommandFailed` with its words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from simrack.controller.alarms.catalogue import CATALOGUE, Kind
from simrack.controller.config.catalogue import CATALOGUE as OPTIONS
from simrack.controller.config.catalogue import Option
from simrack.controller.models import AlarmFilter, AlarmRow
from simrack.web.app import me, room
from simrack.wire import topics
from simrack.wire.errors import CommandFailed

State = Literal["", "open", "acknowledged", "closed"]
STATES: Mapping[str, str] = {"": "all", "open": "open", "acknowledged": "in hand", "closed": "closed"}
SEVERITIES = ("critical", "major", "minor")
MOST_NOTE = 500
#: Which option sets the threshold of a kind.
THRESHOLDS: Mapping[str, str] = {
    "disk-low": "alarms.disk_free_percent", "box-disk-low": "alarms.disk_free_percent", "box-hot": "alarms.hot_c",
    "box-clock": "alarms.clock_off_s", "box-queue": "alarms.queue_facts", "box-short": "alarms.box_lines_percent",
    "no-calls": "alarms.no_call_min", "asr-low": "alarms.asr_percent",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KindView:
    """A kind of alarm; `option` is its threshold, if it has one."""

    kind: Kind
    option: Option | None
    open: int

    @property
    def title(self) -> str:
        return self.kind.title.format(subject="…")


def kinds() -> list[KindView]:
    """The catalogue, worst first, with how many are open of each."""
    standing = [alarm.cause.partition(":")[0] for alarm in room().desk.queries.alarms()]
    views = [
        KindView(kind, OPTIONS[THRESHOLDS[name]] if name in THRESHOLDS else None, standing.count(name))
        for name, kind in CATALOGUE.items()
    ]
    return sorted(views, key=lambda view: SEVERITIES.index(view.kind.severity))


def place_of(cause: str) -> str:
    """Where to look at what an alarm is about: a channel or a box; "" when it is about neither."""
    kind, _, subject = cause.partition(":")
    snapshot = room().desk.model.snapshot()
    box, slash, rest = subject.partition("/")
    # Subjects of some kinds go on behind the place: "lab-01/3: usb", "lab-01, plan nova".
    box, number = box.partition(",")[0], rest.partition(":")[0]
    if box not in snapshot.boxes or kind == "notice-failed":
        return ""
    return f"/rack/{box}/{number}" if slash and number.isdecimal() else f"/gateways/{box}"


def read_filter(given: Mapping[str, str]) -> tuple[AlarmFilter, dict[str, str]]:
    """The filter that an address asks for, and what is wrong with it by field."""
    wrong: dict[str, str] = {}
    state: State = _one_of(given, "state", get_args(State), wrong)
    severity: Literal["", "critical", "major", "minor"] = _one_of(given, "severity", ("", *SEVERITIES), wrong)
    kind = _one_of(given, "kind", ("", *CATALOGUE), wrong)
    after = given.get("after", "")
    if after and not (after.isascii() and after.isdecimal() and len(after) <= 18):
        wrong["after"] = "This page does not exist."
        after = ""
    return AlarmFilter(
        state=state, severity=severity, kind=kind, text=given.get("text", "").strip()[:200], after=int(after or 0),
        since=room().times.asked(given, "since", wrong), until=room().times.asked(given, "until", wrong),
    ), wrong  # fmt: skip


def _one_of(given: Mapping[str, str], name: str, known: tuple[str, ...], wrong: dict[str, str]) -> Any:
    value = given.get(name, "")
    if value in known:
        return value
    wrong[name] = f"Choose one of {', '.join(filter(None, known))}."
    return ""


def acknowledge(alarm: int, note: str) -> None:
    """Say that whoever is signed in has an alarm in hand."""
    _ask("acknowledge-alarm", alarm=alarm, note=note)


def release(alarm: int) -> None:
    """Take that back: it is loud again."""
    _ask("acknowledge-alarm", alarm=alarm, note="", release=True)


def open_alarm(alarm: int) -> AlarmRow | None:
    """An alarm by its number, None when there is none or it is closed."""
    found = room().desk.queries.alarm(alarm)
    return found if found is not None and found.closed is None else None


def notices() -> dict[str, Any]:
    """Targets with how delivery goes, as the controller tells."""
    return _ask("notices")


def test_notice(target: str) -> None:
    """Have a test notice sent now."""
    _ask("test-notice", target=target)


def _ask(action: str, **args: Any) -> dict[str, Any]:
    reply = room().live.command(topics.controller_command(), action, args, actor=me().actor)
    if not reply.ok:
        raise CommandFailed(reply.error or "the controller refused it")
    return reply.result
