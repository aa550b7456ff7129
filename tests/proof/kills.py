"""Long proof: processes die with at least 8 calls in every phase, and no call is lost.

Run by `make proof WHAT=kills MINUTES=60`, as often as it takes to have 200; docs/proof/README.md tells how to read the
result. `--kinds controller,box` tries some only, `--each 2` is for a busy machine and counts for nothing.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from proof.common import BESIDE_CALLS, ROOT, Options, Proof, Slice, prove
from system.floor import Size, keep_logs, open_floor
from system.judge import LEEWAY_MS
from system.kills import KINDS, PHASES, Kill, Result, channels_for, run_round

from simrack.controller.store.engine import read_engine

#: Calls in each phase that a kill has to meet before it counts.
EACH = 8
#: Of all calls, those that a box may mark although nothing was done to it: the machine stood still, or a broker was away.
MOST_GUESSED = 0.02
#: Of all kills, those whose talk times nobody could judge, because the judge itself stood still for longer than its 100 ms.
MOST_UNJUDGED = 0.05
UNJUDGED = "kills not judged: the machine stood still"
#: A fresh installation after so many kills: its books stay small, and starts are tried as well.
KILLS_A_FLOOR = 20


def note(made: Slice, result: Result, options: argparse.Namespace) -> None:
    """Add one kill to the slice; it counts if it met enough calls and was judged without indulgence.

    Where the machine stood still for longer than what talk times may differ by, a difference tells nothing of simrack: such
    a kill is written down and counts for nothing. Whatever else is wrong in it counts.
    """
    if not options.busy and result.late_ms > LEEWAY_MS and result.findings.kinds == {"talk"}:
        made.counts[UNJUDGED] += 1
        made.figures.setdefault("not judged", []).extend([result.line(), *result.findings.lines()])
        sys.stderr.write(f"{result.line()} (not judged)\n")
        return
    counts = not result.thin(EACH) and not options.busy
    made.counts["kills" if counts else "kills that do not count"] += 1
    made.counts[f"kill {result.kill.kind}"] += 1
    made.counts["calls"] += result.calls
    made.counts["legs"] += result.legs
    made.counts["records marked estimated"] += result.estimated
    if result.kill.kind != "box-frozen":
        made.counts["marked, and their box was never hit"] += result.findings.guessed
    made.counts.update({f"met {phase}": result.phases[phase] for phase in PHASES})
    worst = max(made.figures.get("worst_difference_ms", 0), result.worst_ms)
    made.figures.update(worst_difference_ms=worst)
    made.figures.setdefault("kills", []).append(result.line())
    made.wrong += [f"{result.kill}: {line}" for line in result.findings.lines()]
    sys.stderr.write("\n".join([result.line(), *result.findings.lines()[:10]]) + "\n")


async def one_floor(made: Slice, dice: random.Random, deadline: float, options: argparse.Namespace, kinds: list[str]) -> None:
    size = Size(2, channels_for(options.each))
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        async with open_floor(Path(name), size, seed=dice.randrange(1 << 30)) as floor:
            engine = read_engine(floor.parts.database)
            try:
                for _ in range(KILLS_A_FLOOR):
                    if time.monotonic() > deadline:
                        return
                    bad = len(made.wrong)
                    kill = Kill.draw(_next(kinds, dice, options), dice, 2)
                    note(made, await run_round(floor, engine, kill, options.each, strict=not options.busy), options)
                    if len(made.wrong) > bad and options.logs:
                        keep_logs(floor, Path(options.logs) / str(made.counts.total()))
            finally:
                engine.dispose()


def _next(kinds: list[str], dice: random.Random, options: argparse.Namespace) -> str:
    """Every kind once in a drawn order, then again."""
    if not kinds:
        kinds += options.kinds.split(",") if options.kinds else list(KINDS)
        dice.shuffle(kinds)
    return kinds.pop()


async def kill_them(options: Options) -> Slice:
    made, dice, deadline = Slice(Counter()), random.Random(options.seed), options.deadline
    kinds: list[str] = []
    while time.monotonic() < deadline:
        try:
            await one_floor(made, dice, deadline, options.more, kinds)
        except AssertionError as error:
            # Not a broken promise about calls, but one about coming back; the next floor is a fresh one.
            made.wrong.append(f"[floor] {error}"[:2000])
            sys.stderr.write(made.wrong[-1] + "\n")
    guessed, calls = made.counts["marked, and their box was never hit"], made.counts["calls"]
    if guessed > MOST_GUESSED * calls:
        made.wrong.append(f"[talk] {guessed} of {calls} records were marked by boxes that were never hit")
    unjudged = made.counts[UNJUDGED]
    if unjudged > max(1, MOST_UNJUDGED * made.counts["kills"]):
        made.wrong.append(f"[talk] {unjudged} kills could not be judged: this machine is too busy for the proof")
    return made


def work(options: Options) -> Slice:
    return asyncio.run(kill_them(options))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--each", type=int, default=EACH, help="calls in each phase")
    parser.add_argument("--busy", action="store_true", help="add what the machine was late to the 100 ms, as ring 1 does")
    parser.add_argument("--kinds", default="", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--logs", default="", help="folder for the processes' logs of each kill that broke something")


SUPPORT = ("floor", "uac", "judge", "kills")
PROOF = Proof(
    "kills",
    f"at least {EACH} calls in every phase: calls in the clients' traces are the records, once each; talk equals the network's "
    "books within 100 ms or is marked; 5 s after, no leg that no record claims; never two calls on a SIM; who speaks goes on",
    ROOT / "tests/proof/kills.py",
    wanted={"kills": 200},
    also=tuple(f"tests/system/{name}.py" for name in SUPPORT),
    beside=BESIDE_CALLS,
)

if __name__ == "__main__":
    prove(PROOF, work, add=add)
