"""Invariant 5: a module that hangs, babbles, resets or vanishes disturbs no other call of its box.

Short, for a machine that does other things as well; `make proof WHAT=mad_modules` is the same with 32 calls for minutes.
"""

import asyncio
from pathlib import Path

import pytest
from support import processes
from voice_mad import talking

#: Events per call and second that pass for noise of a busy machine, beyond four times what it shows without any fault.
NOISE = 1.0
#: What a mad module does to others it does each time; what another process does to all of us, it does once.
TRIES = 3


@pytest.mark.timeout(120)
async def test_four_mad_modules_disturb_no_other_call(tmp_path: Path) -> None:
    """Breaks: one dying module of 32 makes all callers of the box hear holes; and this test would not notice.

    The second half plants what must never be, a box that stands still for half a second.
    """
    with processes(tmp_path) as begin:
        async with talking(tmp_path, begin, calls=8, mad=4, seed=5) as rig:
            await asyncio.sleep(3)  # the jitter buffers' own windows; nothing else tells that they have settled
            for _ in range(TRIES):
                calm = await asyncio.to_thread(rig.phase, 3.0)
                mad = await asyncio.to_thread(rig.phase, 6.5, rig.go_mad(0.3, 1.2))
                alive = rig.alive()
                rig.calm()
                if mad.rate <= NOISE + 4 * calm.rate:
                    break
            frozen = await asyncio.to_thread(rig.phase, 3.0, ((0.5, lambda: rig.freeze(0.5)),))
    limit = NOISE + 4 * calm.rate
    assert alive == 4
    assert mad.rate <= limit, f"calm: {calm}; mad: {mad}"
    assert frozen.rate > limit, f"calm: {calm}; frozen: {frozen}"
