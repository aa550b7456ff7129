"""What a box notes after it stood still is known to be late; a record must not pass a guess off as exact."""

import asyncio
import threading

from simrack.gateway.voice import VoiceTicker
from simrack.wire.ports import SystemClock

STALL_S = 0.4


async def ticks(ticker: VoiceTicker, count: int) -> None:
    while ticker.ticks < count:  # noqa: ASYNC110 - a counter of the product; it has no event
        await asyncio.sleep(0)


async def test_moments_after_a_stall_are_told_apart() -> None:
    """A frozen box hears of the answer seconds late: talk time measured from there would be billed as exact."""
    clock = SystemClock()
    ticker = VoiceTicker(clock)
    running = asyncio.create_task(ticker.run())
    await ticks(ticker, 3)
    before = clock.monotonic() - 0.005
    assert not ticker.stalled(before - 1.0)
    threading.Event().wait(STALL_S)  # the whole process stands still, as under SIGSTOP
    # Read before the ticker has run again, as what waits at a port is.
    late = clock.monotonic()
    assert ticker.stalled(late)
    await ticks(ticker, ticker.ticks + 1)
    assert ticker.stalled(late)
    assert ticker.stalled(late - STALL_S / 2)
    assert not ticker.stalled(late + 1.0)
    assert not ticker.stalled(before - 1.0)
    running.cancel()


def test_a_ticker_that_does_not_run_knows_of_no_stall() -> None:
    clock = SystemClock()
    assert not VoiceTicker(clock).stalled(clock.monotonic())
