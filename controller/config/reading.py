"""The configuration as pages, the API and the command line read it: entries, lists, versions and their history."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Engine, Select, cast, func, or_, select, type_coerce
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DBAPIError

from simrack.controller.config.changes import CHANGES, Change
from simrack.controller.config.kinds import KINDS, MODELS, Key, Kind, digest_of, name_of, shown
from simrack.controller.config.models import Entry
from simrack.controller.config.rows import EMPTY, all_entries, compile_table, stored_entries, version_in_force
from simrack.controller.models import Own
from simrack.controller.routing.numbers import load_metadata
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.own import within

#: A page longer than this helps nobody.
MOST_PER_PAGE = 500
#: Versions looked through for who changed an entry last; older ones are told without a name.
LOOK_BACK = 200
#: Fields beside the name in which a list is searched.
SEARCHED: Mapping[Kind, tuple[str, ...]] = {
    "site": ("title",), "agreement": ("title", "operator", "reference"), "plan": ("title", "owner"),
    "sim": ("title", "holder", "plan"), "sender": ("title", "legal_name", "contact"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry as it is in force. `body` is JSON for people: without hashes of a password."""

    kind: Kind
    name: str
    body: Mapping[str, Any]
    digest: str  # what a change of it must name as its base
    version: int
    prefixes: int = 0  # of a pattern; a list's body has the first one only


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page of a list; `after` of the next page is `next`, None at the end."""

    rows: tuple[Stored, ...]
    total: int
    next: int | None
    version: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of the configuration in its history."""

    version: int
    created: datetime
    actor: str
    source: str  # name of the file that it was imported from; "" of changes
    note: str
    parent: int | None
    activated: datetime | None  # None: never whole
    in_force: bool
    changes: tuple[Change, ...]  # empty of a file: its entries are the change


class ConfigReader:
    """Read-only; every method is one short read and may be called from any thread. All raise `StoreDown`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self) -> int | None:
        """The version in force, None before the first one."""
        with self._read() as connection:
            return version_in_force(connection)

    def table(self, version: int | None = None) -> RoutingTable:
        """A version compiled, None = the one in force; `EMPTY` before the first."""
        load_metadata()
        with self._read() as connection:
            wanted = version_in_force(connection) if version is None else version
            return EMPTY if wanted is None else compile_table(connection, wanted)

    def entries(self, keys: Iterable[Key], version: int | None = None) -> dict[Key, Entry | None]:
        """Entries with everything they have, None where there is none."""
        found: dict[Key, Entry | None] = dict.fromkeys(keys)
        with self._read() as connection:
            wanted = version_in_force(connection) if version is None else version
            if wanted is None:
                return found
            for kind in KINDS:
                names = [name for of, name in found if of == kind]
                if names:
                    found |= {(kind, name): entry for name, entry in stored_entries(connection, kind, wanted, names).items()}
        return found

    def entry(self, kind: Kind, name: str, version: int | None = None) -> Stored | None:
        """One entry; None when there is none of this name."""
        with self._read() as connection:
            wanted = version_in_force(connection) if version is None else version
            if wanted is None:
                return None
            entry = stored_entries(connection, kind, wanted, [name]).get(name)
        return None if entry is None else _stored(kind, entry, wanted)

    def everything(self, version: int) -> dict[Key, Entry]:
        """All entries of a version, in its order."""
        found: dict[Key, Entry] = {}
        with self._read() as connection:
            for kind in KINDS:
                found |= {(kind, name): entry for name, entry in all_entries(connection, kind, version).items()}
        return found

    def page(
        self, kind: Kind, *, text: str = "", after: int | None = None, limit: int = 50, own: Own | None = None
    ) -> StoredPage:
        """A page of one kind in the version's order; `text` is part of a name, a title or a prefix.

        `own` bounds what is seen: plans and SIMs by plan, senders by name. Other kinds are not for partners.
        """
        with self._read() as connection:
            version = version_in_force(connection)
            if version is None:
                return StoredPage((), 0, None, 0)
            wanted = _listed(kind, version, text, own or Own(), connection.dialect.name)
            total = connection.execute(select(func.count()).select_from(wanted.subquery())).scalar_one()
            most = max(1, min(limit, MOST_PER_PAGE))
            rows = connection.execute(_next(wanted, after).limit(most + 1)).all()
        more = rows[most - 1].position if len(rows) > most else None
        return StoredPage(tuple(_row(kind, row, version) for row in rows[:most]), total, more, version)

    def history(self, *, before: int | None = None, limit: int = 50) -> tuple[VersionRow, ...]:
        """Versions, newest first, from below `before`."""
        columns = t.config_version.c
        statement = select(t.config_version).order_by(columns.version.desc()).limit(max(1, min(limit, MOST_PER_PAGE)))
        if before is not None:
            statement = statement.where(columns.version < before)
        with self._read() as connection:
            active = version_in_force(connection)
            return tuple(_version(row, active) for row in connection.execute(statement))

    def one_version(self, version: int) -> VersionRow | None:
        """One version of the history."""
        with self._read() as connection:
            row = connection.execute(select(t.config_version).where(t.config_version.c.version == version)).first()
            return None if row is None else _version(row, version_in_force(connection))

    def last_changes(self, keys: Iterable[Key]) -> dict[Key, VersionRow]:
        """Which version changed an entry last, as far as the newest versions tell."""
        wanted, found = set(keys), dict[Key, VersionRow]()
        for row in self.history(limit=LOOK_BACK):
            for change in row.changes:
                if change.key in wanted:
                    found.setdefault(change.key, row)
        return found

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreDown(f"the configuration can't be read: {error.orig}") from error


def _stored(kind: Kind, entry: Entry, version: int) -> Stored:
    prefixes = len(getattr(entry, "prefixes", ()))
    return Stored(kind, name_of(kind, entry), shown(entry), digest_of(entry), version, prefixes)


def _listed(kind: Kind, version: int, text: str, own: Own, dialect: str) -> Select[Any]:
    table = t.CONFIG_TABLES[kind]
    columns = table.c
    statement = select(
        func.min(columns.position).label("position"), columns.name, func.min(columns.body).label("body"),
        func.count().label("rows"),
    ).where(columns.version == version).group_by(columns.name)  # fmt: skip
    statement = statement.where(_theirs(kind, columns, own))
    if text:
        # Never the whole body: whoever may search could spell a password's hash out of it, digit by digit.
        body = cast(columns.body, JSON) if dialect == "postgresql" else type_coerce(columns.body, JSON)
        places = [columns.name, *(body[field].as_string() for field in SEARCHED.get(kind, ()))]
        places += [columns.prefix] if kind == "pattern" else []
        statement = statement.where(or_(*(place.icontains(text, autoescape=True) for place in places)))
    return statement


def _theirs(kind: Kind, columns: Any, own: Own) -> ColumnElement[bool]:
    """What of a kind somebody sees: their plans and the SIMs in them, their senders; of the rest all or nothing."""
    if kind in ("plan", "sim"):
        return within(own, None, columns.plan if kind == "sim" else columns.name)
    if kind == "sender":
        return within(own, columns.name, None)
    return within(own, None, None)


def _next(statement: Select[Any], after: int | None) -> Select[Any]:
    rows = statement.subquery()
    found = select(rows).order_by(rows.c.position)
    return found if after is None else found.where(rows.c.position > after)


def _row(kind: Kind, row: Row[Any], version: int) -> Stored:
    """A row of a list. A pattern's digest needs all its prefixes, so a list has none: read the entry first."""
    entry = MODELS[kind].model_validate_json(row.body)
    several = kind == "pattern" and row.rows > 1
    return Stored(
        kind, name_of(kind, entry), shown(entry), "" if several else digest_of(entry), version,
        prefixes=row.rows if kind == "pattern" else 0,
    )  # fmt: skip


def _version(row: Row[Any], active: int | None) -> VersionRow:
    return VersionRow(
        version=row.version, created=row.created, actor=row.actor, source=row.source, note=row.note, parent=row.parent,
        activated=row.activated, in_force=row.version == active,
        changes=CHANGES.validate_json(row.changes) if row.changes else (),
    )  # fmt: skip
