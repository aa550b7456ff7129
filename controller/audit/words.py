"""What may be written of a command: its subject in one word, its arguments without secrets and without end."""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

from simrack.controller.audit.chain import canonical, plain

HIDDEN = "(hidden)"
#: A name with one of these words in it holds a secret.
SECRETS = frozenset({
    "password", "passwords", "passwd", "passphrase", "secret", "secrets", "token", "tokens", "pin", "puk", "pin2", "puk2",
    "ha1", "digest", "otp", "totp", "key", "keys", "ki", "opc", "credentials", "authorization", "cookie",
})  # fmt: skip
#: A value that is longer is kept as its beginning and its SHA-256; a longer detail as its SHA-256 alone.
MOST_TEXT, SHOWN_TEXT, MOST_DETAIL = 400, 200, 8000
#: Deeper or longer things than any command has.
MOST_DEPTH, MOST_ITEMS = 6, 200
#: What an act is about, the first that is there.
_SUBJECTS = ("call", "iccid", "sim", "address", "sender", "agreement", "plan", "pattern", "cause", "process", "name", "version")
_WORDS = re.compile(r"[a-z0-9]+")
_IN_URL = re.compile(r"(://)[^/@\s]+@")
_IN_TEXT = re.compile(r"(?i)\b(password|secret|token|ha1|pin|puk|key)(\"?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|\S+)")


def subject_of(args: Mapping[str, Any]) -> str:
    """What a command is about: a call, a channel of a box, a card, an address."""
    box = args.get("box")
    if isinstance(box, str) and box:
        channel = args.get("channel")
        return cut(f"{box}/{channel}" if isinstance(channel, int) else box)
    for name in _SUBJECTS:
        value = args.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return cut(str(value))
    return ""


def cut(text: str, most: int = 200) -> str:
    """Text for a column of its own."""
    text = plain(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def told(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as they may be kept for ever."""
    kept = {str(name)[:100]: _value(str(name), value, 0) for name, value in list(args.items())[:MOST_ITEMS]}
    whole = canonical(kept)
    if len(whole) <= MOST_DETAIL:
        return kept
    return {"names": sorted(kept)[:50], "characters": len(whole), "sha256": hashlib.sha256(whole.encode()).hexdigest()}


def _value(name: str, value: Any, depth: int) -> Any:
    if SECRETS & set(_WORDS.findall(name.lower())):
        return HIDDEN if value not in (None, "") else value
    if depth >= MOST_DEPTH:
        return "(deeper)"
    if isinstance(value, Mapping):
        return {str(key)[:100]: _value(str(key), item, depth + 1) for key, item in list(value.items())[:MOST_ITEMS]}
    if isinstance(value, list | tuple):
        return [_value("", item, depth + 1) for item in value[:MOST_ITEMS]]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else _text(str(value))


def _text(value: str) -> str:
    value = plain(_IN_TEXT.sub(rf"\1\2{HIDDEN}", _IN_URL.sub(rf"\1{HIDDEN}@", value)))
    if len(value) <= MOST_TEXT:
        return value
    sha = hashlib.sha256(value.encode()).hexdigest()
    return f"{value[:SHOWN_TEXT]}… ({len(value)} characters, SHA-256 {sha})"
