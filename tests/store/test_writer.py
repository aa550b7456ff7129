"""The writer: calls become records exactly once, whatever is repeated, late or killed."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store.values import (
    NOW,
    FixedClock,
    a_part_event,
    a_record,
    an_attempt,
    an_open_call,
    finished,
    some_dialogs,
)

from simrack.controller.calls.ports import Finished, LeftCall
from simrack.controller.models import CheckStep, Dropped, Explanation, KeptCall, RecordFilter
from simrack.controller.store.errors import StoreDown, StoreRefused
from simrack.controller.store.queries import Queries
from simrack.controller.store.writer import Writer
from simrack.wire.messages import CallPart

ask = asyncio.to_thread
NOBODY = 65534


@pytest.mark.stack
async def test_a_call_is_listed_open_then_becomes_one_record(writer: Writer, queries: Queries) -> None:
    """A page shows the call while it lasts and its record with its whole story afterwards."""
    await writer.open_call(an_open_call())
    await writer.connected("c1", some_dialogs())
    (row,) = await ask(queries.open_calls)
    assert (row.call, row.box, row.channel, row.answered) == ("c1", "lab-01", 3, NOW)
    await writer.finish(finished())
    assert (await ask(queries.open_calls)) == ()
    story = await ask(queries.story, "c1")
    assert story is not None
    assert story.record == a_record()
    assert story.explanation is not None
    assert story.explanation.config_version == 7
    assert [line.label for line in story.ladder] == ["INVITE"]
    assert [attempt.attempt for attempt in story.attempts] == ["a1"]


@pytest.mark.stack
async def test_finishing_twice_makes_one_record(writer: Writer, queries: Queries) -> None:
    """A commit whose answer was lost is tried again and must not bill twice."""
    await writer.open_call(an_open_call())
    await writer.finish(finished())
    await writer.finish(finished(talk_sender_ms=99))
    page = await ask(queries.records, RecordFilter())
    assert [row.talk_sender_ms for row in page.rows] == [30000]


@pytest.mark.stack
async def test_the_same_invite_opens_one_call(writer: Writer, queries: Queries) -> None:
    """(sender, Call-ID, From tag) is one call, also when an earlier run of the controller began it."""
    await writer.open_call(an_open_call())
    with pytest.raises(StoreRefused):
        await writer.open_call(an_open_call("c2", call_id="c1@host"))
    assert [row.call for row in (await ask(queries.open_calls))] == ["c1"]


@pytest.mark.stack
async def test_dialogs_of_an_unknown_call_are_refused(writer: Writer) -> None:
    """Passing on 200 without an open row would make a call that a restart can't end."""
    with pytest.raises(StoreRefused):
        await writer.connected("nobody", some_dialogs())


@pytest.mark.stack
@pytest.mark.parametrize("part_first", [True, False])
async def test_the_boxs_part_completes_the_record_once(
    writer: Writer, queries: Queries, part_first: bool
) -> None:
    """The network's talk time reaches the record whether the part comes before or after it, and only once."""
    await writer.open_call(an_open_call())
    steps = [writer.finish(finished()), writer.take_events([a_part_event()])]
    for step in reversed(steps) if part_first else steps:
        await step
    await writer.take_events([a_part_event(seq=2, talk_ms=1)])
    story = await ask(queries.story, "c1")
    assert story is not None
    record = story.record
    assert (record.estimated, record.talk_network_ms, record.mos) == (False, 29950, 4.1)
    assert (record.imsi, record.cause_original) == ("001010000000001", "normal call clearing")
    assert (story.attempts[0].talk_ms, story.attempts[0].media is not None) == (29950, True)


@pytest.mark.stack
async def test_a_part_of_an_earlier_attempt_leaves_the_record_alone(writer: Writer, queries: Queries) -> None:
    """A late part of an abandoned candidate belongs to its attempt, not to the record."""
    attempts = (an_attempt("a1", 1), an_attempt("a2", 2))
    await writer.finish(Finished(a_record(attempts=2), None, (), attempts))
    await writer.take_events([a_part_event(attempt="a1")])
    story = await ask(queries.story, "c1")
    assert story is not None
    assert (story.record.estimated, story.record.talk_network_ms) == (True, 0)
    assert [row.talk_ms for row in story.attempts] == [29950, 0]


@pytest.mark.stack
@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("carrier", ["a1", "a2"])
@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
async def test_an_answer_that_is_told_late_is_counted(
    writer: Writer, queries: Queries, outcome: Literal["failed", "cancelled"], carrier: str, estimated: bool
) -> None:
    """A box that was stopped ended its leg with 503, the network answered, and its part came after the record: free talk.

    The other attempt's own part comes last, and changes nothing of that.
    """
    channels = {"a1": 3, "a2": 5}
    attempts = tuple(an_attempt(name, number, channel=channels[name]) for number, name in enumerate(channels, 1))
    record = a_record(attempts=2, outcome=outcome, answered=None, marks=("rerouted",), channel=5)
    await writer.finish(Finished(record, None, (), attempts))
    other = "a2" if carrier == "a1" else "a1"
    told: list[tuple[str, dict[str, object]]] = [(carrier, {"estimated": estimated}), (other, {"connected": None, "talk_ms": 0})]
    for seq, (name, changes) in enumerate(told, 1):
        event = a_part_event(attempt=name, seq=seq)
        body = event.body.model_copy(update={"channel": channels[name], **changes})
        await writer.take_events([event.model_copy(update={"body": body})])
    story = await ask(queries.story, "c1")
    assert story is not None
    row = story.record
    assert (row.outcome, row.marks, row.estimated) == ("answered", ("rerouted", "cancel-crossed"), estimated)
    assert (row.talk_network_ms, row.answered, row.channel) == (29950, NOW + timedelta(seconds=4), channels[carrier])


@pytest.mark.stack
async def test_a_repeated_event_is_stored_once(writer: Writer) -> None:
    """A box repeats facts until they are acknowledged; each counts once."""
    assert len(await writer.store_events([a_part_event(), a_part_event()])) == 1
    assert await writer.store_events([a_part_event()]) == ()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=12))
async def test_any_order_of_repeats_ends_in_one_complete_record(
    tmp_path_factory: pytest.TempPathFactory, migrated: bytes, steps: list[tuple[int, bool]]
) -> None:
    """However parts and closings of three calls interleave and repeat, each gives one finished record."""
    path = tmp_path_factory.mktemp("db") / "s.db"
    path.write_bytes(migrated)
    url = f"sqlite:///{path}"
    everything = [*steps, *((n, flag) for n in (1, 2, 3) for flag in (True, False))]
    async with Writer(url, FixedClock(), "run") as writer:
        for n, closing in everything:
            if closing:
                await writer.finish(finished(f"c{n}", f"a{n}"))
            else:
                await writer.take_events([a_part_event(f"c{n}", f"a{n}", seq=n)])
    rows = (await ask(Queries(url).records, RecordFilter())).rows
    assert sorted((row.call, row.talk_network_ms, row.estimated) for row in rows) == [
        (f"c{n}", 29950, False) for n in (1, 2, 3)
    ]


@pytest.mark.stack
async def test_writes_that_wait_share_a_commit_and_fail_alone(writer: Writer, queries: Queries) -> None:
    """One refused row among a hundred calls that come at once does not harm the others."""
    work = [writer.open_call(an_open_call(f"c{n}")) for n in range(100)]
    work.append(writer.open_call(an_open_call("twin", call_id="c5@host")))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [StoreRefused]
    assert len(await ask(queries.open_calls)) == 100


async def test_a_locked_database_is_said_and_survived(
    url: str, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database can't be written the caller hears it (and refuses calls); later writes work again."""
    monkeypatch.setattr("simrack.controller.store.engine.BUSY_TIMEOUT_S", 0.05)
    path = url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    async with Writer(url, clock, "run") as writer:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreDown):
            await writer.open_call(an_open_call())
        other.execute("ROLLBACK")
        await writer.open_call(an_open_call())
    other.close()


@pytest.fixture
def without_rights(migrated: bytes) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A database that this process must not write, and how it may again."""
    # Not below pytest's folder, which is root's own: root itself may write everywhere, so it becomes another user.
    folder, before = Path(tempfile.mkdtemp(prefix="simrack-ro-")), os.geteuid()
    path = folder / "simrack.db"
    path.write_bytes(migrated)
    path.chmod(0o444)
    folder.chmod(0o555)

    def give_back() -> None:
        os.seteuid(before)
        folder.chmod(0o755)
        path.chmod(0o644)

    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield path, give_back
    finally:
        give_back()
        shutil.rmtree(folder)


async def test_a_file_without_the_right_to_write_is_said_and_survived(
    without_rights: tuple[Path, Callable[[], None]], clock: FixedClock
) -> None:
    """A restored file that belongs to somebody else: calls are refused with the cause, and taken once it is put right."""
    path, give_back = without_rights
    async with Writer(f"sqlite:///{path}", clock, "run") as writer:
        with pytest.raises(StoreDown, match=r"readonly|read-only|unable to open"):
            await writer.open_call(an_open_call())
        give_back()
        await writer.open_call(an_open_call())


async def test_a_full_disk_is_said_and_survived(url: str, clock: FixedClock, queries: Queries) -> None:
    """A full disk surfaces as StoreDown, nothing is half-written, and space makes it work again."""
    async with Writer(url, clock, "run") as writer:
        await writer.open_call(an_open_call())
        connection = writer.group._engine.raw_connection()
        pages = connection.cursor().execute("PRAGMA page_count").fetchone()[0]
        connection.cursor().execute(f"PRAGMA max_page_count={pages}")
        connection.close()
        big = Explanation(config_version=1, sender="x", called_received="1", notes=("n" * 3000,))
        fill = [writer.finish(Finished(a_record(f"x{n}"), big, (), ())) for n in range(200)]
        results = await asyncio.gather(*fill, return_exceptions=True)
        assert {type(result) for result in results} <= {StoreDown, type(None)}
        assert isinstance(results[-1], StoreDown)
        full = (await ask(queries.records, RecordFilter())).total
        stories = [
            await ask(queries.story, row.call) for row in (await ask(queries.records, RecordFilter())).rows
        ]
        assert all(story is not None for story in stories)
        connection = writer.group._engine.raw_connection()
        connection.cursor().execute("PRAGMA max_page_count=1000000")
        connection.close()
        await writer.finish(finished())
    assert (await ask(queries.records, RecordFilter())).total == full + 1


@pytest.mark.stack
async def test_calls_of_an_earlier_run_are_closed_as_lost(
    url: str, writer: Writer, clock: FixedClock, queries: Queries
) -> None:
    """After a crash no call stays open for ever: it gets a record with cause 41, side rack."""
    async with Writer(url, clock, "run-1") as before:
        await before.open_call(an_open_call("old"))
        await before.connected("old", some_dialogs())
    await writer.open_call(an_open_call("mine"))
    clock.now = NOW + timedelta(seconds=60)
    assert await writer.left_calls() == (LeftCall(an_open_call("old"), some_dialogs()),)
    assert await writer.close_left_over() == ("old",)
    assert await writer.left_calls() == ()
    assert [row.call for row in (await ask(queries.open_calls))] == ["mine"]
    (row,) = (await ask(queries.records, RecordFilter())).rows
    assert (row.cause, row.side, row.estimated, row.talk_sender_ms) == (41, "rack", True, 60000)
    assert (row.outcome, row.sip_status) == ("answered", 200)
    await writer.take_events([a_part_event("old", "a1")])
    (row,) = (await ask(queries.records, RecordFilter())).rows
    assert (row.talk_network_ms, row.estimated) == (29950, False), "the box's part completes it"


@pytest.mark.stack
async def test_answered_call_of_an_earlier_run_comes_back_whole(
    url: str, writer: Writer, clock: FixedClock, queries: Queries
) -> None:
    """What is lost here is missing in the record of every call that a restart falls into."""
    kept = KeptCall(
        dialled="0222", box_sip=("10.0.0.1", 5060), max_call_s=3600, number=2, begun_ms=7, attempt_started=NOW,
        progress_ms=900, alerting=NOW, alerting_ms=900, answered_ms=4000, monotonic=12.5, presented="+4930111",
        sender_sdp="v=0\r\n", box_sdp="v=0\r\n\u00e9", answer="SIP/2.0 200 OK\r\n\r\n", marks=("rerouted",),
        explanation=finished().explanation, ladder=finished().ladder, tried=(an_attempt("a0"),),
    )  # fmt: skip
    dialogs = replace(some_dialogs(), iccid="89", pattern="+49", calling="+1", called="+2", box_boot="b1", kept=kept)
    async with Writer(url, clock, "run-1") as before:
        await before.open_call(an_open_call("old"))
        await before.connected("old", dialogs)
        await before.open_call(an_open_call("rings"))
        await before.take_events([a_part_event("old", "a1")])
    old, rings = await writer.left_calls()
    assert (old.open, old.dialogs) == (an_open_call("old"), dialogs)
    assert old.part is not None
    assert old.part.talk_ms == 29950
    assert rings == LeftCall(an_open_call("rings"))
    assert await writer.close_left_over(frozenset({"old"})) == ("rings",)
    later = replace(dialogs, sender_leg=replace(dialogs.sender_leg, local_cseq=1002))
    await writer.take_over("old", later)
    assert await writer.left_calls() == (), "it is this run's now"
    async with Writer(url, clock, "run-3") as after:
        assert [left.dialogs for left in await after.left_calls()] == [later]
    with pytest.raises(StoreRefused, match="no open row"):
        await writer.take_over("rings", later)


@pytest.mark.stack
@pytest.mark.parametrize("when", ["before the crash", "after the start"])
async def test_lost_call_gets_the_attempts_that_its_boxes_tell_of(
    url: str, writer: Writer, clock: FixedClock, queries: Queries, when: str
) -> None:
    """Killed before the row named an attempt: what the network did is in the record all the same, once."""
    part = a_part_event("rings", "a7")
    async with Writer(url, clock, "run-1") as before:
        await before.open_call(an_open_call("rings"))
        if when == "before the crash":
            await before.take_events([part])
    assert await writer.close_left_over() == ("rings",)
    await writer.take_events([part, part.model_copy(update={"seq": 9})])
    (row,) = (await ask(queries.records, RecordFilter())).rows
    assert (row.outcome, row.talk_network_ms, row.attempts, row.estimated) == ("answered", 29950, 1, False)
    assert (row.box, row.channel, row.cause, row.marks) == ("lab-01", 3, 41, ("lost",))
    story = await ask(queries.story, "rings")
    assert story is not None
    assert [attempt.talk_ms for attempt in story.attempts] == [29950]


@pytest.mark.stack
async def test_an_octet_that_no_text_of_the_server_holds_costs_no_record(writer: Writer, queries: Queries) -> None:
    """A sender whose header has a NUL octet would have its call refused, or its record lost, on PostgreSQL."""
    dialogs = some_dialogs()
    odd = replace(dialogs, sender_leg=replace(dialogs.sender_leg, local_tag="ta\x00g"))
    await writer.open_call(an_open_call(calling="+49\x0030"))
    await writer.connected("c1", odd)
    ended = finished(calling_received="030\x00111", marks=("te\x00st",))
    ladder = (ended.ladder[0].model_copy(update={"label": "INV\x00ITE"}),)
    await writer.finish(replace(ended, ladder=ladder))
    event = a_part_event()
    assert isinstance(event.body, CallPart)
    await writer.take_events([event.model_copy(update={"body": event.body.model_copy(update={"cause_text": "cl\x00ear"})})])
    story = await ask(queries.story, "c1")
    assert story is not None
    assert story.record.calling_received in ("030\x00111", "030\ufffd111"), "as it was, or with the sign for it"
    assert (story.record.talk_network_ms, story.record.estimated) == (29950, False)
    assert len(story.ladder) >= 1


@pytest.mark.stack
async def test_alarms_of_one_cause_count_and_close(writer: Writer, queries: Queries) -> None:
    """The Rack page shows one line per cause with its count, and none after it closed."""
    first, new = await writer.open_alarm("box-unreachable:lab-01", "major", "lab-01 is gone", "Look at it.")
    again, new_again = await writer.open_alarm("box-unreachable:lab-01", "major", "lab-01 is gone")
    assert (new, new_again, again.id, again.count) == (True, False, first.id, 2)
    await writer.open_alarm("store-down", "critical", "The database can't be written")
    assert [row.severity for row in (await ask(queries.alarms, True))] == ["critical", "major"]
    assert await writer.close_alarm("box-unreachable:lab-01")
    assert not await writer.close_alarm("box-unreachable:lab-01")
    assert [row.cause for row in (await ask(queries.alarms, True))] == ["store-down"]
    reopened, _ = await writer.open_alarm("box-unreachable:lab-01", "major", "lab-01 is gone")
    assert reopened.id != first.id
    assert len(await ask(queries.alarms, False)) == 3


@pytest.mark.stack
async def test_a_long_explanation_is_shortened_to_4_kb(writer: Writer, queries: Queries) -> None:
    """A big rack must not make records that fill the disk; counts survive, examples go."""
    dropped = tuple(
        Dropped(candidate=f"box-{n:03} / 1", reason="The channel is speaking.") for n in range(20)
    )
    steps = tuple(
        CheckStep(
            check=f"check-{n}", title="Title of the check", went_in=1000 - n, left=999 - n, dropped=dropped
        )
        for n in range(15)
    )
    long = Explanation(config_version=1, sender="trunk", called_received="1", steps=steps)
    await writer.finish(Finished(a_record(), long, (), ()))
    story = await ask(queries.story, "c1")
    assert story is not None
    assert story.explanation is not None
    assert len(story.explanation.model_dump_json(exclude_defaults=True)) <= 4096
    assert [step.left for step in story.explanation.steps] == [step.left for step in steps]


CHILD = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from store.values import FixedClock, an_open_call, finished, some_dialogs
from simrack.controller.store.writer import Writer
from simrack.wire.messages import CallPart

async def main():
    async with Writer(sys.argv[1], FixedClock(), "run-1") as writer:
        n = 0
        while True:
            n += 1
            await writer.open_call(an_open_call(f"c{n}"))
            await writer.connected(f"c{n}", some_dialogs(f"a{n}"))
            print(n, flush=True)
            await writer.finish(finished(f"c{n}", f"a{n}"))

asyncio.run(main())
"""


@pytest.mark.stack
def test_kill_9_while_writing_leaves_nothing_half_written(url: str, queries: Queries) -> None:
    """Each call of a killed controller is either open or a whole record: none is lost, none is both."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD, url, str(Path(__file__).parents[1])],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = 0
    for line in child.stdout:
        said = int(line)
        if said == 40:
            os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    opened = {row.call for row in queries.open_calls()}
    page = queries.records(RecordFilter(per_page=1000))
    closed = {row.call for row in page.rows}
    assert not opened & closed
    assert {f"c{n}" for n in range(1, said + 1)} <= opened | closed
    stories = [queries.story(call) for call in closed]
    assert all(story is not None and story.attempts and story.explanation for story in stories)
