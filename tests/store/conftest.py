"""A migrated SQLite database per test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from production_parts import database_at, stack
from store.values import FixedClock

from simrack.controller.store.migrate import migrate
from simrack.controller.store.queries import Queries
from simrack.controller.store.writer import Writer


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A fresh database as a file: copying it is faster than migrating for each test."""
    path = tmp_path_factory.mktemp("migrated") / "fresh.db"
    migrate(f"sqlite:///{path}", FixedClock())
    return path.read_bytes()


@pytest.fixture
def url(production_in_use: None, tmp_path: Path, migrated: bytes) -> str:
    """A fresh database, as the controller uses it; on PostgreSQL in a test marked `stack` with --stack."""
    path = tmp_path / "simrack.db"
    if stack() is None:
        path.write_bytes(migrated)
    return database_at(path).url


@pytest.fixture
async def writer(url: str, clock: FixedClock) -> AsyncIterator[Writer]:
    async with Writer(url, clock, run="run-2") as started:
        yield started


@pytest.fixture
def queries(url: str) -> Iterator[Queries]:
    reader = Queries(url)
    yield reader
    reader.close()
