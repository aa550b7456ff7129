"""An explanation as plain text, for the command line; the pages show the same facts."""

from collections.abc import Iterator

from simrack.controller.models import CheckStep, Explanation, OrderedCandidate
from simrack.controller.routing.criteria import BY_NAME, TIE_BREAK

# A terminal is no place for twenty names per check.
NAMES_SHOWN = 3


def explain_text(explanation: Explanation) -> str:
    """Several lines, ending without a newline."""
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    normalised = f" = {explanation.called}" if explanation.called else ""
    yield f"Call of {explanation.sender} to {explanation.called_received}{normalised}"
    if explanation.calling:
        yield f"Presents {explanation.calling} (received {explanation.calling_received or 'nothing'})"
    if explanation.pattern:
        yield f"Pattern {explanation.pattern}"
    for target in explanation.targets:
        yield f"  target {target}"
    if explanation.steps:
        yield "Checks"
        yield from (line for step in explanation.steps for line in _step(step))
    if explanation.order:
        yield "Order"
        yield from (line for place, row in enumerate(explanation.order, 1) for line in _place(place, row))
    for note in explanation.notes:
        yield f"Note: {note}"
    refusal = explanation.refusal
    if refusal is not None:
        yield f"Refused: {refusal.text} (SIP {refusal.sip}, cause {refusal.cause}, {refusal.reason})"
    yield f"Configuration version {explanation.config_version}"


def _step(step: CheckStep) -> Iterator[str]:
    out = step.went_in - step.left
    yield f"  {step.title}: {step.left} of {step.went_in} left"
    for dropped in step.dropped[:NAMES_SHOWN]:
        yield f"    {dropped.candidate}: {dropped.reason}"
    if out > NAMES_SHOWN:
        yield f"    and {out - min(NAMES_SHOWN, len(step.dropped))} more"


def _place(place: int, row: OrderedCandidate) -> Iterator[str]:
    outcome = f", {row.outcome}" if row.outcome else ""
    yield f"  {place}. {row.box} / {row.channel}, SIM {row.iccid}, plan {row.plan}{outcome}"
    if row.decided_by:
        values = dict(row.criteria)
        title = BY_NAME[row.decided_by].title if row.decided_by in BY_NAME else "Name (all else is equal)"
        value = "" if row.decided_by == TIE_BREAK else f": {values.get(row.decided_by, '')}"
        yield f"     before the next by {title}{value}"
