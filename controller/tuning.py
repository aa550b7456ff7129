"""How the interpreter runs a controller: measured with benchmarks/s1_calls.py (docs/performance.md)."""

import gc
import sys

# The writer's thread gives up the interpreter around each statement; by default it gets it back after 5 ms.
SWITCH_S = 0.001
# A call leaves few cycles behind, and a search for them walks over everything that calls hold.
GC_AFTER = (20_000, 20, 50)


def settle() -> None:
    """Once a process, when everything that stays is loaded: configuration and code are searched no more."""
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_AFTER)
