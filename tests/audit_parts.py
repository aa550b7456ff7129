"""Parts of the audit log for tests: a store that only remembers, a gate before the command desk."""

from collections.abc import Iterable

from simrack.controller.audit.actors import Actors
from simrack.controller.audit.chain import Fact, Head
from simrack.controller.audit.gate import Gate
from simrack.controller.audit.keeper import Keeper
from simrack.controller.store.audit import Account, AuditQueries
from simrack.controller.store.errors import StoreDown
from simrack.wire.ports import Clock


class Book:
    """Where facts go, without a database; `down` makes it refuse like a database that is away."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.down = False

    async def audit(self, facts: Iterable[Fact]) -> Head:
        if self.down:
            raise StoreDown("the database is away")
        self.facts += facts
        return Head(len(self.facts), "0" * 64)

    async def take_acts(self, since: int) -> int:
        return 0


def gate_of(clock: Clock, book: Book, *accounts: Account) -> Gate:
    """A gate that knows these accounts."""
    known = {account.name: account for account in accounts}
    # Nothing is read from the queries: acts are taken over only by a keeper that runs.
    return Gate(Actors(known.get, clock), Keeper(book, AuditQueries("sqlite:///none.db"), "test"), clock)
