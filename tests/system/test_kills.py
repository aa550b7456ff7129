"""Real processes die in the middle of calls in every phase, and no call is lost.

Ring 1: ten kills, each judged for every invariant at once (docs/proof/README.md names them). Ring 2 repeats them on
PostgreSQL and Mosquitto, ring 3 (`make proof WHAT=kills`) has 200 with at least 8 calls in every phase.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest
from production_parts import Broker
from system.floor import Floor, Proc, Size, open_floor, outside
from system.kills import Kill, Result, channels_for, run_round

from simrack.controller.store.engine import read_engine

PLANT = Path(__file__).with_name("planted.py")
#: Calls in each phase when the kill comes; less is for a machine that is busy with other things.
EACH = int(os.environ.get("SIMRACK_KILL_CALLS", "8"))
FEW = 2
TEN = (
    "controller", "box", "controller-frozen", "both", "controller-twice", "broker", "box-in-start",
    "controller-handed-over", "box-stopped", "controller-in-start",
)  # fmt: skip
#: Which processes get which bug, which kill brings it to light, and which finding names it.
PLANTED = {
    "open-row-skipped": (("controller",), "controller", "records"),
    "acknowledged-before-stored": (("controller",), "broker", "facts"),
    "talk-rounded-up": (("lab-01", "lab-02"), "broker", "talk"),
    "talks-not-resumed": (("controller",), "controller", "survival"),
}
#: Found as well, at 15 s each: with SIMRACK_ALL_BUGS=1.
MORE = {
    "record-doubled": (("controller",), "broker", "records"),
    "strays-go-on": (("controller", "lab-01", "lab-02"), "controller", "leg"),
}


async def rounds(floor: Floor, kinds: tuple[str, ...], seed: int, each: int, patience: float = 1.0) -> list[Result]:
    dice, engine = random.Random(seed), read_engine(floor.parts.database)
    results: list[Result] = []
    try:
        for kind in kinds:
            results.append(await run_round(floor, engine, Kill.draw(kind, dice, floor.size.boxes), each, patience=patience))
            # The histogram of phases is what a reader of the run wants to see (pytest -s).
            sys.stdout.write(results[-1].line() + "\n")
    finally:
        engine.dispose()
    return results


@pytest.mark.timeout(600)
@pytest.mark.stack
async def test_ten_kills_lose_no_call(tmp_path: Path, broker: Broker, database_url: str) -> None:
    """A call that was paid for without a record, or recorded twice, or left up at the network, is money lost."""
    parts = outside(broker, database_url)
    async with open_floor(tmp_path, Size(2, channels_for(EACH)), parts=parts) as floor:
        results = await rounds(floor, TEN, seed=1, each=EACH)
    told = [result.line() for result in results]
    wrong = [f"{result.kill}: {line}" for result in results for line in result.findings.lines()]
    assert not wrong, "\n".join([*told, *wrong])
    assert not [result.line() for result in results if result.thin(EACH)], "\n".join(told)


@pytest.mark.timeout(300)
async def test_planted_bugs_are_found(tmp_path: Path, broker: Broker, database_url: str) -> None:
    """A judge that lets a known bug pass proves nothing by its silence about others."""
    missed: dict[str, list[str]] = {}
    bugs = {**PLANTED, **(MORE if os.environ.get("SIMRACK_ALL_BUGS") else {})}
    async with open_floor(tmp_path, Size(2, channels_for(FEW)), parts=outside(broker, database_url)) as floor:
        for bug, (where, kind, invariant) in bugs.items():
            procs = [floor.procs[name] for name in where]
            await asyncio.gather(*(restart(proc, bug) for proc in procs))
            [result] = await rounds(floor, (kind,), seed=2, each=FEW, patience=0.15)
            if invariant not in result.findings.kinds:
                missed[bug] = [result.line(), *result.findings.lines()]
            await floor.sweep()
            await asyncio.gather(*(restart(proc) for proc in procs))
    assert not missed


async def restart(proc: Proc, bug: str = "") -> None:
    """Start a process again, with a bug or without."""
    await proc.kill()
    proc.wrap = (str(PLANT), bug) if bug else ()
    await proc.start()
