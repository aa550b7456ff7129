"""Each planted bug is found within the normal budget, or the simulation proves nothing."""

import sys
from collections import Counter
from collections.abc import Callable

import pytest

from simrack.lab.simulate.planted import PLANTED, Planted
from simrack.lab.simulate.run import simulate

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
#: Dense stretches: calls and faults without the hours between. Forty of them take a fraction of ring 1's 40 days.
SEEDS = range(1, 41)
DAYS, STRETCHES = 0.02, 200


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: f"{bug.invariant}-{bug.name}")
def test_planted_bug_is_found(bug: Planted, record_property: Callable[[str, object], None]) -> None:
    with bug.plant():
        for seed in SEEDS:
            result = simulate(seed, DAYS, stretches=STRETCHES)
            if result.breach is not None:
                found = f"seed {seed} after {result.virtual_s:.0f} simulated s: {result.breach.what}"
                record_property("found", found)
                sys.stdout.write(f"{bug.name}: {found}\n")
                return
    pytest.fail(f"{bug.what}: not found in {len(SEEDS)} seeds")


@pytest.mark.parametrize("seed", range(1, 9))
def test_without_a_bug_nothing_is_found(seed: int) -> None:
    """Else the bugs above would be found by something that is wrong anyway."""
    assert simulate(seed, DAYS, stretches=STRETCHES).breach is None


def test_five_bugs_are_planted_for_each_invariant() -> None:
    counts = Counter(bug.invariant for bug in PLANTED)
    assert set(counts) == {1, 4, 5, 6, 7, 8}
    assert min(counts.values()) >= 5
