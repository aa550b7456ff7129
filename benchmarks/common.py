"""What the benchmarks share: one JSON file a figure, with the reference of the same run beside it."""

import contextlib
import json
import os
import statistics
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One measured figure; `ratio` is figure / reference, both from the same minute on the same machine."""

    id: str
    what: str
    unit: str
    figure: dict[str, float]
    reference: dict[str, float]
    reference_what: str
    ratio: float
    limited_by: str
    samples: int


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum, rounded to 0.01."""
    return {
        "p50": round(statistics.median(values), 2),
        "p99": round(percentile(values, 0.99), 2),
        "max": round(max(values), 2),
    }


def keep(figure: Figure) -> None:
    """Write the figure for `docs/figures.md`, and print it."""
    RESULTS.mkdir(exist_ok=True)
    document = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(figure)}
    (RESULTS / f"{figure.id}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document))


# --- processes under measurement ----------------------------------------------------------------------------

TICKS = os.sysconf("SC_CLK_TCK")
READY_S = 60.0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024, 1)


@contextlib.contextmanager
def start(
    argv: Sequence[str], folder: Path, cores: set[int], *, ready: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """A process on these cores, until the block ends; with `ready`, once it printed its ready line."""
    name = Path(argv[0]).name if "/" not in argv[0] else next((Path(w).stem for w in argv[1:] if not w.startswith("-")), "process")
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
            stderr=log, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        try:
            if ready:
                _await_ready(process, folder / f"{name}.log")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _await_ready(process: "subprocess.Popen[str]", log: Path) -> None:
    guard = threading.Timer(READY_S, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        if not any('"ready"' in line for line in iter(process.stdout.readline, "")):
            raise RuntimeError(f"{process.args!r} did not become ready:\n{log.read_text()[-3000:]}")
    finally:
        guard.cancel()
