"""How much of the suite runs again on the parts of production (quality.md: at least 40 % of the integration tests)."""

from collections.abc import Callable

import pytest

# Where a test meets a database, a broker or whole processes. Decisions, codecs and dialects meet neither.
INTEGRATION = (
    "store", "web", "system", "cli", "production", "controller/test_app.py", "controller/test_overload.py",
    "controller/test_resume.py", "gateway/test_box.py", "gateway/test_process.py", "gateway/test_uplink.py", "wire/test_bus.py",
)  # fmt: skip
LEAST = 0.4


def test_two_fifths_of_the_integration_tests_run_on_production_parts(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """A ring that tries little would be green whatever broke on PostgreSQL and Mosquitto."""
    root = request.config.rootpath / "tests"
    items = [i for i in request.session.items if i.path.relative_to(root).as_posix().startswith(INTEGRATION)]
    folders = {item.path.relative_to(root).parts[0] for item in items}
    if not {place.partition("/")[0] for place in INTEGRATION} <= folders:
        pytest.skip("only a run of the whole suite can tell")
    marked = sum(item.get_closest_marker("stack") is not None for item in items)
    record_property("stack", f"{marked} of {len(items)}")
    assert marked >= LEAST * len(items), f"{marked} of {len(items)} integration tests are marked stack"
