"""The decision: a call, the configuration and the fleet in; candidates in order or one refusal out.

Pure: no clock, no I/O. What the decision was made of is in its explanation, which is the same whether the
call was placed, is being asked about, or is explained again from an old version of the configuration.
"""

from collections.abc import Sequence

from simrack.controller.config.models import Target
from simrack.controller.fleet.view import FleetView
from simrack.controller.models import CheckStep, Explanation, OrderedCandidate, Refusal
from simrack.controller.routing.admission import Draft, admit
from simrack.controller.routing.checks import CHECKS, FELL_OUT, UNREACHABLE, Outcome
from simrack.controller.routing.criteria import Placed, foremost, in_force
from simrack.controller.routing.decision import CallFacts, Candidate, Decision
from simrack.controller.routing.funnel import run
from simrack.controller.routing.numbers import dialled
from simrack.controller.routing.pool import Option, Search
from simrack.controller.routing.seats import Seats
from simrack.controller.routing.table import Match, RoutingTable
from simrack.wire.causes import Cause


def decide(
    facts: CallFacts, table: RoutingTable, fleet: FleetView, seats: Seats | None = None, *, brief: bool = False
) -> Decision:
    """Route one call of an identified sender. The fleet's counts do not hold this call yet.

    `seats` is the index of this table, kept from call to call; without it one is made for this decision.
    With `brief` the explanation names only as many candidates as a record has room for; its counts are whole.
    """
    draft = Draft(facts, table, fleet)
    refusal = admit(draft)
    if refusal is not None:
        return _refused(draft, refusal)
    matches = table.matches(draft.known_number.text, facts.sender)
    if not matches:
        text = f"No pattern fits {draft.known_number.text}."
        return _refused(draft, Refusal(reason="no-pattern", sip=404, cause=Cause.OUT_OF_ORDER, text=text))
    if matches[0].pattern.action == "refuse":
        text = f"The pattern {matches[0].pattern.label} refuses this number."
        refusal = Refusal(reason="pattern-refuses", sip=403, cause=Cause.REJECTED, text=text)
        return _refused(draft, refusal, matches)
    return _choose(draft, matches, seats or Seats(table), brief)


def _choose(draft: Draft, matches: Sequence[Match], seats: Seats, brief: bool) -> Decision:
    over = draft.facts.over if draft.known_sender.use == "test" else None
    if over is None:
        seats.update(draft.fleet.channels)
    else:
        # An index of its own: the kept one follows the whole fleet, and test calls are few.
        seats = Seats(draft.table)
        seats.update(tuple(view for view in draft.fleet.channels if over.fits(view.box, view.channel, view.iccid)))
        draft.notes.append(f"A test call over {over}: {seats.size} of {len(draft.fleet.channels)} channels.")
    search = Search(
        draft.facts, draft.table, draft.fleet, draft.known_sender, draft.known_number, draft.calling_country, seats.free
    )  # fmt: skip
    found = run(search, matches, seats, brief=brief)
    if over is not None and not seats.size:
        text = f"No channel is what this test call was to go over: {over}."
        refusal = Refusal(reason="not-there", sip=404, cause=Cause.OUT_OF_ORDER, text=text)
        return _refused(draft, refusal, matches, found.steps)
    if not found.fit:
        return _refused(draft, _no_candidate(found.steps, draft.fleet), matches, found.steps)
    most = draft.table.limits.max_attempts
    # One more than is shown: it tells what put the last one before it.
    placed = foremost(found.fit, found.some, found.ways, search, max(found.shown, most) + 1)
    candidates = tuple(_candidate(row.option, search) for row in placed[:most])
    explanation = _explain(draft, matches, found.steps, _ordered(placed[: found.shown], search))
    return Decision(explanation, candidates, draft.calling)


# --- candidates -------------------------------------------------------------------------------------------


def _no_candidate(steps: Sequence[CheckStep], fleet: FleetView) -> Refusal:
    """The last check that took candidates out is the reason."""
    last = steps[-1]
    outcome = _outcome(last.check, fleet)
    why = f" {last.dropped[0].reason}" if last.dropped else ""
    text = f"No candidate is left after the check: {last.title}.{why}"
    return Refusal(reason=last.check, sip=outcome.sip, cause=int(outcome.cause), text=text)


def _outcome(check: str, fleet: FleetView) -> Outcome:
    if check == "in-plan" and not any(box.reachable for box in fleet.boxes.values()):
        # A rack that isn't heard of at all has told us no SIM either.
        return UNREACHABLE
    return next((row.outcome for row in CHECKS if row.name == check), FELL_OUT)


def _candidate(option: Option, search: Search) -> Candidate:
    plan, limits, box = option.plan, search.table.limits, option.box
    assert box is not None, "box-reachable has passed"
    assert box.sip is not None, "box-reachable has passed"
    longest = (search.sender.max_call_s, plan.max_call_s, limits.max_call_s)
    return Candidate(
        box=option.channel.box,
        sip=box.sip,
        channel=option.channel.channel,
        iccid=option.channel.iccid,
        plan=plan.name,
        dial=dialled(search.number, plan.dial, plan.country),
        early_media=plan.early_media,
        hide_number=plan.hide_number if plan.hide_number is not None else (search.facts.anonymous or None),
        max_ring_s=plan.max_ring_s or limits.max_ring_s,
        max_call_s=min(seconds for seconds in longest if seconds is not None),
    )


# --- explanation -------------------------------------------------------------------------------------------


def _refused(
    draft: Draft, refusal: Refusal, matches: Sequence[Match] = (), steps: Sequence[CheckStep] = ()
) -> Decision:
    return Decision(_explain(draft, matches, steps, refusal=refusal), (), draft.calling)


def _explain(
    draft: Draft,
    matches: Sequence[Match],
    steps: Sequence[CheckStep],
    order: tuple[OrderedCandidate, ...] = (),
    refusal: Refusal | None = None,
) -> Explanation:
    facts = draft.facts
    return Explanation(
        config_version=draft.table.version,
        sender=facts.sender,
        called_received=facts.called,
        called=draft.number.text if draft.number is not None else "",
        calling_received=facts.calling,
        calling=draft.calling,
        pattern=matches[0].pattern.label if matches else "",
        targets=tuple(_target(match, target) for match in matches for target in match.pattern.targets),
        steps=tuple(steps),
        order=order,
        refusal=refusal,
        notes=tuple(draft.notes),
    )


def _target(match: Match, target: Target) -> str:
    kind = "reserve" if target.priority < 0 else "priority"
    return f"{match.prefix}: plan {target.plan} ({kind} {target.priority})"


def _ordered(placed: Sequence[Placed], search: Search) -> tuple[OrderedCandidate, ...]:
    criteria = in_force(search.table.limits.order)
    return tuple(
        OrderedCandidate(
            box=row.option.channel.box,
            channel=row.option.channel.channel,
            iccid=row.option.channel.iccid,
            plan=row.option.plan.name,
            criteria=tuple((criterion.name, criterion.show(row.option, search)) for criterion in criteria),
            decided_by=row.decided_by,
        )
        for row in placed
    )
