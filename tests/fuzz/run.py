"""Fuzz one target: `python -P tests/fuzz/run.py TARGET [CORPUS...] [-max_total_time=15 ...]` (libFuzzer's options).

A finding ends it with status 77 and leaves the input as `crash-...` in `-artifact_prefix`.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
#: What guides the search; the rest of what is imported costs seconds to instrument and tells nothing.
GUIDES = {
    "sip": ["simrack.sip", "simrack.wire"],
    "door": ["simrack.sip", "sippy"],
    "address": ["simrack.sip"],
    "authorization": ["simrack.sip"],
    "sdp": ["simrack.sip"],
    "voice": ["simrack.sip", "simrack.gateway.voice"],
    "at": ["simrack.drivers"],
    "mqtt": ["simrack.wire"],
    "toml": ["simrack.wire", "simrack.controller.config", "simrack.gateway.settings"],
    "bans": ["simrack.controller.calls"],
}
with atheris.instrument_imports(include=GUIDES[sys.argv[1]]):
    from fuzz.all import target


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, target(name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
