"""Between the routing file's models, the rows of the config tables, and the compiled table."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection

from simrack.controller.config.models import (
    Agreement,
    Entry,
    Installation,
    Limits,
    Pattern,
    Plan,
    RoutingFile,
    Sender,
    Sim,
    Site,
)
from simrack.controller.config.secrets import hide
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t

T = TypeVar("T", bound=Entry)
Row = Mapping[str, Any]

# What calls get before any configuration: nobody is known, so everybody is refused.
EMPTY = RoutingTable(
    version=0,
    installation=Installation(class_="test-lab", owner="not set up", country="001"),
    sites={}, agreements={}, plans={}, sims={}, senders={}, prefixes={},
)  # fmt: skip


def rows_of(file: RoutingFile, realm: str) -> list[tuple[Table, Sequence[Row]]]:
    """Rows for every config table, without their version; passwords are hashed with `realm`."""
    senders = [hide(sender, realm) for sender in file.sender]
    return [
        (t.config_installation, [_row(0, file.installation.class_, file.installation)]),
        (t.config_limit, [_row(0, "limits", file.limits)]),
        (t.config_site, _rows(file.site)),
        (t.config_agreement, _rows(file.agreement)),
        (t.config_plan, _rows(file.plan)),
        (t.config_sim, _sims(file)),
        (t.config_sender, _rows(senders)),
        (t.config_pattern, _patterns(file.pattern)),
    ]


def _row(position: int, name: str, entry: Entry) -> dict[str, Any]:
    body = entry.model_dump_json(by_alias=True, exclude_defaults=True)
    return {"position": position, "name": name, "body": body}


def _rows(entries: Sequence[Site | Agreement | Plan | Sender]) -> list[Row]:
    return [_row(position, entry.name, entry) for position, entry in enumerate(entries)]


def _sims(file: RoutingFile) -> list[Row]:
    """A row for each card that the file names, also for those that stand only in their plan's list."""
    sims = {sim.iccid: sim for sim in file.sim}
    for plan in file.plan:
        for iccid in plan.sims:
            sims.setdefault(iccid, Sim(iccid=iccid, plan=plan.name))
    return [
        {**_row(position, sim.iccid, sim), "plan": sim.plan} for position, sim in enumerate(sims.values())
    ]


def _patterns(patterns: Sequence[Pattern]) -> list[Row]:
    """One row per prefix; a pattern's rows share name and body, which holds its first prefix only."""
    rows: list[Row] = []
    for pattern in patterns:
        shared = _row(0, pattern.label, pattern.model_copy(update={"prefixes": pattern.prefixes[:1]}))
        rows.extend(
            {**shared, "position": len(rows) + i, "prefix": p} for i, p in enumerate(pattern.prefixes)
        )
    return rows


def version_in_force(connection: Connection) -> int | None:
    """The active version, None before the first import."""
    row = connection.execute(select(t.config_active.c.version).where(t.config_active.c.id == 1)).first()
    return int(row.version) if row is not None else None


def compile_table(connection: Connection, version: int) -> RoutingTable:
    """The snapshot of a stored version."""
    installation = _entries(connection, t.config_installation, Installation, version)
    limits = _entries(connection, t.config_limit, Limits, version)
    return RoutingTable(
        version=version,
        installation=next(iter(installation.values())),
        limits=next(iter(limits.values())),
        sites=_entries(connection, t.config_site, Site, version),
        agreements=_entries(connection, t.config_agreement, Agreement, version),
        plans=_entries(connection, t.config_plan, Plan, version),
        sims=_entries(connection, t.config_sim, Sim, version),
        senders=_entries(connection, t.config_sender, Sender, version),
        prefixes=_prefixes(connection, version),
    )


def _entries(connection: Connection, table: Table, model: type[T], version: int) -> dict[str, T]:
    statement = (
        select(table.c.name, table.c.body).where(table.c.version == version).order_by(table.c.position)
    )
    return {row.name: model.model_validate_json(row.body) for row in connection.execute(statement)}


def _prefixes(connection: Connection, version: int) -> dict[str, tuple[Pattern, ...]]:
    columns = t.config_pattern.c
    statement = (
        select(columns.prefix, columns.body).where(columns.version == version).order_by(columns.position)
    )
    parse = lru_cache(maxsize=None)(Pattern.model_validate_json)
    found: dict[str, tuple[Pattern, ...]] = {}
    for prefix, body in connection.execute(statement):
        found[prefix] = (*found.get(prefix, ()), parse(body))
    return found
