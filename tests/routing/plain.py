"""The plain reading of routing: every check over every candidate, then a sort. The judge of the fast one.

Slow and short on purpose; it shares the checks and the criteria with the product, and nothing of its index.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from simrack.controller.config.models import Target
from simrack.controller.fleet.view import ChannelView, FleetView
from simrack.controller.models import CheckStep, Dropped
from simrack.controller.routing import decide as fast
from simrack.controller.routing.admission import Draft, admit
from simrack.controller.routing.checks import CHECKS, Check
from simrack.controller.routing.criteria import TIE_BREAK, Criterion, Placed, in_force
from simrack.controller.routing.decision import CallFacts, Decision
from simrack.controller.routing.pool import Option, Search
from simrack.controller.routing.table import Match, RoutingTable
from simrack.wire.channel import ChannelState

EXAMPLES = 20


def decide(facts: CallFacts, table: RoutingTable, fleet: FleetView) -> Decision:
    """As the product's `decide`, for calls that admission and patterns let through."""
    draft = Draft(facts, table, fleet)
    assert admit(draft) is None
    matches = table.matches(draft.known_number.text, facts.sender)
    assert matches
    assert matches[0].pattern.action == "route"
    search = _search(draft)
    options, steps = _funnel(search, matches)
    if not options:
        return fast._refused(draft, fast._no_candidate(steps, draft.fleet), matches, steps)
    placed = place(options, search)
    candidates = tuple(fast._candidate(row.option, search) for row in placed[: draft.table.limits.max_attempts])
    explanation = fast._explain(draft, matches, steps, fast._ordered(placed[:EXAMPLES], search))
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


def place(options: Sequence[Option], search: Search) -> tuple[Placed, ...]:
    """Options in order, each channel once (its best way)."""
    criteria = in_force(search.table.limits.order)
    values = [criterion.value for criterion in criteria]
    keyed = [(tuple([value(option, search) for value in values]), option) for option in options]
    keyed.sort(key=lambda item: (item[0], item[1].channel.box, item[1].channel.channel))
    unique: dict[tuple[str, int], tuple[tuple[float, ...], Option]] = {}
    for key, option in keyed:
        unique.setdefault((option.channel.box, option.channel.channel), (key, option))
    rows = list(unique.values())
    following = [key for key, _ in rows[1:]]
    decided = [_decided(key, after, criteria) for (key, _), after in zip(rows, following, strict=False)]
    return tuple(Placed(option, key, why) for (key, option), why in zip(rows, [*decided, ""], strict=False))


def _decided(key: Sequence[float], after: Sequence[float], criteria: Sequence[Criterion]) -> str:
    pairs = zip(criteria, key, after, strict=True)
    return next((criterion.name for criterion, mine, next_ in pairs if mine != next_), TIE_BREAK)
