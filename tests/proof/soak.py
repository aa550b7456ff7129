"""Long proof: 3,600 calls in 20 minutes at 3 a second; no process grows, and every record equals the network's books.

Run by `make proof WHAT=soak MINUTES=20`; docs/proof/README.md tells how to read the result. A shorter run is a slice
too, but only one of 20 minutes makes the proof. The figures hold each process's series (one point a minute) and verdict.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from proof.common import Options, Proof, Slice, prove
from system import judge as j
from system.floor import Floor, Proc, Size, eventually, open_floor
from system.judge import Findings, Leg, Rules, Seen
from system.uac import Call, Callers, reached

from simrack.controller.store.engine import read_engine

PER_S = 3.0
FULL_MINUTES = 20.0
#: Minute 5; in a run of less than twice that, a part of it, so that short slices can be judged as well.
EARLY_S, EARLY_PART = 300.0, 0.25
#: Samples around that moment and before the end are taken together: one sample is an accident.
WINDOW = 0.05
GROWTH = 1.03
SAMPLE_S, KEEP_EVERY_S = 10.0, 60.0
#: Threads, connections and caches that come with first use are there after this many calls.
WARM_CALLS, WARM_PER_S = 120, 4.0
IDLE_S, IDLE_WITHIN_S = 15.0, 120.0
#: Numbers of each behaviour: one comes up again only after its last call has long ended.
POOL = 40
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "talk, caller ends": (4, {"behaviour": "answer", "answer_after_s": 0.5}),
    "talk, network ends": (4, {"behaviour": "answer", "answer_after_s": 0.8, "hang_up_after_s": 3.0}),
    "busy": (1, {"behaviour": "busy"}),
    "no answer": (1, {"behaviour": "no_answer", "ring_s": 2.0}),
    "announcement": (1, {"behaviour": "announcement", "announcement_s": 2.0}),
    "cancelled": (1, {"behaviour": "no_answer", "ring_s": 60.0}),
}
PAGE = re.compile(r"^simrack_asyncio_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One process at one moment; `at` in s since the load began, `rss` in KiB, `tasks` None without a page."""

    at: float
    rss: int
    threads: int
    files: int
    tasks: int | None

    @property
    def idle(self) -> tuple[int | None, int, int]:
        return self.tasks, self.threads, self.files


@dataclass
class Watch:
    """Samples of all processes."""

    floor: Floor
    began: float = field(default_factory=time.monotonic)
    series: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    @property
    def procs(self) -> dict[str, Proc]:
        return {"broker": self.floor.parts.broker, **self.floor.procs}

    async def sample(self) -> dict[str, Sample]:
        async with aiohttp.ClientSession() as session:
            return {name: await self._one(session, proc) for name, proc in self.procs.items()}

    async def run(self) -> None:
        while True:
            for name, sample in (await self.sample()).items():
                self.series[name].append(sample)
            await asyncio.sleep(SAMPLE_S)

    async def _one(self, session: aiohttp.ClientSession, proc: Proc) -> Sample:
        assert proc.alive, f"{proc.name} ended\n{proc.tail()}"
        tasks: int | None = None
        if "metrics" in proc.ready:
            async with session.get(proc.ready["metrics"]) as answer:
                found = PAGE.search(await answer.text())
                tasks = int(float(found.group(1))) if found else None
        root = Path("/proc") / str(proc.pid)
        pages = int((root / "statm").read_text().split()[1])
        threads, files = (len(os.listdir(root / name)) for name in ("task", "fd"))
        return Sample(
            round(time.monotonic() - self.began, 1), pages * os.sysconf("SC_PAGE_SIZE") // 1024, threads, files, tasks
        )

    async def idle(self) -> dict[str, Sample]:
        """The processes at rest: when tasks, threads and files have stayed the same for a while."""
        end = time.monotonic() + IDLE_WITHIN_S
        while True:
            first = await self.sample()
            await asyncio.sleep(IDLE_S)
            second = await self.sample()
            if all(first[name].idle == second[name].idle for name in first) or time.monotonic() > end:
                return second


@dataclass
class Traffic:
    """Draws calls and follows each to its end; a number's calls come one after the other."""

    callers: Callers
    dice: random.Random
    numbers: dict[str, list[str]]
    calls: list[Call] = field(default_factory=list)
    turns: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, count: int, per_s: float) -> None:
        """Place `count` calls at an even rate, and wait for the end of the last one."""
        began = time.monotonic()
        kinds, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            task = asyncio.create_task(self._one(self.dice.choices(kinds, weights)[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)

    async def _one(self, kind: str) -> None:
        pool = self.numbers[kind]
        self.turns[kind] += 1
        call = self.callers.invite(pool[self.turns[kind] % len(pool)], kind)
        self.calls.append(call)
        if kind == "talk, caller ends":
            await reached([call], lambda one: one.was_answered or one.ended is not None, 20)
            await asyncio.sleep(self.dice.uniform(0.5, 5.0))
            self.callers.hang_up(call)
        elif kind == "cancelled":
            await reached([call], lambda one: len(one.answers) > 1 or one.ended is not None, 20)
            await asyncio.sleep(self.dice.uniform(0.0, 2.0))
            self.callers.hang_up(call)
        await reached([call], lambda one: one.ended is not None, 60)


class Ledger:
    """The network's books, read in time: one answer holds the last 1,000 rows only."""

    def __init__(self, floor: Floor) -> None:
        self.floor, self.rows, self._after = floor, dict[int, Leg](), 0

    async def read(self) -> None:
        legs = [Leg.read(row) for row in await self.floor.ledger(self._after)]
        self.rows.update({leg.id: leg for leg in legs})
        running = [leg.id for leg in legs if leg.released is None]
        self._after = min(running, default=max(self.rows, default=0) + 1) - 1

    async def run(self) -> None:
        while True:
            await asyncio.sleep(30)
            await self.read()


def numbered(calls: Sequence[Call], legs: Sequence[Leg]) -> tuple[list[Seen], list[Leg]]:
    """Calls and legs with a number of their own each: the n-th call to a number is its n-th leg."""
    turn: Counter[str] = Counter()
    seen: list[Seen] = []
    for call in calls:
        refused = call.final is not None and call.final.status == 503 and len(call.answers) == 2
        turn[call.number] += not refused  # without a candidate there is no leg
        own_number = f"{call.number}/{turn[call.number] if not refused else 'refused'}"
        seen.append(dataclasses.replace(Seen.read(call), number=own_number))
    turn.clear()
    own: list[Leg] = []
    for leg in sorted(legs, key=lambda leg: leg.id):
        turn[leg.called] += 1
        own.append(dataclasses.replace(leg, called=f"{leg.called}/{turn[leg.called]}"))
    return seen, own


def verdict(series: Sequence[Sample], before: Sample, after: Sample) -> dict[str, Any]:
    """Whether one process grew."""
    length = series[-1].at
    around = max(WINDOW * length, 3 * SAMPLE_S)
    moment = EARLY_S if length >= 2 * EARLY_S else EARLY_PART * length
    early = [one.rss for one in series if abs(one.at - moment) <= around / 2]
    late = [one.rss for one in series if one.at >= length - around]
    ratio = statistics.median(late) / statistics.median(early)
    step = max(1, round(KEEP_EVERY_S / SAMPLE_S))
    return {
        "rss_kib_at_minute_5": round(statistics.median(early)),
        "rss_kib_at_end": round(statistics.median(late)),
        "ratio": round(ratio, 4),
        "idle_before": dict(zip(("tasks", "threads", "files"), before.idle, strict=True)),
        "idle_after": dict(zip(("tasks", "threads", "files"), after.idle, strict=True)),
        "ok": ratio <= GROWTH and before.idle == after.idle,
        "series_s_rss_threads_files_tasks": [
            [round(one.at), one.rss, one.threads, one.files, one.tasks] for one in series[::step]
        ],
    }


async def soak(folder: Path, options: Options) -> Slice:
    size = Size(2, options.more.channels)
    async with open_floor(folder, size, seed=options.seed) as floor, Callers(floor.sip, floor.sender) as callers:
        pools = {kind: [await floor.number(**how) for _ in range(POOL)] for kind, (_, how) in KINDS.items()}
        traffic = Traffic(callers, random.Random(options.seed), pools)
        await traffic.run(WARM_CALLS, WARM_PER_S)
        watch, ledger = Watch(floor), Ledger(floor)
        await ledger.read()
        before = await watch.idle()
        watch.began = time.monotonic()
        helpers = [asyncio.create_task(work) for work in (watch.run(), ledger.run(), _tell(traffic))]
        await traffic.run(round(options.minutes * 60 * PER_S), PER_S)
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        found = await _judged(floor, traffic, ledger)
        after = await watch.idle()
        return _slice(options, traffic, found, {
            name: verdict(series, before[name], after[name]) for name, series in watch.series.items()
        })  # fmt: skip


async def _tell(traffic: Traffic) -> None:
    while True:
        await asyncio.sleep(60)
        sys.stderr.write(f"{len(traffic.calls)} calls\n")


async def _judged(floor: Floor, traffic: Traffic, ledger: Ledger) -> Findings:
    engine = read_engine(floor.parts.database)

    async def settled() -> bool:
        product = await asyncio.to_thread(j.read_product, engine, 0)
        return not product.open_keys and not any(record.estimated for record in product.records)

    with contextlib.suppress(AssertionError):  # the judge says what is left
        await eventually(settled, "every record settled", 30.0, pause=1.0)
    await ledger.read()
    product = await asyncio.to_thread(j.read_product, engine, 0)
    engine.dispose()
    seen, legs = numbered(traffic.calls, list(ledger.rows.values()))
    return j.judge(seen, legs, product, Rules())


def _slice(options: Options, traffic: Traffic, found: Findings, verdicts: dict[str, dict[str, Any]]) -> Slice:
    made = Slice(figures={"channels": 2 * options.more.channels, "per_s": PER_S, "processes": verdicts})
    made.counts["calls"] = len(traffic.calls)
    made.counts.update(f"calls, {kind}" for kind in (call.kind for call in traffic.calls))
    made.counts["full runs"] = int(options.minutes >= FULL_MINUTES)
    made.wrong = found.lines()
    for name, told in verdicts.items():
        if not told["ok"]:
            parts = {key: value for key, value in told.items() if not key.startswith("series")}
            made.wrong.append(f"[growth] {name}: {parts}")
    return made


def work(options: Options) -> Slice:
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        try:
            return asyncio.run(soak(Path(name), options))
        finally:
            if options.more.logs:
                shutil.copytree(name, options.more.logs, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.ports"))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channels", type=int, default=12, help="of each box")
    parser.add_argument("--logs", default="", help="folder for what the processes left behind")


PROOF = Proof(
    "soak",
    "20 minutes of 3 calls a second: memory within 3 % of minute 5, tasks, threads and files as before once idle, "
    "every record equal to the network's books",
    Path(__file__),
    wanted={"full runs": 1},
    also=("tests/system/floor.py", "tests/system/uac.py", "tests/system/judge.py"),
)

if __name__ == "__main__":
    prove(PROOF, work, add=add)
