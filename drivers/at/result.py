"""Final results of an AT command (27.007, 27.005, V.250)."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a final result means."""

    OK = "OK"
    ERROR = "ERROR"
    CME = "+CME ERROR"
    CMS = "+CMS ERROR"
    NO_CARRIER = "NO CARRIER"
    BUSY = "BUSY"
    NO_ANSWER = "NO ANSWER"
    NO_DIALTONE = "NO DIALTONE"
    CONNECT = "CONNECT"
    NOT_SUPPORTED = "COMMAND NOT SUPPORT"


#: Results of a dial or answer command that at other times tell of a call's end.
CALL_ENDS = frozenset({Kind.NO_CARRIER, Kind.BUSY, Kind.NO_ANSWER, Kind.NO_DIALTONE})

_WORDS = {
    "OK": Kind.OK, "ERROR": Kind.ERROR, "NO CARRIER": Kind.NO_CARRIER, "BUSY": Kind.BUSY,
    "NO ANSWER": Kind.NO_ANSWER, "NO DIALTONE": Kind.NO_DIALTONE, "NO DIAL TONE": Kind.NO_DIALTONE,
    "COMMAND NOT SUPPORT": Kind.NOT_SUPPORTED,
}  # fmt: skip
_CODED = re.compile(r"(\+CM[ES] ERROR): *(.*)")


@dataclass(frozen=True, slots=True)
class Final:
    """A final result; `code` is the number of +CME and +CMS errors where they carry one."""

    kind: Kind
    text: str
    code: int | None = None

    @property
    def ok(self) -> bool:
        return self.kind is Kind.OK or self.kind is Kind.CONNECT


def parse_final(line: str) -> Final | None:
    """Read `line` as a final result, or return None when it is none."""
    kind = _WORDS.get(line)
    if kind is not None:
        return Final(kind, line)
    coded = _CODED.fullmatch(line)
    if coded:
        word = coded[2].strip()
        # isascii: isdigit alone also accepts digits that int() refuses, such as a superscript two.
        code = int(word) if word.isascii() and word.isdigit() and len(word) < 6 else None
        return Final(Kind(coded[1]), line, code)
    if line == "CONNECT" or line.startswith("CONNECT "):
        return Final(Kind.CONNECT, line)
    return None
