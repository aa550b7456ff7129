"""The columns of the Records page, once for the table and once for the CSV: both print the same words."""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from simrack.controller.models import Names, RecordRow
from simrack.web.text import DASH, Times, clock_ms, mark_text, number_text, seconds_text
from simrack.wire import causes

SIDES = {"called": "called side", "calling": "calling side", "rack": "this rack"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What texts are made with."""

    names: Names
    times: Times


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its words, and how it is drawn (`kind`) and sorted."""

    id: str
    title: str
    sort: str
    text: Callable[[RecordRow, Shown], str]
    kind: str = ""
    usual: bool = True


def _number(received: str, normal: str) -> str:
    return number_text(normal or received)


def _place(row: RecordRow) -> str:
    return f"{row.box} / {row.channel}" if row.box and row.channel is not None else row.box or DASH


def marks_text(record: RecordRow) -> str:
    """All that is to be said beside a record, in words."""
    marks = (*record.marks, *(("estimated",) if record.estimated else ()))
    return ", ".join(map(mark_text, marks)) or DASH


def cause_text(cause: int) -> str:
    """A cause as number and name: "16 normal clearing"."""
    return f"{cause} {causes.name(cause)}" if cause else DASH


COLUMNS: tuple[Column, ...] = (
    Column("started", "Start", "started", lambda r, s: s.times.stamp(r.started), "time"),
    Column("direction", "Way", "", lambda r, s: r.direction, "way", usual=False),
    Column("sender", "Sender", "sender", lambda r, s: s.names.senders.get(r.sender, r.sender) or DASH, "cut"),
    Column("calling", "From", "calling", lambda r, s: _number(r.calling_received, r.calling), "number"),
    Column("called", "To", "called", lambda r, s: _number(r.called_received, r.called), "number"),
    Column("outcome", "Outcome", "outcome", lambda r, s: r.outcome, "outcome"),
    Column("talk", "Talk", "talk_network_ms", lambda r, s: _talk(r.talk_network_ms), "figure"),
    Column("talk_sender", "Talk, sender", "talk_sender_ms", lambda r, s: _talk(r.talk_sender_ms), "figure", usual=False),
    Column("setup", "To ring", "setup_ms", lambda r, s: seconds_text(r.setup_ms or None), "figure"),
    Column("ring", "Ringing", "ring_ms", lambda r, s: seconds_text(r.ring_ms or None), "figure", usual=False),
    Column("cause", "Cause", "cause", lambda r, s: cause_text(r.cause), "cut"),
    Column("side", "Ended by", "", lambda r, s: SIDES.get(r.side, r.side), usual=False),
    Column("place", "Channel", "box", lambda r, s: _place(r)),
    Column("plan", "Plan", "plan", lambda r, s: s.names.plans.get(r.plan, r.plan) or DASH),
    Column("pattern", "Pattern", "", lambda r, s: r.pattern or DASH, usual=False),
    Column("codec", "Codec", "", lambda r, s: r.codec or DASH, usual=False),
    Column("mos", "MOS", "mos", lambda r, s: f"{r.mos:.1f}" if r.mos is not None else DASH, "figure"),
    Column("attempts", "Tried", "attempts", lambda r, s: str(r.attempts), "figure"),
    Column("marks", "Marks", "", lambda r, s: marks_text(r),
           usual=False),
)  # fmt: skip
BY_ID = {column.id: column for column in COLUMNS}
USUAL = tuple(column.id for column in COLUMNS if column.usual)


def _talk(milliseconds: int) -> str:
    return clock_ms(milliseconds) if milliseconds else DASH


def chosen(ids: Iterable[str], offered: Collection[str] = tuple(BY_ID)) -> tuple[Column, ...]:
    """The columns with these ids in the table's own order; the usual ones of those offered when none is known."""
    wanted = {name for name in ids if name in offered} or {name for name in USUAL if name in offered}
    return tuple(column for column in COLUMNS if column.id in wanted)


def heading(column: Column, shown: Shown) -> str:
    """Its title; a time says in which zone."""
    return f"{column.title}, {shown.times.name}" if column.kind == "time" else column.title


# Text that a spreadsheet would run as a formula; plain figures and telephone numbers are not such.
_FORMULA = re.compile(r"^[=+\-@\t\r]")
_FIGURE = re.compile(r"^[+-]?[\d .,:()-]*$")


def csv_lines(columns: tuple[Column, ...], rows: Iterable[RecordRow], shown: Shown) -> Iterator[str]:
    """The table as CSV (RFC 4180), line by line, with the words that the page shows."""
    yield _line([heading(column, shown) for column in columns])
    for row in rows:
        yield _line([harmless(column.text(row, shown)) for column in columns])


def _line(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


def formula(text: str) -> bool:
    """Whether a spreadsheet would take the text for a formula."""
    return bool(_FORMULA.match(text)) and not _FIGURE.match(text)


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return "'" + text if formula(text) else text
