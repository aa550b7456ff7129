"""S3: voice of 32 calls through a box, RTP to the module's PCM port and back, over real sockets and pseudo-terminals.

Clocks of both ends are 100 ppm off, the network loses 2 % and delays up to 20 ms. The far ends are another process and judge
what they hear. Reference: encoding and decoding the same frames without any I/O. `--seconds`, `--calls`, `--codec`, `--profile`.
"""

import argparse
import sys

import numpy as np
from common import Figure, keep
from voice_run import broken, codec_share, detector_finds, measure

DELAY_MS = 60.0
CORES = 2


def spread(values: list[float]) -> str:
    """Percentiles of the delay in one direction."""
    if not values:
        return "no figure"
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return f"delay p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, max {max(values):.1f} ms of {len(values)} moments"


def main() -> None:
    """Measure and keep the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--calls", type=int, default=32)
    parser.add_argument("--codec", default="PCMU")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="cProfile of the box; slows it down, keeps no figure")
    options = parser.parse_args()
    if missed := detector_finds():
        raise SystemExit(f"the click detector misses: {', '.join(missed)}")
    run = measure(options.calls, options.seconds, options.seed, codec=options.codec, profile=options.profile)
    reference = codec_share(options.calls, options.codec)
    for way in ("to_module", "to_client"):
        print(f"{way}: {spread(run[f'{way}_ms'])}, {run[f'clicks_{way}']} clicks", file=sys.stderr)
    print({name: value for name, value in run.items() if not name.endswith("_ms") and name != "profile"}, file=sys.stderr)
    print(f"worst gap at a module {run['worst_gap_ms']} ms, judge late {run['judge_behind_ms']} ms", file=sys.stderr)
    wrong = broken(run, DELAY_MS)
    print(f"S3 {'does not hold: ' + '; '.join(wrong) if wrong else 'holds'}", file=sys.stderr)
    if run["load"] > CORES:
        print(f"the machine was loaded: {run['load']:.1f} on {CORES} cores; repeat on a quiet one", file=sys.stderr)
    if options.profile:
        print(run["profile"], file=sys.stderr)
        return
    both = [*run["to_module_ms"], *run["to_client_ms"]]
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(both, (50, 95, 99)))
    late = run["starved"] + run["late"] + run["missing"]
    keep(
        Figure(
            id="s3_voice", what=f"delay that a box adds to voice, {options.calls} calls of {options.codec}, 2 % loss, 20 ms jitter, 100 ppm drift",
            unit="ms",
            figure={
                "p50": p50, "p95": p95, "p99": p99, "max": round(max(both), 1),
                "clicks": run["clicks_to_module"] + run["clicks_to_client"], "late": late,
                "cpu_percent_of_core": round(100 * run["cpu_share"], 1), "judged_s": run["judged_s"], "load": round(run["load"], 1),
            },
            reference={"p50": 0.0, "cpu_percent_of_core": round(100 * reference, 2)},
            reference_what="CPU of encode + decode alone; ratio is CPU of the box against it", ratio=round(run["cpu_share"] / reference, 1),
            limited_by="system calls (read, write, sendto, recvfrom for each call and tick: half of the time), then Python per packet; the codec is 1 %",
            samples=len(both),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
