"""Long proof: 32 calls' voice through a box stays inside S3: none late, 60 ms at p95, no click.

Run by `make proof WHAT=voice MINUTES=10`; clocks are 100 ppm off, 2 % of the packets are lost, jitter is 20 ms. The click
detector must first find what is planted. docs/proof/README.md tells how to read the result.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from proof.common import BESIDE_CALLS, Options, Proof, Slice, prove
from voice_run import broken, codec_share, detector_finds, measure

CALLS = 32
DELAY_MS = 60.0


def work(options: Options) -> Slice:
    """One slice: all calls at once, for as long as it was asked."""
    wrong = [f"the click detector misses {kind}" for kind in detector_finds()]
    run = measure(CALLS, options.minutes * 60, options.seed)
    both = [*run["to_module_ms"], *run["to_client_ms"]]
    counts = Counter({
        "call seconds": round(run["judged_s"] * CALLS), "moments timed": len(both), "packets lost": run["packets_lost"],
    })  # fmt: skip
    figures = {
        "delay_p95_ms": round(float(np.percentile(both, 95)), 1) if both else None, "cpu_share": round(run["cpu_share"], 3),
        "codec_share": round(codec_share(CALLS), 4), "load": round(run["load"], 1), "judge_behind_ms": run["judge_behind_ms"],
        "box": run["box"],
    }  # fmt: skip
    return Slice(counts, [*wrong, *broken(run, DELAY_MS)], figures)


if __name__ == "__main__":
    prove(
        Proof(
            "voice", f"{CALLS} calls: none late, at most {DELAY_MS:.0f} ms added at p95, no click", Path(__file__),
            wanted={"call seconds": CALLS * 590},
            also=("tests/voice_run.py", "tests/voice_ends.py", "tests/voice_judge.py", "tests/voice_box.py"), beside=BESIDE_CALLS,
        ),
        work,
    )  # fmt: skip
