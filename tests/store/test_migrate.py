"""Databases of every age open, or say what is wrong."""

import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from store.values import FixedClock

from simrack.controller.models import RecordFilter
from simrack.controller.store.engine import read_engine
from simrack.controller.store.migrate import head, migrate
from simrack.controller.store.queries import Queries
from simrack.controller.store.tables import metadata
from simrack.wire.errors import UserError


@pytest.mark.stack
def test_the_steps_make_exactly_the_declared_tables(url: str) -> None:
    """A column added without a migration step would break every installed database."""
    engine = read_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        found = compare_metadata(context, metadata)
    differences = [item for item in found if not _is_our_time_type(item) and not _is_by_month(item)]
    engine.dispose()
    assert differences == []


def _is_our_time_type(difference: object) -> bool:
    """UtcTime is DATETIME for the database, which reflection can't tell from it."""
    return isinstance(difference, list) and all("modify_type" in str(part[0]) for part in difference)


def _is_by_month(difference: object) -> bool:
    """What records by month have on PostgreSQL alone: the partitions, and a key that holds their column."""
    thing = difference[1] if isinstance(difference, tuple) else None
    names = (getattr(thing, "name", ""), getattr(getattr(thing, "table", None), "name", ""))
    return any(re.fullmatch(r"cdr_(key|default|\d{4}_\d\d)|uq_cdr_call", str(name)) for name in names)


@pytest.mark.stack
def test_migrating_again_changes_nothing(url: str, clock: FixedClock) -> None:
    """Every start runs `migrate`; the second finds all done."""
    done = migrate(url, clock)
    assert (done.before, done.after, done.set_aside) == (head(), head(), None)


def test_an_old_database_keeps_its_records(tmp_path: Path, clock: FixedClock) -> None:
    """The database of the first release opens with its calls in place."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.executescript((Path(__file__).parent / "databases" / "0001.sql").read_text(encoding="utf-8"))
    old.close()
    migrate(f"sqlite:///{path}", clock)
    (row,) = Queries(f"sqlite:///{path}").records(RecordFilter()).rows
    assert (row.call, row.talk_network_ms, row.marks) == ("c1", 29950, ("test",))


def test_a_newer_database_is_refused_with_advice(url: str, clock: FixedClock) -> None:
    """An older release must not write in a database that it doesn't understand."""
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(UserError) as refused:
        migrate(url, clock)
    assert "9999" in refused.value.what
    assert refused.value.where == path
    assert "newer simrack" in refused.value.todo


@pytest.mark.parametrize("damage", ["not a database at all", "torn"])
def test_a_damaged_file_is_set_aside_and_said(url: str, clock: FixedClock, damage: str) -> None:
    """A broken file must not stop the rack; it is kept for repair, and its new name is told."""
    path = Path(url.removeprefix("sqlite:///"))
    whole = path.read_bytes()
    path.write_bytes(damage.encode() * 300 if damage != "torn" else whole[:4096] + b"\x00\xff" * 6000)
    done = migrate(url, clock)
    assert done.set_aside is not None
    assert done.set_aside.name == "simrack.db.damaged-20260329T120000Z"
    assert done.set_aside.exists()
    assert Queries(url).records(RecordFilter()).total == 0


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path, clock: FixedClock) -> None:
    """A typing mistake in the path gives a sentence, not a traceback."""
    with pytest.raises(UserError, match="can't be opened"):
        migrate(f"sqlite:///{tmp_path}/nowhere/x.db", clock)


@pytest.mark.parametrize("url", ["mysql://x/y", "rubbish", "sqlite+nothing:///x"])
def test_another_kind_of_database_is_refused_with_examples(url: str, clock: FixedClock) -> None:
    """Only SQLite and PostgreSQL are served; the message shows how they are written."""
    with pytest.raises(UserError):
        migrate(url, clock)


def test_an_upgrade_keeps_the_file_as_it_was(tmp_path: Path, clock: FixedClock) -> None:
    """Whoever has to go back a release needs tables that the release before can read."""
    path = tmp_path / "simrack.db"
    migrate(f"sqlite:///{path}", clock, to="0003")
    done = migrate(f"sqlite:///{path}", clock)
    assert (done.before, done.after) == ("0003", head())
    assert done.kept is not None
    assert done.kept.stat().st_mode & 0o077 == 0
    engine = read_engine(f"sqlite:///{done.kept}")
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0003"
    engine.dispose()
    again = migrate(f"sqlite:///{path}", clock)
    assert again.kept is None
