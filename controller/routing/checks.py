"""What makes a candidate fall out: one ordered list of small named checks (routing: per candidate).

A check returns why the candidate falls out, or "" when it may stay. The last check that took candidates out
decides what a call without a route is told, so lasting reasons stand before passing ones.

Most checks of a channel say the same for call after call. So each check belongs to what it looks at: a *plan* at
a site (asked once a call and plan), a *box* (once a call and box), or a *seat*, which is one channel with its SIM
and is judged when it changes, not when a call comes (`seats.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Literal

from simrack.controller.config.models import LAB_NETWORKS
from simrack.controller.fleet.view import BoxView
from simrack.controller.routing.pool import Card, Option, Search
from simrack.wire.causes import Cause
from simrack.wire.channel import IN_CALL, LABELS, ChannelState

# A box that is connected but says nothing for this long gets no calls (routing: not reporting).
SILENT_S = 300.0
MINUTE_MS = 60_000

# States that pass by themselves soon: the channel is busy, not broken.
_BUSY = IN_CALL | {ChannelState.USSD, ChannelState.SMS}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sender is told when this check took out the last candidates."""

    sip: int
    cause: int


# Routing: a pattern, but every candidate fell out.
FELL_OUT = Outcome(480, Cause.TEMPORARY_FAILURE)
UNREACHABLE = Outcome(503, Cause.TEMPORARY_FAILURE)
NO_CHANNEL = Outcome(503, Cause.NO_CIRCUIT)
NOT_PERMITTED = Outcome(403, Cause.REJECTED)


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. `name` is the stable reason code in records and metrics.

    `scope` says what it may look at besides the call: "plan" = plan, agreement, site and whether the SIM is of a
    lab network; "box" = the box alone (then `of_box` is the check); "seat" = channel, SIM and plan, never the call (`of_seat`).
    """

    name: str
    title: str
    fails: Callable[[Option, Search], str]
    outcome: Outcome = FELL_OUT
    scope: Literal["plan", "box", "seat"] = "plan"
    of_seat: Callable[[Card], str] | None = None
    of_box: Callable[[BoxView | None], str] | None = None


def _seat(name: str, title: str, fails: Callable[[Card], str], outcome: Outcome = FELL_OUT) -> Check:
    return Check(name, title, lambda option, _: fails(option), outcome, "seat", fails)


def _box(name: str, title: str, fails: Callable[[BoxView | None], str]) -> Check:
    return Check(name, title, lambda option, _: fails(option.box), UNREACHABLE, "box", of_box=fails)


def plan_enabled(option: Option, _: Search) -> str:
    return "" if option.plan.enabled else f"Plan {option.plan.name} is disabled."


def sender_may_use_plan(option: Option, search: Search) -> str:
    allowed = search.sender.plans
    return (
        "" if not allowed or option.plan.name in allowed else f"Plan {option.plan.name} is not this sender's."
    )


def agreement_valid(option: Option, search: Search) -> str:
    zone = option.site.zone if option.site is not None else UTC
    today = search.facts.now.astimezone(zone).date()
    agreement = option.agreement
    if today < agreement.valid_from:
        return f"Agreement {agreement.name} begins on {agreement.valid_from}."
    return (
        f"Agreement {agreement.name} ended on {agreement.valid_until}."
        if today > agreement.valid_until
        else ""
    )


def agreement_use(option: Option, search: Search) -> str:
    if search.sender.use in option.agreement.uses:
        return ""
    return f"Agreement {option.agreement.name} does not permit {search.sender.use}."


def agreement_site(option: Option, _: Search) -> str:
    site = option.box.site if option.box is not None else ""
    if site in option.agreement.sites:
        return ""
    return f"Agreement {option.agreement.name} does not permit site {site or 'unknown'}."


def lab_networks_only(option: Option, _: Search) -> str:
    if not option.agreement.lab or option.channel.imsi.startswith(LAB_NETWORKS):
        return ""
    return "A lab agreement covers SIMs of test networks only."


def site_emergency_choice(option: Option, _: Search) -> str:
    if option.site is None:
        return "The box's site is not configured."
    return "" if option.site.emergency else f"Site {option.site.name} has no choice for emergency calls."


def origin_permitted(option: Option, search: Search) -> str:
    """Lawful use: without licensed termination, no call from another country."""
    if "licensed-termination" in option.agreement.uses:
        return ""
    permitted = _origins(option)
    if not permitted:
        return ""
    for what, country in (("sender", search.sender.country), ("calling number", search.calling_country)):
        if country and country not in permitted:
            return f"The {what} is from {country}; agreement {option.agreement.name} permits {', '.join(permitted)}."
    return ""


def _origins(option: Option) -> Sequence[str]:
    """The agreement's origins, else the site's country; a lab network stands in no country."""
    if option.agreement.origins or option.agreement.lab:
        return option.agreement.origins
    return (option.site.country,) if option.site is not None else ()


def sim_enabled(option: Card) -> str:
    return "The SIM is disabled." if option.sim is not None and not option.sim.enabled else ""


def box_reachable(box: BoxView | None) -> str:
    if box is None or not box.reachable:
        return "The box can't be reached."
    return "" if box.sip is not None else "The box has not told its SIP address."


def box_alone(box: BoxView | None) -> str:
    return "Two boxes answer to this name." if box is not None and box.twin else ""


def box_reports(box: BoxView | None) -> str:
    silent = box.silent_s if box is not None else 0.0
    return f"The box has said nothing for {silent:.0f} s." if silent > SILENT_S else ""


def channel_unmarked(option: Card) -> str:
    marks = ", ".join(mark.value for mark in option.channel.marks)
    return f"The channel is {marks}." if marks else ""


def channel_ready(option: Card) -> str:
    state = option.channel.state
    return "" if state is ChannelState.READY or state in _BUSY else f"The channel is: {LABELS[state]}."


def sim_registered(option: Card) -> str:
    # During a call some modules do not report registration; what is busy falls out below anyway.
    busy = option.channel.state in _BUSY
    return "" if option.channel.registered or busy else "The SIM is not registered."


def answer_safe(option: Card) -> str:
    return "" if option.channel.answer_safe else "The module gives no proven answer signal."


def sim_calls_day(option: Card) -> str:
    return _reached(option.plan.sim_calls_day, option.channel.calls_today, "calls today")


def sim_minutes_day(option: Card) -> str:
    return _reached(option.plan.sim_minutes_day, option.channel.talk_ms_today // MINUTE_MS, "minutes today")


def sim_minutes_month(option: Card) -> str:
    limit = option.plan.sim_minutes_month
    return _reached(limit, option.channel.talk_ms_month // MINUTE_MS, "minutes this month")


def _reached(limit: int | None, used: int, unit: str) -> str:
    return f"The SIM reached its {limit} {unit}." if limit is not None and used >= limit else ""


def channel_free(option: Card) -> str:
    state = option.channel.state
    if state is not ChannelState.READY:
        return f"The channel is: {LABELS[state]}."
    # The controller knows of a call before the box reports it.
    return "The channel is taken by a call that begins." if option.channel.reserved else ""


def plan_concurrent(option: Option, search: Search) -> str:
    limit, calls = option.plan.max_concurrent, search.fleet.plan_calls.get(option.plan.name, 0)
    return (
        f"Plan {option.plan.name} carries its {limit} calls." if limit is not None and calls >= limit else ""
    )


CHECKS: tuple[Check, ...] = (
    Check("plan-enabled", "Plan enabled", plan_enabled),
    Check("sender-plan", "Plan open to this sender", sender_may_use_plan),
    Check("agreement-valid", "Agreement valid today", agreement_valid),
    Check("agreement-use", "Agreement permits this use", agreement_use),
    Check("agreement-site", "Agreement permits this site", agreement_site),
    Check("agreement-lab", "Lab agreement on a test network", lab_networks_only),
    Check("site-emergency", "Site has its emergency choice", site_emergency_choice),
    Check("origin", "Agreement permits this origin", origin_permitted, NOT_PERMITTED),
    _seat("sim-enabled", "SIM enabled", sim_enabled),
    _box("box-reachable", "Box reachable", box_reachable),
    _box("box-twin", "Box alone under its name", box_alone),
    _box("box-silent", "Box reports", box_reports),
    _seat("channel-marks", "Channel not taken out of use", channel_unmarked),
    _seat("channel-ready", "Channel works", channel_ready),
    _seat("sim-registered", "SIM registered", sim_registered),
    _seat("answer-safe", "Module has a proven answer signal", answer_safe),
    _seat("sim-calls-day", "SIM below its calls of a day", sim_calls_day),
    _seat("sim-minutes-day", "SIM below its minutes of a day", sim_minutes_day),
    _seat("sim-minutes-month", "SIM below its minutes of a month", sim_minutes_month),
    _seat("channel-free", "Channel free", channel_free, NO_CHANNEL),
    Check("plan-concurrent", "Plan below its calls at a time", plan_concurrent, NO_CHANNEL),
)
