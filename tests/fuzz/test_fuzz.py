"""Every parser of what others send: the kept corpus always, and some seconds of coverage-guided search for more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.all import NAMES, target

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SECONDS = 15
#: Instrumenting the libraries at import takes 3 s alone, and a minute beside eight other test runs.
START_S = 150
#: What one input may take and the whole run may hold, before libFuzzer calls it a finding.
LIMITS = ("-timeout=10", "-rss_limit_mb=1500", "-max_len=4096")


def test_each_target_has_its_corpus_and_it_stays_small() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(NAMES)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs(name: str) -> None:
    """What was once found, and one of each kind of good input: no parser may break on it again."""
    one = target(name)
    kept = sorted((CORPUS / name).iterdir())
    assert kept
    for path in kept:
        one(path.read_bytes())


@pytest.mark.fuzz
@pytest.mark.timeout(START_S + SECONDS + 20)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_new_is_found(name: str, tmp_path: Path) -> None:
    """Octets that nobody has thought of must not stop a box or the controller."""
    new = tmp_path / "new"
    new.mkdir()
    argv = [
        sys.executable, "-P", str(HERE / "run.py"), name, str(new), str(CORPUS / name), *LIMITS,
        f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=START_S + SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "DONE" in done.stderr
