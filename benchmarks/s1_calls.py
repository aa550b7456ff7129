"""S1: calls set up and torn down per second through one controller process.

Real: the controller (its own process, on one core), the broker (Mosquitto), the database (a file), the sender
(SIPp). Stand-ins: the boxes (`boxes.py`), which answer INVITEs and tell over MQTT what boxes tell. Every call
is identified by its address, routed over 10,000 patterns and 1,000 channels, and stored with the box's part.

References in the same run: the SIP library's own minimal B2BUA (`bare_b2bua.py`) and SIPp to SIPp.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import scenarios
from common import Figure, cpu_seconds, keep, on_cores, percentile, resident_mb, spread, start

HOST, SENDER = "127.0.0.1", "127.0.0.2"
RATE, PATTERNS, BOXES, CHANNELS = 80, 10_000, 40, 25
HOLD_MS = 4000
HELD, HELD_BOXES, HELD_CHANNELS = 3000, 100, 32
HERE = Path(__file__).parent
# The controller has one core for itself; what stands in for the rest of the world shares the others.
CORES = sorted(os.sched_getaffinity(0))
OWN, OTHERS = {CORES[0]}, set(CORES[1:]) or {CORES[0]}
MIX = 7919  # a prime that walks over all patterns in no order


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Sent:
    """What SIPp counted of one run; times in ms."""

    ok: int
    refused: int
    failed: int
    retransmissions: int
    pdd: tuple[float, ...]
    refusal: tuple[float, ...]
    seconds: float


def _p(values: tuple[float, ...], share: float) -> float:
    return round(percentile(values, share), 1) if values else 0.0


class Sender:
    """SIPp as the traffic sender."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._runs = folder, 0

    def send(self, target: int, rate: int, calls: int, hold_ms: int = HOLD_MS) -> Sent:
        """Offer `calls` calls at `rate` a second and wait until all are over."""
        self._runs += 1
        place = self._folder / f"sipp-{self._runs}"
        place.mkdir()
        (place / "calls.xml").write_text(scenarios.CALLER)
        (place / "numbers.csv").write_text(scenarios.numbers(PATTERNS, MIX))
        began = time.monotonic()
        subprocess.run(
            on_cores(OTHERS, [
                "sipp", f"{HOST}:{target}", "-sf", "calls.xml", "-inf", "numbers.csv", "-i", SENDER, "-nostdin",
                "-r", str(rate), "-m", str(calls), "-l", "10000", "-d", str(hold_ms), "-trace_stat", "-fd", "1",
                "-stf", "stat.csv", "-trace_rtt", "-rtt_freq", "1", "-trace_err", "-error_file", "errors.log",
                "-timeout", f"{calls // rate + hold_ms // 1000 + 60}s", "-recv_timeout", "30000",
            ]),
            cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return _counted(place, time.monotonic() - began)


def _counted(place: Path, seconds: float) -> Sent:
    names, *rows = (line.split(";") for line in (place / "stat.csv").read_text().splitlines() if line)
    last = dict(zip(names, rows[-1], strict=False))
    times: dict[str, list[float]] = {}
    for path in place.glob("*rtt.csv"):
        for row in path.read_text().splitlines()[1:]:
            _, value, name = row.split(";")[:3]
            times.setdefault(name.strip('"'), []).append(float(value))
    refused = int(last.get("GenericCounter1(C)", 0))
    ok = int(last["SuccessfulCall(C)"]) - refused
    pdd, refusal = tuple(times.get("pdd", ())), tuple(times.get("refusal", ()))
    return Sent(ok, refused, int(last["FailedCall(C)"]), int(last["Retransmissions(C)"]), pdd, refusal, seconds)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Mosquitto on a free port."""
    port = free_port()
    file = folder / "mosquitto.conf"
    file.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\nmax_queued_messages 100000\nmax_inflight_messages 1000\n"
        "persistence false\nlog_type error\n"
    )
    with start(["mosquitto", "-c", str(file)], folder / "mosquitto.log", OTHERS):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                break
            time.sleep(0.05)
        yield f"mqtt://{HOST}:{port}"


class Rack:
    """Broker, stand-in boxes and a controller."""

    def __init__(self, folder: Path, boxes: int, channels: int, wrap: tuple[str, ...] = ()) -> None:
        self.folder, self.size, self.channels = folder, boxes, channels
        self._stack, self._wrap = contextlib.ExitStack(), wrap
        self.database = folder / "simrack.db"

    def __enter__(self) -> Self:
        self.folder.mkdir()
        url = self._stack.enter_context(broker(self.folder))
        self.sip = free_port(socket.SOCK_DGRAM)
        (self.folder / "routing.toml").write_text(scenarios.routing(SENDER, PATTERNS, MIX))
        config = self.folder / "controller.toml"
        config.write_text(
            f'database = "sqlite:///{self.database}"\ndata = "{self.folder}"\nimport = "routing.toml"\n'
            f'[mqtt]\nurl = "{url}"\n[sip]\nlisten = "{HOST}:{self.sip}"\ncalls_per_second = {RATE}\n'
        )
        words = self._wrap or (sys.executable, "-P", "-m", "simrack.cli")
        self.boxes = self._stack.enter_context(
            start([sys.executable, str(HERE / "boxes.py"), url, str(self.size), str(self.channels)], self.folder / "boxes.log", OTHERS, ready=True)
        )
        self.controller = self._stack.enter_context(
            start([*words, "controller", "--config", str(config)], self.folder / "controller.log", OWN, ready=True)
        )
        time.sleep(3.0)  # the retained state of all channels
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def records(self, wanted: int, within_s: float = 20.0) -> tuple[int, int, int]:
        """(records, estimated ones, open rows), once there are `wanted` or the time is over."""
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
                count, estimated = db.execute("select count(*), coalesce(sum(estimated), 0) from cdr").fetchone()
                (left,) = db.execute("select count(*) from open_call").fetchone()
            if (count >= wanted and not left) or time.monotonic() > deadline:
                return count, estimated, left
            time.sleep(0.2)

    def seen(self) -> dict[str, int]:
        """What the boxes counted: calls, and repeated requests of the controller."""
        self.boxes.send_signal(signal.SIGUSR1)
        assert self.boxes.stdout is not None
        found: dict[str, int] = json.loads(self.boxes.stdout.readline())
        return found


@dataclass(frozen=True)
class Run:
    """One run through the controller, and what it cost."""

    sent: Sent
    repeated: int  # requests that the controller sent again
    stored: int
    estimated: int
    cpu_ms: float  # per call that was carried
    rss_mb: float

    @property
    def retransmissions(self) -> int:
        return self.sent.retransmissions + self.repeated

    @property
    def not_stored(self) -> int:
        return max(0, self.sent.ok - self.stored) + self.estimated


def measured(rack: Rack, sender: Sender, name: str, rate: int, calls: int, hold_ms: int = HOLD_MS) -> Run:
    """Send, and tell what it cost the controller."""
    pid = rack.controller.pid
    before, cpu, began = rack.records(0)[0], cpu_seconds(pid), rack.seen()
    sent = sender.send(rack.sip, rate, calls, hold_ms)
    stored, estimated, _ = rack.records(before + sent.ok)
    time.sleep(0.5)
    spent = cpu_seconds(pid) - cpu
    repeated = sum(value - began.get(key, 0) for key, value in rack.seen().items() if key.startswith("repeated"))
    run = Run(sent, repeated, stored - before, estimated, round(1000 * spent / max(1, sent.ok), 2), resident_mb(pid))
    print(
        f"{name}: {sent.ok} calls, {sent.refused} refused, {sent.failed} failed, {run.retransmissions} retransmissions, "
        f"{run.stored} records ({estimated} estimated), PDD {_p(sent.pdd, 0.5)} / {_p(sent.pdd, 0.99)} ms, "
        f"503 after {_p(sent.refusal, 0.99)} ms (p99), CPU {run.cpu_ms} ms a call, {run.rss_mb} MB",
        flush=True,
    )
    return run


def bare(folder: Path, sender: Sender, seconds: int) -> tuple[Sent, float]:
    """The library's own B2BUA between the same sender and a SIPp that answers; CPU in ms per call."""
    port, target = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    command = [sys.executable, str(HERE / "bare_b2bua.py"), str(port), str(target)]
    with (
        start(uas(target), folder / "uas.log", OTHERS),
        start(command, folder / "bare.log", OWN, ready=True) as process,
    ):
        return _reference("bare library", process.pid, sender, port, seconds)


def loopback(folder: Path, sender: Sender, seconds: int) -> tuple[Sent, float]:
    """SIPp to SIPp: what answering costs."""
    target = free_port(socket.SOCK_DGRAM)
    with start(uas(target), folder / "uas.log", OWN) as process:
        time.sleep(0.5)
        return _reference("SIPp to SIPp", process.pid, sender, target, seconds)


def _reference(name: str, pid: int, sender: Sender, port: int, seconds: int) -> tuple[Sent, float]:
    cpu = cpu_seconds(pid)
    sent = sender.send(port, RATE, RATE * seconds)
    ms = round(1000 * (cpu_seconds(pid) - cpu) / max(1, sent.ok), 2)
    print(f"{name}: {sent.ok} calls, {sent.failed} failed, {sent.retransmissions} retransmissions, CPU {ms} ms a call", flush=True)
    return sent, ms


def uas(port: int) -> list[str]:
    return ["sipp", "-sn", "uas", "-i", HOST, "-p", str(port), "-nostdin"]


def held(folder: Path, sender: Sender, calls: int) -> Run:
    """As many calls at once as the figure says, held by one controller."""
    with Rack(folder / "held", HELD_BOXES, HELD_CHANNELS) as rack:
        return measured(rack, sender, "held", RATE, calls, round((calls / RATE + 15) * 1000))


def figure_of(steady: Run, bursts: list[Run], overload: Run, holding: Run, library: float, answering: float) -> Figure:
    """The runs as one figure."""
    clean = [steady, *bursts]
    pdd = steady.sent.pdd
    ratio = round(steady.cpu_ms / max(library, 0.01), 2)
    return Figure(
        id="s1_calls",
        what=f"{RATE} calls a second through one controller on one core: {PATTERNS:,} patterns, {BOXES * CHANNELS:,} channels, records stored",
        unit="ms",
        figure={
            "cpu_ratio": ratio, "cpu_ms_per_call": steady.cpu_ms,
            "failed": sum(run.sent.failed + run.sent.refused for run in clean),
            "retransmissions": sum(run.retransmissions for run in clean),
            "not_stored": sum(run.not_stored for run in (*clean, overload, holding)),
            "overload_failed": overload.sent.failed + overload.retransmissions,
            "refusal_p99_ms": _p(overload.sent.refusal, 0.99),
            "held": holding.sent.ok if not holding.sent.failed and not holding.retransmissions else 0,
            "held_rss_mb": holding.rss_mb, "p50": _p(pdd, 0.5), "p99": _p(pdd, 0.99), "max": _p(pdd, 1.0),
        },
        reference={"cpu_ms_per_call": library, "sipp_cpu_ms_per_call": answering},
        reference_what="the SIP library's own minimal B2BUA; SIPp to SIPp",
        ratio=ratio,
        limited_by=LIMITED_BY,
        samples=steady.sent.ok,
        spread=spread(pdd),
    )  # fmt: skip


LIMITED_BY = (
    "Python: of a call's CPU SIP takes 30 % (the library parses and prints each message header by header), routing 19 %, "
    "the database's writer 16 %, MQTT and the call's own logic 13 % each (docs/performance.md)"
)


def main() -> None:
    """Measure and keep the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--only", default="", help="some of steady,bursts,overload,bare,loopback,held; nothing is kept then")
    parser.add_argument("--wrap", default="", help="words to run the controller's command with, for a profiler")
    options = parser.parse_args()
    phases, seconds = options.only.split(",") if options.only else [], options.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the broker runs as its own user
        sender, runs, references = Sender(folder), {}, {}
        if not phases or {"steady", "bursts", "overload"} & set(phases):
            with Rack(folder / "rack", BOXES, CHANNELS, tuple(options.wrap.split())) as rack:
                if not phases or "steady" in phases:
                    runs["steady"] = measured(rack, sender, "steady", options.rate, options.rate * seconds)
                if not phases or "bursts" in phases:
                    bursts = [measured(rack, sender, "burst", 2 * RATE, 2 * RATE) for _ in range(3)]
                if not phases or "overload" in phases:
                    runs["overload"] = measured(rack, sender, "overload", 200, 200 * 10)
        if not phases or "bare" in phases:
            references["bare"] = bare(folder, sender, min(seconds, 20))[1]
        if not phases or "loopback" in phases:
            references["loopback"] = loopback(folder, sender, min(seconds, 10))[1]
        if not phases or "held" in phases:
            runs["held"] = held(folder, sender, HELD)
    if not phases:
        keep(figure_of(runs["steady"], bursts, runs["overload"], runs["held"], references["bare"], references["loopback"]))


if __name__ == "__main__":
    main()
