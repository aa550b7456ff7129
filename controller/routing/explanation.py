"""Explanations kept short enough to store: at most 4 KB a call, the rest is recomputed from the version."""

from simrack.controller.models import CheckStep, Explanation

# Routing: "explanations are kept at most 4 KB a call".
MOST_OCTETS = 4096
# How many examples per list to try to keep, best first.
_KEEP = (20, 10, 5, 3, 1, 0)


def shorten(explanation: Explanation, most: int = MOST_OCTETS) -> Explanation:
    """The explanation with as many examples as fit in `most` octets; counts are never lost."""
    for keep in _KEEP:
        shorter = _with_examples(explanation, keep)
        if size(shorter) <= most:
            return shorter
    return shorter.model_copy(update={"targets": (), "order": (), "notes": ("shortened",)})


def size(explanation: Explanation) -> int:
    """Octets as it is stored."""
    return len(explanation.model_dump_json(exclude_defaults=True).encode())


def _with_examples(explanation: Explanation, keep: int) -> Explanation:
    steps = tuple(_step(step, keep) for step in explanation.steps)
    order = explanation.order[: max(1, keep)]
    return explanation.model_copy(update={"steps": steps, "order": order})


def _step(step: CheckStep, keep: int) -> CheckStep:
    return step.model_copy(update={"dropped": step.dropped[:keep]})
