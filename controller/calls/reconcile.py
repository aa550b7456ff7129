"""What becomes of an answered call that an earlier run of the controller has left: plain rules, no I/O.

The box is the authority on its channel. Until it has spoken the call is served as if it went on, because to
end one that two people are in would be worse than to keep one for a minute that is over.
"""

from datetime import datetime, timedelta
from enum import Enum

from simrack.controller.fleet.boxes import Seen

#: A box comes back to its broker within 30 s (the longest pause of its back-off), and three tries are enough.
HEARD_WITHIN_S = 90.0
#: A box may say "ready" just before it says which call it carries; its own part comes within this, too.
SETTLE_S = 2.0
#: Two clocks of one machine differ by less than this after any outage, unless one was set.
CLOCKS_AGREE_MS = 2000


class Verdict(Enum):
    """What to do now."""

    WAIT = "wait"
    HELD = "held"  # go on, nothing more to ask
    GONE = "gone"  # close: the box does not carry it
    UNHEARD = "unheard"  # close: the box did not come back


def judge(seen: Seen, known: bool | None, waited_s: float, missing_s: float) -> Verdict:
    """Decide after `waited_s` of waiting, in the last `missing_s` of which the box did not name the call.

    `known`: what the box said to an OPTIONS inside the call, None before it has answered.
    """
    if known or (known is None and _held(seen)):
        return Verdict.HELD
    if missing(seen, known):
        return Verdict.GONE if missing_s >= SETTLE_S else Verdict.WAIT
    return Verdict.UNHEARD if waited_s >= HEARD_WITHIN_S else Verdict.WAIT


def missing(seen: Seen, known: bool | None) -> bool:
    """Whether a box that can be heard does not know the call."""
    if known is not None:
        return not known
    return seen.online and (seen.other_run or seen.carries is False)


def _held(seen: Seen) -> bool:
    return seen.online and bool(seen.carries) and not seen.other_run


def elapsed_ms(
    answered: datetime, now: datetime, monotonic: float | None, now_monotonic: float
) -> tuple[int, bool]:
    """Milliseconds since the answer, over the end of a process, and whether the clocks are suspect.

    The machine's own clock of durations runs on from one process to the next; where both agree it is the exact
    one. They disagree after a restart of the machine or when the wall clock was set: then the smaller counts,
    so that nobody pays for a jump.
    """
    wall = _ms(now - answered)
    if monotonic is None:
        return max(wall, 0), wall < 0
    steady = round((now_monotonic - monotonic) * 1000)
    if steady >= 0 and abs(wall - steady) <= CLOCKS_AGREE_MS:
        return steady, False
    return min((ms for ms in (wall, steady) if ms >= 0), default=0), True


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
