"""Readers of standard answers (3GPP TS 27.007): text in, objects out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from simrack.drivers.at.fields import number, split_fields
from simrack.drivers.modems.base import CardState, Progress
from simrack.drivers.modems.generic.calls import Row
from simrack.wire import causes

CLCC_STATES = {
    0: Progress.ACTIVE,
    1: Progress.HELD,
    2: Progress.DIALLING,
    3: Progress.ALERTING,
    4: Progress.INCOMING,
    5: Progress.WAITING,
}

#: The reading form `n,stat`; the unsolicited form has one field, or an area code as its second.
REGISTRATION_ANSWER = re.compile(r"\+C(?:E|G)?REG: *\d *, *\d{1,2} *(?:,|$)")

_ACCESS = {
    0: "GSM", 1: "GSM", 2: "UMTS", 3: "EDGE", 4: "HSDPA", 5: "HSUPA", 6: "HSPA", 7: "LTE", 8: "LTE-M",
    9: "NB-IoT", 10: "LTE", 11: "NR", 12: "NR", 13: "LTE",
}  # fmt: skip


def call_row(line: str) -> Row | None:
    """One line of +CLCC; None for data and fax rows and for what is no row at all (27.007, 7.18).

    LTE modules show their data bearer as a permanent row of mode 1.
    """
    fields = split_fields(line)
    if len(fields) < 5 or number(fields[3]) != 0:
        return None
    state = CLCC_STATES.get(number(fields[2]))
    if state is None or fields[1] not in ("0", "1"):
        return None
    return Row(number(fields[0]), fields[1] == "0", state, fields[5] if len(fields) > 5 else "")


def call_rows(lines: Iterable[str]) -> tuple[Row, ...]:
    rows = (call_row(line) for line in lines if line.startswith("+CLCC:"))
    return tuple(row for row in rows if row is not None)


@dataclass(frozen=True, slots=True)
class Registration:
    """Registration with one domain: `stat` of 27.007 7.2, the cell as area-cell in hexadecimal."""

    stat: int = 0
    cell: str = ""
    access: str = ""
    reject: str = ""

    @property
    def registered(self) -> bool:
        return self.stat in (1, 5)


def registration(line: str) -> Registration | None:
    """+CREG, +CGREG or +CEREG, as an answer or unsolicited."""
    fields = split_fields(line)
    if REGISTRATION_ANSWER.match(line):
        fields = fields[1:]
    stat = number(fields[0])
    if not 0 <= stat <= 11:
        return None
    cell = f"{fields[1]}-{fields[2]}" if len(fields) > 2 and fields[1] else ""
    # n=3 adds the cause type and the cause of 24.008 behind the access technology.
    reject = fields[5] if len(fields) > 5 else ""
    access = _ACCESS.get(number(fields[3]), "") if len(fields) > 3 else ""
    return Registration(stat, cell, access, reject)


def signal_dbm(line: str) -> int | None:
    """+CSQ: dBm, or None when unknown (27.007, 8.5)."""
    rssi = number(split_fields(line)[0])
    return -113 + 2 * rssi if 0 <= rssi <= 31 else None


def operator(line: str) -> tuple[str, str]:
    """+COPS: the operator's name and the access technology; both may be ""."""
    fields = split_fields(line)
    access = _ACCESS.get(number(fields[3]), "") if len(fields) > 3 else ""
    return (fields[2] if len(fields) > 2 else "", access)


def own_number(lines: Iterable[str]) -> str:
    """+CNUM: the first number that the card holds; "" when it holds none."""
    for line in lines:
        fields = split_fields(line)
        if len(fields) > 1 and fields[1]:
            return fields[1]
    return ""


_CARD = {
    "READY": CardState.READY,
    "SIM PIN": CardState.PIN,
    "SIM PUK": CardState.PUK,
    "NOT INSERTED": CardState.ABSENT,
    "SIM REMOVED": CardState.ABSENT,
    "NOT READY": CardState.BUSY,
}
# +CME ERROR of 27.007 9.2.1, as +CPIN? and +CIMI answer them.
_CARD_ERRORS = {
    10: CardState.ABSENT,
    11: CardState.PIN,
    12: CardState.PUK,
    13: CardState.FAILURE,
    14: CardState.BUSY,
}


def card_state(line: str) -> CardState:
    """The state in a +CPIN line; personalisation locks and unknown words are failures."""
    return _CARD.get(line.partition(":")[2].strip().strip('"').upper(), CardState.FAILURE)


def card_error(code: int | None) -> CardState:
    """The state behind a +CME ERROR; unnumbered errors come in the first seconds after power-on."""
    return _CARD_ERRORS.get(code, CardState.BUSY) if code is not None else CardState.BUSY


def iccid(text: str) -> str:
    """Digits of an ICCID without its padding; "" when the text holds none."""
    found = re.search(r"\d{18,20}", text)
    return found[0] if found else ""


def imsi(text: str) -> str:
    return text if re.fullmatch(r"\d{14,15}", text) else ""


def release_cause(line: str) -> tuple[int, str]:
    """+CEER: (Q.850 cause or 0, the module's own words).

    Seen: words, a number before words in quotes, `Cause:16`, a pair `0,17`, and `0,-1` that says nothing.
    """
    words = line.partition(":")[2].strip().strip('"')
    pair = re.fullmatch(r"\d{1,3}, *(-?\d{1,3})", words)
    if pair:
        return max(0, number(pair[1])), words
    return causes.from_text(words) or 0, words


def calling_number(line: str) -> str:
    """+CLIP: the calling number; "" when withheld."""
    return split_fields(line)[0]
