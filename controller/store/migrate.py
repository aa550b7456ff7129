"""Bring the database to this release's tables, or say what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from simrack.controller.store.engine import sqlite_path, write_engine
from simrack.controller.store.rights import grant, has_roles
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock

# Checking every page of a larger file would keep the centre from starting for too long; its head is read anyway.
WHOLE_CHECK_OCTETS = 256 * 1024 * 1024
# SQLSTATE insufficient_privilege (PostgreSQL, appendix A).
NO_RIGHT = "42501"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` found and did."""

    before: str  # revision found, "" for an empty database
    after: str
    set_aside: Path | None = None  # where a damaged SQLite file was moved
    kept: Path | None = None  # the SQLite file as it was before the upgrade


def migrate(url: str, clock: Clock, to: str = "head") -> Migrated:
    """Run the steps that the database lacks, all in one transaction. Blocks; call it before the loop serves.

    `to` is an earlier revision for the tables of an old copy (`controller.keeping`).

    A damaged SQLite file is moved aside and an empty one takes its place: a rack that carries calls without
    its past is worth more than one that stands still.

    Raises:
        UserError: the database is of a newer or unknown version, or can't be opened.
    """
    set_aside = _set_damaged_aside(url, clock)
    engine = write_engine(url)
    try:
        kept = _keep_before(url, engine, clock) if to == "head" else None
        with engine.begin() as connection:
            before = _upgrade(connection, to)
    except DBAPIError as error:
        raise _told(url, error) from error
    finally:
        engine.dispose()
    after = head() if to == "head" else to
    if before != after:
        log.info("database migrated", before=before, after=after)
    return Migrated(before, after, set_aside, kept)


def revision_of(connection: Connection) -> str:
    """The version of the tables; "" for none."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def _keep_before(url: str, engine: Engine, clock: Clock) -> Path | None:
    """A copy of an SQLite file that is about to be upgraded: the way back to the release before."""
    path = sqlite_path(url)
    if path is None or not path.exists():
        return None
    with engine.connect() as connection:
        before = revision_of(connection)
        connection.rollback()
        if before in ("", head()) or before not in _known():
            return None
        copy = path.with_name(f"{path.name}.version-{before}-{clock.utc():%Y%m%dT%H%M%SZ}")
        connection.connection.driver_connection.execute("VACUUM INTO ?", (str(copy),))  # type: ignore[union-attr]
    copy.chmod(0o600)
    log.info("database kept as it was before the upgrade", version=before, file=str(copy))
    return copy


def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _told(url: str, error: DBAPIError) -> UserError:
    if getattr(error.orig, "sqlstate", "") == NO_RIGHT:
        return UserError(
            f"the database needs version {head()} and its role may not change tables",
            _shown(url),
            "Run `simrack database migrate` with the URL of the owner or of the server's administrator.",
        )
    todo = "Check that the server runs, the folder exists and may be written, and the disk is not full."
    return UserError(f"the database can't be opened: {error.orig}", _shown(url), todo)


def head() -> str:
    """The revision of this release."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def _upgrade(connection: Connection, to: str) -> str:
    before = revision_of(connection)
    config = _config()
    unknown = next((each for each in (before, to) if each not in ("", "head", *_known())), "")
    if unknown:
        raise UserError(
            f"the database has version {unknown}, which this release doesn't know",
            _shown(str(connection.engine.url)),
            "It was written by a newer simrack: install that release, or restore a copy from before the upgrade.",
        )
    if before == head() and connection.dialect.name == "postgresql":
        # Nothing to do, and the controller's role could do nothing.
        return before
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    if has_roles(connection):
        grant(connection)
    return before


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _shown(url: str) -> str:
    path = sqlite_path(url)
    return str(path) if path is not None else "database"


def _set_damaged_aside(url: str, clock: Clock) -> Path | None:
    path = sqlite_path(url)
    if path is None or not path.exists() or path.stat().st_size == 0:
        return None
    problem = _problem(url, path)
    if problem is None:
        return None
    stamp = clock.utc().strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{aside}{suffix}")
    log.error("the database was damaged and is set aside", problem=problem, moved_to=str(aside))
    return aside


def _problem(url: str, path: Path) -> str | None:
    """What is wrong with an SQLite file; None when nothing is, or when it is only busy."""
    engine: Engine = write_engine(url)
    check = "PRAGMA quick_check(1)" if path.stat().st_size <= WHOLE_CHECK_OCTETS else "PRAGMA schema_version"
    try:
        with engine.connect() as connection:
            answer = str(connection.exec_driver_sql(check).scalar())
    except OperationalError:
        return None
    except DatabaseError as error:
        return str(error.orig)
    finally:
        engine.dispose()
    return answer if check.startswith("PRAGMA quick") and answer != "ok" else None
