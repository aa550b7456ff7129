"""An emulated network per file; logs from warnings up, because property tests make thousands of moves."""

from collections.abc import Iterator

import pytest
import structlog
from gateway_lab import Lab, emulated


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with emulated(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture(autouse=True)
def fewer_logs(quiet_logs: None) -> Iterator[None]:
    """Keep the production renderer, drop what is below a warning."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30), cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)
