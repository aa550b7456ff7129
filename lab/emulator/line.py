"""AT command lines: splitting one line into its commands (V.250 clause 5.2, 27.007 clause 4)."""

import re
from dataclasses import dataclass
from enum import Enum

_EXTENDED = re.compile(r"[+^$*#%][A-Z0-9_]+")
_BASIC = re.compile(r"(&[A-Z]|[A-Z])(\d*)")
_REGISTER = re.compile(r"(S\d+)(\?|=\d*)")


class Form(Enum):
    """How a command is written."""

    RUN = "run"
    READ = "read"
    TEST = "test"
    SET = "set"


class BadLine(Exception):
    """The line can't be split into commands; a module answers ERROR."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: name in capitals ("+CSQ", "D", "&C", "S0"), form, and the text of its parameters."""

    name: str
    form: Form
    text: str = ""

    @property
    def args(self) -> list[str]:
        """Parameters without their quotes; commas inside quotes do not separate."""
        return [part.strip().strip('"') for part in _outside_quotes(self.text, ",")]

    def number(self, index: int, default: int) -> int:
        """Parameter `index` as an integer; `default` when it is absent or empty, BadLine when it is none."""
        args = self.args
        if index >= len(args) or not args[index]:
            return default
        if not args[index].isdecimal():
            raise BadLine(self.text)
        return int(args[index])


def split(line: str) -> list[Command]:
    """Split what follows "AT".

    Raises:
        BadLine: the syntax is wrong somewhere; nothing of the line is executed.
    """
    rest = _without_blanks(line)
    commands: list[Command] = []
    while rest:
        if rest[0] == ";":
            rest = rest[1:]
            continue
        command, rest = _first(rest)
        commands.append(command)
    return commands


def _first(rest: str) -> tuple[Command, str]:
    if rest[0] in "+^$*#%":
        return _extended(rest)
    if rest[0] in "Dd":
        return _dial(rest)
    upper = rest.upper()
    if register := _REGISTER.match(upper):
        form = Form.READ if register[2] == "?" else Form.SET
        return Command(register[1], form, register[2].lstrip("?=")), rest[register.end() :]
    if basic := _BASIC.match(upper):
        return Command(basic[1], Form.RUN, basic[2]), rest[basic.end() :]
    raise BadLine(rest)


def _dial(rest: str) -> tuple[Command, str]:
    # The semicolon is part of the dial string: it alone makes the call a voice call (27.007, 6.2).
    end = rest.find(";") + 1 or len(rest)
    return Command("D", Form.RUN, rest[1:end]), rest[end:]


def _extended(rest: str) -> tuple[Command, str]:
    whole = _outside_quotes(rest, ";")[0]
    tail = rest[len(whole) + 1 :]
    head = _EXTENDED.match(whole.upper())
    if head is None:
        raise BadLine(rest)
    name, after = head[0], whole[head.end() :]
    if after == "":
        return Command(name, Form.RUN), tail
    if after == "?":
        return Command(name, Form.READ), tail
    if after == "=?":
        return Command(name, Form.TEST), tail
    if after.startswith("="):
        return Command(name, Form.SET, after[1:]), tail
    raise BadLine(rest)


def _without_blanks(text: str) -> str:
    quoted, kept = False, []
    for char in text:
        quoted ^= char == '"'
        if quoted or char != " ":
            kept.append(char)
    return "".join(kept)


def _outside_quotes(text: str, separator: str) -> list[str]:
    quoted, parts, start = False, [], 0
    for index, char in enumerate(text):
        quoted ^= char == '"'
        if char == separator and not quoted:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
