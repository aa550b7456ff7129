"""The database is locked, read-only, full, gone or silent while calls come and go (quality.md, invariant 7).

Everybody here is real: the controller, its database, the faults. New calls are refused in plain words, those in
progress end and have their record once the database is back, nothing is written by halves, and nobody has to help.
"""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import psycopg
import pytest
from controller_sim import until
from controller_world import World, world
from gateway_sip import Dialog, sdp_of
from production_parts import InUse, Postgres, PostgresDatabase, as_user, stack, url_at

from simrack.controller.store.rights import OWNER
from simrack.wire import topics
from simrack.wire.messages import AlarmSummary, BoxEvent

ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")
Fault = Callable[[Path], AbstractAsyncContextManager[None]]
WITHIN_S = 40.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same faults with shorter limits of time."""
    monkeypatch.setattr("simrack.controller.store.engine.BUSY_TIMEOUT_S", 0.4)
    monkeypatch.setattr("simrack.controller.store.group.HANG_S", 3.0)
    monkeypatch.setattr("simrack.controller.store.upkeep.PROBE_S", 0.2)
    monkeypatch.setattr("simrack.controller.alarms.board.RETRY_S", 0.2)


HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def sqlite_locked(folder: Path) -> AsyncIterator[None]:
    """Another process holds the write lock."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(folder / "simrack.db"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    yield
    await holder.communicate(b"")


@asynccontextmanager
async def sqlite_full(folder: Path) -> AsyncIterator[None]:
    """No file of this process may grow: SQLite sees what it sees on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = await asyncio.to_thread(os.path.getsize, folder / "simrack.db-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def server() -> tuple[Postgres, PostgresDatabase]:
    on = stack()
    assert isinstance(on, InUse)
    return on.parts.postgres, next(iter(on.databases.values()))


@asynccontextmanager
async def locked(_folder: Path) -> AsyncIterator[None]:
    """Somebody holds the tables, for instance with a maintenance command; readers go on."""
    postgres, database = server()
    async with await psycopg.AsyncConnection.connect(postgres.plain(database.name, OWNER)) as other:
        await other.execute("LOCK TABLE open_call, cdr, call_story IN EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def read_only(_folder: Path) -> AsyncIterator[None]:
    """The server takes no writes, as a standby or during a backup."""
    postgres, _ = server()
    async with await psycopg.AsyncConnection.connect(postgres.plain("postgres"), autocommit=True) as admin:
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            await admin.execute("SET default_transaction_read_only = off")
            await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await admin.execute("SELECT pg_reload_conf()")


@asynccontextmanager
async def gone(_folder: Path) -> AsyncIterator[None]:
    """The server is killed and started anew."""
    postgres, _ = server()
    postgres.kill(signal.SIGKILL)
    yield
    postgres.start()  # in this thread: the server ends with the thread that started it


@asynccontextmanager
async def frozen(_folder: Path) -> AsyncIterator[None]:
    """Every process of the server stands still: it takes bytes and says nothing."""
    postgres, _ = server()
    assert postgres.process is not None
    pids = [postgres.process.pid, *children(postgres.process.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def full(_folder: Path) -> AsyncIterator[None]:
    """No file of the server may grow: its log of transactions can't, so it goes down, as it does on a full disk."""
    postgres, _ = server()
    assert postgres.process is not None
    for pid in [postgres.process.pid, *children(postgres.process.pid)]:
        # As its own user: another's limits are not for root in every container.
        limit = as_user("postgres", ["prlimit", "--pid", str(pid), "--fsize=0:"], "SIGKILL")
        assert await (await asyncio.create_subprocess_exec(*limit)).wait() == 0
    yield
    await asyncio.to_thread(postgres.process.wait, WITHIN_S)
    postgres.start()  # in this thread, as above


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def talking(on: World) -> tuple[Dialog, Dialog]:
    """A call that is answered."""
    call = on.invite()
    at_box = await on.box.invited()
    assert at_box.invite is not None
    at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
    assert await on.final(call) == 200
    return call, at_box


async def in_time(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  (what is awaited has no event)
            await asyncio.sleep(0.01)
    assert condition(), what


class Told:
    """What the controller says of its alarms."""

    def __init__(self, on: World) -> None:
        self.critical = 0
        on.web.subscribe(topics.controller_alarms(), self._hear)

    def _hear(self, _topic: str, payload: bytes) -> None:
        self.critical = AlarmSummary.decode(payload).critical


async def hurt(folder: Path, fault: Fault) -> None:
    """One call over the whole fault, one that is refused in it, and one afterwards."""
    async with world(folder) as on:
        alarms = Told(on)
        call, at_box = await talking(on)
        async with fault(folder):
            refused = on.invite()
            await in_time(lambda: refused.final, "an answer for the new call")
            assert refused.final is not None
            assert refused.final.status == 503, "refused, and clearly"
            assert refused.final.headers.get("retry-after")
            assert "no record can be kept" in refused.final.headers.get("reason", "") + refused.final.start
            await in_time(lambda: alarms.critical, "an alarm")
            call.again("BYE")
            await in_time(lambda: at_box.request("BYE"), "the end at the box")
            fact = await on.box.tell(at_box, talk_ms=1234)
        await told(on, fact)
        await in_time(lambda: not alarms.critical, "the alarm closes by itself")
        await recovered(on)


async def told(on: World, fact: BoxEvent) -> None:
    """Repeat a fact until it is acknowledged, as every box does."""
    async with asyncio.timeout(WITHIN_S):
        while not on.box.acks:
            await on.box.send(fact)
            await asyncio.sleep(0.2)


async def recovered(on: World) -> None:
    """Everything that happened has its record; new calls are taken."""
    row = await on.record(1)
    assert (row.outcome, row.talk_network_ms, row.estimated) == ("answered", 1234, False)
    again, there = await talking(on)
    again.again("BYE")
    await until(lambda: there.request("BYE"))
    await on.box.tell(there, talk_ms=1)
    await on.record(2)
    assert await asyncio.to_thread(on.queries.open_calls) == (), "no row of the refused call is left"


@pytest.mark.parametrize("fault", [sqlite_locked, sqlite_full])
async def test_calls_when_sqlite_fails(tmp_path: Path, fault: Fault) -> None:
    """A fault of the database file costs the calls that come during it, and no record."""
    await hurt(tmp_path, fault)


@pytest.mark.stack
@pytest.mark.parametrize("fault", [locked, read_only, full, gone, frozen])
async def test_calls_when_the_server_fails(tmp_path: Path, postgres: Postgres, fault: Fault) -> None:
    """A fault of the database server costs the calls that come during it, and no record."""
    url_at(tmp_path / "simrack.db")
    await hurt(tmp_path, fault)


@pytest.mark.stack
async def test_the_time_of_each_transaction_is_on_the_metrics_page(tmp_path: Path) -> None:
    """A writer that slows down would be noticed only when calls are refused."""
    async with world(tmp_path) as on:
        call, at_box = await talking(on)
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=1)
        await on.record(1)
        async with aiohttp.ClientSession() as web, web.get(on.metrics) as answer:
            page = await answer.text()
    counted = re.search(r"^simrack_store_transaction_seconds_count (\d+)", page, re.MULTILINE)
    assert counted is not None
    assert int(counted[1]) >= 3, "an open call, its dialogs, its record"


async def test_a_file_that_is_damaged_while_calls_come_refuses_them(tmp_path: Path) -> None:
    """Nobody is answered for whom no record can be kept; the next start sets the file aside and says so."""
    async with world(tmp_path) as on:
        alarms = Told(on)
        await asyncio.to_thread(damage, tmp_path / "simrack.db")
        refused = on.invite()
        await in_time(lambda: refused.final, "an answer")
        assert refused.final is not None
        assert refused.final.status == 503
        await in_time(lambda: alarms.critical, "an alarm")
    async with world(tmp_path) as on:
        await on.alarm("store-damaged")
        assert await on.final(on.invite("+4930123456")) == 404


def damage(path: Path) -> None:
    """Overwrite everything but the first page's head, in the file and in its log."""
    for name in (path, path.with_name(path.name + "-wal")):
        with name.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(100)
            file.write(b"\xa5" * max(0, size - 100))
