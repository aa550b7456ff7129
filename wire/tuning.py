"""How the interpreter runs our processes: measured with benchmarks (docs/performance.md)."""

import asyncio
import gc
import sys

# The writer's thread gives up the interpreter around each statement; by default it gets it back after 5 ms.
SWITCH_S = 0.001
# A call leaves some 350 objects in cycles, half a minute after its end (the SIP library's dialogs). A full search
# after 100,000 new objects is every few hundred calls: memory stays level, and young ones are searched less often.
GC_AFTER = (10_000, 5, 2)
# Every module of a box has been found by then, or is being brought back.
MODULES_WITHIN_S = 30.0


def settle(gc_after: tuple[int, int, int] = GC_AFTER) -> None:
    """Once a process, when everything that stays is loaded: configuration and code are searched no more."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc_after)


async def keep(after_s: float = MODULES_WITHIN_S) -> None:
    """Once more, for what the first seconds brought: at once and without a search, as calls may be up by now."""
    await asyncio.sleep(after_s)
    gc.freeze()
