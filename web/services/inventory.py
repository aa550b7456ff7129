"""What is configured, joined with what the rack reports: the rows of SIMs, plans, senders, agreements, routing (pure)."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from simrack.controller.config.models import Agreement, Pattern, Plan, Sender, Sim, Site
from simrack.controller.models import Own
from simrack.controller.routing.table import RoutingTable
from simrack.web.cells import LOOKS
from simrack.web.forms import words
from simrack.web.listing import Cell, Choice, Column, Row
from simrack.web.masks import Mask
from simrack.web.rack import Rack
from simrack.web.text import DASH, iccid_text, number_text
from simrack.wire.channel import IN_CALL, LABELS, ChannelState
from simrack.wire.messages import ChannelReport

# An operator needs weeks for a new contract; a month's notice is what a person can still act on.
ENDS_SOON_DAYS = 30
#: A pattern's prefixes that a row names; the others are counted.
PREFIXES_SHOWN = 3


@dataclass(frozen=True)
class Inventory:
    """The configuration in force, the rack as last reported, and whose rows are seen."""

    table: RoutingTable
    rack: Rack
    now: datetime
    own: Own
    mask: Mask

    @cached_property
    def live(self) -> Mapping[str, ChannelReport]:
        """Cards that are in a module now, by ICCID."""
        reports = sorted(self.rack.channels.values(), key=lambda report: report.at)
        return {report.sim.iccid: report for report in reports if report.sim is not None and report.sim.iccid}

    @cached_property
    def cards(self) -> Mapping[str, tuple[Sim | None, ChannelReport | None, Plan | None]]:
        """Every card that the configuration or the rack knows, as far as this account sees it."""
        found = {}
        for iccid in dict.fromkeys((*self.table.sims, *self.live)):
            report = self.live.get(iccid)
            imsi = report.sim.imsi if report is not None and report.sim is not None else ""
            plan = self.table.plan_of(iccid, imsi)
            if self.own.everything or (plan is not None and self.own.sees_plan(plan.name)):
                found[iccid] = (self.table.sims.get(iccid), report, plan)
        return found

    @cached_property
    def cards_by_plan(self) -> Mapping[str, Counter[str]]:
        """By plan: cards in all, ready, in a call, off."""
        found: dict[str, Counter[str]] = {}
        for sim, report, plan in self.cards.values():
            if plan is None:
                continue
            counts: Counter[str] = found.setdefault(plan.name, Counter())
            counts["cards"] += 1
            counts[_kind(sim, report, plan)] += 1
        return found

    @cached_property
    def prefixes(self) -> Mapping[str, list[str]]:
        """All prefixes of each pattern by its label."""
        found: dict[str, list[str]] = {}
        for prefix, patterns in self.table.prefixes.items():
            for pattern in patterns:
                found.setdefault(pattern.label, []).append(prefix)
        return found

    @property
    def today(self) -> date:
        return self.now.date()

    def title(self, kind: str, name: str) -> str:
        """What people call an entry."""
        entries: Mapping[str, Any] = {
            "site": self.table.sites, "agreement": self.table.agreements, "plan": self.table.plans,
            "sender": self.table.senders,
        }.get(kind, {})  # fmt: skip
        entry = entries.get(name)
        return (entry.title if entry is not None else "") or name

    def choices(self) -> dict[str, dict[str, str]]:
        """Names with titles of everything that a form may refer to, as far as they are theirs to know."""
        seen = {"plan": self.own.sees_plan, "sender": self.own.sees_sender}
        whole = self.own.everything
        kinds = {"site": self.table.sites, "agreement": self.table.agreements, "plan": self.table.plans, "sender": self.table.senders}
        return {
            kind: {name: self.title(kind, name) for name in entries if (seen[kind](name) if kind in seen else whole)}
            for kind, entries in kinds.items()
        }


def href(kind: str, name: str) -> str:
    """Where an entry's page is; names of patterns may hold anything."""
    return f"{PATHS[kind]}?{urlencode({'name': name})}"


PATHS: Mapping[str, str] = {
    "sim": "/sims/card", "plan": "/plans/plan", "sender": "/senders/sender", "agreement": "/agreements/agreement",
    "site": "/sites/site", "pattern": "/routing/pattern", "installation": "/installation", "limit": "/routing/limits",
}  # fmt: skip


# --- SIMs -----------------------------------------------------------------------------------------------------

SIM_COLUMNS = (
    Column("state", "State", "state"), Column("iccid", "ICCID", "num"), Column("number", "Number", "num"),
    Column("plan", "Plan", "cut"), Column("place", "Channel", "num"), Column("network", "Network", "cut"),
    Column("signal", "Signal, dBm", "fig"), Column("holder", "Holder", "cut"), Column("note", "Note", "cut"),
)  # fmt: skip
_STATES = {"ready": "ready", "call": "in a call", "out": "not ready", "away": "in no module", "off": "switched off"}


def sims(of: Inventory) -> list[Row]:
    """Every card with its state and place."""
    return [_sim(of, iccid, sim, report, plan) for iccid, (sim, report, plan) in of.cards.items()]


def _kind(sim: Sim | None, report: ChannelReport | None, plan: Plan | None) -> str:
    if (sim is not None and not sim.enabled) or (plan is not None and not plan.enabled):
        return "off"
    if report is None:
        return "away"
    return "call" if report.state in IN_CALL else "ready" if report.state is ChannelState.READY else "out"


def sim_state(sim: Sim | None, report: ChannelReport | None, plan: Plan | None) -> Cell:
    """How a card is, in a word with its shape."""
    kind = _kind(sim, report, plan)
    if kind == "off":
        whose = "switched off" if sim is not None and not sim.enabled else "plan is off"
        return Cell(whose, tone="drain", icon="deny", sort=4)
    if report is None:
        return Cell("in no module", tone="empty", icon="card", sort=3)
    tone, icon = LOOKS[report.state]
    return Cell(LABELS[report.state].lower(), tone=tone, icon=icon, title=report.fault, sort={"call": 0, "ready": 1, "out": 2}[kind])


def _sim(of: Inventory, iccid: str, sim: Sim | None, report: ChannelReport | None, plan: Plan | None) -> Row:
    network = report.network if report is not None else None
    number = report.sim.msisdn if report is not None and report.sim is not None else ""
    dbm = network.signal_dbm if network is not None else None
    return Row(iccid, href("sim", iccid), {
        "state": sim_state(sim, report, plan),
        "iccid": Cell(iccid_text(iccid), title=iccid, note=sim.title if sim is not None else ""),
        "number": Cell(of.mask.number(number_text(number))),
        "plan": _linked(of, "plan", plan.name) if plan is not None else Cell("in no plan", tone="warn"),
        "place": Cell(f"{report.box} / {report.channel}", f"/rack/{report.box}/{report.channel}") if report is not None else Cell(DASH),
        "network": Cell(f"{network.operator} {network.technology}".strip() if network is not None else DASH),
        "signal": Cell(str(dbm) if dbm is not None else DASH, sort=dbm if dbm is not None else -999),
        "holder": Cell((sim.holder if sim is not None else "") or DASH),
        "note": Cell((sim.note if sim is not None else "") or DASH),
    }, dim=_kind(sim, report, plan) == "off", also=report.sim.imsi if report is not None and report.sim is not None else "")  # fmt: skip


def sim_choices(of: Inventory) -> tuple[Choice, ...]:
    """Filters of the SIMs page."""
    plans = {name: of.title("plan", name) for name in of.table.plans if of.own.sees_plan(name)}
    where = {box: box for box in sorted({report.box for _, report, _ in of.cards.values() if report is not None})}
    return (
        Choice("state", "State", _STATES, lambda row, value: _kind(*of.cards[row.name]) == value),
        Choice("plan", "Plan", plans, lambda row, value: (plan := of.cards[row.name][2]) is not None and plan.name == value),
        Choice("box", "Box", where, lambda row, value: (report := of.cards[row.name][1]) is not None and report.box == value),
    )


def _linked(of: Inventory, kind: str, name: str) -> Cell:
    return Cell(of.title(kind, name), href(kind, name))


# --- plans ----------------------------------------------------------------------------------------------------

PLAN_COLUMNS = (
    Column("plan", "Plan", "cut"), Column("state", "State", "state"), Column("agreement", "Agreement", "cut"),
    Column("cards", "SIMs", "fig"), Column("ready", "Ready", "fig"), Column("call", "In a call", "fig"),
    Column("limits", "Limits"), Column("owner", "Owner", "cut"),
)  # fmt: skip


def plans(of: Inventory) -> list[Row]:
    """Every plan with what its agreement allows and how its cards are."""
    return [_plan(of, plan) for name, plan in of.table.plans.items() if of.own.sees_plan(name)]


def plan_state(of: Inventory, plan: Plan) -> Cell:
    """Whether a plan carries calls, else why not."""
    if not plan.enabled:
        return Cell("switched off", tone="drain", icon="deny", sort=3)
    state = agreement_state(of.table.agreements.get(plan.agreement), of.today)
    if state.tone == "fault":
        return Cell(f"agreement {state.text}", tone="fault", icon="alert", sort=2)
    counts = of.cards_by_plan.get(plan.name, Counter())
    if counts["ready"] or counts["call"]:
        return Cell("carries calls", tone="ready", icon="ring", sort=0)
    return Cell("no SIM ready", tone="searching", icon="search", sort=1)


def _plan(of: Inventory, plan: Plan) -> Row:
    counts = of.cards_by_plan.get(plan.name, Counter())
    return Row(plan.name, href("plan", plan.name), {
        "plan": Cell(plan.title or plan.name, note=plan.name if plan.title else ""),
        "state": plan_state(of, plan),
        "agreement": _linked(of, "agreement", plan.agreement),
        "cards": _figure(counts["cards"], f"/sims?{urlencode({'plan': plan.name})}"), "ready": _figure(counts["ready"]),
        "call": _figure(counts["call"]), "limits": Cell(plan_limits(plan)), "owner": Cell(plan.owner or DASH),
    }, dim=not plan.enabled)  # fmt: skip


def _figure(count: int, link: str = "") -> Cell:
    return Cell(f"{count:,}", link if count else "", sort=count)


def plan_limits(plan: Plan) -> str:
    """A plan's limits in one line."""
    told = (
        (plan.max_concurrent, "calls at a time"), (plan.sim_calls_day, "calls a SIM and day"),
        (plan.sim_minutes_day, "min a SIM and day"), (plan.sim_minutes_month, "min a SIM and month"),
    )  # fmt: skip
    return ", ".join(f"{value:,} {text}" for value, text in told if value is not None) or DASH


# --- senders --------------------------------------------------------------------------------------------------

SENDER_COLUMNS = (
    Column("sender", "Sender", "cut"), Column("state", "State", "state"), Column("entity", "Legal entity", "cut"),
    Column("use", "Use"), Column("known", "Known by", "cut"), Column("numbers", "Numbers", "fig"),
    Column("calls", "Calls now", "fig"), Column("limit", "Most calls", "fig"),
)  # fmt: skip


def senders(of: Inventory) -> list[Row]:
    """Every sender with how it is recognised and its calls of now."""
    calls = Counter(call.sender for call in of.rack.calls.values())
    return [_sender(sender, calls[name]) for name, sender in of.table.senders.items() if of.own.sees_sender(name)]


def _sender(sender: Sender, calls: int) -> Row:
    on = Cell("on", tone="ready", icon="tick", sort=0) if sender.enabled else Cell("switched off", tone="drain", icon="deny", sort=1)
    return Row(sender.name, href("sender", sender.name), {
        "sender": Cell(sender.title or sender.name, note=sender.name if sender.title else ""), "state": on,
        "entity": Cell(sender.legal_name or DASH), "use": Cell(words(sender.use)), "known": Cell(known_by(sender)),
        "numbers": _figure(len(sender.numbers)), "calls": _figure(calls, f"/calls?{urlencode({'text': sender.title or sender.name})}"),
        "limit": Cell(f"{sender.max_calls:,}" if sender.max_calls else "no limit", sort=sender.max_calls or 10**9),
    }, dim=not sender.enabled, also=" ".join((*sender.numbers, *sender.addresses)))  # fmt: skip


def known_by(sender: Sender) -> str:
    """How a sender is recognised."""
    parts = [f"user {sender.digest.user}"] if sender.digest is not None else []
    if sender.addresses:
        more = f" and {len(sender.addresses) - 1} more" if len(sender.addresses) > 1 else ""
        parts.append(sender.addresses[0] + more)
    return " from ".join(parts)


# --- agreements and sites -------------------------------------------------------------------------------------

AGREEMENT_COLUMNS = (
    Column("agreement", "Agreement", "cut"), Column("state", "State", "state"), Column("operator", "Operator", "cut"),
    Column("reference", "Reference", "cut"), Column("uses", "Permits"), Column("sites", "Sites", "cut"),
    Column("until", "Valid until"), Column("plans", "Plans", "fig"),
)  # fmt: skip


def agreements(of: Inventory) -> list[Row]:
    """Every agreement with how long it holds."""
    used = Counter(plan.agreement for plan in of.table.plans.values())
    return [_agreement(of, agreement, used[name]) for name, agreement in of.table.agreements.items()]


def agreement_state(agreement: Agreement | None, today: date) -> Cell:
    """Whether an agreement holds today."""
    if agreement is None:
        return Cell("missing", tone="fault", icon="alert", sort=0)
    left = (agreement.valid_until - today).days
    if left < 0:
        return Cell("over", tone="fault", icon="alert", title=f"ended {agreement.valid_until}", sort=1)
    if agreement.valid_from > today:
        return Cell("not yet", tone="fault", icon="alert", title=f"from {agreement.valid_from}", sort=2)
    if left <= ENDS_SOON_DAYS:
        return Cell(f"ends in {left} d", tone="between", icon="bell", sort=3)
    return Cell("holds", tone="ready", icon="tick", sort=4)


def _agreement(of: Inventory, agreement: Agreement, plans_of: int) -> Row:
    return Row(agreement.name, href("agreement", agreement.name), {
        "agreement": Cell(agreement.title or agreement.name, note="lab" if agreement.lab else ""),
        "state": agreement_state(agreement, of.today), "operator": Cell(agreement.operator),
        "reference": Cell(agreement.reference), "uses": Cell(", ".join(map(words, agreement.uses))),
        "sites": Cell(", ".join(of.title("site", name) for name in agreement.sites)),
        "until": Cell(agreement.valid_until.isoformat()), "plans": _figure(plans_of),
    })  # fmt: skip


SITE_COLUMNS = (
    Column("site", "Site", "cut"), Column("state", "State", "state"), Column("country", "Country"),
    Column("zone", "Time zone"), Column("emergency", "Emergency calls"), Column("boxes", "Boxes", "fig"),
)  # fmt: skip


def sites(of: Inventory) -> list[Row]:
    """Every site with its boxes."""
    boxes = Counter(status.site for status in of.rack.boxes.values())
    return [_site(site, boxes[name]) for name, site in of.table.sites.items()]


def _site(site: Site, boxes: int) -> Row:
    chosen = site.emergency is not None
    state = Cell("takes traffic", tone="ready", icon="tick", sort=1) if chosen else Cell("no emergency choice", tone="fault", icon="alert", sort=0)
    return Row(site.name, href("site", site.name), {
        "site": Cell(site.title or site.name, note=site.name if site.title else ""), "state": state,
        "country": Cell(site.country), "zone": Cell(site.time_zone), "boxes": _figure(boxes),
        "emergency": Cell("refused, with an alarm" if chosen else "not chosen yet"),
    })  # fmt: skip


# --- routing --------------------------------------------------------------------------------------------------

PATTERN_COLUMNS = (
    Column("pattern", "Pattern", "cut"), Column("prefixes", "Called numbers", "cut"), Column("priority", "Priority", "fig"),
    Column("senders", "For", "cut"), Column("targets", "Goes to"), Column("last", "Last"),
)  # fmt: skip


def patterns(of: Inventory) -> list[Row]:
    """Every pattern in the order of the version; those that fit a number serve together."""
    return [_pattern(of, pattern) for pattern in of.table.patterns.values()]


def _pattern(of: Inventory, pattern: Pattern) -> Row:
    prefixes = of.prefixes.get(pattern.label, [])
    more = f" and {len(prefixes) - PREFIXES_SHOWN:,} more" if len(prefixes) > PREFIXES_SHOWN else ""
    for_whom = ", ".join(of.title("sender", name) for name in pattern.senders) or "all senders"
    return Row(pattern.label, href("pattern", pattern.label), {
        "pattern": Cell(pattern.label),
        "prefixes": Cell(", ".join(prefixes[:PREFIXES_SHOWN]) + more, sort=prefixes[0] if prefixes else ""),
        "priority": Cell(str(pattern.priority), sort=pattern.priority), "senders": Cell(for_whom),
        "targets": Cell(goes_to(of.title, pattern), tone="" if pattern.action == "route" else "warn"),
        "last": Cell("stops here" if pattern.stop or pattern.action == "refuse" else DASH),
    }, also=" ".join(prefixes[:200]))  # fmt: skip


def goes_to(title: Callable[[str, str], str], pattern: Pattern) -> str:
    """Where a pattern sends calls, the first plan first."""
    if pattern.action == "refuse":
        return "refused: SIP 403, cause 21"
    ranked = sorted(pattern.targets, key=lambda target: -target.priority)
    return ", ".join(title("plan", target.plan) + (" (reserve)" if target.priority < 0 else "") for target in ranked)


def pattern_choices(of: Inventory) -> tuple[Choice, ...]:
    """Filters of the Routing page."""
    known = of.table.patterns
    plans_of = {name: of.title("plan", name) for name in of.table.plans}
    senders_of = {name: of.title("sender", name) for name in of.table.senders}
    return (
        Choice("plan", "Goes to", plans_of, lambda row, value: value in _plans_of(known[row.name])),
        Choice("sender", "For", senders_of, lambda row, value: not known[row.name].senders or value in known[row.name].senders),
    )


def _plans_of(pattern: Pattern) -> Iterator[str]:
    return (target.plan for target in pattern.targets)


def unfinished(of: Inventory) -> Iterable[tuple[str, str, str]]:
    """What a rack still lacks before it can carry a call: (what, why, where to do it)."""
    table = of.table
    if not table.version:
        yield "Declare what this rack is", "Its class decides whose traffic it may carry.", "/installation"
    if not table.sites:
        yield "Name a site", "Boxes stand at sites, and each site says what becomes of emergency calls.", "/sites/site"
    if not table.agreements:
        yield "Enter an agreement", "Without one no SIM carries a call.", "/agreements/agreement"
    elif not table.plans:
        yield "Make a plan with SIMs", "A plan is a kind of SIM under an agreement.", "/plans/plan"
    if not table.senders:
        yield "Enter a sender", "Calls are taken from senders that are known.", "/senders/sender"
    if table.plans and not table.patterns:
        yield "Make a pattern", "It says which called numbers go to which plan.", "/routing/pattern"
