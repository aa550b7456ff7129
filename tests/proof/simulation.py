"""200 simulated weeks of a rack under random faults without a broken invariant; every planted bug is found.

Each slice takes up where the last one of the same code ended: its seeds follow on. A week is one run of one
seed on the virtual clock (`docs/simulation.md`), in a process of its own so that both cores are used.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proof.common import BESIDE_CALLS, ROOT, Options, Proof, Slice, prove

WORKERS = 2
WEEK = 7
PHASES = ("before-100", "ringing", "early-media", "talking", "releasing")
PROOF = Proof(
    "simulation", "no invariant of quality.md breaks under random faults on the virtual clock", Path(__file__),
    wanted={"weeks": 200, **{f"killed {who} {phase}": 8 for who in ("controller", "box") for phase in PHASES}},
    also=("tests/simulate",), beside=BESIDE_CALLS,
)  # fmt: skip
#: A slice's seeds: far enough apart that no two slices share one.
SEEDS_PER_SLICE = 10_000


def week(seed: int) -> dict[str, object]:
    command = [sys.executable, "-P", "-m", "simrack.cli", "lab", "simulate", "--seed", str(seed), "--days", str(WEEK), "--json"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    lines = done.stdout.splitlines()
    if not lines:
        return {"seed": seed, "ok": False, "what": done.stderr[-500:], "calls": 0}
    document: dict[str, object] = json.loads(lines[-1])
    return document


def count(found: dict[str, object], made: Slice) -> None:
    """Add one week to a slice."""
    made.counts["weeks"] += 1
    made.counts["calls"] += int(str(found.get("calls", 0)))
    made.counts["answered"] += int(str(found.get("answered", 0)))
    faults, phases = found.get("faults", {}), found.get("phases", {})
    assert isinstance(faults, dict)
    assert isinstance(phases, dict)
    made.counts["faults"] += sum(faults.values())
    made.counts.update({f"killed {name}": number for name, number in phases.items()})
    if not found["ok"]:
        made.wrong.append(f"seed {found['seed']}: invariant {found.get('invariant')}: {found['what']}")


def planted(made: Slice) -> None:
    """Every planted bug must be found."""
    from simrack.lab.simulate.planted import PLANTED
    from simrack.lab.simulate.run import simulate

    for bug in PLANTED:
        with bug.plant():
            found = next((seed for seed in range(1, 41) if not simulate(seed, 0.02, stretches=200).ok), None)
        made.counts["bugs planted"] += 1
        if found is None:
            made.wrong.append(f"planted bug {bug.name} was not found")


def work(options: Options) -> Slice:
    made = Slice(counts=Counter())
    if options.seed == 1:
        # The first slice of a state of the code also shows that what it runs finds bugs.
        planted(made)
    first = options.seed * SEEDS_PER_SLICE
    deadline = options.deadline
    with ThreadPoolExecutor(WORKERS) as pool:
        seed = first
        while time.monotonic() < deadline:
            for found in pool.map(week, range(seed, seed + WORKERS)):
                count(found, made)
            seed += WORKERS
    return made


if __name__ == "__main__":
    prove(PROOF, work)
