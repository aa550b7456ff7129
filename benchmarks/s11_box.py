"""S11: what 32 idle channels cost on a box, and how soon all of them serve after its process starts.

A whole installation with an emulated network; the modules run and answer at once, so that start to served is the box's own time:
its process is killed, `simrack up` starts it again, and each channel's report tells since when it is ready. Reference: the same
interpreter that imports nothing, for memory and for the start. `--seconds` (60), `--channels` (32), `--starts` (3).
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Figure, cpu_seconds, keep, percentile, resident_mb
from support import processes
from system.rack import Rack, until

from simrack.wire.channel import ChannelState

SETTLE_S = 5.0
CORES = 2


def box_of(parent: int) -> int | None:
    """The box's process, a child of `simrack up`."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(stat[1]) == parent and b"box" in words[:6] and stat[0] != "Z":
            return int(entry.name)
    return None


def start_s(rack: Rack) -> tuple[float, float]:
    """Kill the box; seconds, and seconds of CPU, from its new process to its last channel in service."""
    parent = rack.process.popen.pid
    old = box_of(parent)
    assert old is not None
    os.kill(old, signal.SIGKILL)
    seen, new = 0.0, None
    for _ in range(3000):
        new = box_of(parent)
        if new is not None and new != old:
            seen = time.time()
            break
        time.sleep(0.01)
    assert seen, "the box was not started again"
    assert new

    def served() -> float:
        reports = rack.snapshot().channels.values()
        since = [r.since.timestamp() for r in reports if r.state is ChannelState.READY and r.since.timestamp() > seen]
        return max(since) if len(since) == rack.channels else 0.0

    took = float(until(served, "all channels in service", 60.0)) - seen
    return took, cpu_seconds(new)


def idle(pid: int, seconds: float) -> float:
    """Share of a core."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def bare() -> tuple[float, float]:
    """(memory in MB, seconds to start) of the interpreter alone."""
    began = time.monotonic()
    code = "import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        return resident_mb(process.pid), time.monotonic() - began


def main() -> None:
    """Measure and keep the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, processes(Path(name)) as begin:
        rack = Rack(Path(name), begin, boxes=1, channels=options.channels)
        starts, spent = [], []
        for _ in range(options.starts):
            took, cpu = start_s(rack)
            starts.append(took)
            spent.append(cpu)
            time.sleep(SETTLE_S)
        pid = box_of(rack.process.popen.pid)
        assert pid is not None
        share = idle(pid, options.seconds)
        memory = resident_mb(pid)
        load = os.getloadavg()[0]
        reference_mb, reference_s = bare()
    print(f"CPU of a start: {max(spent):.2f} s, the look at the fleet included", file=sys.stderr)
    for text, value, most, unit in (
        ("memory", memory, 120, "MB"), ("idle", 100 * share, 5, "% of a core"), ("start", max(starts), 3, "s"),
    ):  # fmt: skip
        print(f"{text}: {value:.1f} {unit}, at most {most}: {'holds' if value <= most else 'DOES NOT HOLD'}", file=sys.stderr)
    if load > CORES:
        print(f"the machine was loaded: {load:.1f} on {CORES} cores; repeat on a quiet one", file=sys.stderr)
    keep(
        Figure(
            id="s11_box", what=f"box process with {options.channels} channels: start to all channels served; memory and idle CPU beside it",
            unit="s",
            figure={
                "p50": round(percentile(starts, 0.5), 2), "p99": round(max(starts), 2), "max": round(max(starts), 2),
                "ready_s": round(max(starts), 2), "start_cpu_s": round(max(spent), 2), "memory_mb": memory,
                "cpu_percent": round(100 * share, 2), "load": round(load, 1),
            },
            reference={"p50": round(reference_s, 3), "resident_mb": reference_mb},
            reference_what="the interpreter alone", ratio=round(memory / reference_mb, 1),
            limited_by="start: imports (half a second of CPU), then the start-up lists of 32 modules in one loop; memory: Python and its libraries; "
            "idle: one poll of each module (+CSQ, +CLCC) and its report",
            samples=len(starts),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
