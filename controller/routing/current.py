"""The configuration in force, as one object whose snapshot is swapped whole."""

from collections.abc import Callable

from simrack.controller.fleet.view import FleetView
from simrack.controller.routing.decide import decide
from simrack.controller.routing.decision import CallFacts, Decision
from simrack.controller.routing.seats import Seats
from simrack.controller.routing.table import RoutingTable


class Routing:
    """Router and list of senders for the call path; both always speak of the same version."""

    def __init__(self, table: RoutingTable) -> None:
        self.table, self._seats = table, Seats(table)
        self._listeners: list[Callable[[RoutingTable], None]] = []

    def listen(self, listener: Callable[[RoutingTable], None]) -> None:
        """Have each version told that is put in force."""
        self._listeners.append(listener)

    @property
    def version(self) -> int:
        return self.table.version

    def swap(self, table: RoutingTable, seats: Seats | None = None) -> None:
        """Put another version in force; calls in progress keep what they were decided by.

        `seats` are made beforehand, so that the next call does not wait for 16,000 channels to be sorted.
        """
        self.table, self._seats = table, seats or Seats(table)
        for listener in self._listeners:
            listener(table)

    def decide(self, facts: CallFacts, fleet: FleetView) -> Decision:
        """Route a call; its explanation is as short as the record that keeps it."""
        return decide(facts, self.table, fleet, self._seats, brief=True)

    def explain(self, facts: CallFacts, fleet: FleetView) -> Decision:
        """Route a call that nobody makes, with the whole explanation."""
        return decide(facts, self.table, fleet, self._seats)

    def by_address(self, source: tuple[str, int]) -> str | None:
        return self.table.by_address(source)

    def may_challenge(self, source: tuple[str, int]) -> bool:
        return self.table.may_challenge(source)

    def algorithms(self, source: tuple[str, int]) -> frozenset[str]:
        return self.table.algorithms(source)

    def secret_of(self, username: str, source: tuple[str, int]) -> str | None:
        return self.table.secret_of(username, source)

    def by_user(self, username: str) -> str | None:
        return self.table.by_user(username)

    def knows(self, source: tuple[str, int]) -> bool:
        return self.table.knows(source)
