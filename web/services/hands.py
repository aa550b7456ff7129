"""Who writes the control room's own tables: somebody signed in, or a person on the centre's own machine."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from simrack.web.app import me, room


@dataclass(frozen=True, slots=True)
class Hand:
    """The connection to write over, who it is, and when."""

    begin: Callable[[], AbstractContextManager[Connection]]
    actor: str
    now: datetime


def hand() -> Hand:
    """Whoever is signed in."""
    here = room()
    return Hand(here.accounts.begin, me().actor, here.clock.utc())
