"""The figures of traffic (ITU-T E.425), made of counts that may be added up (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

#: E.425 counts for the network what it did right up to the called user's end: busy (17), no answer (18, 19), absent
#: or switched off (20, 27), rejected at the terminal (21).
USER_CAUSES = (17, 18, 19, 20, 21, 27)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of some calls. Sums in ms; ratios 0..1, None where nothing was counted."""

    calls: int = 0
    seizures: int = 0  # all but refused ones, which never seized a channel
    answers: int = 0
    long_answers: int = 0  # answered for so long at least
    effective: int = 0  # answered, rang out, or ended by the called user's side
    talk_ms: int = 0
    setup_ms: int = 0
    rung: int = 0  # calls that came to ringing
    busy_ms: int = 0  # a channel in use: from the start to the end

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in NAMES))

    @classmethod
    def sum(cls, many: Iterable["Counts"]) -> "Counts":
        """All of them together."""
        total = [0] * len(NAMES)
        for counts in many:
            for place, name in enumerate(NAMES):
                total[place] += getattr(counts, name)
        return cls(*total)

    @property
    def minutes(self) -> float:
        """Talk time at the network, in minutes."""
        return self.talk_ms / 60_000

    @property
    def asr(self) -> float | None:
        """Answer-seizure ratio (E.425): answered of all that seized a channel."""
        return self.answers / self.seizures if self.seizures else None

    @property
    def asr_b(self) -> float | None:
        """The same, of calls that were answered for some seconds at least."""
        return self.long_answers / self.seizures if self.seizures else None

    @property
    def ner(self) -> float | None:
        """Network effectiveness ratio (E.425): what the network brought to the called user's end."""
        return self.effective / self.seizures if self.seizures else None

    @property
    def acd_s(self) -> float | None:
        """Average call duration, in s of talk at the network."""
        return self.talk_ms / self.answers / 1000 if self.answers else None

    @property
    def pdd_ms(self) -> float | None:
        """Post-dial delay: the mean time to ringing."""
        return self.setup_ms / self.rung if self.rung else None

    def at_once(self, seconds: float) -> float | None:
        """Calls at the same time on average over a period (erlang)."""
        return self.busy_ms / 1000 / seconds if seconds > 0 else None


NAMES = tuple(field.name for field in fields(Counts))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts by group, most calls first. `cut`: there were more groups, which only the total holds."""

    groups: Mapping[str, Counts]
    total: Counts
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Peak:
    """The most calls at once, in which hour that was, and the most of each hour in which anything changed."""

    calls: int
    hour: datetime | None
    hours: Mapping[datetime, int]
