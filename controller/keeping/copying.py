"""Making a copy of a running database, and restoring one into an empty database.

A copy is one read transaction: it has all of the moment at which it began and nothing of later, while calls go on.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Integer, MetaData, String, Table, collate, column, func, insert, select, table, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from simrack.controller.keeping.copyfile import (
    TYPES,
    CopyReader,
    CopyWriter,
    Manifest,
    TableCopy,
    digest_of,
)
from simrack.controller.store import migrate as steps
from simrack.controller.store.engine import parse_url, read_engine, sqlite_path, write_engine
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.tables import metadata
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock

#: Rows of one transaction when restoring: nobody else writes, so it may be long.
BATCH = 20_000
#: Rows that the driver fetches at once.
FETCH = 5_000
#: For one statement only: set on a connection it would hold for all that follow.
STREAM = {"stream_results": True, "yield_per": FETCH}
Progress = Callable[[str, int], None]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has brought back."""

    manifest: Manifest
    revision: str  # of the tables now


def quiet(_table: str, _rows: int) -> None:
    """Progress that nobody looks at."""


def copy(url: str, target: Path, clock: Clock, software: str, progress: Progress = quiet) -> Manifest:
    """Write a copy of the database to `target`, readable by its owner only; the file appears when it is whole.

    Raises:
        UserError: the target can't be written, or the database has other tables than this release.
        StoreDown: the database can't be read.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise UserError(f"the backup can't be written: {error.strerror}", str(target), "Check the folder and its rights.") from error
    try:
        with handle:
            manifest = _write(url, handle, clock, software, progress)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(target)
    except OSError as error:
        raise UserError(f"the backup can't be written: {error.strerror}", str(target), "Is the disk full?") from error
    finally:
        part.unlink(missing_ok=True)
    log.info("backup made", file=str(target), rows=manifest.rows)
    return manifest


def _write(url: str, handle: Any, clock: Clock, software: str, progress: Progress) -> Manifest:
    with _snapshot(url) as connection:
        revision = _revision(connection)
        if revision != steps.head():
            raise UserError(
                f"the database has version {revision or 'none'}, this release has {steps.head()}", "database",
                "Make the copy with the release that runs, or start the controller once.",
            )  # fmt: skip
        writer = CopyWriter(handle, clock.utc(), revision, software)
        for each in metadata.sorted_tables:
            done = writer.table(each, _rows(connection, each))
            progress(each.name, done.rows)
        return writer.close()


@contextlib.contextmanager
def _snapshot(url: str) -> Iterator[Connection]:
    """One read transaction that sees one moment."""
    engine = read_engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                # The driver would open a transaction for writing statements only.
                connection.exec_driver_sql("BEGIN")
            yield connection
    except DBAPIError as error:
        raise StoreDown(f"the database can't be read: {error.orig}") from error
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _rows(connection: Connection, each: Table) -> Iterator[Sequence[Any]]:
    ordered = select(*each.columns).order_by(*_by_octets(connection, each.primary_key.columns))
    yield from connection.execute(ordered, execution_options=STREAM)


def _by_octets(connection: Connection, columns: Iterable[Any]) -> list[Any]:
    """The same order on every server: SQLite's, whatever language PostgreSQL was told to sort by."""
    speaks = connection.dialect.name == "postgresql" and connection.execute(text("SELECT 'a' < 'B'")).scalar_one()
    return [collate(each, "C") if speaks and isinstance(each.type, String) else each for each in columns]


def restore(path: Path, url: str, clock: Clock, progress: Progress = quiet) -> Restored:
    """Bring a copy into an empty database, compare every table with the copy, then bring it to this release.

    Raises:
        UserError: the copy is damaged or newer, or the database is not empty.
        StoreDown: the database can't be written.
    """
    with CopyReader(path) as reader:
        manifest = reader.manifest
        _prepare(url, manifest, clock)
        engine = write_engine(url)
        try:
            for each in manifest.tables:
                loaded = 0
                for batch in _batches(reader.rows(each)):
                    with engine.begin() as connection:
                        _load(connection, each, batch)
                    loaded += len(batch)
                with engine.begin() as connection:
                    _compare(connection, each, path)
                    _number_on(connection, each)
                progress(each.name, loaded)
        except DBAPIError as error:
            raise StoreDown(f"the database can't be written: {error.orig}") from error
        finally:
            engine.dispose()
    done = steps.migrate(url, clock)
    return Restored(manifest, done.after)


def check(path: Path, scratch: Path, clock: Clock) -> Restored:
    """Prove a copy by restoring it into an empty SQLite file at `scratch`, which is removed again."""
    try:
        return restore(path, f"sqlite:///{scratch}", clock)
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{scratch}{suffix}").unlink(missing_ok=True)


def _prepare(url: str, manifest: Manifest, clock: Clock) -> None:
    """Tables of the copy's own version, all of them empty."""
    file = sqlite_path(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    steps.migrate(url, clock, to=manifest.revision)
    engine = write_engine(url)
    try:
        with engine.begin() as connection:
            for each in manifest.tables:
                if connection.execute(select(func.count()).select_from(_plain(each))).scalar_one():
                    raise UserError(
                        f"the database is not empty: table {each.name} has rows", parse_url(url).render_as_string(),
                        "Restore into a new database, or move the old one away first.",
                    )  # fmt: skip
    finally:
        engine.dispose()


def _plain(each: TableCopy) -> Any:
    """The table as the copy knows it: nothing but its columns."""
    return table(each.name, *(column(name, TYPES[kind]) for name, kind in each.columns))


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _load(connection: Connection, each: TableCopy, rows: list[tuple[Any, ...]]) -> None:
    names = [name for name, _ in each.columns]
    connection.execute(insert(_plain(each)), [dict(zip(names, row, strict=True)) for row in rows])


def _compare(connection: Connection, each: TableCopy, path: Path) -> None:
    """What stands in the database now must be what the copy has, row by row."""
    declared = metadata.tables.get(each.name)
    order = declared.primary_key.columns.keys() if declared is not None else [each.columns[0][0]]
    source = _plain(each)
    ordered = select(source).order_by(*_by_octets(connection, (source.c[name] for name in order if name in source.c)))
    found = connection.execute(ordered, execution_options=STREAM)
    if digest_of(each, found) != (each.rows, each.digest):
        raise UserError(f"table {each.name} was not restored as the copy has it", str(path), "Try again into a new database.")


def _number_on(connection: Connection, each: TableCopy) -> None:
    """PostgreSQL numbers new rows by sequences, which know nothing of rows that came with their numbers."""
    declared = metadata.tables.get(each.name, Table(each.name, MetaData()))
    own = [c.name for c in declared.primary_key.columns if c.autoincrement is True and isinstance(c.type, Integer)]
    if connection.dialect.name != "postgresql" or not own or not each.rows:
        return
    sequence = connection.execute(
        text("SELECT pg_get_serial_sequence(:name, :column)"), {"name": each.name, "column": own[0]}
    ).scalar()
    if sequence:
        highest = connection.execute(select(func.max(_plain(each).c[own[0]]))).scalar_one()
        connection.execute(text("SELECT setval(:sequence, :value)"), {"sequence": sequence, "value": highest}).scalar_one()
