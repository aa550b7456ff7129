"""Between the routing file's models, the rows of the config tables, and the compiled table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection

from simrack.controller.config.catalogue import CATALOGUE, Values
from simrack.controller.config.kinds import MODELS, SINGLE, Key, Kind, Setting, name_of
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
# Databases bound the values of one statement (SQLite 32,766).
NAMES_AT_ONCE = 500

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
        (t.config_setting, [_row(place, one.name, one) for place, one in enumerate(settings_of(file))]),
    ]


def settings_of(file: RoutingFile) -> list[Setting]:
    """The file's options, each with its whole name."""
    return [
        Setting(name=f"{area}.{name}", value=value)
        for area, options in file.settings.items()
        for name, value in options.items()
    ]


def entries_of(file: RoutingFile, realm: str | None) -> dict[Key, Entry]:
    """A file as the entries that its version holds; passwords are hashed with `realm`, if there is one."""
    senders = [hide(sender, realm) if realm is not None else sender for sender in file.sender]
    listed: dict[Kind, Sequence[Entry]] = {
        "installation": [file.installation], "limit": [file.limits], "setting": settings_of(file), "site": file.site,
        "agreement": file.agreement, "plan": file.plan, "sim": list(_cards(file).values()), "sender": senders,
        "pattern": file.pattern,
    }  # fmt: skip
    return {(kind, name_of(kind, entry)): entry for kind, some in listed.items() for entry in some}


def _row(position: int, name: str, entry: Entry) -> dict[str, Any]:
    body = entry.model_dump_json(by_alias=True, exclude_defaults=True)
    return {"position": position, "name": name, "body": body}


def _rows(entries: Sequence[Site | Agreement | Plan | Sender]) -> list[Row]:
    return [_row(position, entry.name, entry) for position, entry in enumerate(entries)]


def _cards(file: RoutingFile) -> dict[str, Sim]:
    """Each card that the file names, also those that stand only in their plan's list."""
    sims = {sim.iccid: sim for sim in file.sim}
    for plan in file.plan:
        for iccid in plan.sims:
            sims.setdefault(iccid, Sim(iccid=iccid, plan=plan.name))
    return sims


def _sims(file: RoutingFile) -> list[Row]:
    return [
        {**_row(position, sim.iccid, sim), "plan": sim.plan} for position, sim in enumerate(_cards(file).values())
    ]


def _patterns(patterns: Sequence[Pattern]) -> list[Row]:
    """One row per prefix; a pattern's rows share name and body, which holds its first prefix only."""
    rows: list[Row] = []
    for pattern in patterns:
        shared = _row(0, pattern.label, pattern.model_copy(update={"prefixes": pattern.prefixes[:1]}))
        # Not len(rows) within: a list grows while it is extended, and two rows would get one place.
        first = len(rows)
        rows.extend({**shared, "position": first + i, "prefix": p} for i, p in enumerate(pattern.prefixes))
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
        **_patterns_of(connection, version),
        options=Values({
            name: setting.value for name, setting in _known_options(connection, version).items()
        }),
    )  # fmt: skip


def _entries(connection: Connection, table: Table, model: type[T], version: int) -> dict[str, T]:
    statement = (
        select(table.c.name, table.c.body).where(table.c.version == version).order_by(table.c.position)
    )
    return {row.name: model.model_validate_json(row.body) for row in connection.execute(statement)}


def _patterns_of(connection: Connection, version: int) -> dict[str, Any]:
    """All patterns, by label and by each of their prefixes, in the version's order."""
    columns = t.config_pattern.c
    statement = (
        select(columns.prefix, columns.body).where(columns.version == version).order_by(columns.position)
    )
    parse = lru_cache(maxsize=None)(Pattern.model_validate_json)
    found: dict[str, tuple[Pattern, ...]] = {}
    patterns: dict[str, Pattern] = {}
    for prefix, body in connection.execute(statement):
        pattern = parse(body)
        found[prefix] = (*found.get(prefix, ()), pattern)
        patterns[pattern.label] = pattern
    return {"prefixes": found, "patterns": patterns}


def _known_options(connection: Connection, version: int) -> dict[str, Setting]:
    """Options that are set; one that this release does not know is passed over, as after a way back."""
    columns = t.config_setting.c
    rows = connection.execute(select(columns.name, columns.body).where(columns.version == version)).all()
    return {row.name: Setting.model_validate_json(row.body) for row in rows if row.name in CATALOGUE}


def stored_entries(connection: Connection, kind: Kind, version: int, names: Sequence[str]) -> dict[str, Entry]:
    """Entries of a version by name, patterns with all their prefixes; those that are not there are left out."""
    found: dict[str, Entry] = {}
    for start in range(0, len(names), NAMES_AT_ONCE):
        found |= _whole_entries(connection, kind, version, names[start : start + NAMES_AT_ONCE])
    return found


def all_entries(connection: Connection, kind: Kind, version: int) -> dict[str, Entry]:
    """All entries of a kind in the version's order, patterns with all their prefixes."""
    return _whole_entries(connection, kind, version, None)


def _whole_entries(connection: Connection, kind: Kind, version: int, names: Sequence[str] | None) -> dict[str, Entry]:
    table = t.CONFIG_TABLES[kind]
    wanted = table.c.version == version
    if names is not None and kind not in SINGLE:
        wanted &= table.c.name.in_(names)
    rows = connection.execute(select(table).where(wanted).order_by(table.c.position)).all()
    if kind == "pattern":
        return dict(_whole_patterns(rows))
    model = MODELS[kind]
    return {name_of(kind, entry): entry for entry in (model.model_validate_json(row.body) for row in rows)}


def _whole_patterns(rows: Iterable[Any]) -> Iterator[tuple[str, Pattern]]:
    for name, listed in groupby(rows, key=lambda row: str(row.name)):
        group = list(listed)
        pattern = Pattern.model_validate_json(group[0].body)
        yield name, pattern.model_copy(update={"prefixes": tuple(row.prefix for row in group)})


def rows_of_entry(kind: Kind, entry: Entry) -> list[Row]:
    """The rows of one entry, numbered from 0."""
    if isinstance(entry, Pattern):
        return _patterns([entry])
    if isinstance(entry, Sim):
        return [{**_row(0, entry.iccid, entry), "plan": entry.plan}]
    name = entry.class_ if isinstance(entry, Installation) else "limits" if kind == "limit" else name_of(kind, entry)
    return [_row(0, name, entry)]
