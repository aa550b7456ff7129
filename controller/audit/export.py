"""The audit log as a file: a head line, then one entry per line, each with what its hash is made of.

A file of the whole log can be checked without the database; one of a selection has gaps by nature, so that only each
entry's own hash can be checked.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from simrack.controller.audit.chain import Entry, Fault, Head, Verdict, canonical, digest, head_of, verify

FORMAT = "simrack-audit-1"
_TEXTS = ("actor", "address", "action", "subject", "detail", "previous", "hash")


class BadExport(ValueError):
    """The file is no export; the text names the line."""


def lines(entries: Iterable[Entry], head: Head | None, at: datetime, chosen: dict[str, Any]) -> Iterator[str]:
    """The lines of a file. `chosen`: what was asked for; empty means the whole log."""
    opening = {"format": FORMAT, "exported": at.astimezone(UTC).isoformat(), "head": str(head or ""), "selection": chosen}
    yield canonical(opening) + "\n"
    for entry in entries:
        yield canonical({**asdict(entry), "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds")}) + "\n"


def check(text: Iterable[str], kept: Head | None = None) -> Verdict:
    """Verify a file.

    Raises:
        BadExport: a line can't be read.
    """
    rest = iter(text)
    opening = _opening(next(rest, ""))
    entries = (_entry(line, number) for number, line in enumerate(rest, 2) if line.strip())
    head = Head.parse(opening["head"]) if opening.get("head") else None
    if opening.get("selection"):
        return _each(entries)
    return verify(entries, lambda: head, kept)


def _opening(line: str) -> dict[str, Any]:
    try:
        opening = json.loads(line)
        if opening["format"] == FORMAT:
            return dict(opening)
    except (ValueError, TypeError, KeyError):
        pass
    raise BadExport(f"line 1 does not say {FORMAT}")


def _entry(line: str, number: int) -> Entry:
    try:
        told = json.loads(line)
        values = {name: str(told[name]) for name in _TEXTS}
        source = None if told["source"] is None else str(told["source"])
        return Entry(seq=int(told["seq"]), at=datetime.fromisoformat(told["at"]), source=source, **values)
    except (ValueError, TypeError, KeyError) as error:
        raise BadExport(f"line {number} is no entry") from error


def _each(entries: Iterable[Entry]) -> Verdict:
    """Check entries of a selection, each by itself."""
    count, last = 0, None
    for entry in entries:
        if digest(entry) != entry.hash:
            text = f"entry {entry.seq} was changed: its fields do not make its hash"
            return Verdict(count, last, Fault(entry.seq, "changed", text))
        count, last = count + 1, head_of(entry)
    return Verdict(count, last)
