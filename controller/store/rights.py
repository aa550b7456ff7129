"""Who may do what in the database: rights per table and role on PostgreSQL (architecture: who writes what).

Three roles. The owner has the tables and migrates them, and no process of simrack runs under it. The
controller writes facts, the control room reads them and writes its accounts. SQLite knows no roles; there
the read-only engine and the code keep the same line.
"""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.engine import Connection

from simrack.controller.store.tables import CONFIG_TABLES

OWNER = "simrack_owner"
CONTROLLER = "simrack_controller"
WEB = "simrack_web"
ROLES = (OWNER, CONTROLLER, WEB)

_READ, _ADD, _CHANGE, _REMOVE = "SELECT", "INSERT", "UPDATE", "DELETE"
_KEEP = (_READ, _ADD, _CHANGE)
_ALL = (_READ, _ADD, _CHANGE, _REMOVE)
#: Every table has its row: one without would be out of reach, which the first test on PostgreSQL finds.
_FACTS: dict[str, tuple[str, ...]] = {
    "alembic_version": (_READ,),
    "open_call": _ALL,
    # A record is completed once; it and what hangs on it are removed by age alone (store/retention.py).
    "cdr": _ALL,
    "cdr_key": (_READ, _ADD, _REMOVE),
    "call_story": _ALL,
    "attempt": _ALL,
    "box_event_seen": _ALL,
    "alarm": _ALL,
    "audit": (_READ, _ADD),  # append-only
    "audit_head": _KEEP,
    "call_trace": _ALL,
    "config_version": _KEEP,
    "config_active": _KEEP,
    # Old versions are removed whole (writer.thin_config); no row of one is ever changed.
    **{f"config_{name}": (_READ, _ADD, _REMOVE) for name in CONFIG_TABLES},
}
_ACCOUNTS = ("web_user", "web_session", "setup_link", "web_recovery", "web_try", "web_act", "web_answer", "web_draft", "web_route_test")
#: What the controller reads of the control room's: who may do what (a view without secrets), acts and drafts.
_SHARED: dict[str, tuple[str, ...]] = {"account": (_READ,), "web_act": (_READ,), "web_draft": (_READ,)}
#: Functions of the owner that the controller may call, with the owner's rights.
#: Tables and views alike.
_RELATIONS = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
    "UNION ALL SELECT viewname FROM pg_views WHERE schemaname = 'public'"
)
_FUNCTIONS = ("simrack_make_partitions(date, integer)",)


def rights(role: str) -> dict[str, tuple[str, ...]]:
    """What a role may do, by table; a table that is not named is out of its reach."""
    if role == CONTROLLER:
        return {**_FACTS, **_SHARED}
    # Acts are for ever: the control room adds and reads them, like everybody.
    return {**dict.fromkeys(_FACTS, (_READ,)), **dict.fromkeys(_ACCOUNTS, _ALL), "web_act": (_READ, _ADD)}


def has_roles(connection: Connection) -> bool:
    """Whether this is a PostgreSQL server on which `simrack database create` has made the roles."""
    if connection.dialect.name != "postgresql":
        return False
    found = connection.execute(
        text("SELECT count(*) FROM pg_roles WHERE rolname IN (:controller, :web)"),
        {"controller": CONTROLLER, "web": WEB},
    )
    return int(found.scalar_one()) == 2


def grant(connection: Connection) -> None:
    """Give both roles exactly their rights, in the caller's transaction. Only the tables' owner may."""
    there = set(_names(connection, _RELATIONS))
    for role in (CONTROLLER, WEB):
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            _run(connection, f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM {role}, PUBLIC")
        _run(connection, f"GRANT USAGE ON SCHEMA public TO {role}")
        for table, may in rights(role).items():
            if table in there:
                _run(connection, f'GRANT {", ".join(may)} ON "{table}" TO {role}')
        for table, sequence in _sequences(connection):
            if _ADD in rights(role).get(table, ()):
                _run(connection, f'GRANT USAGE ON SEQUENCE "{sequence}" TO {role}')
    for function in _FUNCTIONS:
        if connection.execute(text("SELECT to_regprocedure(:name)"), {"name": function}).scalar():
            _run(connection, f"GRANT EXECUTE ON FUNCTION {function} TO {CONTROLLER}")


def differences(connection: Connection) -> tuple[str, ...]:
    """Where the rights on the server are not those of this release, as sentences."""
    there = _names(connection, _RELATIONS)
    asked = text("SELECT has_table_privilege(:role, format('public.%I', :table ::text), :right)")
    found = []
    for role in (CONTROLLER, WEB):
        declared = rights(role)
        for table in there:
            for right in (*_ALL, "TRUNCATE", "REFERENCES", "TRIGGER"):
                has = connection.execute(asked, {"role": role, "table": table, "right": right}).scalar_one()
                if has != (right in declared.get(table, ())):
                    found.append(f"{role} {'has' if has else 'lacks'} {right} on {table}")
    return tuple(found)


def _sequences(connection: Connection) -> Iterable[tuple[str, str]]:
    """(table, sequence) of each column that numbers its rows."""
    owned = text(
        "SELECT t.relname, s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i') "
        "JOIN pg_class t ON t.oid = d.refobjid WHERE s.relkind = 'S' AND s.relnamespace = 'public'::regnamespace"
    )
    return [(row[0], row[1]) for row in connection.execute(owned)]


def _names(connection: Connection, query: str) -> list[str]:
    return [str(name) for name in connection.execute(text(query)).scalars()]


def _run(connection: Connection, statement: str) -> None:
    # Names come from this module and from the catalogue, never from outside.
    connection.exec_driver_sql(statement)
