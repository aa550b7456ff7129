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

from simrack.wire.errors import UserError

# A migration or a checkpoint may hold the write lock for a moment; longer than this is a fault.
BUSY_TIMEOUT_S = 5.0
# A server on the same network answers at once; a call waits while this runs.
CONNECT_TIMEOUT_S = 3
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
        return _postgres_writer(url)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def read_engine(url: str) -> Engine:
    """An engine that cannot write, safe to use from many threads. Nothing is opened before the first query."""
    path = sqlite_path(url)
    if path is None:
        return _postgres_reader(url)
    engine = create_engine(
        f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true",
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_size=READERS,
        max_overflow=READERS_MORE,
    )
    event.listen(engine, "connect", _prepare_reader)
    return engine


def _postgres_writer(url: str) -> Engine:
    busy_ms = int(BUSY_TIMEOUT_S * 1000)
    # The ping finds out that the server was started anew before a call is refused for it.
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=1,
        pool_pre_ping=True,
        connect_args=_connect_args(url, f"-c lock_timeout={busy_ms} -c synchronous_commit=on"),
    )
    event.listen(engine, "begin", _one_writer)
    return engine


def _postgres_reader(url: str) -> Engine:
    return create_engine(
        url,
        pool_size=READERS,
        max_overflow=READERS_MORE,
        pool_pre_ping=True,
        connect_args=_connect_args(url, "-c default_transaction_read_only=on"),
        execution_options={"postgresql_readonly": True},
    )


def _connect_args(url: str, options: str) -> dict[str, Any]:
    asked = parse_url(url).query.get("options", "")
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": f"{options} -c timezone=UTC {asked if isinstance(asked, str) else ' '.join(asked)}",
        # A server that was cut off without a word is noticed after 10 s, also while nothing is asked of it.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def _one_writer(connection: Connection) -> None:
    # As on SQLite, whose BEGIN IMMEDIATE does it: transactions of one role follow one another, so that a check
    # and the write that rests on it are one step, and a new controller waits for the last commit of a killed one.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('simrack'), hashtext(current_user))")


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
