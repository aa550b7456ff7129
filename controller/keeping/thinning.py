"""Which copies are kept: the newer, the more of them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

_NAME = re.compile(r"^simrack-(\d{8}T\d{6}Z)\.backup$")


@dataclass(frozen=True, slots=True)
class Keep:
    """How many copies of each kind; the newest is always kept."""

    hours: int = 24
    days: int = 7
    weeks: int = 5
    months: int = 12


def name_of(at: datetime) -> str:
    """The name of the copy that is made now."""
    return f"simrack-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.backup"


def made_at(name: str) -> datetime | None:
    """When the copy of this name was made; None for other files, which nobody may remove."""
    found = _NAME.match(name)
    return datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if found else None


def superfluous(names: Iterable[str], keep: Keep) -> tuple[str, ...]:
    """Copies to remove, oldest first: the first of each hour, day, week and month is kept as long as `keep` says."""
    copies = sorted(((at, name) for name in names if (at := made_at(name)) is not None), reverse=True)
    kept = {name for _, name in copies[:1]}
    for count, form in ((keep.hours, "%Y%m%d%H"), (keep.days, "%Y%m%d"), (keep.weeks, "%G%V"), (keep.months, "%Y%m")):
        periods: dict[str, str] = {}
        for at, name in copies:
            # Walking back in time, so that the last one written of a period is its oldest copy.
            periods[at.strftime(form)] = name
        kept |= set(list(periods.values())[:count])
    return tuple(name for _, name in reversed(copies) if name not in kept)
