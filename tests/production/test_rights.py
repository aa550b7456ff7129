"""Roles in the database: what each process may do is tried, table by table, right by right."""

import psycopg
import pytest
from production_parts import PASSWORDS, TEMPLATE, Postgres, PostgresDatabase
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from simrack.controller.store import server
from simrack.controller.store.engine import read_engine, write_engine
from simrack.controller.store.migrate import migrate
from simrack.controller.store.rights import CONTROLLER, OWNER, WEB
from simrack.wire.errors import UserError
from simrack.wire.ports import SystemClock

pytestmark = pytest.mark.stack
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
NOTHING = "----"
# (controller, control room): read, add, change, remove. Written by hand, from the architecture and not from the code.
EXPECTED = {
    "alembic_version": ("r---", "r---"),
    "open_call": ("racd", "r---"),
    "cdr": ("racd", "r---"),
    "cdr_key": ("ra-d", "r---"),
    "call_story": ("racd", "r---"),
    "attempt": ("racd", "r---"),
    "box_event_seen": ("racd", "r---"),
    "alarm": ("racd", "r---"),
    "audit": ("ra--", "r---"),
    "audit_head": ("rac-", "r---"),
    "call_trace": ("racd", "r---"),
    "config_version": ("rac-", "r---"),
    "config_active": ("rac-", "r---"),
    "config_installation": ("ra-d", "r---"),
    "config_site": ("ra-d", "r---"),
    "config_agreement": ("ra-d", "r---"),
    "config_plan": ("ra-d", "r---"),
    "config_sim": ("ra-d", "r---"),
    "config_sender": ("ra-d", "r---"),
    "config_pattern": ("ra-d", "r---"),
    "config_limit": ("ra-d", "r---"),
    "config_setting": ("ra-d", "r---"),
    "web_user": (NOTHING, "racd"),
    "web_session": (NOTHING, "racd"),
    "web_recovery": (NOTHING, "racd"),
    "web_try": (NOTHING, "racd"),
    "web_act": ("r---", "ra--"),
    "web_answer": (NOTHING, "racd"),
    "web_draft": ("r---", "racd"),
    "web_route_test": (NOTHING, "racd"),
    "setup_link": (NOTHING, "racd"),
}


def tables(on: PostgresDatabase) -> list[str]:
    with psycopg.connect(on.on.plain(on.name, OWNER)) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return [str(row[0]) for row in found]


def tried(connection: psycopg.Connection[tuple[object, ...]], table: str, right: str) -> bool:
    """Whether the server lets this role do it; nothing is changed, whatever the answer."""
    column = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", (f"public.{table}",)
    ).fetchone()
    assert column is not None
    statement = {
        "SELECT": f'SELECT * FROM "{table}" LIMIT 0',
        "INSERT": f'INSERT INTO "{table}" SELECT * FROM "{table}" WHERE false',
        "UPDATE": f'UPDATE "{table}" SET "{column[0]}" = DEFAULT WHERE false',
        "DELETE": f'DELETE FROM "{table}" WHERE false',
    }[right]
    if right == "INSERT":
        # A role that may add but not read must be told apart from one that may do neither.
        statement = f'INSERT INTO "{table}" DEFAULT VALUES'
    try:
        connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.errors.IntegrityError:
        return True
    finally:
        connection.rollback()
    return True


@pytest.mark.parametrize("role", [CONTROLLER, WEB])
def test_every_role_can_do_exactly_what_is_its_own_on_every_table(on_server: PostgresDatabase, role: str) -> None:
    """A mistake in the control room could change a record, or the controller could read password hashes."""
    found, wanted = {}, {}
    with psycopg.connect(on_server.on.plain(on_server.name, role)) as connection:
        for table in tables(on_server):
            may = [tried(connection, table, right) for right in RIGHTS]
            found[table] = "".join(sign if has else "-" for sign, has in zip("racd", may, strict=True))
            expected = EXPECTED.get(table)
            if expected is None:
                assert table == "cdr_default" or table.startswith("cdr_20"), f"{table} has no line in this test"
                expected = (NOTHING, NOTHING)
            wanted[table] = expected[0 if role == CONTROLLER else 1]
    assert found == wanted


@pytest.mark.parametrize("role", [CONTROLLER, WEB])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (a int)", "DROP TABLE alarm", "ALTER TABLE alarm ADD COLUMN b int", "TRUNCATE open_call",
        "CREATE SCHEMA mine", "CREATE TEMPORARY TABLE mine (a int)", "SET ROLE simrack_owner",
        "CREATE ROLE mine", "ALTER TABLE cdr DETACH PARTITION cdr_default",
    ],
)  # fmt: skip
def test_no_process_owns_the_schema(on_server: PostgresDatabase, role: str, statement: str) -> None:
    """A process that was broken into could take the records away."""
    with psycopg.connect(on_server.on.plain(on_server.name, role)) as connection, pytest.raises(
        psycopg.errors.InsufficientPrivilege
    ):
        connection.execute(statement)


def test_only_the_controller_makes_partitions(on_server: PostgresDatabase) -> None:
    """The one thing that the controller may have the owner do is its own."""
    call = "SELECT simrack_make_partitions(CURRENT_DATE, 1)"
    with psycopg.connect(on_server.on.plain(on_server.name, CONTROLLER)) as connection:
        assert connection.execute(call).fetchone() == (0,)
    with psycopg.connect(on_server.on.plain(on_server.name, WEB)) as connection, pytest.raises(
        psycopg.errors.InsufficientPrivilege
    ):
        connection.execute(call)


def test_a_reading_session_reads_only_whatever_its_role(on_server: PostgresDatabase) -> None:
    """Pages that are given a stronger role by mistake still change nothing."""
    engine = read_engine(on_server.owner)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
        with pytest.raises(DBAPIError, match="read-only"):
            connection.execute(text("UPDATE alarm SET count = 2"))
    engine.dispose()


def test_the_rights_are_checked_and_given_again(on_server: PostgresDatabase) -> None:
    """`simrack database check` finds a right that somebody gave by hand, and `grant` takes it back."""
    assert server.check(on_server.admin) == ()
    with psycopg.connect(on_server.on.plain(on_server.name), autocommit=True) as connection:
        connection.execute(f"GRANT DELETE ON cdr TO {WEB}")
        connection.execute(f"REVOKE INSERT ON open_call FROM {CONTROLLER}")
    assert server.check(on_server.admin) == (
        f"{CONTROLLER} lacks INSERT on open_call",
        f"{WEB} has DELETE on cdr",
    )
    server.regrant(on_server.owner)
    assert server.check(on_server.admin) == ()


def test_creating_again_changes_nothing_and_keeps_passwords(postgres: Postgres) -> None:
    """Whoever repeats the installation keeps the database and its processes running."""
    assert server.create(postgres.url("postgres"), TEMPLATE, {}, SystemClock()) == {}
    psycopg.connect(postgres.plain(TEMPLATE, CONTROLLER)).close()
    urls = server.create(postgres.url("postgres"), TEMPLATE, PASSWORDS, SystemClock())
    assert set(urls) == {OWNER, CONTROLLER, WEB}


def test_the_controller_says_who_may_migrate(postgres: Postgres) -> None:
    """After an upgrade without its step the start is refused with the command that is missing."""
    name = postgres.empty()
    with psycopg.connect(postgres.plain(name), autocommit=True) as connection:
        connection.execute(f"GRANT USAGE ON SCHEMA public TO {CONTROLLER}")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(UserError) as refused:
        migrate(postgres.url(name, CONTROLLER), SystemClock())
    assert "simrack database migrate" in refused.value.todo
    server.migrate_as_owner(postgres.url(name), SystemClock())
    assert migrate(postgres.url(name, CONTROLLER), SystemClock()).before != ""
    postgres.drop(name)


def test_writers_of_one_role_follow_one_another(
    on_server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two people who use the same set-up link at once, one becomes the administrator, as on SQLite."""
    monkeypatch.setattr("simrack.controller.store.engine.BUSY_TIMEOUT_S", 0.05)
    first, second = write_engine(on_server.web), write_engine(on_server.web)
    with first.begin() as holding:
        holding.execute(text("SELECT 1"))
        with second.connect() as waiting, pytest.raises(DBAPIError, match="lock timeout"):
            waiting.execute(text("SELECT 1"))
    first.dispose()
    second.dispose()
