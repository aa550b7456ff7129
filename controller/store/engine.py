"""Engines for the two ways to open the database: one writer, many readers.

SQLite runs in WAL mode, so that readers never wait for the writer. `synchronous=FULL` makes a committed row
survive a power cut; group commit in `writer.py` pays for it.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from simrack.controller.store.pool import ReadPool
from simrack.wire.errors import UserError

# A migration or a checkpoint may hold the write lock for a moment; longer than this is a fault.
BUSY_TIMEOUT_S = 5.0
# Pages are short reads; more threads than this wait a moment for a connection.
READERS = 8
READERS_MORE = 24


def parse_url(url: str) -> URL:
    """The database URL as an object.

    Raises:
        UserError: it is neither SQLite nor PostgreSQL, or can't be read.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        todo = "Install the driver, for instance psycopg for PostgreSQL."
        raise UserError(f"the database driver is not installed: {error}", "database", todo) from error
    except ArgumentError as error:
        raise UserError(f"database URL {url!r} can't be read", "database", _EXAMPLES) from error
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise UserError(f"database {backend!r} is not supported", "database", _EXAMPLES)
    return parsed


_EXAMPLES = "Use sqlite:///path/to/simrack.db or postgresql+psycopg://user@host/database."


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None for another database or one in memory."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def write_engine(url: str) -> Engine:
    """The engine of the one connection that writes; transactions take the write lock at their start."""
    if parse_url(url).get_backend_name() != "sqlite":
        from simrack.controller.store import postgres

        return postgres.writer(parse_url(url), BUSY_TIMEOUT_S)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def read_engine(url: str) -> Engine:
    """An engine that cannot write, safe to use from many threads, also while it is disposed of.

    Nothing is opened before the first query.
    """
    path = sqlite_path(url)
    if path is None:
        from simrack.controller.store import postgres

        return postgres.reader(parse_url(url), READERS, READERS_MORE)
    engine = create_engine(
        f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true",
        connect_args={"timeout": BUSY_TIMEOUT_S},
        poolclass=ReadPool,
        pool_size=READERS,
        max_overflow=READERS_MORE,
    )
    event.listen(engine, "connect", _prepare_reader)
    return engine


def _prepare_writer(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: "begin" below does, with IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _prepare_reader(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that starts as a reader and writes later may fail at once with "locked", whatever the time-out.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
