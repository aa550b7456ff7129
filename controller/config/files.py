"""A routing file into the database and out of it again as a table; a bad file never replaces a good version."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from simrack.controller.config.checks import check
from simrack.controller.config.models import RoutingFile
from simrack.controller.config.rows import EMPTY, compile_table, rows_of, version_in_force
from simrack.controller.routing.numbers import load_metadata
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t
from simrack.controller.store.engine import read_engine
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.writer import Writer
from simrack.wire import tomlfile

log = structlog.get_logger(__name__)

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

    def imported(self, digest: str) -> int | None:
        """The version made from a file of this digest, when no other file was imported since."""
        columns = t.config_version.c
        # One that was never activated is the rest of an import that was cut short.
        last = select(columns.version, columns.digest).where(columns.source != "", columns.activated.is_not(None))
        last = last.order_by(columns.version.desc())
        try:
            with self._engine.connect() as connection:
                row = connection.execute(last.limit(1)).first()
        except DBAPIError as error:
            raise StoreDown(f"the configuration can't be read: {error.orig}") from error
        return int(row.version) if row is not None and row.digest == digest else None


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
    path: Path, writer: Writer, configuration: Configuration, *, realm: str, actor: str = "file"
) -> Imported:
    """Import a routing file as a new version and put it in force, unless it is the one imported last.

    Raises:
        UserError: the file has mistakes; what is in force stays.
        StoreDown: the database can't be read or written now.
    """
    text = await asyncio.to_thread(tomlfile.read, path)
    digest = hashlib.sha256(f"{FORMAT}\n{realm}\n{text}".encode()).hexdigest()
    known = await asyncio.to_thread(configuration.imported, digest)
    if known is not None:
        return Imported(known, changed=False)
    file = await asyncio.to_thread(_checked, text, path.name)
    rows = await asyncio.to_thread(rows_of, file, realm)
    version = await writer.import_config(digest, path.name, actor, rows)
    log.info("configuration imported", version=version, file=path.name, actor=actor)
    return Imported(version, changed=True)
