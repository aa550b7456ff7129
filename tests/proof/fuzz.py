"""Long proof: every fuzz target for its share of the time; a finding is a wrong.

Run by `make proof WHAT=fuzz MINUTES=90`: 600 s for each of nine targets; writes docs/proof/fuzz.json. Inputs that
reach new code are kept in `run/fuzz/` between slices, so that each slice goes on where the last one stopped.
"""

import base64
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fuzz.all import NAMES
from proof.common import BESIDE_CALLS, ROOT, Options, Proof, Slice, prove

HERE = ROOT / "tests/fuzz"
WORKERS = 2
#: Of an input that is found, as much as a person needs to make the unit test.
SHOWN = 400
PROOF = Proof(
    "fuzz", "no octets make a parser raise, hang, or say something else when its output is read again",
    Path(__file__), wanted={f"{name}_seconds": 600 for name in NAMES}, also=("tests/fuzz",), beside=BESIDE_CALLS,
)  # fmt: skip


def begin(name: str, seconds: float, seed: int, folder: Path) -> subprocess.Popen[str]:
    kept = ROOT / "run/fuzz" / name
    kept.mkdir(parents=True, exist_ok=True)
    argv = [
        sys.executable, "-P", str(HERE / "run.py"), name, str(kept), str(HERE / "corpus" / name), "-timeout=10",
        "-rss_limit_mb=1500", "-max_len=8192", f"-max_total_time={int(seconds)}", f"-seed={seed}",
        f"-artifact_prefix={folder}/{name}-",
    ]  # fmt: skip
    log = (folder / f"{name}.log").open("w")
    return subprocess.Popen(argv, stdout=log, stderr=log, text=True)


def result(name: str, status: int, folder: Path, made: Slice) -> None:
    """Count what a target did, and what it found."""
    text = (folder / f"{name}.log").read_text(errors="replace")
    done = re.search(r"Done (\d+) runs in (\d+) second", text)
    made.counts[f"{name}_runs"] = int(done.group(1)) if done else 0
    made.counts[f"{name}_seconds"] = int(done.group(2)) if done else 0
    if status == 0 and done:
        return
    found = next(iter(sorted(folder.glob(f"{name}-*"))), None)
    octets = base64.b64encode(found.read_bytes()[:SHOWN]).decode() if found else "no input kept"
    error = re.search(r"=== Uncaught Python exception: ===\s*(.*)", text)
    made.wrong.append(f"{name}: {error.group(1) if error else text[-300:]}: {octets}")


def work(options: Options) -> Slice:
    made = Slice(counts=Counter())
    share = options.minutes * 60 * WORKERS / len(NAMES)
    waiting, running = list(NAMES), dict[str, subprocess.Popen[str]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while waiting or running:
            while waiting and len(running) < WORKERS:
                target = waiting.pop(0)
                running[target] = begin(target, share, options.seed, folder)
            target, child = next(iter(running.items()))
            status = child.wait(timeout=share + 300)
            del running[target]
            result(target, status, folder, made)
    return made


if __name__ == "__main__":
    prove(PROOF, work)
