"""Who asks: an actor's rights by the view `account`, never by what a message claims."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from simrack.controller.store.audit import Account
from simrack.controller.store.errors import StoreDown
from simrack.wire.ports import Clock
from simrack.wire.rights import LOCAL, PERSON, RIGHTS, rights_of, split_actor

log = structlog.get_logger(__name__)
#: With the database gone people must still be able to end calls; a right that was taken away must not live on for long.
TRUST_S = 900.0
MOST_KNOWN = 2000
CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who asks. `scope` of a scoped role: names of the senders or owners whose rows are its own."""

    name: str
    role: str = ""
    rights: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()
    why_not: str = "no such account"

    def may(self, right: str) -> bool:
        """Whether the actor has a right."""
        return right in self.rights


class Actors:
    """Looks actors up."""

    def __init__(self, read: Callable[[str], Account | None], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._known: dict[str, tuple[float, Account | None]] = {}

    async def find(self, actor: str) -> Actor:
        """The actor of a command: a person by their account, a program of the centre's own machine by its kind.

        Raises:
            StoreDown: the account can't be read, and was not lately.
        """
        kind, name = split_actor(actor)
        if name == CONTROLLER:
            # The name under which the controller itself writes: whoever asks is somebody else.
            return Actor(actor, why_not=f"{actor} is nobody who may ask")
        if kind == LOCAL:
            return Actor(actor, LOCAL, frozenset(RIGHTS))
        if kind != PERSON or not name:
            return Actor(actor, why_not=f"{actor} is nobody who may ask")
        account = await self._account(name)
        if account is None:
            return Actor(actor)
        if account.disabled:
            return Actor(actor, account.role, why_not="the account is disabled")
        return Actor(actor, account.role, rights_of(account.role), account.scope, f"the role {account.role} may not")

    async def _account(self, name: str) -> Account | None:
        now = self._clock.monotonic()
        try:
            account = await asyncio.to_thread(self._read, name)
        except StoreDown:
            at, known = self._known.get(name, (float("-inf"), None))
            if now - at > TRUST_S:
                raise
            log.warning("an account can't be read; what was known of it counts", account=name)
            return known
        self._known.pop(name, None)
        self._known[name] = (now, account)
        while len(self._known) > MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        return account
