"""The funnel: which candidates fall out at which check, counted by groups and named by examples.

A group's plan, site and box are judged once for the call; its seats were judged when they changed. Each candidate
falls at the first check that fails it, so the counts are those that running every check over every candidate
gives (a property test compares the two).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simrack.controller.config.models import Target
from simrack.controller.models import CheckStep, Dropped
from simrack.controller.routing.checks import CHECKS, Check
from simrack.controller.routing.pool import Option, Search
from simrack.controller.routing.seats import FIT, Group, Seat, Seats, by_position
from simrack.controller.routing.table import Match

# Examples per list of an explanation (routing: "first 20 candidates").
EXAMPLES = 20
Way = tuple[Match, Target]
_OF_PLAN = tuple((place, check) for place, check in enumerate(CHECKS) if check.scope == "plan")
_OF_BOX = tuple((place, check) for place, check in enumerate(CHECKS) if check.scope == "box")


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
    """Judges groups for one call, asking each plan at a site and each box once."""

    search: Search
    plans: dict[tuple[str, str | None, bool], int] = field(default_factory=dict)
    boxes: dict[str, int] = field(default_factory=dict)

    def fall(self, group: Group, way: Way) -> int:
        """The place of the first check that takes the whole group out, or `FIT`."""
        key = group.key
        box = self.search.fleet.boxes.get(key.box)
        at = (key.plan, box.site if box is not None else None, key.lab)
        by_plan, by_box = self.plans.get(at), self.boxes.get(key.box)
        if by_plan is None or by_box is None:
            option = option_of(group.some(), way, self.search)
            by_plan = self.plans[at] = self._first(_OF_PLAN, option)
            by_box = self.boxes[key.box] = self._first(_OF_BOX, option)
        return min(by_plan, by_box)

    def _first(self, checks: Sequence[tuple[int, Check]], option: Option) -> int:
        return next((place for place, check in checks if check.fails(option, self.search)), FIT)


@dataclass(slots=True)
class Fallen:
    """Who falls at which check."""

    counts: list[int] = field(default_factory=lambda: [0] * FIT)
    parts: dict[int, list[Mapping[int, Seat]]] = field(default_factory=dict)

    def add(self, place: int, seats: Mapping[int, Seat], ways: int) -> None:
        if seats:
            self.counts[place] += len(seats) * ways
            self.parts.setdefault(place, []).append(seats)


def run(
    search: Search, matches: Sequence[Match], seats: Seats
) -> tuple[list[Seat], dict[str, list[Way]], list[CheckStep]]:
    """Seats that pass every check, the ways to them, and the steps up to the one that left none."""
    ways, judge, fallen = ways_of(matches), _Judge(search), Fallen()
    fit: list[Seat] = []
    options = 0
    for key, group in seats.groups.items():
        way = ways.get(key.plan)
        if way is not None:
            options += group.size * len(way)
            _sift(group, judge.fall(group, way[0]), len(way), fallen, fit)
    steps = [_in_plan(search, seats, ways, options)]
    steps.extend(_steps(search, ways, fallen, options))
    return fit, ways, steps


def _sift(group: Group, at: int, ways: int, fallen: Fallen, fit: list[Seat]) -> None:
    """Each seat falls at its own check or the group's, whichever stands first."""
    for place, seats in group.fallen.items():
        fallen.add(min(place, at), seats, ways)
    if at == FIT:
        fit.extend(group.fit.values())
    else:
        fallen.add(at, group.fit, ways)


def _steps(
    search: Search, ways: Mapping[str, Sequence[Way]], fallen: Fallen, options: int
) -> Iterator[CheckStep]:
    left = options
    for place, check in enumerate(CHECKS):
        if not left:
            return
        went_in, left = left, left - fallen.counts[place]
        dropped = _examples(search, ways, place, fallen) if left < went_in else ()
        yield CheckStep(check=check.name, title=check.title, went_in=went_in, left=left, dropped=dropped)


def _examples(
    search: Search, ways: Mapping[str, Sequence[Way]], place: int, fallen: Fallen
) -> tuple[Dropped, ...]:
    parts, fails = fallen.parts[place], CHECKS[place].fails
    seats: dict[int, Seat] = {}
    for part in parts:
        seats.update(part)
    shown: list[Dropped] = []
    for position in by_position((seats,), EXAMPLES):
        seat = seats[position]
        for way in ways[seat.plan.name]:
            option = option_of(seat, way, search)
            shown.append(Dropped(candidate=option.label, reason=fails(option, search)))
    return tuple(shown[:EXAMPLES])


def _in_plan(search: Search, seats: Seats, ways: Iterable[str], options: int) -> CheckStep:
    """The SIMs of the plans that the patterns name. The funnel counts each channel once per way to it."""
    outside = seats.outside(ways)
    others = sum(map(len, outside))
    views = [seats.channel(place) for place in by_position(outside, EXAMPLES)] if others else []
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
