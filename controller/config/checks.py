"""What must hold between the entries of a routing file; each mistake is told with its place.

One function per rule, all in `RULES`; a rule yields (where in the file, what is wrong, what to do).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from simrack.controller.config.catalogue import CATALOGUE
from simrack.controller.config.models import (
    LAB_NETWORKS,
    NO_COUNTRY,
    Plan,
    RoutingFile,
    Sender,
)
from simrack.controller.config.networks import ranges_overlap
from simrack.controller.routing.criteria import CRITERIA
from simrack.wire.errors import UserError
from simrack.wire.tomlfile import MOST_SHOWN, Loc, mistake, nearest

Mistake = tuple[Loc, str, str]
Rule = Callable[[RoutingFile], Iterator[Mistake]]

# Lawful use: these classes carry the traffic of one legal entity only.
ONE_ENTITY = ("own-use", "single-customer")
USES_OF_CLASS = {
    "own-use": {"own-use-voice", "test"},
    "single-customer": {"own-use-voice", "enterprise-fixed-cellular", "test"},
    "test-lab": {"test"},
}


def check(file: RoutingFile, text: str, name: str) -> None:
    """Apply every rule.

    Raises:
        UserError: at least one mistake; `where` is "file:LINE" of the first, the others follow in `todo`.
    """
    found = [mistake(text, name, *place) for rule in RULES for place in rule(file)]
    if not found:
        return
    found.sort(key=lambda error: int(error.where.rpartition(":")[2]))
    first, *others = found
    also = " Also: " + " ".join(f"{e.where}: {e.what}." for e in others[: MOST_SHOWN - 1]) if others else ""
    raise UserError(first.what, first.where, f"{first.todo}{also}".strip())


def unique_names(file: RoutingFile) -> Iterator[Mistake]:
    """Two entries of a kind never share a name."""
    kinds: dict[str, Iterable[str]] = {
        kind: [entry.name for entry in getattr(file, kind)]
        for kind in ("site", "agreement", "plan", "sender")
    }
    kinds["sim"] = [sim.iccid for sim in file.sim]
    kinds["pattern"] = [pattern.label for pattern in file.pattern]
    for kind, names in kinds.items():
        seen: set[str] = set()
        for position, name in enumerate(names):
            if name in seen:
                yield (kind, position), f"a second {kind} is called {name!r}", "Give it another name."
            seen.add(name)


def known_names(file: RoutingFile) -> Iterator[Mistake]:
    """Whatever is named exists."""
    sites, agreements, plans, senders = (
        [entry.name for entry in getattr(file, kind)] for kind in ("site", "agreement", "plan", "sender")
    )
    for i, agreement in enumerate(file.agreement):
        for j, site in enumerate(agreement.sites):
            yield from _known(("agreement", i, "sites", j), "site", site, sites)
    for i, plan in enumerate(file.plan):
        yield from _known(("plan", i, "agreement"), "agreement", plan.agreement, agreements)
    for i, sim in enumerate(file.sim):
        yield from _known(("sim", i, "plan"), "plan", sim.plan, plans)
    for i, sender in enumerate(file.sender):
        for j, name in enumerate(sender.plans):
            yield from _known(("sender", i, "plans", j), "plan", name, plans)
    for i, pattern in enumerate(file.pattern):
        for j, name in enumerate(pattern.senders):
            yield from _known(("pattern", i, "senders", j), "sender", name, senders)
        for j, target in enumerate(pattern.targets):
            yield from _known(("pattern", i, "targets", j, "plan"), "plan", target.plan, plans)


def _known(loc: Loc, kind: str, name: str, names: list[str]) -> Iterator[Mistake]:
    if name not in names:
        hint = nearest(name, names) or f"There {'are' if names else 'is no'} {', '.join(names) or kind}."
        yield loc, f"there is no {kind} called {name!r}", hint


def one_plan_per_sim(file: RoutingFile) -> Iterator[Mistake]:
    """A SIM belongs to one plan, whether by its number or by its prefix."""
    owners: dict[str, str] = {}
    for i, plan in enumerate(file.plan):
        for key in ("sims", "imsi_prefixes"):
            for j, value in enumerate(getattr(plan, key)):
                other = owners.setdefault(f"{key} {value}", plan.name)
                if other != plan.name:
                    yield (
                        ("plan", i, key, j),
                        f"{value} belongs to plan {other!r} already",
                        "Keep it in one plan.",
                    )
    for i, sim in enumerate(file.sim):
        other = owners.setdefault(f"sims {sim.iccid}", sim.plan)
        if other != sim.plan:
            yield ("sim", i, "plan"), f"SIM {sim.iccid} belongs to plan {other!r} already", "Name that plan."


def plans_have_cards(file: RoutingFile) -> Iterator[Mistake]:
    """A plan without cards would never carry anything."""
    with_lines = {sim.plan for sim in file.sim}
    for i, plan in enumerate(file.plan):
        if not (plan.sims or plan.imsi_prefixes or plan.name in with_lines):
            yield ("plan", i), f"plan {plan.name!r} has no cards", "Give it sims or imsi_prefixes."


def lab_agreements(file: RoutingFile) -> Iterator[Mistake]:
    """Lab agreements serve test networks only, and a test lab has no other agreements."""
    labs = {agreement.name for agreement in file.agreement if agreement.lab}
    for i, agreement in enumerate(file.agreement):
        if file.installation.class_ == "test-lab" and not agreement.lab:
            yield (
                ("agreement", i),
                "class test-lab takes lab agreements only",
                "Set lab = true, or declare another class.",
            )
    for i, plan in enumerate(file.plan):
        if plan.agreement in labs:
            yield from _lab_cards(i, plan)


def _lab_cards(position: int, plan: Plan) -> Iterator[Mistake]:
    for j, prefix in enumerate(plan.imsi_prefixes):
        if not prefix.startswith(LAB_NETWORKS):
            yield (
                ("plan", position, "imsi_prefixes", j),
                f"a lab agreement covers SIMs of MCC 001 and 999 only, not {prefix}",
                "Attach the operator's agreement to this plan.",
            )


def uses_fit_the_class(file: RoutingFile) -> Iterator[Mistake]:
    """A sender's use is one that the installation's class admits."""
    allowed = USES_OF_CLASS.get(file.installation.class_)
    for i, sender in enumerate(file.sender):
        if allowed is not None and sender.enabled and sender.use not in allowed:
            what = f"use {sender.use!r} does not fit class {file.installation.class_!r}"
            yield ("sender", i, "use"), what, f"Allowed: {', '.join(sorted(allowed))}."


def one_legal_entity(file: RoutingFile) -> Iterator[Mistake]:
    """Own use and single customer carry the traffic of one legal entity; a second is refused."""
    if file.installation.class_ not in ONE_ENTITY:
        return
    own = file.installation.class_ == "own-use"
    first = file.installation.owner if own else None
    for i, sender in enumerate(file.sender):
        if not sender.enabled:
            continue
        first = first or sender.legal_name
        if _entity(sender.legal_name) != _entity(first):
            what = f"class {file.installation.class_} carries traffic of {first!r} only, not of {sender.legal_name!r}"
            yield (
                ("sender", i, "legal_name"),
                what,
                "Several customers need class multiple-customers and its licence.",
            )


def _entity(name: str) -> str:
    return " ".join(name.casefold().split())


def senders_are_told_apart(file: RoutingFile) -> Iterator[Mistake]:
    """No two senders match the same credentials."""
    numbered = [(i, sender) for i, sender in enumerate(file.sender) if sender.enabled]
    for (_, first), (i, second) in combinations(numbered, 2):
        yield from _same_user(i, first, second)
        yield from _same_address(i, first, second)


def _same_user(position: int, first: Sender, second: Sender) -> Iterator[Mistake]:
    if first.digest and second.digest and first.digest.user == second.digest.user:
        what = f"digest user {second.digest.user!r} is sender {first.name!r} already"
        yield ("sender", position, "digest"), what, "Give each sender a user of its own."


def _same_address(position: int, first: Sender, second: Sender) -> Iterator[Mistake]:
    if first.digest and second.digest:
        return
    for j, address in enumerate(second.addresses):
        for other in first.addresses:
            if ranges_overlap(address, other):
                what = f"address {address} would match sender {first.name!r} ({other}) as well"
                yield ("sender", position, "addresses", j), what, "Let one address mean one sender."


def known_order(file: RoutingFile) -> Iterator[Mistake]:
    """The order of candidates names criteria that exist, each once."""
    names = [criterion.name for criterion in CRITERIA]
    for j, name in enumerate(file.limits.order):
        if name not in names:
            yield ("limits", "order", j), f"there is no criterion {name!r}", f"Allowed: {', '.join(names)}."
        elif name in file.limits.order[:j]:
            yield ("limits", "order", j), f"criterion {name!r} stands twice", "Remove one."


def own_country(file: RoutingFile) -> Iterator[Mistake]:
    """A rack outside a lab stands in a country, whose emergency numbers and rules apply."""
    if file.installation.class_ == "test-lab":
        return
    for i, site in enumerate(file.site):
        if site.country == NO_COUNTRY:
            yield ("site", i, "country"), "a site outside a lab stands in a country", 'Write it as "DE".'


def known_options(file: RoutingFile) -> Iterator[Mistake]:
    """Global options exist and are within their range."""
    for area, options in file.settings.items():
        for name, value in options.items():
            option = CATALOGUE.get(f"{area}.{name}")
            wrong = option.mistake(value) if option is not None else "is no option"
            if wrong:
                hint = nearest(f"{area}.{name}", list(CATALOGUE)) if option is None else ""
                yield ("settings", area, name), f"{area}.{name} {wrong}", hint


RULES: tuple[Rule, ...] = (
    unique_names, known_names, one_plan_per_sim, plans_have_cards, lab_agreements, uses_fit_the_class,
    one_legal_entity, senders_are_told_apart, known_order, own_country, known_options,
)  # fmt: skip
