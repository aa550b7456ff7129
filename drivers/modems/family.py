"""A module family as the registry knows it: its sheet and how to make a driver."""

from collections.abc import Callable
from dataclasses import dataclass

from simrack.drivers.at.chat import Chat
from simrack.drivers.modems.base import ModemDriver, Sheet
from simrack.wire.ports import Clock


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the registry."""

    sheet: Sheet
    make: Callable[[Chat, Sheet, Clock], ModemDriver]
