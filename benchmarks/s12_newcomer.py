"""S12: from `simrack demo` to a checked call, on a machine that has the packages.

Reference: the same interpreter starting and importing nothing, to show how slow the machine is right now.
"""

import json
import subprocess
import sys
import tempfile
import time

from common import Figure, keep, summary

RUNS = 3


def seconds(argv: list[str]) -> tuple[float, str]:
    """Wall time of a command and what it printed."""
    began = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return time.monotonic() - began, done.stdout


def main() -> None:
    """Measure and keep the figure."""
    figures, reference = [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            _, out = seconds([sys.executable, "-P", "-m", "simrack.cli", "demo", "--once", "--data", folder])
        result = json.loads(out.strip().splitlines()[-1])
        assert result["ok"], result
        figures.append(float(result["seconds"]))
        reference.append(seconds([sys.executable, "-c", "pass"])[0])
    keep(
        Figure(
            id="s12_newcomer", what="`simrack demo --once` (2 boxes x 4 channels): start to the end of a call with tones checked",
            unit="s", figure=summary(figures), reference=summary(reference), reference_what="starting the interpreter",
            ratio=round(summary(figures)["p50"] / max(summary(reference)["p50"], 0.01), 1),
            limited_by="process starts on two cores, the modules' boot, and 4.3 s of the call itself",
            samples=RUNS,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
