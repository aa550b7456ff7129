"""Who may do what: one table of rights by role, read by the control room, the controller and the command line.

A page, an address of the API and a command each name the one right that they need; nothing is open to a role that
does not stand in the right's row. `SCOPED` roles see rows of their own only: a sender its own traffic, an owner
what runs over its plans.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["administrator", "noc", "support", "owner", "reseller", "sales", "sender", "auditor"]

ADMIN, NOC, SUPPORT, OWNER = "administrator", "noc", "support", "owner"
RESELLER, SALES, SENDER, AUDITOR = "reseller", "sales", "sender", "auditor"

ROLES: Mapping[str, str] = {
    ADMIN: "everything, also accounts and settings",
    NOC: "runs the rack: acts on calls, boxes, SIMs, routing and alarms",
    SUPPORT: "looks into calls and explains them; changes nothing but alarms' acknowledgement",
    OWNER: "sees and switches the SIMs of plans that it owns, and their traffic",
    RESELLER: "sees the traffic of the senders that it brought",
    SALES: "sees figures of the senders that it looks after",
    SENDER: "sees its own traffic",
    AUDITOR: "reads everything, changes nothing",
}
#: Roles whose account names what they see: senders, or owners of plans.
SCOPED: Mapping[str, Literal["senders", "owners"]] = {
    OWNER: "owners", RESELLER: "senders", SALES: "senders", SENDER: "senders",
}  # fmt: skip
#: Groups of fields that an account can be kept from, in pages, exports, API and reports alike.
FIELD_GROUPS: Mapping[str, str] = {
    "sim": "SIM, IMSI, box and channel that carried the call",
    "sender": "the sender's name and addresses",
}


@dataclass(frozen=True, slots=True)
class Right:
    """One thing to be allowed. `scoped` roles have it for their own rows only."""

    name: str
    title: str
    roles: frozenset[str]


_STAFF = (ADMIN, NOC, SUPPORT, AUDITOR)
_OPERATE = (ADMIN, NOC)
_ALL = tuple(ROLES)
_PARTNERS = (OWNER, RESELLER, SALES, SENDER)


def _rows(*rows: tuple[str, str, Iterable[str]]) -> Mapping[str, Right]:
    return {name: Right(name, title, frozenset(roles)) for name, title, roles in rows}


RIGHTS: Mapping[str, Right] = _rows(
    ("own.account", "own password, second factor, sessions, tokens and columns", _ALL),
    ("rack.see", "Rack, boxes and channels", (*_STAFF, OWNER)),
    ("calls.see", "calls in progress", (*_STAFF, OWNER, RESELLER, SENDER)),
    ("calls.hang-up", "end a call", _OPERATE),
    ("calls.listen", "listen to a call, where its sender has given a legal basis", _OPERATE),
    ("calls.test", "place a test call", (*_OPERATE, SUPPORT)),
    ("sims.see", "SIMs and plans", (*_STAFF, OWNER)),
    ("sims.change", "enable, disable and note a SIM", (*_OPERATE, OWNER)),
    ("gateways.see", "boxes and their health", _STAFF),
    ("gateways.act", "disable, restart and drain channels and boxes", _OPERATE),
    ("gateways.console", "a module's console, to read", _OPERATE),
    ("senders.see", "traffic senders", (*_STAFF, RESELLER, SALES)),
    ("senders.change", "change a sender", (ADMIN,)),
    ("agreements.see", "agreements and the installation's class", _STAFF),
    ("agreements.change", "change an agreement or a plan", (ADMIN,)),
    ("routing.see", "patterns and targets", _STAFF),
    ("routing.explain", "explain which way a call would go, run routing tests", _STAFF),
    ("routing.change", "change patterns and targets", _OPERATE),
    ("records.see", "call records and their stories", _ALL),
    ("records.export", "records as CSV", _ALL),
    ("records.trace", "a call's SIP messages, AT log, pcap and HEP", _STAFF),
    ("records.route", "why a call went the way it went, with the candidates that it did not take", _STAFF),
    ("records.plan", "the plan, pattern and SIM that carried a call", (*_STAFF, OWNER)),
    ("records.give", "send a call's SIP messages to the HEP collector", (*_OPERATE, SUPPORT)),
    ("statistics.see", "statistics and release causes", _ALL),
    ("alarms.see", "alarms and what is wrong now", _STAFF),
    ("alarms.act", "acknowledge an alarm", (*_OPERATE, SUPPORT)),
    ("alarms.rules", "where alarms are sent, quiet times", (ADMIN,)),
    ("bans.see", "addresses that are not answered", _STAFF),
    ("bans.change", "ban and free an address", _OPERATE),
    ("logs.see", "log lines of all processes", (ADMIN, NOC, SUPPORT)),
    ("logs.level", "log level of a process, for an hour", _OPERATE),
    ("audit.see", "the audit log", (ADMIN, AUDITOR)),
    ("settings.see", "global options", _STAFF),
    ("settings.change", "change global options", (ADMIN,)),
    ("config.see", "configured things over the API; the right of their kind counts as well", (*_STAFF, OWNER, RESELLER, SALES)),
    ("config.export", "the whole configuration as files", (ADMIN, AUDITOR)),
    ("config.apply", "apply a configuration made of files", (ADMIN,)),
    ("set-up", "the first-run page", (ADMIN,)),
    ("accounts.see", "users, roles, sessions", (ADMIN, AUDITOR)),
    ("accounts.change", "make and change accounts, revoke sessions and tokens", (ADMIN,)),
    ("accounts.eyes", "look with a partner's eyes", (ADMIN,)),
    ("numbers.whole", "subscriber numbers unmasked", (ADMIN, NOC, SUPPORT, RESELLER, SENDER)),
)

#: Rights that change nothing: what an administrator has who looks with a partner's eyes.
LOOKING = frozenset(name for name in RIGHTS if name.endswith((".see", ".export", ".trace", ".whole", ".route", ".plan"))) | {
    "own.account", "routing.explain",
}  # fmt: skip
#: No API token has these, whatever its owner may: a stolen one must not outlive its revocation.
NEVER_BY_TOKEN = frozenset({"own.account", "accounts.change", "accounts.eyes", "set-up"})

#: Commands to the controller and the right that each needs; a command without a row here is refused.
COMMANDS: Mapping[str, str] = {
    "hang-up": "calls.hang-up",
    "hang-up-group": "calls.hang-up",
    "listen": "calls.listen",
    "test-call": "calls.test",
    "send-trace": "records.give",
    "explain": "routing.explain",
    "reload-config": "config.apply",
    "config-check": "routing.explain",
    "config-apply": "config.apply",
    "entry-apply": "own.account",  # the entry's kind decides: ENTRY_RIGHTS
    "config-activate": "config.apply",
    "banned": "bans.see",
    "ban": "bans.change",
    "free": "bans.change",
    "disable-channel": "gateways.act",
    "enable-channel": "gateways.act",
    "restart-module": "gateways.act",
    "restart-box": "gateways.act",
    "drain": "gateways.act",
    "end-drain": "gateways.act",
    "console": "gateways.console",
    "acknowledge-alarm": "alarms.act",
    "notices": "alarms.see",
    "test-notice": "alarms.rules",
    "log-level": "logs.level",
    "backup": "settings.change",
}
#: What a change of one configured thing needs, by its kind.
ENTRY_RIGHTS: Mapping[str, str] = {
    "installation": "settings.change", "site": "settings.change", "limit": "settings.change",
    "setting": "settings.change", "agreement": "agreements.change", "plan": "agreements.change",
    "sim": "sims.change", "sender": "senders.change", "pattern": "routing.change",
}  # fmt: skip

#: Actors of programs on the centre's own machine: whoever holds the broker's password is its operator.
LOCAL = "cli"
PERSON = "user"


def may(role: str, right: str) -> bool:
    """Whether a role has a right. An unknown right is nobody's."""
    row = RIGHTS.get(right)
    return row is not None and role in row.roles


def rights_of(role: str) -> frozenset[str]:
    """All rights of a role; none for an unknown one."""
    return frozenset(name for name, right in RIGHTS.items() if role in right.roles)


def split_actor(actor: str) -> tuple[str, str]:
    """("user", "Ada") of "user:Ada"; an actor without a kind is a local program's."""
    kind, colon, name = actor.partition(":")
    return (kind, name) if colon else (LOCAL, actor)


def actor_name(actor: str) -> str:
    """An actor as people read it."""
    kind, name = split_actor(actor)
    return name if kind == PERSON else f"{name} (command line)" if kind == LOCAL and name not in ("", LOCAL) else name or kind
