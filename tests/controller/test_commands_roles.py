"""Every command x every role: the answer, what was done, and what the audit log then holds."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from controller_sim import CountingIds, TestClock, until
from controller_world import world
from production_parts import SqliteDatabase
from sqlalchemy import insert, update

from simrack.controller.audit.actors import TRUST_S, Actors
from simrack.controller.audit.gate import LOOKS, Gate
from simrack.controller.audit.keeper import Keeper
from simrack.controller.calls.commands import FOR_BOXES, CommandDesk
from simrack.controller.calls.metrics import Metrics
from simrack.controller.store import tables as t
from simrack.controller.store.audit import Account, AuditFilter, AuditQueries
from simrack.controller.store.engine import write_engine
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.writer import Writer
from simrack.wire import topics
from simrack.wire.messages import Command, CommandReply
from simrack.wire.mqtt import Commander, MemoryBroker
from simrack.wire.rights import COMMANDS, ROLES

Run = Callable[..., asyncio.Task[Any]]
ask = asyncio.to_thread
#: Written by hand, from the specification and not from the code: A administrator, N noc, S support, O owner, R reseller,
#: L sales, T sender (traffic), U auditor.
LETTERS = dict(zip("ANSORLTU", ROLES, strict=True))
EXPECTED = {
    "hang-up": "AN", "hang-up-group": "AN", "listen": "AN", "test-call": "ANS", "send-trace": "ANS", "explain": "ANSU",
    "reload-config": "A", "config-check": "ANSU", "config-apply": "A", "config-activate": "A",
    # Whose entry it is decides which kind of entry: controller/config checks that.
    "entry-apply": "ANSORLTU",
    "banned": "ANSU", "ban": "AN", "free": "AN", "disable-channel": "AN", "enable-channel": "AN", "restart-module": "AN",
    "restart-box": "AN", "drain": "AN", "end-drain": "AN", "console": "AN", "acknowledge-alarm": "ANS", "notices": "ANSU",
    "test-notice": "A", "log-level": "AN", "backup": "A",
}  # fmt: skip


class Rack:
    """A command desk with its real gate and a real database, a box, and somebody who asks."""

    def __init__(self, run_tasks: Run, clock: TestClock, store: Writer, log: AuditQueries) -> None:
        self.clock, self.log, broker = clock, log, MemoryBroker()
        self.controller, self.box, self.person = (broker.bus(name) for name in ("c", "b", "p"))
        self.done: list[tuple[str, str]] = []
        self.replies: dict[str, CommandReply] = {}
        self.run_tasks = run_tasks
        actions = {name: self._noting(name) for name in COMMANDS if name not in FOR_BOXES}
        commander = Commander(self.controller, "controller", clock, CountingIds())
        self.keeper = Keeper(store, log, "run")
        self.actors = Actors(log.account, clock)
        gate = Gate(self.actors, self.keeper, clock)
        self.desk = CommandDesk(self.controller, clock, actions, Metrics(), commander, gate)
        self.box.subscribe(topics.box_command("box-1"), self._at_box)
        self.person.subscribe("reply", self._heard)
        for work in (self.controller.run, self.box.run, self.person.run, self.desk.run):
            run_tasks(work())

    def _noting(self, name: str) -> Callable[..., Any]:
        async def note(_args: Any, actor: str) -> dict[str, Any]:
            self.done.append((name, actor))
            return {}

        return note

    def _at_box(self, _topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        self.done.append((command.action, command.actor))
        reply = CommandReply(id=command.id, ok=True, result={})
        self.run_tasks(self.box.publish(command.reply_to, reply.encode()))

    def _heard(self, _topic: str, payload: bytes) -> None:
        reply = CommandReply.decode(payload)
        self.replies[reply.id] = reply

    async def send(self, action: str, actor: str, **args: Any) -> str:
        """Ask; the id of the command."""
        key = f"{action}/{actor}"
        command = Command(
            id=key, action=action, actor=actor, reply_to="reply", deadline=self.clock.utc() + timedelta(minutes=1),
            args={"box": "box-1", "channel": 1, **args},
        )  # fmt: skip
        await until(lambda: self.person.connected and self.controller.connected and self.box.connected)
        await self.person.publish(topics.controller_command(), command.encode())
        return key

    def answered(self, action: str) -> bool:
        """Whether each role has its answer."""
        return sum(key.startswith(f"{action}/") for key in self.replies) == len(ROLES)

    async def answer(self, action: str, actor: str, **args: Any) -> CommandReply:
        key = await self.send(action, actor, **args)
        await until(lambda: key in self.replies)
        return self.replies[key]


def people(url: str) -> None:
    """An account of each role, named like it, and one that was disabled."""
    engine = write_engine(url)
    rows = [{"name": role, "role": role, "disabled": False} for role in ROLES]
    rows.append({"name": "gone", "role": "administrator", "disabled": True})
    with engine.begin() as connection:
        for row in rows:
            connection.execute(insert(t.web_user).values(password_hash="-", created=TestClock().now, **row))
    engine.dispose()


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = SqliteDatabase(tmp_path / "simrack.db").url
    people(url)
    return url


@pytest.fixture
def log(url: str) -> Iterator[AuditQueries]:
    reader = AuditQueries(url)
    yield reader
    reader.close()


@pytest.fixture
async def rack(run_tasks: Run, url: str, log: AuditQueries) -> AsyncIterator[Rack]:
    clock = TestClock()
    async with Writer(url, clock, run="run-1") as store:
        yield Rack(run_tasks, clock, store, log)


def test_every_command_has_its_line_here() -> None:
    """A command that nobody thought about must not be open, or closed, by accident."""
    assert {name: sorted(LETTERS[letter] for letter in EXPECTED.get(name, "")) for name in COMMANDS} == {
        name: sorted(LETTERS[letter] for letter in letters) for name, letters in EXPECTED.items()
    }


async def test_every_command_for_every_role_is_answered_as_the_table_says(rack: Rack) -> None:
    """A role that may not is refused by the controller itself, whatever a page or a script lets through."""
    asked = [(action, role) for action in COMMANDS for role in ROLES]
    for action in COMMANDS:
        for role in ROLES:
            await rack.send(action, f"user:{role}")
        # A burst of all of them would be 200 threads' reads at once, which no desk has.
        await until(partial(rack.answered, action))
    allowed = {(action, LETTERS[letter]) for action, letters in EXPECTED.items() for letter in letters}
    answers = {tuple(key.split("/user:")): reply for key, reply in rack.replies.items()}
    assert {key for key, reply in answers.items() if reply.ok} == allowed
    assert {(action, actor.removeprefix("user:")) for action, actor in rack.done} == allowed
    assert all("no right to this" in reply.error for key, reply in answers.items() if key not in allowed)
    await _is_written(rack, allowed, set(asked))


async def _is_written(rack: Rack, allowed: set[tuple[str, str]], asked: set[tuple[str, str]]) -> None:
    entries = [entry for entry in await ask(lambda: list(rack.log.audit_all(AuditFilter()))) if entry.action in COMMANDS]
    kinds = {(entry.action, entry.actor.removeprefix("user:")): "refused" in json.loads(entry.detail) for entry in entries}
    assert len(entries) == len(kinds)
    assert {key for key, refused in kinds.items() if refused} == asked - allowed
    assert {key for key, refused in kinds.items() if not refused} == {key for key in allowed if key[0] not in LOOKS}
    assert {entry.subject for entry in entries} == {"box-1/1"}
    assert (await ask(rack.log.verify_audit)).ok


@pytest.mark.parametrize(
    ("actor", "word"),
    [
        ("user:nobody", "no such account"), ("user:gone", "disabled"), ("user:", "nobody who may ask"),
        ("box:box-1", "nobody who may ask"), ("controller:", "nobody who may ask"), ("controller", "nobody who may ask"), ("user:administrator' OR 1=1", "no such account"),
    ],
)  # fmt: skip
async def test_nobody_who_is_not_known_gets_anything_done(rack: Rack, actor: str, word: str) -> None:
    """An account that is gone or disabled loses its commands at once, also those that a script sends on."""
    reply = await rack.answer("hang-up", actor, call="x")
    assert not reply.ok
    assert word in reply.error
    assert rack.done == []


@pytest.mark.parametrize("actor", ["cli:root", "cli", "ann"])
async def test_programs_of_the_centres_own_machine_may_all(rack: Rack, actor: str) -> None:
    """Whoever holds the broker's password on that machine is its operator; the log names them."""
    assert (await rack.answer("config-apply", actor)).ok
    (entry,) = (await ask(rack.log.audit_page, AuditFilter(action="config-apply"))).entries
    assert entry.actor == actor


async def test_a_right_that_was_taken_away_is_gone_with_the_next_command(rack: Rack, url: str) -> None:
    """Whoever leaves the night shift can't end calls from an open tab."""
    assert (await rack.answer("hang-up", "user:noc", call="x")).ok

    def demote() -> None:
        engine = write_engine(url)
        with engine.begin() as connection:
            connection.execute(update(t.web_user).where(t.web_user.c.name == "noc").values(role="sales"))
        engine.dispose()

    await ask(demote)
    assert not (await rack.answer("ban", "user:noc", address="192.0.2.1")).ok


async def test_secrets_and_endless_arguments_do_not_reach_the_log(rack: Rack) -> None:
    """Passwords in a sender's record, in a URL or in a file stay out of what is kept for ever; so do megabytes."""
    nested = {"sender": {"digest": {"user": "pbx", "password": "hunter2"}, "api_key": "hunter3"}}
    await rack.answer(
        "entry-apply", "user:administrator", box="", changes=[nested], url="https://me:hunter4@host/x",
        text='[sender]\npassword = "hunter5"\n', note="n" * 4000, many=list(range(5000)), name="<script>alert(1)</script>",
    )  # fmt: skip
    (entry,) = (await ask(rack.log.audit_page, AuditFilter(action="entry-apply"))).entries
    assert "hunter" not in entry.detail
    assert len(entry.detail) < 9000
    assert entry.subject == "<script>alert(1)</script>"
    detail = json.loads(entry.detail)
    assert detail["changes"][0]["sender"]["digest"] == "(hidden)"
    assert "4000 characters, SHA-256" in detail["note"]


async def test_what_failed_says_so_behind_the_act(rack: Rack) -> None:
    """The log tells what was tried and what became of it."""
    reply = await rack.answer("disable-channel", "user:noc", box="a/b")
    assert not reply.ok
    failed, begun = (await ask(rack.log.audit_page, AuditFilter(action="disable-channel"))).entries
    assert "no name has" in json.loads(failed.detail)["failed"]
    assert json.loads(begun.detail)["command"] == json.loads(failed.detail)["command"]


async def test_without_the_database_what_was_known_of_an_account_counts_for_a_while(url: str, log: AuditQueries) -> None:
    """The night shift ends calls while the database is away; a stranger gets nothing, and nobody for ever."""
    clock, down = TestClock(), False

    def read(name: str) -> Account | None:
        if down:
            raise StoreDown("away")
        return log.account(name)

    actors = Actors(read, clock)
    assert (await actors.find("user:noc")).may("calls.hang-up")
    down = True
    assert (await actors.find("user:noc")).may("calls.hang-up")
    with pytest.raises(StoreDown):
        await actors.find("user:support")
    clock.forward(TRUST_S + 1)
    with pytest.raises(StoreDown):
        await actors.find("user:noc")


async def test_the_running_controller_has_a_right_for_each_of_its_commands(tmp_path: Path) -> None:
    """A command without a row in the table would be closed to everybody, which its author should hear first."""
    async with world(tmp_path) as on:
        refused = await on.command("dance")
        known = refused.error.partition("known are ")[2].split(", ")
        assert len(known) > 5
        assert set(known) <= set(COMMANDS)
        page = await ask(lambda: _page(str(on.app.settings.database)))
    assert [entry.action for entry in page] == ["dance", "genesis"]


def _page(url: str) -> list[Any]:
    reader = AuditQueries(url)
    try:
        return list(reader.audit_page(AuditFilter()).entries)
    finally:
        reader.close()
