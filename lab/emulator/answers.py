"""What a module answers: information lines, a final result, and the words of the errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# 27.007 clause 9.2, as far as a voice module meets them.
CME_TEXT = {
    3: "operation not allowed", 4: "operation not supported", 10: "SIM not inserted", 11: "SIM PIN required",
    12: "SIM PUK required", 13: "SIM failure", 14: "SIM busy", 16: "incorrect password", 21: "invalid index",
    30: "no network service", 50: "incorrect parameters", 100: "unknown",
}  # fmt: skip
CMS_TEXT = {
    302: "operation not allowed", 304: "invalid PDU mode parameter", 321: "invalid memory index",
    330: "SMSC address unknown", 331: "no network service", 500: "unknown error",
}  # fmt: skip
# V.250 clause 5.7 and Quectel's table: what ATV0 prints.
NUMERIC = {
    "OK": 0, "CONNECT": 1, "RING": 2, "NO CARRIER": 3, "ERROR": 4, "NO DIALTONE": 6, "BUSY": 7, "NO ANSWER": 8,
}  # fmt: skip


def _nothing() -> None:
    """Follow an answer with no act."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Information lines and the final result; `then` runs once the answer is on the wire."""

    lines: tuple[str, ...] = ()
    final: str = "OK"
    then: Callable[[], None] = _nothing


OK = Answer()


def joined(answers: Sequence[Answer]) -> Answer:
    """Put the answers of one line together: all lines, the last result, all acts (V.250, 5.2.1)."""

    def act() -> None:
        for answer in answers:
            answer.then()

    lines = tuple(line for answer in answers for line in answer.lines)
    return Answer(lines, answers[-1].final, act) if answers else OK


def info(*lines: str) -> Answer:
    return Answer(lines)


class Refused(Exception):
    """The command fails with the bare ERROR, whatever +CMEE says."""


class Cme(Exception):
    """The command fails with a +CME ERROR of 27.007 clause 9.2."""

    def __init__(self, code: int) -> None:
        super().__init__(CME_TEXT.get(code, "unknown"))
        self.code = code


class Cms(Exception):
    """The command fails with a +CMS ERROR of 27.005 clause 3.2.5."""

    def __init__(self, code: int) -> None:
        super().__init__(CMS_TEXT.get(code, "unknown error"))
        self.code = code


def result_of(error: Exception, cmee: int) -> str:
    """Word an error as +CMEE asks: 0 plain, 1 numbers, 2 words. +CMS errors know no plain form."""
    if isinstance(error, Cms):
        return f"+CMS ERROR: {error if cmee == 2 else error.code}"
    if isinstance(error, Cme) and cmee:
        return f"+CME ERROR: {error if cmee == 2 else error.code}"
    return "ERROR"
