"""How the interpreter is told what stays: tried in a process of its own, as it is told for good."""

import subprocess
import sys

SCRIPT = """
import asyncio, gc
from simrack.wire import tuning

tuning.settle()
first, stays = gc.get_freeze_count(), [[] for _ in range(10_000)]
searched = []
gc.callbacks.append(lambda phase, info: searched.append(phase))
asyncio.run(tuning.keep(0.0))
print(first > 0, gc.get_freeze_count() - first >= 10_000, searched, gc.get_threshold() == tuning.GC_AFTER)
"""


def test_what_stays_is_searched_no_more() -> None:
    """A box would stand still for a tenth of a second now and then: no voice goes, and ends of calls are seen late."""
    found = subprocess.run([sys.executable, "-P", "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split("\n")[0] == "True True [] True"
