"""Counters of each SIM: answered calls and talk time of this day and month (UTC), and when its last call ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class SimUsage:
    """What one SIM carried; times in ms."""

    calls_today: int = 0
    talk_ms_today: int = 0
    calls_month: int = 0
    talk_ms_month: int = 0
    last_ended: datetime | None = None


@dataclass(slots=True)
class _Counts:
    day: date
    usage: SimUsage


NOTHING = SimUsage()


class Usage:
    """Counters by ICCID; they start from the records and go on with each call that ends."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}

    def load(self, counts: Mapping[str, SimUsage], now: datetime) -> None:
        """Start from what the records say."""
        self._counts = {iccid: _Counts(now.date(), usage) for iccid, usage in counts.items()}

    def of(self, iccid: str, now: datetime) -> SimUsage:
        """The counters of one SIM; those of another day or month are nought."""
        counts = self._counts.get(iccid)
        return _roll(counts.usage, counts.day, now.date()) if counts else NOTHING

    def add(self, iccid: str, ended: datetime, talk_ms: int) -> None:
        """Count a call that ended; one that was never connected only sets the time of the last call."""
        old = self.of(iccid, ended)
        calls = 1 if talk_ms > 0 else 0
        last = ended if old.last_ended is None else max(old.last_ended, ended)
        new = SimUsage(
            old.calls_today + calls, old.talk_ms_today + talk_ms,
            old.calls_month + calls, old.talk_ms_month + talk_ms, last,
        )  # fmt: skip
        self._counts[iccid] = _Counts(ended.date(), new)


def _roll(usage: SimUsage, counted: date, today: date) -> SimUsage:
    if counted >= today:
        return usage
    if (counted.year, counted.month) == (today.year, today.month):
        return SimUsage(0, 0, usage.calls_month, usage.talk_ms_month, usage.last_ended)
    return SimUsage(last_ended=usage.last_ended)
