"""Log lines for pages and the API: filters from an address, pages of lines, another level for a while."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from simrack.web.app import mask, me, own, room
from simrack.web.logs import MOST_SHOWN, SILENT_S, LogFilter, LogPage, ProcessView
from simrack.wire import topics
from simrack.wire.errors import CommandFailed
from simrack.wire.logs import LEVELS

EXACT = ("process", "box", "channel", "call", "sender")
FILTERS = ("level", *EXACT, "text", "since", "until")
LONGEST = 200
MINUTES = (5, 15, 60)


def read_filter(given: Mapping[str, str]) -> tuple[LogFilter, dict[str, str]]:
    """The filter that an address asks for, and what is wrong with it by field."""
    wrong: dict[str, str] = {}
    level = given.get("level", "")
    if level not in ("", *LEVELS):
        wrong["level"], level = f"Choose one of {', '.join(LEVELS)}.", ""
    words = {name: given.get(name, "").strip()[:LONGEST] for name in (*EXACT, "text")}
    return LogFilter(
        level=level, **words, since=room().times.asked(given, "since", wrong), until=room().times.asked(given, "until", wrong),
        before=read_place(given.get("before", ""), wrong),
    ), wrong  # fmt: skip


def read_place(text: str, wrong: dict[str, str]) -> tuple[datetime, int] | None:
    """A place of the list as `place_text` wrote it."""
    micros, _, number = text.partition("-")
    if not text:
        return None
    if not (micros.isascii() and micros.isdecimal() and number.isascii() and number.isdecimal() and len(text) < 40):
        wrong["before"] = "This page does not exist."
        return None
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(micros)), int(number)
    except OverflowError:
        wrong["before"] = "This page does not exist."
        return None


def place_text(place: tuple[datetime, int] | None) -> str:
    """A place for an address; "" for none."""
    if place is None:
        return ""
    micros = (place[0] - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    return f"{max(0, micros)}-{place[1]}"


#: Lines name cards, numbers and senders in words, so that nothing in them can be hidden piece by piece.
WHY_NOT = "Fields are hidden from your account, and log lines hold them; ask an administrator."


def may_read() -> bool:
    """Whether whoever is signed in may see every field that a line can hold."""
    return own().everything and mask().nothing


def find(wanted: LogFilter, most: int = MOST_SHOWN) -> LogPage:
    """The newest lines that fit."""
    return room().live.logs.find(wanted, most)


def processes() -> tuple[ProcessView, ...]:
    """Every process that has been heard since this control room started."""
    return room().live.logs.processes()


def silent(view: ProcessView) -> bool:
    """Whether a process has said nothing for longer than it should."""
    return (room().clock.utc() - view.heard).total_seconds() > SILENT_S


def set_level(process: str, level: str, minutes: int) -> dict[str, Any]:
    """Have a process log more, or less, for a while. Raises `CommandFailed`."""
    args = {"process": process, "level": level, "minutes": minutes}
    reply = room().live.command(topics.controller_command(), "log-level", args, actor=me().actor)
    if not reply.ok:
        raise CommandFailed(reply.error or "the controller refused it")
    return reply.result
