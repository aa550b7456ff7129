"""SIMs as a sheet (CSV): read, held against the configuration, and written so that reading it changes nothing (pure).

A sheet names columns in its first line, in any case and order. A column that it lacks leaves cards as they are; an
empty cell takes the value away. What is wrong is told by line and column, and a line that is wrong changes nothing.
"""

import csv
import hashlib
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from simrack.controller.config.changes import Change, Mistake, Resolved, parse
from simrack.controller.config.kinds import Key, body_of, digest_of
from simrack.controller.config.models import Entry, Sim
from simrack.controller.config.whole import new_mistakes, settled, table_after
from simrack.controller.models import Own
from simrack.controller.routing.table import RoutingTable
from simrack.web.columns import formula

COLUMNS = ("iccid", "plan", "enabled", "title", "holder", "note", "priority")
#: Other names of columns, as lists of operators and our own pages have them.
_NAMES = {
    **{name: name for name in COLUMNS}, "sim": "iccid", "simnumber": "iccid", "card": "iccid", "tariff": "plan",
    "on": "enabled", "active": "enabled", "name": "title", "registeredto": "holder", "comment": "note", "remark": "note",
}  # fmt: skip
MOST_LINES = 50_000
#: 50,000 lines of 300 characters.
MOST_OCTETS = 16 * 1024 * 1024
TEXT_MOST, PRIORITY_MOST = 200, 1000
#: Of a cell that is wrong, as much as a person needs to find it.
SHOWN = 30
_YES = frozenset({"", "yes", "y", "true", "1", "on", "enabled", "active"})
_NO = frozenset({"no", "n", "false", "0", "off", "disabled", "inactive"})
_TEXTS = ("title", "holder", "note")
#: What somebody with rights over their own SIMs alone may change of one; the controller holds to the same.
OWNERS_COLUMNS = frozenset({"enabled", "title", "note"})
_ROUNDED = re.compile(r"^\d+([.,]\d+)?[eE]\+?\d+$")
_ICCID = re.compile(r"^[0-9]{18,20}$")
_SEPARATORS = (",", ";", "\t")


class BadSheet(Exception):
    """The file as a whole can't be read; `todo` says what to do."""

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong in one line, in which column, and what to do."""

    line: int
    column: str
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its cells by column; a column that the sheet lacks is not there."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file that could be read. `unread` are its columns that say nothing to us."""

    lines: tuple[Line, ...]
    wrong: tuple[Wrong, ...] = ()
    unread: tuple[str, ...] = ()


# --- reading ----------------------------------------------------------------------------------------------------


def read(data: bytes) -> Sheet:
    """A sheet of a file. Raises `BadSheet`."""
    text, begin = _text(data), 0
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep="):  # Excel's own mark of the separator
        separator, text, begin = first.strip()[4:5] or "\t", rest, 1
    else:
        separator = _separator(first)
    records = _records(text, separator, begin)
    place, header = next(records, (0, []))
    columns, unread = _header(place, header)
    found: list[Line] = []
    wrong: list[Wrong] = []
    for number, cells in records:
        if len(found) + len(wrong) >= MOST_LINES:
            raise BadSheet(f"the file has more than {MOST_LINES:,} lines", "Split it into several files.")
        if len(cells) != len(header):
            wrong.append(Wrong(number, "", f"has {len(cells)} cells, the first line names {len(header)}", "Look for a separator or a quotation mark too many."))
        else:
            found.append(Line(number, {name: free(cells[at]) for name, at in columns.items()}))
    return Sheet(tuple(found), tuple(wrong), unread)


def _text(data: bytes) -> str:
    save = "Save it anew as “CSV UTF-8”."
    if len(data) > MOST_OCTETS:
        raise BadSheet(f"the file is larger than {MOST_OCTETS // 2**20} MB", "Split it into several files.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadSheet("the file is written in UTF-16, which Excel calls “Unicode text”", save)
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise BadSheet("the file is a workbook, not CSV", save)
    if not data.strip():
        raise BadSheet("the file is empty", f"Its first line names the columns: {', '.join(COLUMNS)}.")
    if b"\0" in data:
        raise BadSheet("the file is not text, or is written in UTF-16", save)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadSheet(f"line {line} is not written in UTF-8", save) from error


def _separator(first: str) -> str:
    """The one of the usual separators that makes most columns of the first line."""
    return max(_SEPARATORS, key=lambda sign: sum(_name(cell) in _NAMES for cell in first.split(sign)))


def _name(cell: str) -> str:
    return re.sub(r"[\s_\-.\"]+", "", cell).casefold()


def _records(text: str, separator: str, begin: int) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, cells) of everything that is not blank. Raises `BadSheet`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        number = reader.line_num + 1 + begin
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadSheet(f"line {number} can't be read: {error}", "Look for a quotation mark that is not closed.") from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, cells


def _header(number: int, cells: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Where each known column is, and the names of the others."""
    columns: dict[str, int] = {}
    for place, cell in enumerate(cells):
        known = _NAMES.get(_name(cell))
        if known in columns:
            raise BadSheet(f"line {number}: column {known} stands twice", "Take one of them away.")
        if known is not None:
            columns[known] = place
    if "iccid" not in columns:
        raise BadSheet(f"line {number or 1} names no column iccid", f"The first line names the columns: {', '.join(COLUMNS)}; only iccid must be there.")
    others = (cell.strip()[:SHOWN] for place, cell in enumerate(cells) if place not in columns.values())
    return columns, tuple(name for name in others if name)


# --- judging ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Against:
    """What lines are held against: the configuration in force, cards that the rack reports, and what a person may."""

    table: RoutingTable
    plan: str = ""  # of lines that name none
    cards: Collection[str] = ()
    own: Own = field(default_factory=Own)

    @cached_property
    def listed(self) -> Mapping[str, str]:
        """Cards that stand in the list of a plan, with its name."""
        return {iccid: plan.name for plan in self.table.plans.values() for iccid in plan.sims}

    @cached_property
    def plans(self) -> Mapping[str, str]:
        """Plans by what people may call them; a title that two plans have is no name."""
        seen = [plan for name, plan in self.table.plans.items() if self.own.sees_plan(name)]
        titles = [plan.title.casefold() for plan in seen]
        by_title = {plan.title.casefold(): plan.name for plan in seen if plan.title and titles.count(plan.title.casefold()) == 1}
        return {**by_title, **{plan.name: plan.name for plan in seen}}

    def card(self, iccid: str) -> str:
        """What a card is called here: with or without its check digit (ITU-T E.118)."""
        if self._known(iccid):
            return iccid
        shorter, longer = iccid[:-1], self._without_last.get(iccid, "")
        if self._known(shorter) and check_digit(shorter) == iccid[-1]:
            return shorter
        return longer if longer and check_digit(iccid) == longer[-1] else iccid

    @cached_property
    def _without_last(self) -> Mapping[str, str]:
        return {name[:-1]: name for name in (*self.table.sims, *self.cards)}

    def _known(self, iccid: str) -> bool:
        return iccid in self.table.sims or iccid in self.cards


def check_digit(digits: str) -> str:
    """The last digit of a card's number (Luhn, ISO/IEC 7812-1)."""
    whole = 0
    for place, sign in enumerate(reversed(digits)):
        value = int(sign) * (2 - place % 2)
        whole += value - 9 * (value > 9)
    return str(-whole % 10)


@dataclass(frozen=True)
class Outcome:
    """What a sheet would do. `before` has the cards of `after` that are there already."""

    after: Mapping[str, Sim]
    before: Mapping[str, Sim]
    unchanged: int
    wrong: tuple[Wrong, ...]
    unread: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()  # between cards and plans, found once the lines are right

    @property
    def new(self) -> int:
        return len(self.after) - len(self.before)

    @property
    def changed(self) -> int:
        return len(self.before)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """As one change of the configuration, each card on the base of what was seen."""
        return tuple(
            Change(kind="sim", name=name, body=body_of(sim), base=digest_of(self.before.get(name)))
            for name, sim in self.after.items()
        )

    @cached_property
    def seen(self) -> str:
        """A digest of it, also of what the cards were before: what was looked at is what goes live."""
        whole = hashlib.sha256()
        for name, sim in self.after.items():
            before = self.before.get(name)
            whole.update(f"{sim!r}\n{before!r}\n".encode())
        return whole.hexdigest()[:32]


def outcome(sheet: Sheet, against: Against) -> Outcome:
    """What the sheet would do to the configuration in force."""
    after: dict[str, Sim] = {}
    wrong, seen, unchanged = list(sheet.wrong), dict[str, int](), 0
    for line in sheet.lines:
        made = _card(line, against)
        if isinstance(made, Wrong):
            wrong.append(made)
        elif (first := seen.setdefault(made.iccid, line.number)) != line.number:
            wrong.append(Wrong(line.number, "iccid", f"SIM {made.iccid} stands in line {first} already", "Keep one of the two lines."))
        elif made == against.table.sims.get(made.iccid):
            unchanged += 1
        else:
            after[made.iccid] = made
    before = {name: against.table.sims[name] for name in after if name in against.table.sims}
    found = Outcome(after, before, unchanged, tuple(sorted(wrong, key=lambda one: one.line)), sheet.unread)
    return Outcome(after, before, unchanged, found.wrong, sheet.unread, _together(found, against.table))


def _together(found: Outcome, table: RoutingTable) -> tuple[Mistake, ...]:
    """What the rules of the whole configuration say, as the controller will."""
    if not found.after:
        return ()
    changed: dict[Key, Entry | None] = {("sim", name): sim for name, sim in found.after.items()}
    resolved = settled(Resolved({key: found.before.get(key[1]) for key in changed}, changed), table)
    return new_mistakes(table, table_after(table, resolved, table.version))


def _card(line: Line, against: Against) -> Sim | Wrong:
    """The card as the line wants it, or what is wrong with it."""
    iccid, wrong = _iccid(line.cells["iccid"])
    if wrong:
        return Wrong(line.number, "iccid", *wrong)
    name = against.card(iccid)
    before = against.table.sims.get(name)
    if not against.own.everything and (before is None or not against.own.sees_plan(before.plan)):
        return Wrong(line.number, "iccid", f"there is no SIM {iccid} of yours")
    body: dict[str, object] = body_of(before) if before is not None else {"iccid": name}
    for column in COLUMNS[1:]:
        if column in line.cells or (column == "plan" and before is None):
            what = _put(body, column, line.cells.get(column, ""), against)
            if what is not None:
                return Wrong(line.number, column, *what)
    return _made(line, body, before, against)


def _made(line: Line, body: dict[str, object], before: Sim | None, against: Against) -> Sim | Wrong:
    made, mistakes = parse("sim", body)
    if not isinstance(made, Sim):
        return Wrong(line.number, mistakes[0].field, mistakes[0].what, mistakes[0].todo)
    listed = against.listed.get(made.iccid, made.plan)
    if listed != made.plan:
        return Wrong(line.number, "plan", f"the card stands in the list of plan {listed}", "Take it out of that list first, or name that plan.")
    if not against.own.everything and before is not None:
        others = [column for column in COLUMNS if column not in OWNERS_COLUMNS and getattr(made, column) != getattr(before, column)]
        if others:
            return Wrong(line.number, others[0], "of a SIM you may change enabled, title and note", "Leave this column out.")
    return made


def _iccid(cell: str) -> tuple[str, tuple[str, str] | None]:
    """A card's number as printed: spaces, dashes and a filler F are no part of it."""
    given = cell.strip()
    if not given:
        return "", ("is empty", "Write the card's number.")
    if _ROUNDED.match(given):
        return "", (f"{given[:SHOWN]} was rounded by a spreadsheet", "Make the column text before the numbers go in; the lost digits can't be told.")
    digits = re.sub(r"[\s\-.]", "", given).rstrip("Ff")
    if not _ICCID.match(digits):
        return "", (f"“{given[:SHOWN]}” is no ICCID", "18 to 20 digits, as printed on the card.")
    return digits, None


def _put(body: dict[str, object], column: str, cell: str, against: Against) -> tuple[str, str] | None:
    """Put a cell's value into the body; what is wrong with it, if anything."""
    word = cell.strip()
    if column == "plan":
        named = (word or against.plan) or str(body.get("plan", ""))
        found = against.plans.get(named) or against.plans.get(named.casefold())
        if found is None:
            known = f"Plans: {', '.join(sorted(set(against.plans.values()))[:8]) or 'none yet'}."
            return (f"there is no plan “{named[:SHOWN]}”" if named else "no plan is named"), known
        body["plan"] = found
    elif column == "enabled":
        if word.casefold() not in _YES | _NO:
            return f"“{word[:SHOWN]}” is neither yes nor no", "Write yes or no."
        body["enabled"] = word.casefold() in _YES
    elif column == "priority":
        if not re.fullmatch(r"([+-]?[0-9]{1,4})?", word) or abs(int(word or 0)) > PRIORITY_MOST:
            return f"“{word[:SHOWN]}” is no priority", f"A whole number, -{PRIORITY_MOST} to {PRIORITY_MOST}."
        body["priority"] = int(word or 0)
    else:
        return _put_text(body, column, cell)
    return None


def _put_text(body: dict[str, object], column: str, cell: str) -> tuple[str, str] | None:
    if len(cell) > TEXT_MOST:
        return f"has {len(cell):,} characters", f"{TEXT_MOST} at most."
    if any(sign < " " or sign == "\x7f" for sign in cell):
        return "has a line break or another control character", "Write it in one line."
    body[column] = cell
    return None


# --- writing ----------------------------------------------------------------------------------------------------


def lines(sims: Iterable[Sim]) -> Iterator[str]:
    """The sheet of these cards; read again it changes nothing."""
    yield _line(COLUMNS)
    for sim in sims:
        yield _line((sim.iccid, sim.plan, "yes" if sim.enabled else "no", *(bound(getattr(sim, name)) for name in _TEXTS), str(sim.priority)))


def wrong_lines(wrong: Iterable[Wrong]) -> Iterator[str]:
    """The bad lines as a sheet, for whoever mends them."""
    yield _line(("line", "column", "what", "todo"))
    for one in wrong:
        yield _line((str(one.line), one.column, bound(one.what), bound(one.todo)))


def _line(values: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


def bound(text: str) -> str:
    """Text that no spreadsheet takes for a formula and that `free` gives back."""
    return "'" + text if formula(text.lstrip("'")) else text


def free(cell: str) -> str:
    """A cell without the apostrophe that kept it from being a formula."""
    return cell[1:] if cell.startswith("'") and formula(cell.lstrip("'")) else cell
