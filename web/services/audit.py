"""The audit log for pages and the API: which entries, in words, with subscriber numbers only for who may read them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simrack.controller.audit.chain import Entry, Verdict
from simrack.controller.store.audit import AuditFilter
from simrack.web.app import room
from simrack.web.masks import Mask
from simrack.wire.rights import actor_name

#: More than can be checked while somebody waits for a page; the command line takes its time.
MOST_CHECKED = 200_000
MOST_TEXT = 200
PER_PAGE = 50
#: Actions in words; one that is not here is shown by its name.
TITLES: Mapping[str, str] = {
    "genesis": "began the log", "audit-trouble": "found the log touched", "retention": "removed what was too old",
    "call-refused": "refused a call by policy", "hang-up": "ended a call", "hang-up-group": "ended calls", "listen": "listened to a call",
    "listen-end": "stopped listening", "test-call": "placed a test call", "test-call-end": "ended a test call", "send-trace": "handed out a call's messages", "reload-config": "read the configuration file",
    "config-apply": "applied a configuration", "config-activate": "went back to a version", "entry-apply": "changed an entry",
    "ban": "banned an address", "free": "freed an address", "disable-channel": "disabled a channel",
    "enable-channel": "enabled a channel", "restart-module": "restarted a module", "restart-box": "restarted a box", "drain": "drained",
    "end-drain": "ended a drain", "console": "opened a console", "acknowledge-alarm": "took an alarm in hand",
    "test-notice": "sent a test notice", "log-level": "changed a log level", "backup": "made a backup",
    "explain": "asked which way a call would go", "config-check": "checked a change", "banned": "read the banned addresses", "notices": "read the notices",
    "sign-in": "signed in", "sign-in-refused": "was not let in", "sign-out": "signed out", "first-account": "made the first account",
    "account-made": "made an account", "account-changed": "changed an account", "account-disabled": "disabled an account",
    "account-enabled": "enabled an account", "password-reset": "gave a new password", "password-changed": "changed the own password",
    "lock-freed": "let in again after wrong tries", "second-factor-on": "turned on a second factor", "second-factor-off": "turned off a second factor",
    "recovery-codes-new": "made new recovery codes", "session-revoked": "ended a session", "sessions-revoked": "ended sessions",
    "token-made": "made a token", "token-revoked": "ended a token", "eyes-begun": "looked with a partner's eyes", "eyes-ended": "stopped looking with a partner's eyes",
}  # fmt: skip
CONTROLLER = "controller"
_NUMBER_FIELDS = frozenset({"called", "calling", "number", "caller"})
_PLUS_NUMBER = re.compile(r"\+\d{6,}")
_CALLS = frozenset({"hang-up", "listen", "call-refused", "send-trace"})


@dataclass(frozen=True, slots=True)
class EntryView:
    """One entry as people read it."""

    entry: Entry
    who: str
    what: str
    outcome: str  # "", refused, failed
    facts: tuple[tuple[str, str], ...]

    @property
    def place(self) -> str:
        """Where to look at what the entry is about; "" when nowhere."""
        subject = self.entry.subject
        if self.entry.action in _CALLS and subject:
            return f"/records/{subject}"
        box, slash, channel = subject.partition("/")
        known = bool(slash) and channel.isdecimal() and box.replace("-", "").isalnum()
        return f"/rack/{box}/{channel}" if known else ""

    @property
    def summary(self) -> str:
        """The detail in one line."""
        return ", ".join(f"{name} {value}" for name, value in self.facts if name != "command")


def view(entry: Entry, mask: Mask) -> EntryView:
    """An entry with only what may be read."""
    detail = masked(told(entry), mask)
    outcome = "refused" if "refused" in detail else "failed" if "failed" in detail else ""
    facts = tuple((name.replace("_", " "), _text(value)) for name, value in detail.items())
    who = entry.actor if entry.actor == CONTROLLER else actor_name(entry.actor)
    return EntryView(entry, who, title_of(entry.action), outcome, facts)


def title_of(action: str) -> str:
    """An action in words."""
    return TITLES.get(action, action.replace("-", " ").replace(".", " "))


def told(entry: Entry) -> dict[str, Any]:
    """The detail as it was written; text that is no object (somebody touched it) under one name."""
    try:
        detail = json.loads(entry.detail)
    except ValueError:
        detail = None
    return detail if isinstance(detail, dict) else {"text": entry.detail}


def masked(value: Any, mask: Mask, name: str = "") -> Any:
    """The detail with subscriber numbers masked for whom they are not."""
    if mask.whole:
        return value
    if isinstance(value, dict):
        return {key: masked(item, mask, key) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, mask, name) for item in value]
    if not isinstance(value, str):
        return value
    return mask.number(value) if name in _NUMBER_FIELDS else _PLUS_NUMBER.sub(lambda found: mask.number(found[0]), value)


def _text(value: Any) -> str:
    """A value without brackets and quotes."""
    if isinstance(value, dict):
        return ", ".join(f"{str(name).replace('_', ' ')} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "; ".join(_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_filter(given: Mapping[str, str]) -> tuple[AuditFilter, dict[str, str]]:
    """The filter that an address asks for, and what is wrong with it by field."""
    wrong: dict[str, str] = {}
    texts = {name: given.get(name, "").strip() for name in ("text", "actor", "action", "subject", "sim")}
    for name, value in texts.items():
        if len(value) > MOST_TEXT or not value.isprintable():
            wrong[name] = f"At most {MOST_TEXT} characters, on one line."
            texts[name] = ""
    if texts["actor"] and ":" not in texts["actor"] and texts["actor"] != CONTROLLER:
        texts["actor"] = f"user:{texts['actor']}"
    since, until = (room().times.asked(given, name, wrong) for name in ("since", "until"))
    after = given.get("after", "").strip()
    if after and not (after.isdecimal() and len(after) <= 18):
        wrong["after"], after = "This is no page of the list.", ""
    return AuditFilter(**texts, since=since, until=until, after=int(after or 0), per_page=PER_PAGE), wrong


def check() -> Verdict | None:
    """Verify the whole log; None: it is too long to wait for."""
    audit = room().desk.queries.audit
    head = audit.audit_head()
    return None if head is not None and head.seq > MOST_CHECKED else audit.verify_audit()
