"""Everything that is wrong now, worst first, each with what to do (pure; page, API and command line alike).

One trouble is told once: what an open alarm says already is not found again among the figures, and a dead box is one
finding, not sixteen.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal
from urllib.parse import quote

from simrack.controller.alarms.rules import rules_of
from simrack.controller.models import AlarmRow, Names
from simrack.controller.routing.table import RoutingTable
from simrack.web import cells, health
from simrack.web.rack import ChannelKey, Rack
from simrack.web.services import setting_up
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import ChannelReport

Rank = Literal["critical", "major", "minor", "note"]
RANKS: tuple[Rank, ...] = ("critical", "major", "minor", "note")
RANK_WORDS = {
    "critical": "critical", "major": "major", "minor": "minor", "note": "worth knowing",
}  # fmt: skip
#: An agreement that ends within this is told before its SIMs stop.
ENDS_SOON = timedelta(days=30)
#: A module looks for its network for some minutes after a restart.
SEARCHES_LONG = timedelta(minutes=5)
NAMED = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `href` is the page where it is put right; `hand` who has it in hand already."""

    rank: Rank
    area: str  # rack, calls, configuration, set-up, alarms
    title: str
    todo: str
    href: str = ""
    since: datetime | None = None
    hand: str = ""
    where: tuple[tuple[str, str], ...] = ()  # (words, address) of the things that it is about


@dataclass(frozen=True, slots=True)
class Facts:
    """What is looked at."""

    now: datetime
    rack: Rack
    names: Names
    table: RoutingTable
    alarms: tuple[AlarmRow, ...] = ()
    answered: bool = True  # whether a call was ever answered
    causes: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "causes", frozenset(alarm.cause for alarm in self.alarms))

    def alarmed(self, kind: str, subject: str = "") -> bool:
        """Whether an open alarm says it already."""
        return (f"{kind}:{subject}" if subject else kind) in self.causes


def findings(facts: Facts) -> tuple[Finding, ...]:
    """All of them: what is in nobody's hand first, then the worst, then the oldest."""
    found = [
        *_alarms(facts), *_links(facts), *_set_up(facts), *_channels(facts), *_boxes(facts), *_agreements(facts),
        *_plans(facts), *_patterns(facts), *_keeping(facts),
    ]  # fmt: skip
    latest = facts.now + timedelta(days=1)
    return tuple(sorted(found, key=lambda one: (bool(one.hand), RANKS.index(one.rank), one.since or latest)))


def counts(found: tuple[Finding, ...]) -> Counter[str]:
    """How many of each rank."""
    return Counter(one.rank for one in found)


def _alarms(facts: Facts) -> Iterator[Finding]:
    for alarm in facts.alarms:
        yield Finding(
            alarm.severity, "alarms", alarm.title, alarm.advice, f"/alarms#alarm-{alarm.id}", alarm.opened,
            alarm.acknowledged_by if alarm.acknowledged else "",
        )  # fmt: skip


def _links(facts: Facts) -> Iterator[Finding]:
    rack = facts.rack
    if not rack.broker:
        yield Finding(
            "critical", "rack", "The control room has no session with the broker",
            "What pages show of the rack is old. Start the broker, or mend its address in the control room's file.",
            since=rack.broker_since,
        )  # fmt: skip
    elif rack.controller is None or not rack.controller.online:
        yield Finding(
            "critical", "calls", "The controller is not running",
            "No call is taken. Start `simrack controller`; if it ends again, its last log line says why.", "/logs?process=controller",
        )  # fmt: skip


def _set_up(facts: Facts) -> Iterator[Finding]:
    steps = setting_up.steps(setting_up.Known(facts.table, facts.rack, facts.answered))
    left = [step for step in steps if not step.done]
    if left:
        first = left[0]
        rank: Rank = "major" if any(step.name != "call" for step in left) else "note"
        yield Finding(
            rank, "set-up", f"Set-up is not finished: {len(steps) - len(left)} of {len(steps)} steps are done",
            f"Next: {first.title.lower()}. {first.why}", "/set-up", where=tuple((step.title, step.where) for step in left[:NAMED]),
        )  # fmt: skip


# --- boxes and channels -------------------------------------------------------------------------------------


def _trouble(report: ChannelReport | None, now: datetime) -> str:
    """What is wrong with a channel of a box that is there: a key of `_TROUBLES`, or ""."""
    if report is None:
        return "missing"
    if report.state is ChannelState.FAULT:
        return "fault"
    if report.state is ChannelState.NO_SIM:
        return "no-sim"
    if report.state is ChannelState.SEARCHING and now - report.since > SEARCHES_LONG:
        denied = report.network is not None and report.network.stat == 3
        return "denied" if denied else "searching"
    return "disabled" if Mark.DISABLED in report.marks else ""


_TROUBLES: dict[str, tuple[Rank, str, str]] = {
    "missing": ("major", "never reported", "Is the module plugged in and named in the box's file? `simrack doctor` on the box looks further."),
    "fault": ("major", "at fault", "Open the channel: its drawer says what was tried. Restart the module; if that does not help, pull and refit it."),
    "denied": ("major", "refused by the network", "The operator does not let the card in: is it active, paid, and allowed in this module and place?"),
    "no-sim": ("minor", "without a SIM", "Put a card in, or take the channel out of the box's file."),
    "searching": ("minor", "looking for a network", "Look at the antenna and at the signal of its neighbours; is the card's operator heard here?"),
    "disabled": ("note", "disabled by a person", "Enable them when the reason is gone."),
}  # fmt: skip


def _channels(facts: Facts) -> Iterator[Finding]:
    found: dict[tuple[str, str], list[ChannelKey]] = defaultdict(list)
    since: dict[tuple[str, str], datetime] = {}
    for box, status in facts.rack.boxes.items():
        if not status.online:
            continue
        for number in cells.channels_of(box, facts.rack):
            report = facts.rack.channels.get((box, number))
            kind = _trouble(report, facts.now)
            if kind and not (kind == "fault" and facts.alarmed("module-out", f"{box}/{number}")):
                found[box, kind].append((box, number))
                if report is not None:
                    since[box, kind] = min(since.get((box, kind), report.since), report.since)
    for (box, kind), keys in found.items():
        rank, words, todo = _TROUBLES[kind]
        yield Finding(
            rank, "rack", f"{len(keys)} channel{'s' * (len(keys) > 1)} of {box} {words}", todo, f"/rack?box={box}", since.get((box, kind)),
            where=tuple((f"{box} / {number}", f"/rack/{box}/{number}") for _, number in keys[:NAMED]),
        )  # fmt: skip


def _boxes(facts: Facts) -> Iterator[Finding]:
    for box, status in facts.rack.boxes.items():
        if not status.online:
            if not facts.alarmed("box-unreachable", box) and not cells.restarting(status, facts.now):
                yield Finding(
                    "major", "rack", f"Box {box} is unreachable", "Its calls go elsewhere. Look at its power, its uplink, and `simrack box` on it.",
                    f"/gateways/{box}", status.at,
                )  # fmt: skip
            continue
        worries = [words for words in health.health(box, facts.rack, facts.names, facts.now).worries if "channel" not in words]
        told = any(facts.alarmed(kind, box) for kind in ("box-disk", "box-disk-low", "box-hot", "box-clock", "box-queue", "plain-link"))
        if worries and not told:
            yield Finding("minor", "rack", f"Box {box}: {', '.join(worries)}", "Look at the box's page.", f"/gateways/{box}")


# --- configuration ------------------------------------------------------------------------------------------


def _agreements(facts: Facts) -> Iterator[Finding]:
    today = facts.now.date()
    users = Counter(plan.agreement for plan in facts.table.plans.values())
    for name, agreement in facts.table.agreements.items():
        title, count = agreement.title or name, users[name]
        plans = f"{count} plan{'s' * (count != 1)}"
        if not count:
            continue
        if agreement.valid_until < today:
            yield Finding(
                "major", "configuration", f"The agreement {title} ended on {agreement.valid_until}",
                f"The SIMs of {plans} carry nothing. Enter the new agreement, or its new last day.", f"/agreements/agreement?name={quote(name)}",
            )  # fmt: skip
        elif agreement.valid_until - today <= ENDS_SOON:
            yield Finding(
                "minor", "configuration", f"The agreement {title} ends on {agreement.valid_until}",
                f"From the next day on the SIMs of {plans} carry nothing. Renew it in time.", f"/agreements/agreement?name={quote(name)}",
            )  # fmt: skip
    yield from _licence(facts, today)
    for name, site in facts.table.sites.items():
        if site.emergency is None:
            yield Finding(
                "major", "configuration", f"The site {site.title or name} has no emergency choice",
                "It takes no traffic until its owner has chosen what happens to emergency calls.", f"/sites/site?name={quote(name)}",
            )  # fmt: skip


def _licence(facts: Facts, today: date) -> Iterator[Finding]:
    until = facts.table.installation.licence_until
    if until is None or until - today > ENDS_SOON:
        return
    over = until < today
    yield Finding(
        "major" if over else "minor", "configuration", f"The installation's licence {'ended' if over else 'ends'} on {until}",
        "Enter the renewed licence with its last day.", "/installation",
    )  # fmt: skip


def _plans(facts: Facts) -> Iterator[Finding]:
    with_cards = {sim.plan for sim in facts.table.sims.values()}
    used = {target.plan for pattern in facts.table.patterns.values() for target in pattern.targets}
    for name, plan in facts.table.plans.items():
        title = plan.title or name
        if not plan.sims and not plan.imsi_prefixes and name not in with_cards:
            yield Finding(
                "minor", "configuration", f"The plan {title} has no SIM", "Name its cards, or the beginning of their IMSI.", f"/plans/plan?name={quote(name)}",
            )  # fmt: skip
        elif not plan.enabled and name in used:
            yield Finding(
                "note", "configuration", f"The plan {title} is switched off, and patterns send calls to it",
                "Switch it on, or take it out of the patterns.", f"/plans/plan?name={quote(name)}",
            )  # fmt: skip


def _patterns(facts: Facts) -> Iterator[Finding]:
    """Patterns whose plans have no channel in service now; nothing is said while no channel at all is."""
    serving = {
        facts.names.plan_of(report.sim.iccid, report.sim.imsi)
        for (box, _), report in facts.rack.channels.items()
        if report.sim is not None and health.in_service(report) and box in facts.rack.boxes and facts.rack.boxes[box].online
    }
    if not serving:
        return
    for label, pattern in facts.table.patterns.items():
        plans = {target.plan for target in pattern.targets}
        if plans and not plans & serving:
            titles = ", ".join(facts.names.plans.get(plan, plan) for plan in sorted(plans))
            yield Finding(
                "major", "calls", f"Calls of the pattern {label} have no channel in service",
                f"All channels of {titles} are out. Bring one back, or give the pattern another target.", "/routing",
            )  # fmt: skip


def _keeping(facts: Facts) -> Iterator[Finding]:
    options = facts.table.options
    if not rules_of(options).targets:
        yield Finding(
            "note", "alarms", "Nobody is told of alarms", "Name a webhook or mailboxes, then send a test.", "/alarms/notices",
        )  # fmt: skip
    if not options.text("backup.folder") and not facts.alarmed("backup-failed"):
        yield Finding(
            "minor", "configuration", "No backup is made by itself", "Name a folder on another disk or machine.", "/settings?area=backup",
        )  # fmt: skip
