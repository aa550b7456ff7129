"""Long proof: 28 of 32 calls on one box stay inside S3 while 4 modules hang, babble, reset and vanish in turn.

Run by `make proof WHAT=mad_modules MINUTES=10`. Real processes; judged by the emulated network's ears and the RTP clients. Each
round the four faults fall on other modules; at the end a box that stands still for 0.3 s must be found by the same figures.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from proof.common import BESIDE_CALLS, Options, Proof, Slice, prove
from support import processes
from voice_mad import FAULTS, Rig, Trouble, talking

CALLS, MAD = 32, 4
SETTLE_S, ROUND_S = 8.0, 20.0
#: One event in 50 s of a call: S3 says none, and what the calm minutes of the same run show is the machine's own.
NOISE = 0.02
#: Events per call and second without any fault: what is judged then is the machine.
TOO_BUSY = 0.5


async def rounds(rig: Rig, options: Options) -> Slice:
    """Calm, mad rounds until the time is over, then the planted fault."""
    made, end = Slice(), time.monotonic() + options.minutes * 60
    await asyncio.sleep(SETTLE_S)
    calm = await asyncio.to_thread(rig.phase, ROUND_S)
    if calm.rate > TOO_BUSY:
        made.wrong.append(f"the machine is too busy to judge anything: {calm}, load {os.getloadavg()[0]:.1f}")
        return made
    limit, turn, told = NOISE + 2 * calm.rate, 0, [f"calm: {calm}"]
    while time.monotonic() < end or not turn:
        turn += 1
        mad = await asyncio.to_thread(rig.phase, ROUND_S, rig.go_mad(1.0, 4.0))
        _note(made, f"round {turn}", mad, limit)
        told.append(f"mad: {mad}")
        if rig.alive() < CALLS - MAD:
            made.wrong.append(f"round {turn}: {CALLS - MAD - rig.alive()} good calls were lost")
            break
        rig.calm()
        made.counts["mad modules that carried a call again"] += await rig.call_again(f"r{turn}")
        await asyncio.sleep(2)
    frozen = await asyncio.to_thread(rig.phase, 5.0, ((1.0, lambda: rig.freeze(0.3)),))
    if frozen.rate <= limit:
        made.wrong.append(f"a box that stood still for 0.3 s was not noticed: {frozen}")
    made.counts.update({"rounds": turn, "faults": turn * len(FAULTS), "planted and found": frozen.rate > limit})
    made.figures = {"limit": round(limit, 3), "told": told[:20], "frozen": str(frozen), "load": os.getloadavg()[0]}
    return made


def _note(made: Slice, name: str, mad: Trouble, limit: float) -> None:
    made.counts["good call seconds"] += round(mad.calls * mad.seconds)
    if mad.rate > limit:
        made.wrong.append(f"{name}: {mad}")


async def _all(options: Options) -> Slice:
    with tempfile.TemporaryDirectory() as name, processes(Path(name)) as begin:
        async with talking(Path(name), begin, calls=CALLS, mad=MAD, seed=options.seed) as rig:
            return await rounds(rig, options)


def work(options: Options) -> Slice:
    """One slice."""
    made = asyncio.run(_all(options))
    made.counts = Counter({name: int(count) for name, count in made.counts.items()})
    return made


if __name__ == "__main__":
    prove(
        Proof(
            "mad_modules", f"{CALLS - MAD} of {CALLS} calls stay inside S3 while {MAD} modules go mad in turn", Path(__file__),
            wanted={"faults": 40, "planted and found": 1},
            also=("tests/voice_mad.py", "tests/voice_ends.py", "tests/voice_judge.py"), beside=BESIDE_CALLS,
        ),
        work,
    )  # fmt: skip
