"""The order of candidates: one list of named criteria, compared one after the other (routing: order).

Levels of the routing page whose data does not exist yet (affinity, failover, prices, failures of credit) have
no row. `[limits] order` leaves criteria out or moves them; the last one always stands, so that the order of
two candidates never depends on chance. A criterion gives a number, and the smaller comes first.

Only the first few candidates of an order are ever tried or shown, so `foremost` finds those without sorting all:
criterion by criterion it keeps what may still be among the first, over whole columns of figures.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter

from simrack.controller.routing.funnel import Way, option_of
from simrack.controller.routing.pool import Option, Search
from simrack.controller.routing.seats import NO_SIGNAL_DBM, Seat, microseconds

# Target priorities are compared by hundreds first, then exactly.
COARSE = 100
MINUTE_MS = 60_000
# A SIM that never carried a call has rested for longer than any other.
NEVER_S = 10.0**9
NEVER_US = int(NEVER_S) * 10**6
Column = Callable[[Sequence[Seat], Search], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One level of the order. `show` is the value for people.

    `column` orders many seats exactly as `value` does, without making options of them; a criterion without it
    looks at pattern and target only, which are the same for all seats of a plan.
    """

    name: str
    title: str
    value: Callable[[Option, Search], float]
    show: Callable[[Option, Search], str]
    column: Column | None = None


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


def _rests(seats: Sequence[Seat], search: Search) -> list[int]:
    now = microseconds(search.facts.now)
    return [NEVER_US if seat.ended_us is None else max(0, now - seat.ended_us) for seat in seats]


def _tired(seats: Sequence[Seat], search: Search) -> list[bool]:
    enough = search.table.limits.rested_s * 10**6
    return [rest <= enough for rest in _rests(seats, search)]


def _shortest_rest(seats: Sequence[Seat], search: Search) -> list[int]:
    return [-rest for rest in _rests(seats, search)]


def _fewest_free(seats: Sequence[Seat], search: Search) -> list[int]:
    free = search.free_channels
    return [-free[seat.box] for seat in seats]


def _highest(field: Callable[[Seat], int], seats: Sequence[Seat], _: Search) -> list[int]:
    return [-value for value in map(field, seats)]


def _lowest(field: Callable[[Seat], int], seats: Sequence[Seat], _: Search) -> list[int]:
    return list(map(field, seats))


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
              lambda o, s: not _rested(o, s), lambda o, s: "yes" if _rested(o, s) else "no", _tired),
    Criterion("sim-priority", "Priority of the SIM",
              lambda o, s: -_sim_priority(o), lambda o, s: str(_sim_priority(o)), partial(_highest, attrgetter("priority"))),
    Criterion("minutes-today", "Fewest minutes today",
              lambda o, s: _minutes(o.channel.talk_ms_today), lambda o, s: str(_minutes(o.channel.talk_ms_today)), partial(_lowest, attrgetter("minutes_today"))),
    Criterion("calls-month", "Fewest calls this month",
              lambda o, s: o.channel.calls_month, lambda o, s: str(o.channel.calls_month), partial(_lowest, attrgetter("calls_month"))),
    Criterion("minutes-month", "Fewest minutes this month",
              lambda o, s: _minutes(o.channel.talk_ms_month), lambda o, s: str(_minutes(o.channel.talk_ms_month)), partial(_lowest, attrgetter("minutes_month"))),
    Criterion("free-channels", "Box with more free channels",
              lambda o, s: -_free(o, s), lambda o, s: str(_free(o, s)), _fewest_free),
    Criterion("longest-rest", "Longest since its last call",
              lambda o, s: -_rest_s(o, s), _rest_text, _shortest_rest),
    Criterion("signal", "Better signal",
              lambda o, s: -_signal(o),
              lambda o, s: "unknown" if o.channel.signal_dbm is None else f"{o.channel.signal_dbm} dBm", partial(_highest, attrgetter("signal_dbm"))),
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


def foremost(
    fit: Sequence[Seat], some: Mapping[str, Seat], ways: Mapping[str, Sequence[Way]], search: Search, count: int
) -> tuple[Placed, ...]:
    """The first `count` of the order, each channel once (by its best way); `some` has a seat of each plan."""
    criteria = in_force(search.table.limits.order)
    best = {plan: _best_way(seat, ways[plan], search, criteria) for plan, seat in some.items()}
    of_plan = {plan: option_of(seat, best[plan], search) for plan, seat in some.items()}
    few = _narrow(fit, count, criteria, search, of_plan)
    return place([option_of(seat, best[seat.plan.name], search) for seat in few], search)


def _best_way(
    seat: Seat, ways: Sequence[Way], search: Search, criteria: Iterable[Criterion]
) -> Way:
    """Only what looks at pattern and target tells ways to one channel apart; of equals the first stands."""
    if len(ways) == 1:
        return ways[0]
    apart = [criterion.value for criterion in criteria if criterion.column is None]
    return min(ways, key=lambda way: [value(option_of(seat, way, search), search) for value in apart])


def _narrow(
    fit: Sequence[Seat], count: int, criteria: Iterable[Criterion], search: Search, of_plan: Mapping[str, Option]
) -> list[Seat]:
    """The first `count` seats, in any order: those sure to be among them, and of the rest those still level."""
    sure: list[Seat] = []
    level: Sequence[Seat] = fit
    for criterion in criteria:
        room = count - len(sure)
        if len(level) <= room:
            break
        values = _column(criterion, level, search, of_plan)
        if min(values) == max(values):
            continue
        edge = sorted(values)[room - 1]
        pairs = list(zip(level, values, strict=True))
        sure.extend(seat for seat, value in pairs if value < edge)
        level = [seat for seat, value in pairs if value == edge]
    sure.extend(sorted(level, key=attrgetter("name"))[: count - len(sure)])
    return sure


def _column(
    criterion: Criterion, seats: Sequence[Seat], search: Search, of_plan: Mapping[str, Option]
) -> Sequence[float]:
    if criterion.column is not None:
        return criterion.column(seats, search)
    values = {plan: criterion.value(option, search) for plan, option in of_plan.items()}
    if len(set(values.values())) == 1:
        return (0.0,)
    return [values[seat.plan.name] for seat in seats]


def place(options: Sequence[Option], search: Search) -> tuple[Placed, ...]:
    """A few options in order; each is of another channel."""
    criteria = in_force(search.table.limits.order)
    values = [criterion.value for criterion in criteria]
    rows = [(tuple([value(option, search) for value in values]), option) for option in options]
    rows.sort(key=lambda row: (row[0], row[1].channel.box, row[1].channel.channel))
    following = [key for key, _ in rows[1:]]
    decided = [_decided(key, after, criteria) for (key, _), after in zip(rows, following, strict=False)]
    return tuple(Placed(option, key, why) for (key, option), why in zip(rows, [*decided, ""], strict=False))


def _decided(key: Sequence[float], after: Sequence[float], criteria: Sequence[Criterion]) -> str:
    pairs = zip(criteria, key, after, strict=True)
    return next((criterion.name for criterion, mine, next_ in pairs if mine != next_), TIE_BREAK)
