"""Numbers as senders write them, into E.164; and which of them are emergency numbers."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

import phonenumbers
from phonenumbers import PhoneNumberFormat, shortnumberinfo

from simrack.controller.config.models import NO_COUNTRY, DialFormat

# What people write between digits; anything else makes a number undialable.
_SEPARATORS = str.maketrans("", "", " -.()/")
_DIALABLE = re.compile(r"\+?[0-9]{2,20}")
# +882 10 is the lab's own range (unassigned); the library knows lengths for assigned ones only.
_LAB = re.compile(r"(?:\+|00)?(88210[0-9]{2,10})")
# GSM 02.30 and ITU-T E.161.1: these two work everywhere.
ALWAYS_EMERGENCY = frozenset({"112", "911"})
# No country's emergency number is longer, with room for one that is dialled with a trunk prefix.
LONGEST_EMERGENCY = 6


@dataclass(frozen=True, slots=True)
class Number:
    """A dialable number: E.164 with "+", or a short code of its country without."""

    text: str
    country: str  # ISO 3166; "001" for international networks; "" when the library can't tell
    valid: bool = True  # the library's *valid*, kept as a tag only


def clean(raw: str) -> str | None:
    """The number without visual separators; None when something is left that can't be dialled."""
    text = raw.translate(_SEPARATORS)
    return text if _DIALABLE.fullmatch(text) else None


@lru_cache(maxsize=4096)
def normalise(cleaned: str, country: str, area_code: str = "") -> Number | None:
    """E.164 with the country's defaults; None when the library says it is not possible (routing: 484)."""
    lab = _LAB.fullmatch(cleaned)
    if lab:
        return Number(f"+{lab[1]}", NO_COUNTRY)
    region = None if country == NO_COUNTRY else country
    text = f"+{cleaned[2:]}" if region is None and cleaned.startswith("00") else cleaned
    parsed = _parse(text, region)
    if _possible(parsed):
        return _number(parsed)
    if region is not None and not text.startswith("+"):
        return _short(text, region) or _local(text, region, area_code)
    return None


def _possible(parsed: phonenumbers.PhoneNumber | None) -> TypeGuard[phonenumbers.PhoneNumber]:
    """Possible, and not only inside its own area, because then nobody knows which."""
    if parsed is None:
        return False
    return phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE


def emergency(cleaned: str, countries: frozenset[str]) -> bool:
    """Whether this is an emergency number: 112 and 911 always, else one of these countries'.

    Also with the country's code in front, as a switch may have written it.
    """
    digits = cleaned.removeprefix("+")
    if len(digits) <= LONGEST_EMERGENCY and _emergency(digits, countries):
        return True
    # An access code may stand before the country's: 00 in most of the world, 011 in North America.
    forms = {digits, digits.removeprefix("00"), digits.removeprefix("011")}
    return any(_behind_code(form, country) for form in forms for country in countries)


def _behind_code(digits: str, country: str) -> bool:
    code = _calling_code(country)
    rest = digits.removeprefix(code)
    short = code != "" and len(rest) < len(digits) and len(rest) <= LONGEST_EMERGENCY
    return short and _emergency(rest, frozenset({country}))


def dialled(number: Number, form: DialFormat, country: str) -> str:
    """The number as the plan's network wants it dialled."""
    if not number.text.startswith("+") or form == "+":
        return number.text
    if form == "national" and number.country == country != NO_COUNTRY:
        parsed = phonenumbers.parse(number.text)
        national = phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL)
        return re.sub(r"[^0-9]", "", national)
    return f"00{number.text[1:]}"


def load_metadata() -> None:
    """Read the library's metadata now, so that no call waits for the disk. Takes 0.2 s once; run it in a thread."""
    phonenumbers.PhoneMetadata.load_all()
    for country in phonenumbers.SUPPORTED_SHORT_REGIONS:
        phonenumbers.PhoneMetadata.short_metadata_for_region(country)


@lru_cache(maxsize=4096)
def _emergency(digits: str, countries: frozenset[str]) -> bool:
    if digits in ALWAYS_EMERGENCY:
        return True
    return any(
        shortnumberinfo.is_emergency_number(digits, country) for country in countries if country != NO_COUNTRY
    )


@lru_cache(maxsize=512)
def _calling_code(country: str) -> str:
    code = phonenumbers.country_code_for_region(country) if country != NO_COUNTRY else 0
    return str(code) if code else ""


def _parse(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _number(parsed: phonenumbers.PhoneNumber) -> Number:
    text = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    code_region = phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    country = phonenumbers.region_code_for_number(parsed) or code_region
    return Number(text, country or "", phonenumbers.is_valid_number(parsed))


def _short(text: str, region: str) -> Number | None:
    parsed = _parse(text, region)
    if parsed is None or not shortnumberinfo.is_valid_short_number_for_region(parsed, region):
        return None
    return Number(text, region)


def _local(text: str, region: str, area_code: str) -> Number | None:
    if not area_code:
        return None
    parsed = _parse(area_code + text, region)
    return _number(parsed) if _possible(parsed) else None
