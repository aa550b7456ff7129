"""Which rung comes next for a module that failed: a table and one function, no I/O.

The driver has resynchronised in vain by then. A rung is tried a few times, the next one is stronger; what the
site can't do (no USB reset, no switched power) is left out. At the end the module is out of service, and is
only looked at from time to time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """What is done to bring a module back, weakest first."""

    REOPEN = "reopen"  # open its port and start it anew
    RESET = "reset"  # AT+CFUN=1,1, said blindly
    USB = "usb"  # reset its USB port
    POWER = "power"  # take its power away for a while
    OUT = "out"  # given up: opened again from time to time


#: Tries per rung, in order. A port that was held by another program needs a second opening; a hub that lost its
#: way, a second power cycle. A reset that did not help once does not help twice.
TRIES = {Rung.REOPEN: 2, Rung.RESET: 1, Rung.USB: 1, Rung.POWER: 2}
_ORDER = tuple(Rung)

# A stick that was replugged is back in about 3 s; a dead one must not fill the log.
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
# Somebody may have exchanged it without the box being told.
OUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """Wait, then do this."""

    rung: Rung
    pause_s: float


def next_step(tried: Sequence[Rung], able: Collection[Rung]) -> Step:
    """The next step after `tried`, in this trouble, of what is possible now; never a weaker rung than the last."""
    highest = max((_ORDER.index(rung) for rung in tried), default=0)
    for rung, times in TRIES.items():
        if _ORDER.index(rung) >= highest and rung in able and tried.count(rung) < times:
            return Step(rung, BACKOFF_S[min(len(tried), len(BACKOFF_S) - 1)])
    return Step(Rung.OUT, OUT_S if Rung.OUT in tried else BACKOFF_S[-1])
