"""Fields of an information line: `+CLCC: 1,0,0,0,0,"a,b",129` -> its parts."""

import re

# No two parts of this can match the same octets, so that a line of noise costs no more than its length.
_FIELD = re.compile(r' *"([^"]*)" *(,|\Z)|([^,]*)(,|\Z)')


def split_fields(line: str) -> tuple[str, ...]:
    """Fields after the colon (or of the whole text), without their quotes; commas in quotes are text."""
    head, colon, rest = line.partition(":")
    text = rest if colon and '"' not in head else line
    fields: list[str] = []
    for found in _FIELD.finditer(text):
        fields.append(found[1] if found[1] is not None else found[3].strip(" "))
        if not (found[2] or found[4]):
            break
    return tuple(fields)


def number(text: str, default: int = -1) -> int:
    """A decimal field as an integer; `default` when it is none (modules leave fields empty)."""
    sign, digits = text[:1] == "-", text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
        return default
    return -int(digits) if sign else int(digits)


def value_of(line: str) -> str:
    """What an identity command answered, without an optional `+CMD:` before it and without quotes."""
    text = re.sub(r"^[+^][A-Z]+: *", "", line).strip()
    return text.strip('"')
