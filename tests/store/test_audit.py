"""The audit log in a real database: what is written stands once and in order, what is touched is found."""

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert
from store.values import NOW, FixedClock, a_record, an_open_call, finished

from simrack.controller.audit.chain import Entry, Fact, Head, digest
from simrack.controller.audit.keeper import Keeper
from simrack.controller.models import RecordFilter
from simrack.controller.store import tables as t
from simrack.controller.store.audit import AuditFilter, AuditQueries
from simrack.controller.store.engine import write_engine
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.queries import Queries
from simrack.controller.store.writer import Writer

ask = asyncio.to_thread
SIM = "8988210000000000017"


def fact(number: int, **changes: Any) -> Fact:
    base = Fact(NOW + timedelta(seconds=number), "user:Ada", "disable-channel", f"lab-01/{number}", {"n": number})
    return replace(base, **changes)


@pytest.fixture
def log(url: str) -> Iterator[AuditQueries]:
    reader = AuditQueries(url)
    yield reader
    reader.close()


@pytest.mark.stack
async def test_facts_are_chained_behind_a_genesis_of_their_own(writer: Writer, log: AuditQueries) -> None:
    """An empty log, a first entry per installation, then each act: and the whole verifies."""
    empty = await ask(log.verify_audit)
    assert empty.fault is not None
    assert empty.fault.kind == "empty"
    await writer.audit(())
    head = await writer.audit([fact(number) for number in range(5)])
    verdict = await ask(log.verify_audit)
    assert verdict.ok
    assert (verdict.entries, verdict.head, verdict.installation) == (6, head, "run-2")
    assert await ask(log.audit_head) == head
    assert head.seq == 6


@pytest.mark.stack
async def test_writers_at_the_same_time_make_one_chain(writer: Writer, log: AuditQueries) -> None:
    """Commands, refusals and acts come together; jobs that are done apart after a neighbour failed as well."""

    def broken(_connection: object) -> None:
        raise ValueError("this one can't be done")

    work = [writer.audit([fact(number)]) for number in range(40)]
    other = [writer.group.do(broken) for _ in range(5)]
    done = await asyncio.gather(*work[:20], *other, *work[20:], return_exceptions=True)
    assert sum(isinstance(one, ValueError) for one in done) == 5
    verdict = await ask(log.verify_audit)
    assert verdict.ok
    assert verdict.entries == 41


@pytest.mark.stack
async def test_trying_again_writes_once(writer: Writer, log: AuditQueries) -> None:
    """An answer of the database that was lost must not make two acts of one."""
    once = fact(1, source="run:x:1")
    for _ in range(3):
        await writer.audit([once])
    assert len((await ask(log.audit_page, AuditFilter())).entries) == 2


@pytest.mark.stack
@pytest.mark.parametrize(("reason", "entries"), [("calling-number", 1), ("agreement-valid", 1), ("no-pattern", 0), ("", 0)])
async def test_a_call_refused_by_policy_is_written_with_its_record(
    writer: Writer, log: AuditQueries, queries: Queries, reason: str, entries: int
) -> None:
    """In one transaction: no record without its entry, none twice, and no subscriber's number in what is kept for ever."""
    await writer.open_call(an_open_call())
    told = replace(finished(), record=a_record(outcome="refused", refusal=reason, sip_status=403))
    for _ in range(2):
        await writer.finish(told)
    page = await ask(log.audit_page, AuditFilter(action="call-refused"))
    assert len(page.entries) == entries
    for entry in page.entries:
        assert (entry.actor, entry.subject) == ("controller", "c1")
        assert json.loads(entry.detail)["reason"] == reason
        assert "4930" not in entry.detail
    assert (await ask(queries.records, RecordFilter())).rows


async def test_a_broken_log_costs_no_record(writer: Writer, log: AuditQueries, url: str, queries: Queries) -> None:
    """Whoever tampers with the log must not be able to make calls vanish; and what they did stays to be seen."""
    await writer.audit([fact(number) for number in range(3)])
    for statement in ("DELETE FROM audit_head", "UPDATE audit_head SET seq = 2", "DELETE FROM audit WHERE seq > 3"):
        tamper(url, statement)
        name = str(len(statement))
        await writer.open_call(an_open_call(name))
        record = a_record(name, outcome="refused", refusal="origin")
        await writer.finish(replace(finished(), record=record, attempts=()))
    assert len((await ask(queries.records, RecordFilter())).rows) == 3
    fault = (await ask(log.verify_audit)).fault
    assert fault is not None
    assert (fault.kind, fault.seq) == ("removed", 4)


# --- acts of the control room -----------------------------------------------------------------------------------


def act(url: str, count: int = 1, **values: object) -> None:
    """Note acts as the control room does."""
    engine = write_engine(url)
    row = {"at": NOW, "actor": "user:Ada", "address": "192.0.2.1", "action": "sign-in", "subject": "Ada", "detail": '{"b":1}'}
    with engine.begin() as connection:
        for _ in range(count):
            connection.execute(insert(t.web_act).values(**{**row, **values}))
    engine.dispose()


async def test_acts_of_the_control_room_are_taken_over_once_and_in_order(
    writer: Writer, log: AuditQueries, url: str
) -> None:
    """Two keepers one after the other, restarts between, more acts than fit one turn: each act is one entry."""
    await ask(partial(act, url, 120))
    await Keeper(writer, log, "a").turn()
    await Keeper(writer, log, "b").turn()
    await ask(partial(act, url, 3, detail=None))
    keeper = Keeper(writer, log, "c")
    await keeper.turn()
    await ask(partial(act, url, detail="no json {"))
    await keeper.turn()
    await keeper.turn()
    entries = [entry for entry in await ask(lambda: list(log.audit_all(AuditFilter()))) if entry.source]
    assert [entry.source for entry in entries] == [f"act:{number}" for number in range(1, 125)]
    assert {(entry.actor, entry.address, entry.action) for entry in entries} == {("user:Ada", "192.0.2.1", "sign-in")}
    assert (await ask(log.verify_audit)).ok


async def test_an_act_whose_number_came_late_is_not_missed(writer: Writer, log: AuditQueries, url: str) -> None:
    """Two people act at once; the lower number is committed after the higher one was taken over."""
    await ask(partial(act, url, id=7))
    keeper = Keeper(writer, log, "a")
    await keeper.turn()
    await ask(partial(act, url, id=6))
    await keeper.turn()
    sources = {entry.source for entry in (await ask(log.audit_page, AuditFilter(action="sign-in"))).entries}
    assert sources == {"act:6", "act:7"}


async def test_facts_wait_for_the_database_and_what_must_be_written_does_not(writer: Writer, log: AuditQueries) -> None:
    """With the database away a call can still be ended, and it is written later; nobody listens without a trace."""
    keeper = Keeper(Away(writer), log, "a")
    store = keeper._store
    assert isinstance(store, Away)
    await keeper.write(fact(1))
    await keeper.write(fact(2))
    assert keeper.waiting == 2
    with pytest.raises(StoreDown):
        await keeper.write(fact(3), must=True)
    store.away = False
    await keeper.write(fact(4))
    assert keeper.waiting == 0
    subjects = [entry.subject for entry in await ask(lambda: list(log.audit_all(AuditFilter(actor="user:Ada"))))]
    assert subjects == ["lab-01/1", "lab-01/2", "lab-01/4"]


class Away:
    """The real writer with its database gone at first."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self.away = writer, True

    async def audit(self, facts: Iterable[Fact]) -> Head:
        if self.away:
            raise StoreDown("away")
        return await self._writer.audit(facts)

    async def take_acts(self, since: int) -> int:
        return await self._writer.take_acts(since)


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.stack
async def test_the_log_is_filtered_and_paged_by_number(writer: Writer, log: AuditQueries) -> None:
    """An auditor finds what one person did to one card in one week, page by page without doubles."""
    await writer.audit([fact(number, actor="user:Bo" if number % 2 else "user:Ada") for number in range(20)])
    await writer.audit([fact(30, subject=SIM), Fact(NOW, "cli:root", "enable-sim", "x", {"iccid": SIM, "note": "Grüße 100%"})])

    def count(**values: Any) -> int:
        return len(log.audit_page(AuditFilter(**values)).entries)

    found = await ask(
        lambda: [
            count(actor="user:Bo"), count(subject="lab-01/3"), count(sim=SIM), count(action="enable-sim"), count(text="grüße"),
            count(text="100%"), count(text="%"), count(since=NOW + timedelta(seconds=18)), count(until=NOW), count(text="'; DROP"),
        ]
    )  # fmt: skip
    assert found == [10, 1, 2, 1, 1, 1, 1, 3, 0, 0]
    first = await ask(log.audit_page, AuditFilter(per_page=15))
    second = await ask(log.audit_page, AuditFilter(per_page=15, after=first.next))
    numbers = [entry.seq for entry in (*first.entries, *second.entries)]
    assert numbers == list(range(23, 0, -1))
    assert second.next == 0


async def test_a_log_that_grows_while_it_is_checked_is_whole(writer: Writer, log: AuditQueries) -> None:
    """Verifying must not cry wolf on a busy rack."""
    await writer.audit([fact(number) for number in range(50)])
    growing = asyncio.gather(*(writer.audit([fact(number)]) for number in range(100)))
    verdicts = await asyncio.gather(*(ask(log.verify_audit) for _ in range(5)))
    await growing
    assert all(verdict.ok for verdict in verdicts), [verdict.fault for verdict in verdicts]


# --- tampering --------------------------------------------------------------------------------------------------


def tamper(url: str, *statements: str) -> None:
    """Do as somebody with the file and a shell would."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def anew(url: str, log: AuditQueries, seq: int, **changes: Any) -> None:
    """Change an entry and make its hash anew, as somebody would who has read our source."""
    old = next(entry for entry in log.audit_all(AuditFilter()) if entry.seq == seq)
    new: Entry = replace(old, **changes)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute(
            "UPDATE audit SET actor = ?, previous = ?, hash = ? WHERE seq = ?", (new.actor, new.previous, digest(new), seq)
        )
    connection.close()


_COPY = (
    "INSERT INTO audit SELECT 6, at, 'user:Eve', address, action, subject, detail, NULL, previous, hash FROM audit WHERE seq = 60"
)


@pytest.mark.parametrize(
    ("statements", "kind", "seq"),
    [
        (["UPDATE audit SET actor = 'user:Eve' WHERE seq = 6"], "changed", 6),
        (["UPDATE audit SET detail = '{}' WHERE seq = 2"], "changed", 2),
        (["UPDATE audit SET at = '2020-01-01 00:00:00.000000' WHERE seq = 6"], "changed", 6),
        (["UPDATE audit SET at = 'yesterday' WHERE seq = 6"], "changed", 6),
        (["UPDATE audit SET detail = x'00ff' WHERE seq = 6"], "changed", 6),
        (["UPDATE audit SET source = 'act:99' WHERE seq = 6"], "changed", 6),
        (["DELETE FROM audit WHERE seq = 6"], "removed", 6),
        (["DELETE FROM audit WHERE seq = 1"], "removed", 1),
        (["DELETE FROM audit WHERE seq = 6", "UPDATE audit SET seq = seq - 1 WHERE seq > 6"], "removed", 6),
        (["UPDATE audit SET seq = -6 WHERE seq = 6", "UPDATE audit SET seq = 6 WHERE seq = 7", "UPDATE audit SET seq = 7 WHERE seq = -6"],
         "reordered", 6),
        (["UPDATE audit SET seq = seq + 100 WHERE seq > 5", _COPY.replace("60", "106"), "UPDATE audit SET seq = seq - 99 WHERE seq > 100"],
         "inserted", 6),
        (["INSERT INTO audit SELECT seq + 1, at, actor, address, action, subject, detail, NULL, hash, hash FROM audit WHERE seq = 11"],
         "changed", 12),
        (["DELETE FROM audit WHERE seq > 8"], "truncated", 9),
        (["DELETE FROM audit"], "truncated", 1),
        (["DELETE FROM audit_head"], "head", 11),
        (["UPDATE audit_head SET seq = 5"], "inserted", 6),
        (["DELETE FROM audit", "DELETE FROM audit_head"], "empty", 1),
    ],
)  # fmt: skip
async def test_what_was_touched_in_the_database_is_named(
    writer: Writer, log: AuditQueries, url: str, statements: list[str], kind: str, seq: int
) -> None:
    """`simrack audit verify` tells the first entry that can't be trusted, whatever was done to the file."""
    await writer.audit([fact(number) for number in range(10)])
    assert (await ask(log.verify_audit)).ok
    tamper(url, *statements)
    fault = (await ask(log.verify_audit)).fault
    assert fault is not None
    assert (fault.kind, fault.seq) == (kind, seq), fault.text


async def test_a_change_whose_hash_was_made_anew_is_named(writer: Writer, log: AuditQueries, url: str) -> None:
    """Knowing the rule for hashes is not enough: the entry behind still holds the old one."""
    await writer.audit([fact(number) for number in range(10)])
    await ask(lambda: anew(url, log, 6, actor="user:Eve"))
    fault = (await ask(log.verify_audit)).fault
    assert fault is not None
    assert (fault.kind, fault.seq) == ("changed", 6), fault.text


async def test_a_head_kept_elsewhere_tells_a_log_that_was_cut_with_its_head(
    writer: Writer, log: AuditQueries, url: str
) -> None:
    """The one thing that whoever owns the machine can't undo is what was printed before."""
    kept = await writer.audit([fact(number) for number in range(10)])
    tamper(url, "DELETE FROM audit WHERE seq > 8", "UPDATE audit_head SET seq = 8, hash = (SELECT hash FROM audit WHERE seq = 8)")
    assert (await ask(log.verify_audit)).ok
    fault = (await ask(log.verify_audit, kept)).fault
    assert fault is not None
    assert (fault.kind, fault.seq) == ("truncated", 9)


async def test_the_log_of_another_release_of_the_clock_still_verifies(url: str, log: AuditQueries) -> None:
    """A restart, a clock set back, another run's name: the chain goes on."""
    clock = FixedClock()
    for run in ("one", "two"):
        async with Writer(url, clock, run=run) as writer:
            await writer.audit([fact(1)])
        clock.now -= timedelta(days=2)
    verdict = await ask(log.verify_audit)
    assert verdict.ok
    assert (verdict.entries, verdict.installation) == (3, "one")
