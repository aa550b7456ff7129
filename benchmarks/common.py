"""What the benchmarks share: one JSON file a figure, with the reference of the same run beside it."""

import contextlib
import json
import os
import statistics
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# Enough to see a trend; the file stays readable.
MOST_HISTORY = 30


@dataclass(frozen=True)
class Target:
    """One figure to reach: `key` in the results, at most (or at least) `limit`."""

    key: str
    what: str
    unit: str
    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


# What is to be reached, by figure (docs/figures.md shows these and nothing else in its charts).
TARGETS: Mapping[str, tuple[Target, ...]] = {
    "s1_calls": (
        Target("cpu_ratio", "CPU of a call against the bare library's", "x", 2.0),
        Target("cpu_ms_per_call", "CPU of the controller for a call (80 a second fill one core at 12.5)", "ms", 12.5),
        Target("failed", "failed calls at 80 a second, and in bursts", "", 0),
        Target("retransmissions", "retransmissions at 80 a second, and in bursts", "", 0),
        Target("not_stored", "calls without their record, or with an estimated one", "", 0),
        Target("overload_failed", "admitted calls that failed when 200 a second were offered", "", 0),
        Target("refusal_p99_ms", "503 to what is not admitted, 99th percentile", "ms", 500),
        Target("held", "calls held at once", "", 3000, at_least=True),
    ),
    "s2_delay": (
        Target("p50", "delay added, median", "ms", 15),
        Target("p99", "delay added, 99th percentile", "ms", 60),
    ),
    "s3_voice": (
        Target("p95", "delay added to voice, 95th percentile", "ms", 60),
        Target("late", "packets late", "", 0),
        Target("clicks", "clicks", "", 0),
        Target("cpu_percent_of_core", "CPU of 32 calls' voice, of one core", "%", 100),
    ),
    "s4_routing": (Target("per_second", "decisions a second, 2,000 channels", "/s", 5000, at_least=True),),
    "s8_fleet": (
        Target("web_per_second", "changes a second taken in by the control room", "/s", 4950, at_least=True),
        Target("controller_per_second", "changes a second taken in by the controller", "/s", 4950, at_least=True),
        Target("page_p95_ms", "rack page meanwhile, 95th percentile", "ms", 200),
        Target("controller_mb", "memory of the controller", "MB", 1000),
    ),
    "s9_records": (
        Target("page_p95_ms", "a filtered page of records, 95th percentile, the slower database", "ms", 300),
        Target("day_p95_ms", "a grouped day with last week and charts, 95th percentile, the slower database", "ms", 1000),
    ),
    "s11_box": (
        Target("memory_mb", "memory of the box agent, 32 channels", "MB", 120),
        Target("cpu_percent", "CPU when idle, of one core", "%", 5),
        Target("ready_s", "modules answer -> all channels served", "s", 3),
    ),
    "s12_newcomer": (Target("p50", "`make demo` to a checked call", "s", 180),),
}


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
    spread: list[float] = field(default_factory=list)  # each 5th percentile, 0 to 100


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


def spread(values: Sequence[float]) -> list[float]:
    """Each 5th percentile, for a chart of the distribution."""
    return [round(percentile(values, share / 20), 2) for share in range(21)] if values else []


def machine() -> dict[str, Any]:
    """What the figure was measured on, and how busy that was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "load": [round(value, 2) for value in os.getloadavg()]}


def commit() -> str:
    """The code that was measured; "+" when the tree had changes."""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    changes = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() + ("+" if changes.stdout.strip() else "")


def keep(figure: Figure) -> None:
    """Write the figure for `docs/figures.md`, with those before it, and print it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{figure.id}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    history = before.get("history", [])
    if before:
        history.append({name: before.get(name) for name in ("measured", "commit", "figure", "ratio")})
    document = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine(),
        **asdict(figure), "history": history[-MOST_HISTORY:],
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({key: value for key, value in document.items() if key not in ("history", "spread")}))
    for target in TARGETS.get(figure.id, ()):
        value = figure.figure.get(target.key)
        if value is not None:
            sign = ">=" if target.at_least else "<="
            said = "reached" if target.met(value) else "MISSED"
            print(f"  {said:8} {target.what}: {value:g} {target.unit} ({sign} {target.limit:g})")


# --- processes under measurement ----------------------------------------------------------------------------

TICKS = os.sysconf("SC_CLK_TCK")
READY_S = 60.0


def on_cores(cores: set[int], argv: Sequence[str]) -> list[str]:
    """The command, held to these cores."""
    return ["taskset", "-c", ",".join(map(str, sorted(cores))), *argv]


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
    argv: Sequence[str], log: Path, cores: set[int], *, ready: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """A process on these cores, until the block ends; with `ready`, once it printed its ready line."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            on_cores(cores, argv), cwd=log.parent, stdin=subprocess.DEVNULL, text=True, stderr=sink,
            stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
        )  # fmt: skip
        try:
            if ready:
                _await_ready(process, log)
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
    # A thread ends a child that never says anything, which ends the blocking read below.
    guard = threading.Timer(READY_S, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        if not any('"ready"' in line for line in iter(process.stdout.readline, "")):
            raise RuntimeError(f"{process.args!r} did not become ready:\n{log.read_text()[-3000:]}")
    finally:
        guard.cancel()
