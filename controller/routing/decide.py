"""The decision: a call, the configuration and the fleet in; candidates in order or one refusal out.

Pure: no clock, no I/O. What the decision was made of is in its explanation, which is the same whether the
call was placed, is being asked about, or is explained again from an old version of the configuration.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from simrack.controller.config.models import Target
from simrack.controller.fleet.view import ChannelView, FleetView
from simrack.controller.models import CheckStep, Dropped, Explanation, OrderedCandidate, Refusal
from simrack.controller.routing.admission import Draft, admit
from simrack.controller.routing.checks import CHECKS, FELL_OUT, UNREACHABLE, Check, Outcome
from simrack.controller.routing.criteria import Placed, in_force, place
from simrack.controller.routing.decision import CallFacts, Candidate, Decision
from simrack.controller.routing.numbers import dialled
from simrack.controller.routing.pool import Option, Search
from simrack.controller.routing.table import Match, RoutingTable
from simrack.wire.causes import Cause
from simrack.wire.channel import ChannelState

# Examples per list of an explanation (routing: "first 20 candidates").
EXAMPLES = 20


def decide(facts: CallFacts, table: RoutingTable, fleet: FleetView) -> Decision:
    """Route one call of an identified sender. The fleet's counts do not hold this call yet."""
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
    return _choose(draft, matches)


def _choose(draft: Draft, matches: Sequence[Match]) -> Decision:
    search = _search(draft)
    options, steps = _funnel(search, matches)
    if not options:
        return _refused(draft, _no_candidate(steps, draft.fleet), matches, steps)
    placed = place(options, search)
    candidates = tuple(_candidate(row.option, search) for row in placed[: draft.table.limits.max_attempts])
    explanation = _explain(draft, matches, steps, _ordered(placed, search))
    return Decision(explanation, candidates, draft.calling)


def _search(draft: Draft) -> Search:
    free = Counter(
        channel.box
        for channel in draft.fleet.channels
        if channel.state is ChannelState.READY and not channel.reserved and not channel.marks
    )
    return Search(
        draft.facts, draft.table, draft.fleet, draft.known_sender, draft.known_number, draft.calling_country, free
    )  # fmt: skip


# --- candidates and their checks ---------------------------------------------------------------------------


def _funnel(search: Search, matches: Sequence[Match]) -> tuple[Sequence[Option], list[CheckStep]]:
    """Options that pass every check, and the steps up to the one that left none."""
    options, step = _in_plan(search, matches)
    steps = [step]
    for check in CHECKS:
        if not options:
            break
        options, step = _run(check, options, search)
        steps.append(step)
    return options, steps


def _in_plan(search: Search, matches: Sequence[Match]) -> tuple[Sequence[Option], CheckStep]:
    """The SIMs of the plans that the patterns name. The funnel counts each channel once per way to it."""
    ways: dict[str, list[tuple[Match, Target]]] = {}
    for match in matches:
        for target in match.pattern.targets:
            ways.setdefault(target.plan, []).append((match, target))
    options: list[Option] = []
    others: list[ChannelView] = []
    for channel in search.fleet.channels:
        found = list(_options(channel, ways, search))
        options.extend(found)
        if not found:
            others.append(channel)
    dropped = tuple(
        Dropped(candidate=f"{channel.box} / {channel.channel}", reason=_why_not(channel, search))
        for channel in others[:EXAMPLES]
    )
    step = CheckStep(
        check="in-plan", title="SIM in a plan of this route", went_in=len(options) + len(others),
        left=len(options), dropped=dropped,
    )  # fmt: skip
    return options, step


def _options(
    channel: ChannelView, ways: dict[str, list[tuple[Match, Target]]], search: Search
) -> Iterator[Option]:
    plan = search.table.plan_of(channel.iccid, channel.imsi)
    if plan is None or plan.name not in ways:
        return
    box = search.fleet.boxes.get(channel.box)
    site = search.table.sites.get(box.site) if box is not None else None
    agreement = search.table.agreements[plan.agreement]
    sim = search.table.sims.get(channel.iccid)
    for match, target in ways[plan.name]:
        yield Option(channel, box, site, plan, agreement, sim, match.pattern, match.prefix, target)


def _why_not(channel: ChannelView, search: Search) -> str:
    if not channel.iccid:
        return "There is no SIM."
    plan = search.table.plan_of(channel.iccid, channel.imsi)
    return "The SIM is in no plan." if plan is None else f"The SIM is in plan {plan.name}."


def _run(check: Check, options: Sequence[Option], search: Search) -> tuple[Sequence[Option], CheckStep]:
    fails = check.fails
    whys = [fails(option, search) for option in options]
    left = options
    dropped: tuple[Dropped, ...] = ()
    if any(whys):
        left = [option for option, why in zip(options, whys, strict=True) if not why]
        dropped = _examples(options, whys)
    step = CheckStep(check=check.name, title=check.title, went_in=len(options), left=len(left), dropped=dropped)
    return left, step


def _examples(options: Sequence[Option], whys: Sequence[str]) -> tuple[Dropped, ...]:
    fell = ((option, why) for option, why in zip(options, whys, strict=True) if why)
    return tuple(Dropped(candidate=option.label, reason=why) for option, why in islice(fell, EXAMPLES))


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
        for row in placed[:EXAMPLES]
    )
