"""A lab in this process for each test that asks for one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lab.bench import FAST, Bench, Maker

from simrack.lab.emulator.network import Timing
from simrack.lab.emulator.numbers import STANDARD
from simrack.lab.emulator.oddities import Quirk
from simrack.lab.emulator.rack import Lab, Plan
from simrack.wire.ports import SystemClock


@pytest.fixture
async def make_bench(tmp_path: Path) -> AsyncIterator[Maker]:
    """Make a lab with one box; quirks hold for every module."""
    stack = contextlib.AsyncExitStack()

    async def make(channels: int = 1, quirks: frozenset[Quirk] = frozenset(), timing: Timing = FAST) -> Bench:
        seats = {(1, channel): quirks for channel in range(1, channels + 1)}
        lab = Lab(Plan(1, channels, tmp_path / "ports", 7, timing, seats), SystemClock())
        number, tone = STANDARD["tone"]
        lab.numbers.set(number, tone.model_copy(update={"answer_after_s": 0.02}))
        bench, ready = Bench(lab), asyncio.Event()
        task = asyncio.create_task(lab.run(ready))

        async def stop() -> None:
            for port in bench.ports:
                port.close()
            task.cancel()
            await asyncio.wait((task,))

        stack.push_async_callback(stop)
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return bench

    async with stack:
        yield make


@pytest.fixture
async def bench(make_bench: Maker) -> Bench:
    """A lab with one module, as it leaves the factory."""
    return await make_bench()
