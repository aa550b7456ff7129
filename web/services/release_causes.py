"""Why calls ended: causes by direction, who ended them, and how that was a week ago (pure but `count`)."""

from collections.abc import Iterator
from dataclasses import dataclass

from simrack.controller.models import Own
from simrack.web.services.statistics import Asked, Reads
from simrack.wire import causes

DIRECTIONS = {"out": "Out to the network", "in": "In from the network"}
SIDES = ("calling", "called", "rack")
BLAME = {
    "normal": "as it should be", "called": "the called user's end", "network": "the network", "rack": "this rack",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CauseLine:
    """One cause of one direction: how many calls, by who ended them, and a week ago."""

    direction: str
    cause: int
    calls: int
    sides: tuple[int, ...]  # calls in the order of SIDES
    before: int | None
    share: float

    @property
    def name(self) -> str:
        return f"{self.cause} {causes.name(self.cause)}" if self.cause else "no cause given"

    @property
    def blame(self) -> str:
        """Whose failure it is; what the rack alone gave, it means of itself."""
        if self.cause and self.calls == self.sides[SIDES.index("rack")]:
            return BLAME["rack"]
        row = causes.ROWS.get(self.cause)
        return BLAME[row.blame] if row is not None else ""


@dataclass(frozen=True, slots=True)
class Direction:
    """All causes of one direction, the most frequent first."""

    id: str
    title: str
    calls: int
    lines: tuple[CauseLine, ...]


def count(reads: Reads, asked: Asked, own: Own) -> tuple[Direction, ...]:
    """Causes of the period by direction; a direction without a call is left out. Raises `StoreDown`."""
    now = _counted(reads.causes(asked.wanted, own))
    before = _counted(reads.causes(asked.week_ago.wanted, own)) if asked.week else None
    found = []
    for direction, title in DIRECTIONS.items():
        mine = {cause: sides for (way, cause), sides in now.items() if way == direction}
        total = sum(map(sum, mine.values()))
        lines = tuple(
            CauseLine(
                direction, cause, sum(sides), sides,
                sum(before.get((direction, cause), ())) if before is not None else None, sum(sides) / total,
            )
            for cause, sides in sorted(mine.items(), key=lambda item: (-sum(item[1]), item[0]))
        )  # fmt: skip
        if lines:
            found.append(Direction(direction, title, total, lines))
    return tuple(found)


def _counted(rows: list[tuple[str, str, int, int, int]]) -> dict[tuple[str, int], tuple[int, ...]]:
    found: dict[tuple[str, int], list[int]] = {}
    for direction, side, cause, calls, _ in rows:
        counts = found.setdefault((direction, cause), [0] * len(SIDES))
        counts[SIDES.index(side) if side in SIDES else 2] += calls
    return {key: tuple(counts) for key, counts in found.items()}


def csv_rows(view: tuple[Direction, ...]) -> Iterator[list[str]]:
    """The table as a file holds it."""
    yield ["Way", "Cause", "Name", "Failure of", "Calls", "Share", "Ended by calling side", "by called side", "by this rack", "Calls a week ago"]
    for direction in view:
        for line in direction.lines:
            yield [
                direction.title, str(line.cause), causes.name(line.cause) if line.cause else "no cause given", line.blame, str(line.calls),
                f"{line.share * 100:.1f} %", *map(str, line.sides), "" if line.before is None else str(line.before),
            ]  # fmt: skip
