"""The box's tests log warnings only: property tests make thousands of moves."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def fewer_logs(quiet_logs: None) -> Iterator[None]:
    """Keep the production renderer, drop what is below a warning."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30), cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)
