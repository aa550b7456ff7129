"""What the rack knows of one configured thing now, beside its form (pure)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlencode

from simrack.web.services import inventory as inv
from simrack.web.services.inventory import Inventory, href
from simrack.web.text import DASH, number_text

#: (what, words, address or "", tone or "")
Fact = tuple[str, str, str, str]


def facts_of(of: Inventory, kind: str, name: str) -> tuple[Fact, ...]:
    """Rows of the card beside a form."""
    make = _FACTS.get(kind)
    return tuple(make(of, name)) if make is not None else ()


def _sim(of: Inventory, name: str) -> Iterable[Fact]:
    if name not in of.cards:
        return
    sim, report, plan = of.cards[name]
    state = inv.sim_state(sim, report, plan)
    yield "State", state.text, "", state.tone
    if report is not None:
        yield "Channel", f"{report.box} / {report.channel}", f"/rack/{report.box}/{report.channel}", ""
        if report.sim is not None:
            yield "Number", of.mask.number(number_text(report.sim.msisdn)), "", ""
            yield "IMSI", report.sim.imsi or DASH, "", ""
        if report.network is not None:
            signal = f", {report.network.signal_dbm} dBm" if report.network.signal_dbm is not None else ""
            yield "Network", f"{report.network.operator} {report.network.technology}{signal}".strip(), "", ""
    if plan is not None:
        yield "Plan", of.title("plan", plan.name), href("plan", plan.name), ""
        yield "Limits", inv.plan_limits(plan), "", ""
    yield "Calls", "in Records", f"/records?{urlencode({'iccid': name})}", ""


def _plan(of: Inventory, name: str) -> Iterable[Fact]:
    plan = of.table.plans.get(name)
    if plan is None:
        return
    state = inv.plan_state(of, plan)
    counts = of.cards_by_plan.get(name, Counter())
    yield "State", state.text, "", state.tone
    yield "SIMs", f"{counts['cards']:,}, {counts['ready']:,} ready, {counts['call']:,} in a call", f"/sims?{urlencode({'plan': name})}", ""
    held = inv.agreement_state(of.table.agreements.get(plan.agreement), of.today)
    yield "Agreement", f"{of.title('agreement', plan.agreement)}, {held.text}", href("agreement", plan.agreement), held.tone
    named = [pattern.label for pattern in of.table.patterns.values() if any(target.plan == name for target in pattern.targets)]
    yield "Patterns", f"{len(named):,} lead here" if named else "none leads here", f"/routing?{urlencode({'plan': name})}", ""
    yield "Calls", "in Records", f"/records?{urlencode({'plan': name})}", ""


def _sender(of: Inventory, name: str) -> Iterable[Fact]:
    sender = of.table.senders.get(name)
    if sender is None:
        return
    calls = sum(1 for call in of.rack.calls.values() if call.sender == name)
    most = f" of {sender.max_calls:,}" if sender.max_calls else ""
    yield "Calls now", f"{calls:,}{most}", f"/calls?{urlencode({'text': of.title('sender', name)})}" if calls else "", ""
    yield "Known by", inv.known_by(sender), "", ""
    yield "Calls", "in Records", f"/records?{urlencode({'sender': name})}", ""
    yield "Which way", "explain a call", f"/routing/explain?{urlencode({'sender': name})}", ""


def _agreement(of: Inventory, name: str) -> Iterable[Fact]:
    state = inv.agreement_state(of.table.agreements.get(name), of.today)
    yield "State", state.text, "", state.tone
    plans = [plan for plan in of.table.plans.values() if plan.agreement == name]
    for plan in plans:
        yield "Plan", plan.title or plan.name, href("plan", plan.name), ""
    if not plans:
        yield "Plans", "none yet: make one", f"/plans/plan?{urlencode({'agreement': name})}", ""


def _site(of: Inventory, name: str) -> Iterable[Fact]:
    boxes = sorted(status.box for status in of.rack.boxes.values() if status.site == name)
    yield "Boxes", ", ".join(boxes) or f"none names {name} as its site", "/rack" if boxes else "", ""
    used = [agreement for agreement in of.table.agreements.values() if name in agreement.sites]
    for agreement in used:
        yield "Agreement", agreement.title or agreement.name, href("agreement", agreement.name), ""


def _count(prefixes: int) -> str:
    return f"{prefixes:,} prefix{'' if prefixes == 1 else 'es'}"


def _pattern(of: Inventory, name: str) -> Iterable[Fact]:
    pattern = of.table.patterns.get(name)
    if pattern is None:
        return
    yield "Called numbers", _count(len(of.prefixes.get(name, ()))), "", ""
    yield "Goes to", inv.goes_to(of.title, pattern), "", ""
    for target in pattern.targets:
        plan = of.table.plans.get(target.plan)
        if plan is not None:
            state = inv.plan_state(of, plan)
            yield of.title("plan", plan.name), state.text, href("plan", plan.name), state.tone
    first = next(iter(of.prefixes.get(name, ())), "")
    yield "Which way", "explain a call", f"/routing/explain?{urlencode({'called': first})}", ""
    yield "Calls", "in Records", f"/records?{urlencode({'pattern': name})}", ""


_FACTS: Mapping[str, Callable[[Inventory, str], Iterable[Fact]]] = {
    "sim": _sim, "plan": _plan, "sender": _sender, "agreement": _agreement, "site": _site, "pattern": _pattern,
}  # fmt: skip
