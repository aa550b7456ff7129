"""A routing file into the database and out of it again as a table; a bad file never replaces a good version."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from simrack.controller.config.changes import Change, changes_between
from simrack.controller.config.checks import check
from simrack.controller.config.models import RoutingFile
from simrack.controller.config.reading import ConfigReader
from simrack.controller.config.rows import EMPTY, compile_table, entries_of, rows_of, version_in_force
from simrack.controller.config.whole import Judged
from simrack.controller.routing.numbers import load_metadata
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t
from simrack.controller.store.engine import read_engine
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.writer import Writer
from simrack.wire import tomlfile
from simrack.wire.errors import UserError

log = structlog.get_logger(__name__)

Put = Callable[[Sequence[Change], str, str], Awaitable[tuple[Judged, int | None]]]
EXPORT_FIRST = "See what runs with `simrack config diff FILE` or `simrack config export`, and take it over into the file."
# Goes into the digest: a release that compiles files differently imports them once more.
FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did; `changed` is false when the file is the one imported last."""

    version: int
    changed: bool


class Configuration:
    """The configuration in the database, read through an engine that can't write."""

    def __init__(self, url: str) -> None:
        self._engine = read_engine(url)
        self.reader = ConfigReader(self._engine)

    def close(self) -> None:
        self._engine.dispose()

    def in_force(self) -> RoutingTable:
        """The active version as a table, or one that knows nobody. Blocks; raises `StoreDown`."""
        return self.version(None)

    def version(self, version: int | None) -> RoutingTable:
        """A stored version (for explaining an old call), None = the active one. Blocks; raises `StoreDown`."""
        load_metadata()
        try:
            with self._engine.connect() as connection:
                wanted = version_in_force(connection) if version is None else version
                return EMPTY if wanted is None else compile_table(connection, wanted)
        except DBAPIError as error:
            raise StoreDown(f"the configuration can't be read: {error.orig}") from error

    def standing(self) -> tuple[int | None, str, int | None]:
        """(version of the last file, its digest, version in force). Blocks; raises `StoreDown`."""
        columns = t.config_version.c
        # One that was never activated is the rest of an import that was cut short.
        last = select(columns.version, columns.digest).where(columns.source != "", columns.activated.is_not(None))
        last = last.order_by(columns.version.desc())
        try:
            with self._engine.connect() as connection:
                row = connection.execute(last.limit(1)).first()
                active = version_in_force(connection)
        except DBAPIError as error:
            raise StoreDown(f"the configuration can't be read: {error.orig}") from error
        return (int(row.version), str(row.digest), active) if row is not None else (None, "", active)


def read_file(path: Path) -> RoutingFile:
    """A routing file with everything checked.

    Raises:
        UserError: file, line, what is wrong and what is allowed.
    """
    return _checked(tomlfile.read(path), path.name)


def _checked(text: str, name: str) -> RoutingFile:
    file = tomlfile.parse(RoutingFile, text, name)
    check(file, text, name)
    return file


async def import_file(
    path: Path, writer: Writer, configuration: Configuration, *, realm: str, actor: str = "file", put: Put | None = None
) -> Imported:
    """Import a routing file as a new version and put it in force, unless it is the one imported last.

    Where people have changed something since the last file, only what the file itself changed is put on top (`put`),
    and an entry that both have changed is refused.

    Raises:
        UserError: the file has mistakes, or would undo what a person has changed; what is in force stays.
        StoreDown: the database can't be read or written now.
    """
    text = await asyncio.to_thread(tomlfile.read, path)
    digest = hashlib.sha256(f"{FORMAT}\n{realm}\n{text}".encode()).hexdigest()
    last, known, active = await asyncio.to_thread(configuration.standing)
    if last is not None and known == digest:
        return Imported(last, changed=False)
    file = await asyncio.to_thread(_checked, text, path.name)
    rows = await asyncio.to_thread(rows_of, file, realm)
    if active in (None, last):
        version = await writer.import_config(digest, path.name, actor, rows)
        log.info("configuration imported", version=version, file=path.name, actor=actor)
        return Imported(version, changed=True)
    wanted = await asyncio.to_thread(entries_of, file, realm)
    base = await asyncio.to_thread(configuration.reader.everything, last) if last is not None else {}
    version = await _merge(changes_between(base, wanted), path.name, actor, put)
    # The file's own version is what its next edition is compared with; it is kept beside the one in force.
    await writer.import_config(digest, path.name, actor, rows, activate=False)
    log.info("configuration merged", version=version, file=path.name, actor=actor)
    return Imported(version, changed=version != active)


async def _merge(changes: Sequence[Change], name: str, actor: str, put: Put | None) -> int:
    """Put a file's changes on top of what people have changed. Raises `UserError`."""
    if put is None:
        raise UserError("the configuration was changed since this file was imported", name, EXPORT_FIRST)
    judged, version = await put(changes, actor, f"file {name}")
    if judged.conflicts:
        found = ", ".join(f"{one.kind} {one.name!r}" for one in judged.conflicts[:5])
        more = f" and {len(judged.conflicts) - 5} more" if len(judged.conflicts) > 5 else ""
        raise UserError(f"the file and people have both changed {found}{more}", name, EXPORT_FIRST)
    if version is None:
        first = judged.mistakes[0]
        raise UserError(f"{first.kind} {first.name!r}: {first.what}", name, first.todo)
    return version
