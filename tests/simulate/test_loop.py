"""The virtual clock and its processes: time without waiting, a freeze, a crash that no `finally` can soften.

If these fail, the simulation misses faults that real processes have, or sees such as they can't have.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from simrack.lab.simulate.loop import Deadlock, Incarnation, Life, VirtualLoop


def run(loop: VirtualLoop, work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def test_a_day_passes_at_once() -> None:
    loop, begun = VirtualLoop(), time.monotonic()
    run(loop, asyncio.sleep(86_400))
    assert loop.time() == pytest.approx(86_400)
    assert time.monotonic() - begun < 5


def test_who_waits_for_nobody_is_told() -> None:
    loop = VirtualLoop()

    async def forever() -> None:
        await loop.create_future()

    waits = loop.create_task(forever())
    with pytest.raises(Deadlock):
        loop.run_until_complete(waits)
    waits.cancel()
    run(loop, asyncio.sleep(0))


def test_timers_of_one_instant_keep_time_and_executors_their_order() -> None:
    loop, said = VirtualLoop(), list[int]()

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.to_thread(said.append, number) for number in range(5)))

    run(loop, scenario())
    assert said == [0, 1, 2, 3, 4]


def test_frozen_process_does_nothing_and_then_everything() -> None:
    loop, said = VirtualLoop(), list[float]()
    process = Incarnation(loop, "p")

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            said.append(loop.time())

    async def scenario() -> None:
        process.start(tick())
        await asyncio.sleep(2.5)
        process.freeze()
        await asyncio.sleep(5)
        process.thaw()
        await asyncio.sleep(1.6)
        process.kill()
        await asyncio.sleep(0.1)

    run(loop, scenario())
    assert said == pytest.approx([1, 2, 7.5, 8.5])


def test_killed_process_can_clean_nothing_up() -> None:
    loop, wire = VirtualLoop(), list[str]()
    process = Incarnation(loop, "p")
    is_open = [True]
    process.ports.append(lambda: is_open.__setitem__(0, False))

    def send(word: str) -> None:
        if is_open[0]:
            wire.append(word)

    async def work() -> None:
        try:
            send("hello")
            await asyncio.sleep(100)
        finally:
            send("goodbye")
            await asyncio.sleep(1)
            send("and goodbye again")

    async def scenario() -> None:
        task = process.start(work())
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(10)
        assert task.done()

    run(loop, scenario())
    assert wire == ["hello"]
    assert process.life is Life.DEAD


def test_message_for_a_dead_process_is_lost_and_for_a_frozen_one_waits() -> None:
    loop, heard = VirtualLoop(), list[str]()
    dead, frozen = Incarnation(loop, "dead"), Incarnation(loop, "frozen")

    async def scenario() -> None:
        dead.kill()
        frozen.freeze()
        await asyncio.sleep(1)
        dead.soon(heard.append, "dead")
        frozen.soon(heard.append, "frozen")
        await asyncio.sleep(1)
        assert heard == []
        frozen.thaw()
        await asyncio.sleep(1)

    run(loop, scenario())
    assert heard == ["frozen"]
