"""The search for records as pages and API ask it: what was asked, what may be asked, and all rows one after another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simrack.controller.models import Own, RecordFilter, RecordPage, RecordRow
from simrack.controller.store.pages import BadPlace
from simrack.web.desk import Reads
from simrack.web.masks import Mask
from simrack.web.text import Times

PER_PAGE = (25, 50, 100, 200)
#: Filters that are one of some words.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "outcome": ("answered", "failed", "refused", "cancelled"),
    "direction": ("out", "in"),
    "side": ("calling", "called", "rack"),
}
WORDS = ("text", "sender", "plan", "box", "iccid", "pattern", "refusal")
FIGURES: Mapping[str, tuple[int, int]] = {"cause": (1, 127), "channel": (1, 999), "per_page": (1, PER_PAGE[-1])}
#: Everything that narrows a search, in the order of the form.
NARROWING = (*WORDS, *CHOICES, "cause", "channel", "since", "until")
KEPT = (*NARROWING, "sort", "per_page")
# No number, name or id is longer.
TEXT_MOST = 200
# The database answers at most this many rows at once; an export reads block by block.
BLOCK = 1000
# Whose order tells masked digits.
_NUMBERS = ("calling", "called")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asked for, as far as they may ask for it; `wrong` says by field what was not understood."""

    wanted: RecordFilter
    wrong: dict[str, str] = field(default_factory=dict)


def read(given: Mapping[str, str], times: Times, mask: Mask) -> Asked:
    """The filter that an address asks for."""
    wrong: dict[str, str] = {}
    values: dict[str, Any] = {name: _word(given, name, wrong) for name in (*WORDS, "after")}
    for name, choices in CHOICES.items():
        values[name] = given.get(name, "").strip()
        if values[name] and values[name] not in choices:
            wrong[name] = f"Choose one of {', '.join(choices)}."
            values[name] = ""
    for name, (least, most) in FIGURES.items():
        number = given.get(name, "").strip()
        if number.isascii() and number.isdecimal() and least <= int(number[:9]) <= most and len(number) < 10:
            values[name] = int(number)
        elif number:
            wrong[name] = f"A number from {least} to {most}."
    for name in ("since", "until"):
        values[name] = times.asked(given, name, wrong)
    values["sort"] = given.get("sort", "").strip() or "-started"
    return Asked(permitted(RecordFilter(**values), mask, wrong), wrong)


def _word(given: Mapping[str, str], name: str, wrong: dict[str, str]) -> str:
    text = given.get(name, "").strip()
    if len(text) > TEXT_MOST and name != "after":
        wrong[name] = f"At most {TEXT_MOST} characters."
        return ""
    return text


def without_use(masked: Mask, own: Own) -> frozenset[str]:
    """Filters that a page offers no choice for: of what is kept from them, and of names that are not theirs to know."""
    # A list of all senders would tell an owner of those who never used their cards.
    others = {"sender"} if own.plans is not None else set[str]()
    return frozenset(others.union(name for name in NARROWING if kept_from(masked, name)))


def permitted(wanted: RecordFilter, mask: Mask, wrong: dict[str, str]) -> RecordFilter:
    """The same without what this session may not know: neither a filter nor an order may tell it."""
    for name in ("sender", "plan", "box", "iccid", "pattern", "channel"):
        if getattr(wanted, name) not in ("", None) and kept_from(mask, name):
            wrong[name] = "Your account does not see this."
            without: dict[str, Any] = {name: None if name == "channel" else ""}
            wanted = replace(wanted, **without)
    sorted_by = wanted.sort.removeprefix("-")
    if kept_from(mask, sorted_by) or (not mask.whole and sorted_by in _NUMBERS):
        wanted = replace(wanted, sort="-started")
    return replace(wanted, numbers=mask.whole)


def kept_from(mask: Mask, name: str) -> bool:
    """Whether a field is not for this session; a card tells its plan."""
    return mask.hides(name) or (name == "iccid" and not mask.way)


def find(reads: Reads, asked: Asked, own: Own, mask: Mask) -> RecordPage:
    """One page with only what may be read. A place that is none leads to the first page, and says so."""
    try:
        page = reads.records(asked.wanted, own)
    except BadPlace:
        asked.wrong["after"] = "That address is no page of this list; here is the first one."
        page = reads.records(replace(asked.wanted, after=""), own)
    return replace(page, rows=tuple(map(mask.record, page.rows)))


def every(reads: Reads, wanted: RecordFilter, own: Own, mask: Mask) -> Iterator[RecordRow]:
    """All rows of the search, block by block. The first block is read at once. Raises `StoreDown`."""
    first = reads.records(replace(wanted, after="", per_page=BLOCK), own)

    def rows() -> Iterator[RecordRow]:
        page = first
        while True:
            yield from map(mask.record, page.rows)
            if not page.next:
                return
            page = reads.records(replace(wanted, after=page.next, per_page=BLOCK), own)

    return rows()
