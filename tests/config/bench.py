"""A configuration desk over a database, without bus and calls."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from store.values import FixedClock

from simrack.controller.audit.actors import Actor
from simrack.controller.calls.commands import CommandRefused
from simrack.controller.config.changes import Change
from simrack.controller.config.desk import ConfigDesk, Surroundings
from simrack.controller.config.files import Configuration
from simrack.controller.config.impact import Sample
from simrack.controller.config.kinds import Key, Kind, digest_of, shown
from simrack.controller.config.reading import VersionRow
from simrack.controller.fleet.view import FleetView
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store.writer import Writer
from simrack.wire.rights import RIGHTS, rights_of

ADA, NILS, OLGA = "user:Ada", "user:Nils", "user:Olga"
PEOPLE = {
    ADA: Actor(ADA, "administrator", rights_of("administrator")),
    NILS: Actor(NILS, "noc", rights_of("noc"), why_not="the role noc may not"),
    OLGA: Actor(OLGA, "owner", rights_of("owner"), frozenset({"olga"})),
    "cli:root": Actor("cli:root", "cli", frozenset(RIGHTS)),
}


@dataclass
class Bench:
    """The desk and what it has put in force."""

    store: Writer
    configuration: Configuration
    table: RoutingTable
    fleet: FleetView = field(default_factory=lambda: FleetView({}, ()))
    calls: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        self.desk = ConfigDesk(
            Surroundings(
                store=self.store, reader=self.configuration.reader, clock=FixedClock(), realm="simrack", find=self._find,
                current=lambda: self.table, force=self._force, fleet=self._view, sample=lambda: self.calls,
            )
        )  # fmt: skip

    async def _find(self, actor: str) -> Actor:
        return PEOPLE[actor]

    async def _force(self, table: RoutingTable) -> None:
        self.table = table

    def _view(self, _now: datetime) -> FleetView:
        return self.fleet

    async def ask(self, action: str, actor: str = ADA, **args: Any) -> dict[str, Any]:
        """A command's result, or of a refused one its result with the sentence as `refused`."""
        try:
            return await self.desk.actions()[action](args, actor)
        except CommandRefused as refused:
            return {**refused.result, "refused": str(refused)}

    async def apply(self, *changes: Change, actor: str = ADA, **args: Any) -> dict[str, Any]:
        return await self.ask("entry-apply", actor, changes=[one.model_dump(mode="json") for one in changes], **args)

    async def change(self, kind: Kind, name: str, /, **fields: Any) -> Change:
        """A change of an entry as somebody sends it who sees it as it is."""
        key: Key = (kind, name)
        now = (await asyncio.to_thread(self.configuration.reader.entries, [key]))[key]
        return Change(kind=kind, name=name, body={**(shown(now) if now else {}), **fields}, base=digest_of(now))

    async def remove(self, kind: Kind, name: str) -> Change:
        return (await self.change(kind, name)).model_copy(update={"op": "remove", "body": {}})

    async def history(self) -> tuple[VersionRow, ...]:
        return await asyncio.to_thread(self.configuration.reader.history)

    async def stored(self) -> RoutingTable:
        """What the database has in force."""
        return await asyncio.to_thread(self.configuration.in_force)
