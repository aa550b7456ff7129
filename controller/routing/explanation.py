"""Explanations kept short enough to store: at most 4 KB a call, the rest is recomputed from the version."""

from simrack.controller.models import CheckStep, Explanation

# Routing: "explanations are kept at most 4 KB a call".
MOST_OCTETS = 4096
# How many examples per list to try to keep, best first.
_KEEP = (20, 10, 5, 3, 1, 0)


def shorten(explanation: Explanation, most: int = MOST_OCTETS) -> Explanation:
    """The explanation with as many examples as fit in `most` octets; counts are never lost."""
    return _shortened(explanation, most)[0]


def stored_text(explanation: Explanation) -> str:
    """The explanation as it is stored: JSON of at most 4 KB."""
    return _shortened(explanation, MOST_OCTETS)[1]


def size(explanation: Explanation) -> int:
    """Octets as it is stored."""
    return len(_json(explanation).encode())


def _shortened(explanation: Explanation, most: int) -> tuple[Explanation, str]:
    longest = max((len(explanation.order), *(len(step.dropped) for step in explanation.steps)), default=0)
    shorter, tried = explanation, longest + 1
    for keep in _KEEP:
        # Keeping more than there is changes nothing, so that one try stands for all of those.
        if min(keep, longest) < tried:
            tried = min(keep, longest)
            shorter = _with_examples(explanation, keep) if keep < longest else explanation
            text = _json(shorter)
            if len(text.encode()) <= most:
                return shorter, text
    shorter = shorter.model_copy(update={"targets": (), "order": (), "notes": ("shortened",)})
    return shorter, _json(shorter)


def _json(explanation: Explanation) -> str:
    return explanation.model_dump_json(exclude_defaults=True)


def _with_examples(explanation: Explanation, keep: int) -> Explanation:
    steps = tuple(_step(step, keep) for step in explanation.steps)
    order = explanation.order[: max(1, keep)]
    return explanation.model_copy(update={"steps": steps, "order": order})


def _step(step: CheckStep, keep: int) -> CheckStep:
    if len(step.dropped) <= keep:
        return step
    return step.model_copy(update={"dropped": step.dropped[:keep]})
