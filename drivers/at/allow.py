"""Which AT commands a person, console or script may send.

A family's sheet lists them. Four forms of an entry:

* `+CSQ` - the command alone, its reading form `+CSQ?` and its test form `+CSQ=?`; never a set form;
* `+CFUN?` - this form only;
* `+QENG="servingcell"` - this text only;
* `+CUSD=*` - the set form with any values.

Some heads are never on any list, whatever a sheet says: they write identity, calibration or firmware, or open
a way to do so. There is no role, flag or setting that passes them.
"""

import re
from collections.abc import Iterable

#: Heads that no sheet may name: identity (IMEI), calibration (NV items), firmware, and commands that run code.
FORBIDDEN = (
    "+EGMR", "+SIMEI", "+IMEI", "+QIMEI", "+CSIMEI", "+CGSN=", "+GSN=", "*CGSN", "^PHYNUM", "^CIMEI", "^IMEI",
    "^NVWR", "^NVRD", "+NVWR", "+NVRW", "+QNVFW", "+QNVFR", "+QNVW", "+QNVR", "+QNVITEM", "$QCNV",
    "+QPRTPARA", "+QFCT", "+QRFTEST", "+QRXFTM", "^DATALOCK", "^SIMLOCK", "+CLCK=", "+CPWD",
    "+QFOTADL", "+QFUPL", "+QFDEL", "+QDOWNLOAD", "+QSECBOOT", "+CFOTA", "+CDELTA", "+QLINUXCMD", "+QADBKEY",
    "+QMBNCFG", "^FDLOAD", "^GODLOAD", "+CBOOT", "+QUSBCFG", "+FLASH", "+SFUSB",
)  # fmt: skip

_SHAPE = re.compile(r"AT(?P<head>[+^*$#&%]?[A-Z][A-Z0-9]*)(?P<rest>\?|=.*)?")


def normal(text: str) -> str:
    """`text` without spaces outside quotes and in capitals there, so that spelling cannot pass the list."""
    parts = text.strip().split('"')
    return '"'.join(
        re.sub(r"[ \t]+", "", part).upper() if index % 2 == 0 else part for index, part in enumerate(parts)
    )


def forbidden(text: str) -> bool:
    """Tell whether a command or list entry (with or without AT) is one that nobody may send."""
    body = normal(text)
    body = body.removeprefix("AT")
    return body.startswith(FORBIDDEN)


def checked(entries: Iterable[str]) -> tuple[str, ...]:
    """The entries of a sheet; ValueError names the one that may be on no list."""
    found = tuple(normal(entry) for entry in entries)
    for entry in found:
        if forbidden(entry) or not re.match(r"[+^*$#&%]?[A-Z]", entry):
            raise ValueError(f"allowed: {entry} may be on no list")
    return found


def allows(allowed: Iterable[str], text: str) -> bool:
    """Tell whether the list `allowed` passes the command `text`.

    One command a line: a second one behind `;`, line ends and control characters are refused outright.
    """
    command = normal(text)
    if any(ord(char) < 32 or ord(char) > 126 for char in text.strip()) or ";" in command:
        return False
    shape = _SHAPE.fullmatch(command)
    if shape is None or forbidden(command):
        return False
    head, rest = shape["head"], shape["rest"] or ""
    return any(_passes(entry, head, rest) for entry in allowed)


def _passes(entry: str, head: str, rest: str) -> bool:
    if entry.endswith("=*"):
        return entry[:-2] == head and rest.startswith("=") and rest != "=?"
    if entry == head:
        return rest in ("", "?", "=?")
    return entry == head + rest
