"""Why a call goes where it goes, as the story and the explain page show it (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simrack.controller.models import AttemptRow, CheckStep, Explanation


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the funnel; `share` is its width in percent."""

    count: int
    share: int
    title: str
    note: str
    out: tuple[tuple[str, str], ...] = ()
    more: int = 0
    passed: tuple[str, ...] = ()  # checks in a row that let everything pass, folded into one


def bars(explanation: Explanation | None, attempts: Sequence[AttemptRow] = ()) -> Iterable[Bar]:
    """The funnel's rows from top to bottom."""
    if explanation is None:
        return
    most = max([step.went_in for step in explanation.steps] + [step.left for step in explanation.steps] + [1])
    folded: list[CheckStep] = []
    for position, step in enumerate(explanation.steps):
        if position and step.left == step.went_in and not step.note:
            folded.append(step)
            continue
        yield from _passed(folded, most)
        folded = []
        out = tuple((drop.candidate, drop.reason) for drop in step.dropped)
        lost = step.went_in - step.left
        yield Bar(step.left, round(100 * step.left / most), step.title, step.note, out, max(0, lost - len(out)))
    yield from _passed(folded, most)
    if attempts:
        tried = len(attempts)
        last = attempts[-1].outcome or "no answer"
        note = "the first in order: " + last if tried == 1 else f"the last one: {last}"
        yield Bar(tried, round(100 * tried / most), "Tried", note)


def _passed(steps: list[CheckStep], most: int) -> Iterable[Bar]:
    """Checks that dropped nobody, as one quiet row: what matters is where candidates fell out."""
    if len(steps) == 1:
        yield Bar(steps[0].left, round(100 * steps[0].left / most), steps[0].title, "")
    elif steps:
        left = steps[-1].left
        title = f"{len(steps)} checks let all pass"
        yield Bar(left, round(100 * left / most), title, "", passed=tuple(step.title for step in steps))


def criteria_of(explanation: Explanation | None) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Criteria that tell the candidates apart, and those that are equal for all with their value."""
    if explanation is None or not explanation.order:
        return (), ()
    rows = [dict(candidate.criteria) for candidate in explanation.order]
    decided = {candidate.decided_by for candidate in explanation.order}
    names = list(dict.fromkeys(name for row in rows for name in row))
    differ = [name for name in names if name in decided or len({row.get(name) for row in rows}) > 1]
    equal = [(name, rows[0].get(name, "")) for name in names if name not in differ]
    return tuple(differ), tuple(equal)
