"""Fuzz one target: `python -P tests/fuzz/run.py TARGET [CORPUS...] [-max_total_time=15 ...]` (libFuzzer's options).

A finding ends it with status 77 and leaves the input as `crash-...` in `-artifact_prefix`.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
OURS = ["simrack.sip", "simrack.wire", "simrack.drivers", "simrack.gateway", "simrack.controller.config", "simrack.controller.calls", "sippy"]
with atheris.instrument_imports(include=OURS):
    from fuzz.all import target


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, target(name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
