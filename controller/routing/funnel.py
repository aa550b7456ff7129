"""The funnel: which candidates fall out at which check, counted by groups and named by examples.

A group's plan, site and box are judged once for the call; its seats were judged when they changed. Each candidate
falls at the first check that fails it, so the counts are those that running every check over every candidate
gives (a property test compares the two).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simrack.controller.config.models import Target
from simrack.controller.models import CheckStep, Dropped
from simrack.controller.routing.checks import CHECKS
from simrack.controller.routing.pool import Option, Search
from simrack.controller.routing.seats import FIT, Group, Seat, Seats, by_position
from simrack.controller.routing.table import Match

# Examples per list of an explanation (routing: "first 20 candidates").
EXAMPLES = 20
# What a record's 4 KB have room for, where there are more candidates than a few.
KEPT, FEW = 3, 6
Way = tuple[Match, Target]
_OF_PLAN = tuple((place, check) for place, check in enumerate(CHECKS) if check.scope == "plan")


def ways_of(matches: Iterable[Match]) -> dict[str, list[Way]]:
    """By plan: the targets of the patterns that lead to it."""
    ways: dict[str, list[Way]] = {}
    for match in matches:
        for target in match.pattern.targets:
            ways.setdefault(target.plan, []).append((match, target))
    return ways


def option_of(seat: Seat, way: Way, search: Search) -> Option:
    """A seat through one way."""
    match, target = way
    box = search.fleet.boxes.get(seat.channel.box)
    site = search.table.sites.get(box.site) if box is not None else None
    agreement = search.table.agreements[seat.plan.agreement]
    return Option(
        seat.channel, box, site, seat.plan, agreement, seat.sim, match.pattern, match.prefix, target
    )  # fmt: skip


@dataclass(slots=True)
class _Judge:
    """Judges groups for one call, asking each plan at a site once."""

    search: Search
    seats: Seats
    plans: dict[tuple[str, str | None, bool], int] = field(default_factory=dict)

    def fall(self, group: Group, way: Way) -> int:
        """The place of the first check that takes the whole group out, or `FIT`."""
        key = group.key
        box = self.search.fleet.boxes.get(key.box)
        at = (key.plan, box.site if box is not None else None, key.lab)
        by_plan = self.plans.get(at)
        if by_plan is None:
            option = option_of(group.some(), way, self.search)
            failing = (place for place, check in _OF_PLAN if check.fails(option, self.search))
            by_plan = self.plans[at] = next(failing, FIT)
        return min(by_plan, self.seats.fall_of_box(key.box, box))


@dataclass(slots=True)
class Fallen:
    """Who falls at which check."""

    counts: list[int] = field(default_factory=lambda: [0] * FIT)
    parts: dict[int, list[Mapping[int, Seat]]] = field(default_factory=dict)

    def add(self, place: int, seats: Mapping[int, Seat], ways: int) -> None:
        if seats:
            self.counts[place] += len(seats) * ways
            self.parts.setdefault(place, []).append(seats)


@dataclass(frozen=True, slots=True)
class Found:
    """Seats that pass every check, the ways to them, the steps up to the one that left none, and how many to show."""

    fit: Sequence[Seat]
    some: Mapping[str, Seat]  # one that is fit, of each plan
    ways: Mapping[str, Sequence[Way]]
    steps: Sequence[CheckStep]
    shown: int


def run(search: Search, matches: Sequence[Match], seats: Seats, *, brief: bool = False) -> Found:
    """Check all candidates. With `brief` only as many examples are named as a record keeps."""
    ways, judge, fallen = ways_of(matches), _Judge(search, seats), Fallen()
    fit: list[Seat] = []
    some: dict[str, Seat] = {}
    options = 0
    for key, group in seats.groups.items():
        way = ways.get(key.plan)
        if way is not None:
            options += group.size * len(way)
            at = judge.fall(group, way[0])
            _sift(group, at, len(way), fallen, fit)
            if at == FIT and group.fit and key.plan not in some:
                some[key.plan] = fit[-1]
    shown = KEPT if brief and len(fit) > FEW else EXAMPLES
    steps = [_in_plan(search, seats, ways, options, shown)]
    steps.extend(_steps(search, ways, fallen, options, shown))
    return Found(fit, some, ways, steps, shown)


def _sift(group: Group, at: int, ways: int, fallen: Fallen, fit: list[Seat]) -> None:
    """Each seat falls at its own check or the group's, whichever stands first."""
    for place, seats in group.fallen.items():
        fallen.add(min(place, at), seats, ways)
    if at == FIT:
        fit.extend(group.fit.values())
    else:
        fallen.add(at, group.fit, ways)


def _steps(
    search: Search, ways: Mapping[str, Sequence[Way]], fallen: Fallen, options: int, shown: int
) -> Iterator[CheckStep]:
    left = options
    for place, check in enumerate(CHECKS):
        if not left:
            return
        went_in, left = left, left - fallen.counts[place]
        dropped = _examples(search, ways, place, fallen, shown) if left < went_in else ()
        yield CheckStep(check=check.name, title=check.title, went_in=went_in, left=left, dropped=dropped)


def _examples(
    search: Search, ways: Mapping[str, Sequence[Way]], place: int, fallen: Fallen, most: int
) -> tuple[Dropped, ...]:
    fails, parts = CHECKS[place].fails, fallen.parts[place]
    shown: list[Dropped] = []
    for position in by_position(parts, most):
        seat = next(part[position] for part in parts if position in part)
        for way in ways[seat.plan.name]:
            option = option_of(seat, way, search)
            shown.append(Dropped(candidate=option.label, reason=fails(option, search)))
    return tuple(shown[:most])


def _in_plan(search: Search, seats: Seats, ways: Iterable[str], options: int, most: int) -> CheckStep:
    """The SIMs of the plans that the patterns name. The funnel counts each channel once per way to it."""
    outside = seats.outside(ways)
    others = sum(map(len, outside))
    views = [seats.channel(place) for place in by_position(outside, most)] if others else []
    dropped = tuple(
        Dropped(candidate=f"{view.box} / {view.channel}", reason=_why_not(view.iccid, view.imsi, search)) for view in views
    )
    return CheckStep(
        check="in-plan", title="SIM in a plan of this route", went_in=options + others, left=options, dropped=dropped
    )  # fmt: skip


def _why_not(iccid: str, imsi: str, search: Search) -> str:
    if not iccid:
        return "There is no SIM."
    plan = search.table.plan_of(iccid, imsi)
    return "The SIM is in no plan." if plan is None else f"The SIM is in plan {plan.name}."
