"""How much of the suite runs again on the parts of production (quality.md: at least 40 % of the integration tests)."""

from collections.abc import Callable

import pytest
from production_parts import COLLECTED, SHARE, Collected

LEAST = 0.4


def is_whole(config: pytest.Config) -> bool:
    """Whether this run was asked for the whole suite, whatever it then leaves out by marker."""
    folder = config.rootpath / "tests"
    asked = {config.invocation_params.dir / argument.partition("::")[0] for argument in config.args}
    return asked <= {folder, config.rootpath} and not config.getoption("lf", default=False)


@pytest.mark.stack
def test_two_fifths_of_the_integration_tests_run_on_production_parts(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """A ring that tries little would be green whatever broke on PostgreSQL and Mosquitto."""
    collected: Collected = request.config.stash[COLLECTED]
    whole = is_whole(request.config)
    if not whole and collected.lacks():
        pytest.skip(f"only a run of the whole suite can tell; this one has nothing of {', '.join(collected.lacks())}")
    assert not collected.lacks()
    record_property(SHARE, collected.told())
    assert collected.marked >= LEAST * collected.all, collected.told()
