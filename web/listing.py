"""Lists of configured things: filtered, sorted and paged here, drawn by one template, written by one CSV (pure)."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from simrack.web.columns import harmless

PER_PAGE = (25, 50, 100, 200)
USUAL_PAGE = 50


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its words, and perhaps a link, a tone with its shape, and what it is sorted by."""

    text: str
    href: str = ""
    tone: str = ""
    icon: str = ""
    title: str = ""
    note: str = ""
    sort: int | float | str | None = None

    @property
    def order(self) -> tuple[bool, int | float | str]:
        """Figures before words, so that a column with gaps still sorts."""
        value = self.text.casefold() if self.sort is None else self.sort
        return isinstance(value, str), value


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `kind` is how it is drawn: "", fig, num, cut, state."""

    id: str
    title: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing: where its page is, and its cells by column."""

    name: str
    href: str
    cells: Mapping[str, Cell]
    dim: bool = False
    also: str = ""  # searched, and not shown


@dataclass(frozen=True, slots=True)
class Choice:
    """One filter above the list: its values with their words, and which rows it lets through."""

    name: str
    title: str
    values: Mapping[str, str]
    fits: Callable[[Row, str], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the URL asks of a list."""

    path: str
    text: str = ""
    sort: str = ""
    page: int = 1
    per_page: int = USUAL_PAGE
    chosen: Mapping[str, str] = field(default_factory=dict)

    def link(self, path: str = "", **changed: object) -> str:
        """This list's address with something else; another filter or order begins at the first page."""
        values: dict[str, object] = {
            "text": self.text, **self.chosen, "sort": self.sort,
            "per_page": self.per_page if self.per_page != USUAL_PAGE else "", **changed,
        }  # fmt: skip
        query = urlencode([(name, str(value)) for name, value in values.items() if value not in ("", None, 1)])
        return f"{path or self.path}?{query}" if query else path or self.path


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list."""

    columns: tuple[Column, ...]
    choices: tuple[Choice, ...]
    asked: Asked
    rows: tuple[Row, ...]
    total: int
    whole: int  # without any filter

    @property
    def last(self) -> int:
        return max(1, -(-self.total // self.asked.per_page))

    @property
    def filtered(self) -> bool:
        return bool(self.asked.text or any(self.asked.chosen.values()))


def ask(path: str, given: Mapping[str, str], choices: Iterable[Choice]) -> Asked:
    """Read the URL; what makes no sense is as if it were not there."""
    per_page = _number(given.get("per_page", ""), USUAL_PAGE)
    return Asked(
        path=path, text=given.get("text", "").strip()[:100], sort=given.get("sort", "")[:40],
        page=_number(given.get("page", ""), 1), per_page=per_page if per_page in PER_PAGE else USUAL_PAGE,
        chosen={choice.name: value for choice in choices if (value := given.get(choice.name, "")) in choice.values},
    )  # fmt: skip


def _number(text: str, usual: int) -> int:
    return max(1, int(text)) if text.isdecimal() and len(text) < 9 else usual


def listed(rows: Sequence[Row], columns: Sequence[Column], choices: Sequence[Choice], asked: Asked) -> Listing:
    """One page of these rows."""
    found = _sorted([row for row in rows if _fits(row, asked, choices)], asked.sort, columns)
    start = (asked.page - 1) * asked.per_page
    return Listing(tuple(columns), tuple(choices), asked, tuple(found[start : start + asked.per_page]), len(found), len(rows))


def _fits(row: Row, asked: Asked, choices: Iterable[Choice]) -> bool:
    text = asked.text.casefold()
    words = (row.name, row.also, *(cell.text for cell in row.cells.values()))
    if text and not any(text in word.casefold() or text.replace(" ", "") in word.replace(" ", "") for word in words):
        return False
    return all(choice.fits(row, asked.chosen[choice.name]) for choice in choices if asked.chosen.get(choice.name))


def _sorted(rows: list[Row], sort: str, columns: Iterable[Column]) -> list[Row]:
    key = sort.lstrip("-")
    if key not in {column.id for column in columns}:
        return rows
    return sorted(rows, key=lambda row: row.cells[key].order, reverse=sort.startswith("-"))


def csv_lines(listing: Listing) -> Iterator[str]:
    """What the list shows, as CSV (RFC 4180)."""
    yield _line([column.title for column in listing.columns])
    for row in listing.rows:
        yield _line([harmless(_whole(row.cells[column.id], column)) for column in listing.columns])


def _whole(cell: Cell, column: Column) -> str:
    """A number without the spaces that help eyes; a cut cell in full."""
    return cell.title if column.kind == "num" and cell.title else cell.text


def _line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()
