"""Global options as the controller's parts take them; what nobody has set is as in the process's own settings."""

from typing import cast
from zoneinfo import ZoneInfo

from simrack.controller.calls.guard import GuardLimits
from simrack.controller.config.catalogue import Values
from simrack.controller.fleet.view import ChannelView
from simrack.controller.routing.seats import Seats
from simrack.controller.routing.table import RoutingTable
from simrack.controller.settings import SipSettings, TraceSettings
from simrack.controller.tracing.keeper import Mode

HOUR_S = 3600.0


def guard_limits(sip: SipSettings, options: Values) -> GuardLimits:
    """Limits of the door."""
    return GuardLimits(
        calls_per_second=options.chosen("calls.per_second", sip.calls_per_second),
        setup_per_sender=int(options.chosen("calls.setup_per_sender", sip.setup_per_sender)),
        failures=int(options.chosen("bans.failures", sip.failures)),
        failures_within_s=options.chosen("bans.within_s", sip.failures_within_s),
        ban_s=options.chosen("bans.hours", sip.ban_hours) * HOUR_S,
    )


def trace_mode(trace: TraceSettings, options: Values) -> Mode:
    """Of which calls SIP messages are kept."""
    return cast(Mode, options.text("trace.keep")) if "trace.keep" in options.set else trace.keep


def prepared(table: RoutingTable, channels: tuple[ChannelView, ...]) -> tuple[tuple[ZoneInfo, ...], Seats]:
    """What a table needs before calls meet it, made in a thread: zone files are read, channels are sorted."""
    seats = Seats(table)
    seats.update(channels)
    return tuple(site.zone for site in table.sites.values()), seats
