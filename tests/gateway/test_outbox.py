"""The box's file: what was said to be stored is there after every kind of end."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_support import CountingIds, HandClock, part

from simrack.gateway.errors import StoreBroken
from simrack.gateway.outbox import FILE, Outbox
from simrack.wire.channel import Mark
from simrack.wire.errors import UserError
from simrack.wire.messages import AckRange, BoxEvent, FaultPart


async def opened(folder: Path, clock: HandClock | None = None) -> Outbox:
    return await Outbox.open("lab-01", folder, clock or HandClock(), CountingIds())


async def attempts_waiting(outbox: Outbox) -> list[str]:
    return [getattr(event.body, "attempt", "") for event in await outbox.pending(100)]


async def test_facts_stay_in_order_until_their_ranges_are_acknowledged(tmp_path: Path) -> None:
    outbox = await opened(tmp_path)
    for number in range(1, 8):
        await outbox.put(part(f"a{number}"), 12)
    assert [event.seq for event in await outbox.pending(100)] == [1, 2, 3, 4, 5, 6, 7]
    await outbox.acknowledge([AckRange(boot=outbox.boot, first=2, last=4), AckRange(boot=outbox.boot, first=7, last=9)])
    assert await attempts_waiting(outbox) == ["a1", "a5", "a6"]
    await outbox.acknowledge([AckRange(boot="other", first=1, last=99)])
    assert outbox.waiting == 3
    await outbox.close()


async def test_a_restart_keeps_facts_under_their_old_boot_and_gives_a_new_one(tmp_path: Path) -> None:
    first = await opened(tmp_path)
    await first.put(part("a1"), None)
    await first.keep_marks(3, frozenset({Mark.DISABLED}))
    await first.close()
    second = await opened(tmp_path)
    assert second.boot != first.boot
    assert second.boot.split("-")[0] == "2"
    assert second.waiting == 1
    assert second.marks == {3: frozenset({Mark.DISABLED})}
    await second.put(part("a2"), None)
    assert [(e.boot, e.seq) for e in await second.pending(9)] == [(first.boot, 1), (second.boot, 1)]
    await second.close()


async def test_an_attempt_is_dialled_once_in_24_hours_even_over_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    outbox = await opened(tmp_path, clock)
    assert await outbox.remember("x")
    assert not await outbox.remember("x")
    await outbox.close()
    clock.now += 23 * 3600
    outbox = await opened(tmp_path, clock)
    assert not await outbox.remember("x")
    clock.now += 2 * 3600
    await outbox.close()
    outbox = await opened(tmp_path, clock)
    assert await outbox.remember("y")
    assert await outbox.remember("x")
    await outbox.close()


_CHILD = """
import asyncio, sys
from pathlib import Path
from simrack.gateway.outbox import Outbox
from simrack.wire.messages import FaultPart
from simrack.wire.ports import SystemClock, SystemIds

async def main():
    outbox = await Outbox.open("lab-01", Path(sys.argv[1]), SystemClock(), SystemIds())
    number = 0
    while True:
        number += 1
        await outbox.remember(f"x{number}")
        await outbox.put(FaultPart(channel=number, reason="r"), None)
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 7, 40])
async def test_kill_9_loses_nothing_that_was_stored(tmp_path: Path, after: int) -> None:
    """A call's part that vanished with the process would be an unbilled call."""

    def kill_after() -> int:
        child = subprocess.Popen([sys.executable, "-P", "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout:
            last = 0
            while last < after:
                last = int(child.stdout.readline())
            os.kill(child.pid, signal.SIGKILL)
            rest = [int(line) for line in child.stdout.read().split()]
        child.wait()
        return max([last, *rest])

    stored = await asyncio.to_thread(kill_after)
    outbox = await opened(tmp_path)
    events = await outbox.pending(10_000)
    numbers = [event.body.channel for event in events if isinstance(event.body, FaultPart)]
    assert numbers[:stored] == list(range(1, stored + 1))
    assert not await outbox.remember(f"x{stored}")
    await outbox.close()


async def test_a_corrupt_file_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x00not a database" * 999)
    outbox = await opened(tmp_path)
    assert outbox.set_aside
    assert (tmp_path / outbox.set_aside).read_bytes().startswith(b"\x00not")
    assert await outbox.remember("x")
    await outbox.close()


async def test_a_file_with_damaged_pages_is_set_aside(tmp_path: Path) -> None:
    outbox = await opened(tmp_path)
    for number in range(200):
        await outbox.put(part(f"a{number}"), None)
    await outbox.close()
    data = bytearray((tmp_path / FILE).read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    (tmp_path / FILE).write_bytes(data)
    outbox = await opened(tmp_path)
    assert outbox.set_aside
    await outbox.close()


async def test_a_newer_file_stops_the_start(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UserError, match="version 99"):
        await opened(tmp_path)


async def test_two_boxes_never_share_a_folder(tmp_path: Path) -> None:
    outbox = await opened(tmp_path)
    with pytest.raises(UserError, match="another box"):
        await opened(tmp_path)
    await outbox.close()


async def test_a_folder_that_cant_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        await opened(tmp_path / "file" / "box")
    assert "box.db" in caught.value.where


async def fill(outbox: Outbox) -> None:
    for number in range(10_000):
        await outbox.remember(f"x{number}" * 20)


async def test_a_full_disk_refuses_attempts_and_keeps_facts_in_memory_until_there_is_room(tmp_path: Path) -> None:
    """What can't be noted must not be dialled; what was done must not be forgotten."""
    outbox = await opened(tmp_path)
    told: list[str] = []
    outbox.on_trouble = lambda: told.append(outbox.trouble)
    rows = outbox._db
    await rows.run(lambda: rows.db.execute("PRAGMA max_page_count = 1").fetchone())
    with pytest.raises(StoreBroken):
        await fill(outbox)
    big = part("a1", cause_text="x" * 9000)
    event: BoxEvent = await outbox.put(big, None)
    assert not await outbox.flush()
    trouble, waiting = await outbox.pending(5)
    assert waiting == event
    assert isinstance(trouble.body, FaultPart)
    assert (trouble.body.channel, trouble.body.cleared) == (0, False)
    assert "full" in trouble.body.reason
    await rows.run(lambda: rows.db.execute("PRAGMA max_page_count = 100000").fetchone())
    assert await outbox.flush()
    assert [bool(text) for text in told] == [True, False]
    await outbox.close()
    again = await opened(tmp_path)
    assert await attempts_waiting(again) == ["", "a1", ""]
    await again.close()


@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_a_wall_clock_that_jumps_lets_no_attempt_be_dialled_twice(tmp_path: Path, jump_s: int) -> None:
    clock = HandClock()
    outbox = await opened(tmp_path, clock)
    assert await outbox.remember("x")
    clock.set_s = jump_s
    assert not await outbox.remember("x")
    await outbox.close()
    outbox = await opened(tmp_path, clock)
    assert not await outbox.remember("x")
    await outbox.close()
