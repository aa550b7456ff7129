"""The table of AT commands: name -> handler, filled by the modules that hold them."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from simrack.lab.emulator.answers import Answer
from simrack.lab.emulator.line import Command

if TYPE_CHECKING:
    from simrack.lab.emulator.ec25.module import Module

Handler = Callable[["Module", Command], Answer | Awaitable[Answer]]
COMMANDS: dict[str, Handler] = {}


def command(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler under its names."""

    def register(handler: Handler) -> Handler:
        for name in names:
            COMMANDS[name] = handler
        return handler

    return register
