"""The channel's states and the only table of moves between them (`docs/channels.md`).

Colour in the UI, MQTT and metrics all derive from here.
"""

from collections.abc import Mapping
from enum import StrEnum


class ChannelState(StrEnum):
    """State of one channel, in the specification's words."""

    ABSENT = "absent"
    STARTING = "starting"
    NO_SIM = "no-sim"
    PIN_NEEDED = "pin-needed"
    PIN_BLOCKED = "pin-blocked"
    SEARCHING = "searching"
    DENIED = "denied"
    READY = "ready"
    DIALLING = "dialling"
    ALERTING = "alerting"
    ACTIVE = "active"
    INCOMING = "incoming"
    HELD = "held"
    RELEASING = "releasing"
    USSD = "ussd"
    SMS = "sms"
    MAINTENANCE = "maintenance"
    FAULT = "fault"


class Mark(StrEnum):
    """What stands beside a state: a marked channel takes no new call."""

    DRAINING = "draining"
    DISABLED = "disabled"
    RESTING = "resting"


S = ChannelState
IN_CALL = frozenset({S.DIALLING, S.ALERTING, S.ACTIVE, S.INCOMING, S.HELD, S.RELEASING})

# A module can vanish, hang or lose its card at any moment, so these three are reachable from everywhere.
_ALWAYS = frozenset({S.ABSENT, S.FAULT, S.STARTING})
_CARD = frozenset({S.NO_SIM, S.PIN_NEEDED, S.PIN_BLOCKED, S.SEARCHING, S.DENIED})
_CALL_LOST = frozenset({S.NO_SIM, S.SEARCHING})

_MOVES: dict[ChannelState, frozenset[ChannelState]] = {
    S.ABSENT: frozenset(),
    S.STARTING: _CARD | {S.READY, S.MAINTENANCE},
    S.NO_SIM: _CARD | {S.MAINTENANCE},
    S.PIN_NEEDED: _CARD | {S.READY, S.MAINTENANCE},
    S.PIN_BLOCKED: _CARD | {S.MAINTENANCE},
    S.SEARCHING: _CARD | {S.READY, S.MAINTENANCE},
    S.DENIED: _CARD | {S.READY, S.MAINTENANCE},
    S.READY: _CARD | {S.DIALLING, S.INCOMING, S.USSD, S.SMS, S.MAINTENANCE},
    # Some modules answer so fast that alerting is never seen (at-dialects, 4.2).
    S.DIALLING: _CALL_LOST | {S.ALERTING, S.ACTIVE, S.RELEASING, S.READY},
    S.ALERTING: _CALL_LOST | {S.ACTIVE, S.RELEASING, S.READY},
    S.ACTIVE: _CALL_LOST | {S.HELD, S.RELEASING, S.READY},
    S.INCOMING: _CALL_LOST | {S.ACTIVE, S.RELEASING, S.READY},
    S.HELD: _CALL_LOST | {S.ACTIVE, S.RELEASING, S.READY},
    S.RELEASING: _CALL_LOST | {S.READY},
    S.USSD: _CARD | {S.READY, S.INCOMING},
    S.SMS: _CARD | {S.READY, S.INCOMING},
    S.MAINTENANCE: _CARD | {S.READY},
    S.FAULT: frozenset({S.MAINTENANCE}),
}
MOVES: Mapping[ChannelState, frozenset[ChannelState]] = {
    state: (targets | _ALWAYS) - {state} for state, targets in _MOVES.items()
}

LABELS: Mapping[ChannelState, str] = {
    S.ABSENT: "Absent", S.STARTING: "Starting", S.NO_SIM: "No SIM", S.PIN_NEEDED: "PIN needed",
    S.PIN_BLOCKED: "PIN blocked", S.SEARCHING: "Searching", S.DENIED: "Denied", S.READY: "Ready",
    S.DIALLING: "Dialling", S.ALERTING: "Ringing", S.ACTIVE: "Speaking", S.INCOMING: "Incoming",
    S.HELD: "On hold", S.RELEASING: "Ending", S.USSD: "USSD", S.SMS: "SMS",
    S.MAINTENANCE: "Maintenance", S.FAULT: "Fault",
}  # fmt: skip


def allowed(now: ChannelState, then: ChannelState) -> bool:
    """Tell whether the table allows the move `now` -> `then`."""
    return then in MOVES[now]
