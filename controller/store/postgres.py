"""How PostgreSQL is connected to. Imported only where its URL is used, for the driver takes a while to load."""

from typing import Any

from psycopg.types.string import StrDumper
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection

from simrack.controller.store.pool import ReadPool

# A server on the same network answers at once; a call waits while this runs.
CONNECT_TIMEOUT_S = 3


def writer(url: URL, busy_s: float) -> Engine:
    """The engine of a process's one connection that writes; a lock is waited for `busy_s` at most."""
    # The ping finds out that the server was started anew before a call is refused for it.
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=1,
        pool_pre_ping=True,
        connect_args=_connect_args(url, f"-c lock_timeout={int(busy_s * 1000)} -c synchronous_commit=on"),
    )
    event.listen(engine, "begin", _one_writer)
    event.listen(engine, "connect", _any_text)
    return engine


def reader(url: URL, readers: int, more: int) -> Engine:
    """An engine whose every transaction is read-only, by the session's default and by its own word."""
    return create_engine(
        url,
        poolclass=ReadPool,
        pool_size=readers,
        max_overflow=more,
        pool_pre_ping=True,
        connect_args=_connect_args(url, "-c default_transaction_read_only=on"),
        execution_options={"postgresql_readonly": True},
    )


def _connect_args(url: URL, options: str) -> dict[str, Any]:
    asked = url.query.get("options", "")
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


class _Text(StrDumper):
    """Text with what PostgreSQL can't keep replaced: a caller's odd octets must not cost the record of the call."""

    oid = 0  # untyped, as the driver's own: the column decides

    def dump(self, obj: str) -> bytes:
        return obj.replace("\x00", "\ufffd").encode("utf-8", "replace")


def _any_text(connection: Any, _record: object) -> None:
    connection.adapters.register_dumper(str, _Text)
