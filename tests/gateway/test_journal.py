"""Attempts that a kill cuts off: exactly one part each, exact where the module still told, else marked."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from gateway_support import NOON, CountingIds, HandClock
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.modems.base import LeftOver, Progress
from simrack.gateway.attempts import Found, OpenAttempt, When, part_of
from simrack.gateway.journal import Journal
from simrack.gateway.outbox import Outbox
from simrack.wire.messages import AckRange, CallPart, FaultPart


def when(seconds: float, wall_s: float | None = None) -> When:
    return When(mono=100 + seconds, utc=NOON + timedelta(seconds=seconds if wall_s is None else wall_s))


def row(attempt: str = "a1", **more: object) -> OpenAttempt:
    fields: dict[str, object] = {
        "call": "c1", "attempt": attempt, "channel": 1, "imei": "86", "iccid": "89", "imsi": "001", "machine": "m1",
        "number": "+882", "invited": when(0), "dialled": when(0.1), "connected": when(5),
    }  # fmt: skip
    return OpenAttempt.model_validate({**fields, **more})


def held(state: Progress, at: float, *, outgoing: bool = True) -> LeftOver:
    return LeftOver(outgoing, state, 100 + at)


def closed(attempt: OpenAttempt, found: Found) -> CallPart:
    return part_of(attempt, found, max_call_s=7200)


SPEAKING = Found(when(30), "m1", held(Progress.ACTIVE, 30), "86")


def test_a_call_that_the_module_still_held_is_exact_to_the_moment_of_its_hang_up() -> None:
    part = closed(row(), SPEAKING)
    assert (part.talk_ms, part.ring_ms, part.estimated) == (25_000, 4_900, False)
    assert part.released - NOON == timedelta(seconds=30)
    assert (part.cause, part.side, part.number, part.imei, part.iccid) == (41, "rack", "+882", "86", "89")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(SPEAKING, held=None), "the call had ended by itself at some moment"),
        (replace(SPEAKING, imei="other"), "the call is in another module"),
        (replace(SPEAKING, held=held(Progress.ACTIVE, 30, outgoing=False)), "the module holds another call"),
        (replace(SPEAKING, machine="m2"), "the machine was restarted, too"),
        (replace(SPEAKING, machine=""), "nothing tells that it is the same machine"),
        (replace(SPEAKING, at=when(30, 3630)), "the wall clock was set forward by an hour"),
        (replace(SPEAKING, at=when(30, -3570)), "the wall clock was set back by an hour"),
    ],
)
def test_what_is_not_known_for_sure_is_marked(found: Found, why: str) -> None:
    part = closed(row(), found)
    assert part.estimated, why
    assert part.connected
    assert part.released - part.connected == timedelta(milliseconds=part.talk_ms)


def test_an_hours_jump_of_the_wall_clock_is_not_billed() -> None:
    assert closed(row(), replace(SPEAKING, at=when(30, 3630))).talk_ms == 25_000


def test_a_call_that_vanished_is_no_longer_than_the_longest_permitted() -> None:
    part = closed(row(), Found(when(90_000), "m1"))
    assert (part.talk_ms, part.estimated) == (7_200_000, True)


def test_a_call_that_was_not_answered_is_exact_while_it_rings() -> None:
    part = closed(row(connected=None), replace(SPEAKING, held=held(Progress.ALERTING, 30)))
    assert (part.connected, part.talk_ms, part.ring_ms, part.estimated) == (None, 0, 29_900, False)
    part = closed(row(connected=None), replace(SPEAKING, held=None))
    assert (part.connected, part.estimated) == (None, True)


def test_a_call_that_was_answered_behind_the_boxs_back_is_answered_and_marked() -> None:
    part = closed(row(connected=None), SPEAKING)
    assert part.connected
    assert (part.talk_ms, part.estimated) == (0, True)


@given(
    moments=st.lists(st.floats(0, 1e5), min_size=3, max_size=3).map(sorted), end=st.floats(-1e5, 2e5),
    wall=st.floats(-1e5, 2e5), machine=st.sampled_from(["m1", "m2", ""]), known=st.integers(0, 2),
    state=st.sampled_from([None, *Progress]), outgoing=st.booleans(),
)  # fmt: skip
def test_no_part_is_ever_negative_or_contradicts_itself(
    moments: list[float], end: float, wall: float, machine: str, known: int, state: Progress | None, outgoing: bool
) -> None:
    dialled, connected = (when(at) if known > i else None for i, at in enumerate(moments[1:]))
    attempt = row(invited=when(moments[0]), dialled=dialled, connected=connected)
    over = held(state, end, outgoing=outgoing) if state else None
    part = closed(attempt, Found(when(end, wall), machine, over, "86"))
    assert part.talk_ms >= 0
    assert part.ring_ms >= 0
    if part.connected:
        assert abs((part.released - part.connected) - timedelta(milliseconds=part.talk_ms)) < timedelta(milliseconds=1)
    elif part.dialled:
        assert part.released >= part.dialled
    assert part.estimated or abs(wall - end) < 1


# --- over real files ----------------------------------------------------------------------------------------


@dataclass
class Life:
    """One run of the box's file and journal; ends without a word, as a killed process does."""

    outbox: Outbox
    journal: Journal = field(init=False)

    @classmethod
    async def begin(cls, folder: Path, clock: HandClock) -> "Life":
        made = cls(await Outbox.open("lab-01", folder, clock, CountingIds()))
        made.journal = Journal(made.outbox, made, clock, 7200, frozenset({1, 2}), machine="m1")
        return made

    async def put(self, body: CallPart | FaultPart) -> None:
        await self.outbox.put(body, None)

    async def parts(self) -> list[CallPart]:
        return [event.body for event in await self.outbox.pending(99) if isinstance(event.body, CallPart)]


async def test_each_open_attempt_makes_one_part_however_often_the_box_starts(tmp_path: Path) -> None:
    clock = HandClock()
    life = await Life.begin(tmp_path, clock)
    assert await life.journal.remember(row("a1", connected=None))
    await life.journal.note(row("a1"))
    assert await life.journal.remember(row("a2", channel=2, direction="in"))
    assert await life.journal.remember(row("over"))
    assert await life.journal.remember(row("refused"))
    await life.journal.forget("refused")
    await life.put(CallPart.model_validate({**closed(row("over"), SPEAKING).model_dump()}))
    await life.outbox.close()
    clock.now += 30

    life = await Life.begin(tmp_path, clock)
    await life.journal.settle(1, "86", held(Progress.ACTIVE, 29.5))
    await life.outbox.close()
    life = await Life.begin(tmp_path, clock)
    await life.journal.settle(1, "86", None)
    await life.journal.settle(2, "87", None)
    await life.journal.settle(2, "87", None)
    await life.outbox.close()

    life = await Life.begin(tmp_path, clock)
    await life.journal.settle(1, "86", None)
    assert [(part.attempt, part.talk_ms, part.estimated) for part in await life.parts()] == [
        ("over", 25_000, False), ("a1", 24_500, False), ("a2", 25_000, True),
    ]  # fmt: skip
    assert not await life.journal.remember(row("refused")), "its id stays known"
    await life.outbox.close()


async def test_a_channel_that_is_no_more_still_gets_its_record(tmp_path: Path) -> None:
    life = await Life.begin(tmp_path, HandClock())
    await life.journal.remember(row("a1", channel=9))
    await life.outbox.close()
    life = await Life.begin(tmp_path, HandClock())
    await life.journal.run()
    assert [part.estimated for part in await life.parts()] == [True]
    await life.outbox.close()


async def test_a_part_that_only_memory_held_is_not_made_again_once_the_controller_has_it(tmp_path: Path) -> None:
    """The disk was full when the call ended: the acknowledged part must take its row along."""
    life = await Life.begin(tmp_path, HandClock())
    await life.journal.remember(row("a1"))
    rows = life.outbox._db
    await rows.run(lambda: rows.db.execute("PRAGMA max_page_count = 1").fetchone())
    event = await life.outbox.put(closed(row("a1"), SPEAKING).model_copy(update={"cause_text": "x" * 99_000}), None)
    assert not await life.outbox.flush()
    await life.outbox.acknowledge([AckRange(boot=event.boot, first=event.seq, last=event.seq)])
    await life.outbox.close()
    life = await Life.begin(tmp_path, HandClock())
    assert life.outbox.left == ()
    await life.outbox.close()


_CHILD = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_journal import Life, row, closed, SPEAKING
from gateway_support import HandClock

async def main():
    life = await Life.begin(Path(sys.argv[1]), HandClock())
    await life.journal.settle(1, "86", None)
    number = 0
    while True:
        number += 1
        attempt = f"{life.outbox.boot}-{number}"
        await life.journal.remember(row(attempt))
        print("attempt", attempt, flush=True)
        await life.journal.note(row(attempt))
        if number % 3:
            await life.put(closed(row(attempt), SPEAKING))

asyncio.run(main())
"""


@pytest.mark.parametrize("kills", [4])
async def test_kill_9_anywhere_leaves_one_part_per_attempt(tmp_path: Path, kills: int) -> None:
    """A call without its part is unbilled, one with two is billed twice."""

    def live(lines: int) -> list[str]:
        paths = os.pathsep.join(sys.path)
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        assert child.stdout is not None
        with child.stdout:
            told = [line.split() for line in itertools.islice(child.stdout, lines)]
            child.send_signal(signal.SIGKILL)
            told += [line.split() for line in child.stdout if line.endswith("\n")]
        child.wait()
        return [words[1] for words in told if words[0] == "attempt"]

    attempts: list[str] = []
    for kill in range(kills):
        attempts += await asyncio.to_thread(live, 5 + 17 * kill)
    life = await Life.begin(tmp_path, HandClock())
    await life.journal.settle(1, "86", None)
    await life.outbox.close()
    life = await Life.begin(tmp_path, HandClock())
    events = await life.outbox.pending(100_000)
    made = [event.body.attempt for event in events if isinstance(event.body, CallPart)]
    assert len(made) == len(set(made))
    # One more may be there: its line was cut off by the kill.
    assert set(attempts) <= set(made)
    assert len(made) - len(attempts) <= kills
    await life.outbox.close()
