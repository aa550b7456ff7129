"""Making the database on a PostgreSQL server: roles, database, tables, rights (`simrack database create`)."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from simrack.controller.store.engine import parse_url, write_engine
from simrack.controller.store.migrate import Migrated, migrate, revision_of
from simrack.controller.store.postgres import CONNECT_TIMEOUT_S
from simrack.controller.store.rights import ROLES, differences, grant
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock

_ASK_ADMIN = "Use the URL of a role that may create databases and roles, for instance postgres."


def create(admin: str, name: str, passwords: Mapping[str, str], clock: Clock) -> dict[str, str]:
    """Make or renew roles and database, bring the tables to this release; returns a URL for each role.

    `passwords` has one for each role to be made or changed; a role that is there and not named keeps its own
    and has no URL in the result.

    Raises:
        UserError: the server refuses, or a new role has no password.
    """
    server = postgres_url(admin)
    _as_admin(server, lambda connection: _roles_and_database(connection, name, passwords))
    _as_admin(server.set(database=name), _schema)
    urls = {role: _shown(server.set(username=role, password=word, database=name)) for role, word in passwords.items()}
    migrate_as_owner(_shown(server.set(database=name)), clock)
    return urls


def missing_roles(admin: str) -> tuple[str, ...]:
    """Roles that the server doesn't have yet. Raises `UserError`."""
    there: list[str] = []
    _as_admin(
        postgres_url(admin),
        lambda connection: there.extend(connection.execute(text("SELECT rolname FROM pg_roles")).scalars()),
    )
    return tuple(role for role in ROLES if role not in there)


def migrate_as_owner(url: str, clock: Clock) -> Migrated:
    """Bring the tables to this release under the owner's role, whoever the URL names, and renew the rights.

    Raises:
        UserError: the database can't be opened, is newer, or its role may not act for the owner.
    """
    owned = postgres_url(url).update_query_dict({"options": f"-c role={ROLES[0]}"})
    done = migrate(_shown(owned), clock)
    regrant(_shown(owned))
    return done


def revision(url: str) -> str:
    """The version of the tables that are there; "" for none. Raises `UserError`."""
    found: list[str] = []
    _in_transaction(url, lambda connection: found.append(revision_of(connection)))
    return found[0]


def regrant(url: str) -> None:
    """Give the roles exactly their rights again. Raises `UserError`."""
    _in_transaction(url, grant)


def check(url: str) -> tuple[str, ...]:
    """What is wrong with the rights, as sentences; empty when nothing is. Raises `UserError`."""
    found: list[str] = []
    _in_transaction(url, lambda connection: found.extend(differences(connection)))
    return tuple(found)


def postgres_url(url: str) -> URL:
    """The URL as an object. Raises `UserError` for another kind of database."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise UserError("only a PostgreSQL server has roles", "database", "SQLite needs no such step: start the controller.")
    return parsed


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _roles_and_database(connection: Connection, name: str, passwords: Mapping[str, str]) -> None:
    for role in ROLES:
        _role(connection, role, passwords.get(role))
    if not connection.execute(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}).scalar():
        connection.exec_driver_sql(
            f"CREATE DATABASE {_name(connection, name)} OWNER {ROLES[0]} TEMPLATE template0 ENCODING 'UTF8'"
        )
    database = _name(connection, name)
    connection.exec_driver_sql(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    connection.exec_driver_sql(f"GRANT CONNECT ON DATABASE {database} TO {', '.join(ROLES[1:])}")


def _role(connection: Connection, role: str, password: str | None) -> None:
    there = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar()
    if not there and password is None:
        raise UserError(f"the role {role} is new and needs a password", "database")
    if not there:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT")
    if password is not None:
        # The statement may be in the server's log: it holds a hash, as psql's \password would send it.
        connection.exec_driver_sql(f"ALTER ROLE {role} PASSWORD {_literal(connection, _hash(connection, role, password))}")


def _schema(connection: Connection) -> None:
    connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {ROLES[0]}")
    connection.exec_driver_sql("REVOKE ALL ON SCHEMA public FROM PUBLIC")


def _hash(connection: Connection, role: str, password: str) -> str:
    raw = connection.connection.driver_connection
    assert raw is not None
    hashed = raw.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return bytes(hashed).decode()


def _literal(connection: Connection, value: str) -> str:
    # psycopg's % is our driver's parameter mark; SCRAM hashes have none.
    return str(connection.execute(text("SELECT quote_literal(:value)"), {"value": value}).scalar_one())


def _name(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)


def _as_admin(url: URL, work: Callable[[Connection], None]) -> None:
    engine = create_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )
    with _asking(engine), engine.connect() as connection:
        work(connection)


def _in_transaction(url: str, work: Callable[[Connection], None]) -> None:
    engine = write_engine(url)
    with _asking(engine), engine.begin() as connection:
        work(connection)


@contextlib.contextmanager
def _asking(engine: Engine) -> Iterator[None]:
    """Turn what the server refuses into advice, and close the engine."""
    try:
        yield
    except DBAPIError as error:
        raise UserError(f"the server refuses: {str(error.orig).strip()}", "database", _ASK_ADMIN) from error
    finally:
        engine.dispose()
