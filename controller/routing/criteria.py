"""The order of candidates: one list of named criteria, compared one after the other (routing: order).

Levels of the routing page whose data does not exist yet (affinity, failover, prices, failures of credit) have
no row. `[limits] order` leaves criteria out or moves them; the last one always stands, so that the order of
two candidates never depends on chance. A criterion gives a number, and the smaller comes first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from simrack.controller.routing.pool import Option, Search

# Target priorities are compared by hundreds first, then exactly.
COARSE = 100
MINUTE_MS = 60_000
# A SIM that never carried a call has rested for longer than any other.
NEVER_S = 10.0**9
# Without a report the signal counts as the weakest that a module can tell (27.007 8.5: -113 dBm).
NO_SIGNAL_DBM = -113


@dataclass(frozen=True, slots=True)
class Criterion:
    """One level of the order. `show` is the value for people."""

    name: str
    title: str
    value: Callable[[Option, Search], float]
    show: Callable[[Option, Search], str]


def _rest_s(option: Option, search: Search) -> float:
    ended = option.channel.last_call_ended
    return NEVER_S if ended is None else max(0.0, _seconds(ended, search.facts.now))


def _seconds(before: datetime, now: datetime) -> float:
    return (now - before).total_seconds()


def _rested(option: Option, search: Search) -> bool:
    return _rest_s(option, search) > search.table.limits.rested_s


def _rest_text(option: Option, search: Search) -> str:
    rest = _rest_s(option, search)
    return "no call yet" if rest == NEVER_S else f"{rest:.0f} s"


def _signal(option: Option) -> int:
    signal = option.channel.signal_dbm
    return NO_SIGNAL_DBM if signal is None else signal


def _minutes(milliseconds: int) -> int:
    return milliseconds // MINUTE_MS


def _free(option: Option, search: Search) -> int:
    return search.free_channels.get(option.channel.box, 0)


def _sim_priority(option: Option) -> int:
    return option.sim.priority if option.sim is not None else 0


CRITERIA: tuple[Criterion, ...] = (
    Criterion("pattern-priority", "Priority of the pattern",
              lambda o, s: -o.pattern.priority, lambda o, s: str(o.pattern.priority)),
    Criterion("best-match", "Longest prefix",
              lambda o, s: -len(o.prefix), lambda o, s: o.prefix),
    Criterion("reserve", "Targets before reserves",
              lambda o, s: o.target.priority < 0, lambda o, s: "reserve" if o.target.priority < 0 else "target"),
    Criterion("target-coarse", "Priority of the target, by hundreds",
              lambda o, s: -(o.target.priority // COARSE), lambda o, s: str(o.target.priority // COARSE * COARSE)),
    Criterion("target-fine", "Priority of the target",
              lambda o, s: -o.target.priority, lambda o, s: str(o.target.priority)),
    Criterion("rested", "Rested since its last call",
              lambda o, s: not _rested(o, s), lambda o, s: "yes" if _rested(o, s) else "no"),
    Criterion("sim-priority", "Priority of the SIM",
              lambda o, s: -_sim_priority(o), lambda o, s: str(_sim_priority(o))),
    Criterion("minutes-today", "Fewest minutes today",
              lambda o, s: _minutes(o.channel.talk_ms_today), lambda o, s: str(_minutes(o.channel.talk_ms_today))),
    Criterion("calls-month", "Fewest calls this month",
              lambda o, s: o.channel.calls_month, lambda o, s: str(o.channel.calls_month)),
    Criterion("minutes-month", "Fewest minutes this month",
              lambda o, s: _minutes(o.channel.talk_ms_month), lambda o, s: str(_minutes(o.channel.talk_ms_month))),
    Criterion("free-channels", "Box with more free channels",
              lambda o, s: -_free(o, s), lambda o, s: str(_free(o, s))),
    Criterion("longest-rest", "Longest since its last call",
              lambda o, s: -_rest_s(o, s), _rest_text),
    Criterion("signal", "Better signal",
              lambda o, s: -_signal(o),
              lambda o, s: "unknown" if o.channel.signal_dbm is None else f"{o.channel.signal_dbm} dBm"),
)  # fmt: skip

# Always last: alphabetical by box, then by channel number.
TIE_BREAK = "tie-break"
BY_NAME = {criterion.name: criterion for criterion in CRITERIA}


@dataclass(frozen=True, slots=True)
class Placed:
    """An option with the values by which it was placed, and what put it before the next one."""

    option: Option
    key: tuple[float, ...]
    decided_by: str


def in_force(order: Sequence[str]) -> tuple[Criterion, ...]:
    """The criteria as the installation wants them; an empty order is the documented one."""
    return tuple(BY_NAME[name] for name in order) if order else CRITERIA


def place(options: Sequence[Option], search: Search) -> tuple[Placed, ...]:
    """Options in order, each channel once (its best way)."""
    criteria = in_force(search.table.limits.order)
    values = [criterion.value for criterion in criteria]
    keyed = [(tuple([value(option, search) for value in values]), option) for option in options]
    keyed.sort(key=lambda item: (item[0], item[1].channel.box, item[1].channel.channel))
    unique: dict[tuple[str, int], tuple[tuple[float, ...], Option]] = {}
    for key, option in keyed:
        unique.setdefault((option.channel.box, option.channel.channel), (key, option))
    rows = list(unique.values())
    following = [key for key, _ in rows[1:]]
    decided = [_decided(key, after, criteria) for (key, _), after in zip(rows, following, strict=False)]
    return tuple(Placed(option, key, why) for (key, option), why in zip(rows, [*decided, ""], strict=False))


def _decided(key: Sequence[float], after: Sequence[float], criteria: Sequence[Criterion]) -> str:
    pairs = zip(criteria, key, after, strict=True)
    return next((criterion.name for criterion, mine, next_ in pairs if mine != next_), TIE_BREAK)
