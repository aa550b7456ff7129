"""Who is told of which alarm, and when not: the rules, made of the global options (pure).

Options are text and numbers that a person set; what can't be understood in them is left out here, and the Settings page
says so before it is set.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from simrack.controller.alarms.catalogue import Severity

RANK: Mapping[str, int] = {"critical": 0, "major": 1, "minor": 2}
_QUIET = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")
#: One mailbox, as careful as needed: what is no address is refused by the mail server, with its reason on the page.
MAILBOX = re.compile(r"^[^\s@,<>\"]{1,64}@[^\s@,<>\"]{1,255}$")


_SEVERITIES: Mapping[str, Severity] = {"critical": "critical", "major": "major", "minor": "minor"}
Security = Literal["none", "starttls", "tls"]
_SECURITIES: Mapping[str, Security] = {"none": "none", "starttls": "starttls", "tls": "tls"}


class Options(Protocol):
    """The global options in force (controller.config.catalogue.Values)."""

    def text(self, name: str) -> str: ...
    def whole(self, name: str) -> int: ...
    def on(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time of each day in which only alarms of `passes` and worse are told; it may go over midnight."""

    start: time
    end: time
    zone: ZoneInfo
    passes: Severity

    def ends(self, moment: datetime) -> datetime | None:
        """When the quiet time that holds at `moment` is over; None: it does not hold."""
        local = moment.astimezone(self.zone)
        over_midnight = self.start > self.end
        inside = (local.time() >= self.start or local.time() < self.end) if over_midnight else self.start <= local.time() < self.end
        if not inside:
            return None
        day = local.date() + timedelta(days=1 if over_midnight and local.time() >= self.start else 0)
        return datetime.combine(day, self.end, self.zone).astimezone(moment.tzinfo)


@dataclass(frozen=True, slots=True)
class Target:
    """Where notices go: a webhook's address, or mailboxes. `after`: only what nobody has in hand for so long."""

    name: str
    kind: Literal["webhook", "email"]
    addresses: tuple[str, ...]
    least: Severity
    after: timedelta = timedelta()

    def wants(self, severity: Severity, kind: str, subject: str) -> bool:
        """Whether an alarm is this target's business; it hears nothing of its own failures."""
        return RANK[severity] <= RANK[self.least] and not (kind == "notice-failed" and subject == self.name)


@dataclass(frozen=True, slots=True)
class Mail:
    """How mail leaves the house."""

    server: str = ""  # host:port
    security: Security = "starttls"
    user: str = ""
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """All of it."""

    targets: tuple[Target, ...] = ()
    quiet: Quiet | None = None
    repeat: timedelta | None = None
    closings: bool = True
    muted: frozenset[str] = frozenset()
    mail: Mail = Mail()


NO_RULES = Rules()


def rules_of(options: Options) -> Rules:
    """The rules that the options in force amount to."""
    repeat = options.whole("notices.repeat_min")
    return Rules(
        targets=tuple(_targets(options)),
        quiet=quiet_of(options.text("notices.quiet"), options.text("notices.zone"), _severity(options, "notices.quiet_passes")),
        repeat=timedelta(minutes=repeat) if repeat else None,
        closings=options.on("notices.closings"),
        muted=frozenset(words_of(options.text("notices.muted"))),
        mail=Mail(
            options.text("notices.smtp_server"), _security(options.text("notices.smtp_security")),
            options.text("notices.smtp_user"), options.text("notices.mail_from"),
        ),
    )  # fmt: skip


def _targets(options: Options) -> Iterator[Target]:
    url = options.text("notices.webhook")
    if url:
        yield Target("webhook", "webhook", (url,), _severity(options, "notices.webhook_from"))
    people = mailboxes_of(options.text("notices.mail_to"))
    if people:
        yield Target("mail", "email", people, _severity(options, "notices.mail_severity"))
    others = mailboxes_of(options.text("notices.escalate_to"))
    after = timedelta(minutes=options.whole("notices.escalate_after_min"))
    if others:
        yield Target("escalation", "email", others, _severity(options, "notices.escalate_severity"), after)


def quiet_of(text: str, zone: str, passes: Severity) -> Quiet | None:
    """The quiet time of "22:00-06:00"; None of "" and of what can't be understood."""
    found = _QUIET.match(text.strip())
    if found is None:
        return None
    first, last = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    try:
        return Quiet(first, last, ZoneInfo(zone or "UTC"), passes) if first != last else None
    except (ZoneInfoNotFoundError, ValueError):
        return None


def mailboxes_of(text: str) -> tuple[str, ...]:
    """Addresses that are separated by commas or spaces; what is no address is left out."""
    return tuple(word for word in words_of(text) if MAILBOX.match(word))


def words_of(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,;\s]+", text) if word)


def _severity(options: Options, name: str) -> Severity:
    return _SEVERITIES.get(options.text(name), "major")


def _security(text: str) -> Security:
    return _SECURITIES.get(text, "starttls")
