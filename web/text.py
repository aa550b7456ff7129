"""How times, durations, numbers and causes are written for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers
from markupsafe import Markup, escape

DASH = "\N{EN DASH}"
#: Marks of a record in words; a mark of another release is shown as it is.
_MARKS = {
    "box-lost": "box lost in the call",
    "cancel-crossed": "cancelled while it was answered",
    "clock-suspect": "the clock had jumped: durations are guesses",
    "controller-stopped": "the controller was stopped",
    "estimated": "estimated",
    "hung-up": "hung up by a person",
    "listened": "listened to by a person",
    "late-answer": "an abandoned attempt was answered late",
    "lost": "lost by the rack",
    "max-duration": "longest duration reached",
    "no-media": "no voice came",
    "one-way": "voice one way only",
    "sender-gone": "the sender had hung up meanwhile",
    "resumed": "went on over a restart of the controller",
}
_RUNGS = {
    "resync": "Resynchronising",
    "reopen": "Opening",
    "reset": "Restart",
    "usb": "USB reset",
    "power": "Power cycle",
    "out": "Out of service",
}


def coded(words: str) -> Markup:
    """Words in which `this` is a command or a name to be typed, for a page."""
    parts = words.split("`")
    if len(parts) % 2 == 0:
        return escape(words)
    return Markup().join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def mark_text(mark: str) -> str:
    """A record's mark in words."""
    return _MARKS.get(mark, mark.replace("-", " "))


def rung_text(rung: str) -> str:
    """A rung of the recovery ladder in words."""
    return _RUNGS.get(rung, rung)


def clock_text(seconds: float | None) -> str:
    """A duration as 3:42 or 1:03:42."""
    if seconds is None:
        return DASH
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def clock_ms(milliseconds: int | None) -> str:
    """A duration to the millisecond: 3:42.282."""
    if milliseconds is None:
        return DASH
    return f"{clock_text(milliseconds // 1000)}.{milliseconds % 1000:03d}"


def seconds_text(milliseconds: float | None) -> str:
    """A delay in seconds: 1.85 s."""
    if milliseconds is None:
        return DASH
    return f"{milliseconds / 1000:.2f}".rstrip("0").rstrip(".") + " s" if milliseconds else "0 s"


def offset_text(milliseconds: int) -> str:
    """A moment of a call: 6.120 s."""
    return f"{milliseconds / 1000:.3f} s"


def percent(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio * 100:.0f} %"


@lru_cache(maxsize=20_000)
def number_text(number: str) -> str:
    """A telephone number in groups; anything else as it is."""
    if not number.startswith("+"):
        return number or DASH
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    if not phonenumbers.is_possible_number(parsed):
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


@lru_cache(maxsize=20_000)
def iccid_text(iccid: str) -> str:
    """A card's number in groups of four, as it is printed on the card."""
    return " ".join(iccid[index : index + 4] for index in range(0, len(iccid), 4))


class Times:
    """Moments in the zone that people chose, with UTC beside."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone

    @property
    def name(self) -> str:
        """Short name of the zone: "Vienna", "UTC"."""
        return self.zone.key.rpartition("/")[2].replace("_", " ")

    def at(self, moment: datetime) -> str:
        return moment.astimezone(self.zone).strftime("%H:%M:%S")

    def day(self, moment: datetime) -> str:
        return moment.astimezone(self.zone).strftime("%d %b %Y")

    def stamp(self, moment: datetime) -> str:
        """For lists and files, whose heading names the zone: 2026-11-21 14:28:19.204."""
        local = moment.astimezone(self.zone)
        return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"

    def stamp_ms(self, moment: datetime) -> str:
        """For lines of today: 14:28:19.204."""
        local = moment.astimezone(self.zone)
        return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"

    def short(self, moment: datetime) -> str:
        return moment.astimezone(self.zone).strftime("%d %b, %H:%M:%S")

    def full(self, moment: datetime) -> str:
        local = moment.astimezone(self.zone)
        return f"{local:%d %b %Y, %H:%M:%S}.{local.microsecond // 1000:03d} {self.name}"

    @staticmethod
    def utc(moment: datetime) -> str:
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    @staticmethod
    def iso(moment: datetime) -> str:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def field(self, moment: datetime | None) -> str:
        """The value of a `datetime-local` field."""
        return moment.astimezone(self.zone).strftime("%Y-%m-%dT%H:%M") if moment else ""

    def parse(self, text: str) -> datetime | None:
        """Read such a field, or an ISO time with zone; None for an empty one. Raises ValueError."""
        if not text:
            return None
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=self.zone)

    def asked(self, given: Mapping[str, str], name: str, wrong: dict[str, str]) -> datetime | None:
        """What a form or an address gives as `name`, in UTC; nonsense goes into `wrong`."""
        try:
            moment = self.parse(given.get(name, "").strip())
            return moment.astimezone(UTC) if moment is not None else None
        except (ValueError, OverflowError):
            wrong[name] = "A day and time, for instance 2026-11-21T14:30."
            return None
