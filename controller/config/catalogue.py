"""Global options: each with its meaning, default, range and effect, and who reads it (the Settings page and its file).

An option that nobody has set has no row in the database and is at its default. `Values` is what a reader asks; a
reader that takes options up while it runs does so when a version is put in force, which `effect` says in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Value = bool | int | float | str
#: What a change of an option touches.
NOW: Final = "at once"
NEXT_CALL: Final = "with the next call"
NIGHTLY: Final = "with the next nightly run"


@dataclass(frozen=True, slots=True)
class Option:
    """One global option. `least` and `most` bound numbers, `choices` and `longest` (characters) bound text."""

    name: str  # "area.option": a table and a key of the file
    title: str
    meaning: str
    default: Value
    effect: str
    reader: str  # which part acts on it
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    longest: int = 200

    @property
    def area(self) -> str:
        """The part of the rack that it belongs to."""
        return self.name.partition(".")[0]

    @property
    def range(self) -> str:
        """What is allowed, in words."""
        if isinstance(self.default, bool):
            return "on or off"
        if self.choices:
            return ", ".join(self.choices)
        if self.least is not None and self.most is not None:
            return f"{self.least:,.10g} to {self.most:,.10g}"
        return f"up to {self.longest} characters"

    def mistake(self, value: Value) -> str:
        """What is wrong with a value; "" when it may be set."""
        wanted = type(self.default)
        # Whole numbers are fine where fractions are allowed; True is no number here, though Python thinks so.
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and wanted is not bool):
            return f"must be {_KINDS[wanted]}"
        if isinstance(value, str):
            return self._text_mistake(value)
        if self.least is None or self.most is None or self.least <= value <= self.most:
            return ""
        return f"must be {self.range}"

    def _text_mistake(self, value: str) -> str:
        if self.choices:
            return "" if value in self.choices else f"must be one of {self.range}"
        if len(value) > self.longest or not value.isprintable():
            return f"must be {self.range}, without line breaks"
        return ""


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _options(*options: Option) -> Mapping[str, Option]:
    return {option.name: option for option in options}


#: Whoever reads an option adds its row here.
CATALOGUE: Mapping[str, Option] = _options(
    Option(
        "calls.per_second", "New calls per second",
        "Calls that one controller admits in a second over all senders; the others get 503 with Retry-After.",
        80.0, NOW, "controller", "calls per s", 1, 10_000,
    ),
    Option(
        "calls.setup_per_sender", "Unanswered calls of one sender",
        "A sender that leaves calls ringing must not use up the others' share.",
        500, NOW, "controller", "calls", 1, 100_000,
    ),
    Option(
        "bans.failures", "Failures until a ban",
        "Wrong passwords and unknown senders from one address before it is not answered any more.",
        20, NOW, "controller", "failures", 3, 100_000,
    ),
    Option(
        "bans.within_s", "Failures count for",
        "Older failures of an address are forgotten.",
        300.0, NOW, "controller", "s", 1, 86_400,
    ),
    Option(
        "bans.hours", "Length of a ban",
        "How long an address is not answered, unless a person says otherwise.",
        12.0, "with the next ban", "controller", "h", 0.1, 8760,
    ),
    Option(
        "trace.keep", "SIP messages kept", "Of which calls the SIP messages are kept for their stories.",
        "all", NEXT_CALL, "controller", choices=("all", "failed", "off"),
    ),
    Option(
        "config.keep_versions", "Old versions kept",
        "Versions of the configuration that can be put in force again; the oldest beyond this are removed at night.",
        100, NIGHTLY, "controller", "versions", 2, 10_000,
    ),
    Option(
        "retention.records_days", "Call records kept",
        "Older records are removed with their attempts and stories. Bills and the law may ask for years.",
        1095, NIGHTLY, "controller", "days", 30, 36_500,
    ),
    Option(
        "retention.stories_days", "Call stories kept",
        "Explanation, ladder, the module's lines and voice figures of a call; its record stays.",
        180, NIGHTLY, "controller", "days", 1, 36_500,
    ),
    Option(
        "retention.traces_days", "SIP messages kept", "Messages of a call as they went over the wire.",
        14, NIGHTLY, "controller", "days", 1, 3650,
    ),
    Option(
        "retention.events_days", "Facts of boxes kept", "What boxes told, once it stands in the records.",
        90, NIGHTLY, "controller", "days", 8, 3650,
    ),
    Option(
        "retention.alarms_days", "Closed alarms kept", "Open alarms stay, however old.",
        730, NIGHTLY, "controller", "days", 30, 36_500,
    ),
    Option(
        "retention.hour", "Hour of the nightly run", "Data that is too old is removed within this hour, UTC.",
        2, "at once", "controller", "h", 0, 23,
    ),
    Option(
        "alarms.disk_free_percent", "Least free disk",
        "Below this share of free space the alarms `disk-low` (centre) and `box-disk-low` (box) open; 0: never.",
        10, NOW, "controller", "%", 0, 90,
    ),
    Option(
        "alarms.hot_c", "Hot above", "Above this temperature of a box the alarm `box-hot` opens; 0: never.",
        80, NOW, "controller", "°C", 0, 150,
    ),
    Option(
        "alarms.clock_off_s", "Clock off by",
        "A box whose clock differs by more opens the alarm `box-clock`; 0: never.", 5, NOW, "controller", "s", 0, 86_400,
    ),
    Option(
        "alarms.queue_facts", "Facts that may wait",
        "A box with more facts not yet taken opens the alarm `box-queue`; 0: never.", 500, NOW, "controller", "facts", 0, 1_000_000,
    ),
    Option(
        "alarms.box_lines_percent", "Least channels of a box in service",
        "Below this share, for five minutes, the alarm `box-short` opens; 0: never.", 0, NOW, "controller", "%", 0, 100,
    ),
    Option(
        "alarms.no_call_min", "Longest time without a call",
        "When no call has come in for so long the alarm `no-calls` opens; 0: never.", 0, NOW, "controller", "min", 0, 10_080,
    ),
    Option(
        "alarms.asr_percent", "Least share of answered calls",
        "Below this ASR of the last hour, over at least 20 calls, the alarm `asr-low` opens; 0: never.",
        0, NOW, "controller", "%", 0, 100,
    ),
    Option(
        "notices.webhook", "Webhook", "Address that gets each alarm as JSON by HTTP POST; empty: none. Signed with the secret in the controller's file.",
        "", NOW, "controller", longest=500,
    ),
    Option(
        "notices.webhook_from", "Webhook from severity", "Alarms of this severity and worse go there.",
        "minor", NOW, "controller", choices=("critical", "major", "minor"),
    ),
    Option(
        "notices.mail_to", "Mail to", "Mailboxes that get each alarm, separated by commas; empty: none.",
        "", NOW, "controller", longest=1000,
    ),
    Option(
        "notices.mail_severity", "Mail from severity", "Alarms of this severity and worse are mailed.",
        "major", NOW, "controller", choices=("critical", "major", "minor"),
    ),
    Option(
        "notices.escalate_to", "Escalate to", "Mailboxes that are told of what nobody has acknowledged in time; empty: none.",
        "", NOW, "controller", longest=1000,
    ),
    Option(
        "notices.escalate_after_min", "Escalate after", "So long an alarm may stay unacknowledged.",
        30, NOW, "controller", "min", 1, 1440,
    ),
    Option(
        "notices.escalate_severity", "Escalate from severity", "Only alarms of this severity and worse.",
        "critical", NOW, "controller", choices=("critical", "major", "minor"),
    ),
    Option(
        "notices.repeat_min", "Repeat every", "An alarm that nobody has acknowledged is told again after so long; 0: once only.",
        0, NOW, "controller", "min", 0, 1440,
    ),
    Option(
        "notices.closings", "Tell closings", "Whoever was told of an alarm is told when it is over.", True, NOW, "controller",
    ),
    Option(
        "notices.muted", "Kinds not told", "Kinds of alarms that are shown, but not sent, separated by commas.",
        "", NOW, "controller", longest=500,
    ),
    Option(
        "notices.quiet", "Quiet time", "From-to, for instance 22:00-06:00: notices wait until it ends, and are dropped if it is over by then; empty: none.",
        "", NOW, "controller", longest=11,
    ),
    Option("notices.zone", "Zone of the quiet time", "IANA zone, for instance Europe/Vienna.", "UTC", NOW, "controller", longest=64),
    Option(
        "notices.quiet_passes", "Told in quiet time", "Alarms of this severity and worse are told at any time.",
        "critical", NOW, "controller", choices=("critical", "major"),
    ),
    Option(
        "notices.smtp_server", "Mail server", "host:port that takes the mail; without a port the usual one.",
        "", NOW, "controller", longest=255,
    ),
    Option(
        "notices.smtp_security", "Mail server's security", "tls: from the start; starttls: after a greeting; none: only for a server on this machine.",
        "starttls", NOW, "controller", choices=("starttls", "tls", "none"),
    ),
    Option(
        "notices.smtp_user", "Mail server's user", "Its password stands in the controller's file; empty: no sign-in.",
        "", NOW, "controller", longest=255,
    ),
    Option(
        "backup.folder", "Folder for backups", "Where copies are made by themselves; on another disk or machine. Empty: none are made.",
        "", NOW, "controller", longest=4096,
    ),
    Option(
        "backup.every_h", "Time between backups", "At most as much can be lost with a disk.", 1.0, NOW, "controller", "h", 1, 168,
    ),
    Option("notices.mail_from", "Sender of the mail", "Address that notices come from.", "", NOW, "controller", longest=255),
)  # fmt: skip


@dataclass(frozen=True)
class Values:
    """The options in force: what was set, else the default."""

    set: Mapping[str, Value] = field(default_factory=dict)

    def get(self, name: str) -> Value:
        """KeyError: the catalogue has no such option."""
        option = CATALOGUE[name]
        value = self.set.get(name, option.default)
        # A row of an earlier release whose range has changed must not stop this one.
        return option.default if option.mistake(value) else value

    def chosen(self, name: str, otherwise: Value) -> float:
        """A number that somebody has set, or what the process's own settings say."""
        return float(self.get(name) if name in self.set else otherwise)

    def number(self, name: str) -> float:
        return float(self.get(name))

    def whole(self, name: str) -> int:
        return int(self.get(name))

    def text(self, name: str) -> str:
        return str(self.get(name))

    def on(self, name: str) -> bool:
        return bool(self.get(name))
