"""Copies of a database in use, and what comes back of them."""

import asyncio
import gzip
import io
import tarfile
from pathlib import Path

import psycopg
import pytest
from production_parts import Postgres, as_owner, database_at
from sqlalchemy import BigInteger, Column, MetaData, String, Table, func, insert, select
from store.values import NOW, FixedClock, an_open_call, finished
from web_demo import fill_database

from simrack.controller.keeping import copying
from simrack.controller.keeping.copyfile import MANIFEST, CopyReader, CopyWriter, Manifest
from simrack.controller.store import tables as t
from simrack.controller.store.engine import read_engine, write_engine
from simrack.controller.store.migrate import head, migrate
from simrack.controller.store.queries import Queries
from simrack.controller.store.rights import OWNER
from simrack.controller.store.types import UtcTime
from simrack.controller.store.writer import Writer
from simrack.wire.errors import UserError

SOFTWARE = "simrack test"


@pytest.fixture
def full(production_in_use: None, tmp_path: Path) -> str:
    """A database with everything in it."""
    url = database_at(tmp_path / "full.db").url
    fill_database(url, FixedClock(), records=120)
    return url


def made(url: str, tmp_path: Path) -> Path:
    path = tmp_path / "one.backup"
    copying.copy(url, path, FixedClock(), SOFTWARE)
    return path


def counts(url: str) -> dict[str, int]:
    engine = read_engine(url)
    with engine.connect() as connection:
        found = {
            each.name: connection.execute(select(func.count()).select_from(each)).scalar_one()
            for each in t.metadata.sorted_tables
        }
    engine.dispose()
    return found


def test_a_restored_copy_has_every_row_of_every_table(full: str, tmp_path: Path) -> None:
    """A backup that leaves a table out is found on the worst day there is."""
    path, target = made(full, tmp_path), f"sqlite:///{tmp_path}/new/restored.db"
    done = copying.restore(path, target, FixedClock())
    assert counts(target) == counts(full)
    assert done.revision == head()
    assert done.manifest.rows == sum(counts(full).values()) > 120
    assert path.stat().st_mode & 0o077 == 0
    again = tmp_path / "two.backup"
    copying.copy(target, again, FixedClock(), SOFTWARE)
    with CopyReader(path) as first, CopyReader(again) as second:
        assert first.manifest == second.manifest


def test_the_restored_database_goes_on(full: str, tmp_path: Path) -> None:
    """Numbers of new rows must not meet those that came back."""
    target = f"sqlite:///{tmp_path}/restored.db"
    copying.restore(made(full, tmp_path), target, FixedClock())

    asyncio.run(one_more(target))
    queries = Queries(target)
    assert queries.story("new-call") is not None
    queries.close()


async def one_more(url: str) -> None:
    """A call with its record, and an alarm, as the controller writes them."""
    async with Writer(url, FixedClock(), run="later") as writer:
        await writer.open_call(an_open_call("new-call"))
        await writer.finish(finished("new-call", "new-attempt"))
        await writer.open_alarm("broker-down", "critical", "No session")


def calls_in(url: str) -> tuple[set[str], set[str]]:
    """Calls that are open, and calls that have their record."""
    engine = read_engine(url)
    with engine.connect() as connection:
        opened = set(connection.execute(select(t.open_call.c.call)).scalars())
        closed = set(connection.execute(select(t.cdr.c.call)).scalars())
    engine.dispose()
    return opened, closed


async def test_a_copy_under_load_is_of_one_moment(production_in_use: None, tmp_path: Path) -> None:
    """Calls go on meanwhile: each is wholly in the copy or wholly not, open row and record never both, never neither."""
    url = (await asyncio.to_thread(database_at, tmp_path / "busy.db")).url
    path = tmp_path / "busy.backup"
    async with Writer(url, FixedClock(), run="r") as writer:
        stop = asyncio.Event()
        number = 0

        async def calls() -> None:
            nonlocal number
            while not stop.is_set():
                number += 1
                await writer.open_call(an_open_call(f"c{number}"))
                if number > 3:
                    await writer.finish(finished(f"c{number - 3}", f"a{number - 3}"))

        async with asyncio.TaskGroup() as group:
            group.create_task(calls())
            while number < 20:  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.01)
            before = number
            await asyncio.to_thread(copying.copy, url, path, FixedClock(), SOFTWARE)
            stop.set()
    assert number > before
    target = f"sqlite:///{tmp_path}/busy-restored.db"
    await asyncio.to_thread(copying.restore, path, target, FixedClock())
    opened, closed = await asyncio.to_thread(calls_in, target)
    assert not opened & closed
    seen = sorted(int(call[1:]) for call in opened | closed)
    assert seen == list(range(1, len(seen) + 1))
    assert before - 1 <= len(seen) <= number


@pytest.mark.stack
def test_copies_go_from_one_kind_of_database_to_the_other_and_back(full: str, tmp_path: Path) -> None:
    """Whoever outgrows the embedded database takes everything along; with --stack this runs on PostgreSQL."""
    here, path = f"sqlite:///{tmp_path}/here.db", made(as_owner(full), tmp_path)
    copying.restore(path, here, FixedClock())
    assert counts(here) == counts(as_owner(full))
    there = as_owner(database_at(tmp_path / "there.db").url)
    again = tmp_path / "again.backup"
    copying.copy(here, again, FixedClock(), SOFTWARE)
    copying.restore(again, there, FixedClock())
    assert counts(there) == counts(here)
    with CopyReader(path) as first, CopyReader(again) as second:
        assert first.manifest == second.manifest
    asyncio.run(one_more(database_at(tmp_path / "there.db").url))
    queries = Queries(there)
    assert queries.story("new-call") is not None
    queries.close()


@pytest.mark.stack
def test_a_server_that_sorts_by_a_language_is_copied_whole(postgres: Postgres, tmp_path: Path) -> None:
    """A cluster made in English sorts "a" before "B": its copy must still prove itself on SQLite, which doesn't."""
    with psycopg.connect(postgres.plain("postgres"), autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE t_english OWNER simrack_owner TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        )
    with psycopg.connect(postgres.plain("t_english"), autocommit=True) as connection:
        connection.execute("ALTER SCHEMA public OWNER TO simrack_owner")
    url, path, target = postgres.url("t_english", OWNER), tmp_path / "english.backup", f"sqlite:///{tmp_path}/english.db"
    migrate(url, FixedClock())
    engine = write_engine(url)
    rows = [
        {"box": box, "boot": "b", "seq": 1, "kind": "part", "at": NOW, "received": NOW} for box in ("a-1", "B-2", "a1", "B3")
    ]
    with engine.begin() as connection:
        connection.execute(insert(t.box_event_seen), rows)
    engine.dispose()
    copying.copy(url, path, FixedClock(), SOFTWARE)
    copying.restore(path, target, FixedClock())
    assert counts(target) == counts(url)
    postgres.drop("t_english")


def test_a_damaged_or_cut_copy_is_refused(full: str, tmp_path: Path) -> None:
    """Half a restore is worse than none: it looks like a whole one."""
    path = made(full, tmp_path)
    octets = path.read_bytes()
    cut = tmp_path / "cut.backup"
    cut.write_bytes(octets[: len(octets) // 2])
    with pytest.raises(UserError, match="no manifest"):
        copying.restore(cut, f"sqlite:///{tmp_path}/x.db", FixedClock())
    changed = tmp_path / "changed.backup"
    _rewrite(path, changed, "tables/cdr/000001.jsonl.gz")
    with pytest.raises(UserError, match="table cdr is not as it was written"):
        copying.restore(changed, f"sqlite:///{tmp_path}/y.db", FixedClock())


def test_every_member_that_lacks_is_missed(full: str, tmp_path: Path) -> None:
    """A copy program that skips a file must not pass for a backup."""
    path = made(full, tmp_path)
    with tarfile.open(path) as tar:
        members = [name for name in tar.getnames() if name != MANIFEST]
    for number, member in enumerate(members):
        shorter = tmp_path / f"without-{number}.backup"
        _rewrite(path, shorter, member, leave_out=True)
        with pytest.raises(UserError, match="not as it was written"):
            copying.restore(shorter, f"sqlite:///{tmp_path}/w{number}.db", FixedClock())


def _rewrite(path: Path, to: Path, member: str, *, leave_out: bool = False) -> None:
    """The same copy with one member left out, or with the members of another table's rows gone."""
    with tarfile.open(path) as source, tarfile.open(to, "w") as target:
        for info in source:
            handle = source.extractfile(info)
            assert handle is not None
            octets = handle.read()
            if info.name == member:
                if leave_out:
                    continue
                rows = gzip.decompress(octets).splitlines(keepends=True)
                octets = gzip.compress(b"".join(rows[1:]))
            info.size = len(octets)
            target.addfile(info, io.BytesIO(octets))


def test_a_database_with_rows_is_never_restored_into(full: str, tmp_path: Path) -> None:
    """A mistyped URL must not mix two installations."""
    with pytest.raises(UserError, match="not empty"):
        copying.restore(made(full, tmp_path), full, FixedClock())


def test_a_copy_of_a_newer_release_says_so(full: str, tmp_path: Path) -> None:
    """Going back a version with tables that the old one can't read must fail before anything is written."""
    path, newer = made(full, tmp_path), tmp_path / "newer.backup"
    with CopyReader(path) as reader:
        manifest = reader.manifest.model_copy(update={"revision": "9999"})
    _replace_manifest(path, newer, manifest)
    with pytest.raises(UserError, match="9999"):
        copying.restore(newer, f"sqlite:///{tmp_path}/z.db", FixedClock())


def _replace_manifest(path: Path, to: Path, manifest: Manifest) -> None:
    with tarfile.open(path) as source, tarfile.open(to, "w") as target:
        for info in source:
            handle = source.extractfile(info)
            assert handle is not None
            octets = handle.read() if info.name != MANIFEST else manifest.model_dump_json().encode()
            info.size = len(octets)
            target.addfile(info, io.BytesIO(octets))


def test_a_copy_of_an_older_release_is_brought_up(tmp_path: Path) -> None:
    """Last month's copy must restore under today's release."""
    names = ("cause", "severity", "title", "advice")
    alarm = Table(
        "alarm", MetaData(), Column("id", BigInteger, primary_key=True), *(Column(name, String) for name in names),
        Column("opened", UtcTime), Column("last", UtcTime), Column("closed", UtcTime), Column("count", BigInteger),
    )  # fmt: skip
    path, target = tmp_path / "old.backup", f"sqlite:///{tmp_path}/brought-up.db"
    with path.open("wb") as handle:
        writer = CopyWriter(handle, NOW, "0003", "simrack of last month")
        writer.table(alarm, [(7, "broker-down", "critical", "No session", "", NOW, NOW, None, 2)])
        writer.close()
    done = copying.restore(path, target, FixedClock())
    assert done.revision == head()
    queries = Queries(target)
    [row] = queries.alarms()
    queries.close()
    assert (row.id, row.cause, row.opened, row.count) == (7, "broker-down", NOW, 2)


def test_a_database_of_an_older_release_is_not_copied_by_this_one(tmp_path: Path) -> None:
    """This release doesn't know what those tables lack; the one that runs does."""
    old = f"sqlite:///{tmp_path}/old.db"
    migrate(old, FixedClock(), to="0003")
    with pytest.raises(UserError, match="0003"):
        copying.copy(old, tmp_path / "old.backup", FixedClock(), SOFTWARE)


@pytest.mark.parametrize("place", ["/proc/nowhere/x.backup", "/dev/null/x.backup"])
def test_a_target_that_cannot_be_written_is_named(full: str, place: str) -> None:
    with pytest.raises(UserError, match="can't be written"):
        copying.copy(full, Path(place), FixedClock(), SOFTWARE)
