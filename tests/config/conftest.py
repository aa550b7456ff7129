"""A database with the example in force, and a desk over it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from config.bench import Bench
from production_parts import database_at
from routing.fleets import EXAMPLE
from store.values import FixedClock

from simrack.controller.config.files import Configuration, import_file
from simrack.controller.store.writer import Writer


@pytest.fixture
def url(production_in_use: None, tmp_path: Path) -> str:
    return database_at(tmp_path / "simrack.db").url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Writer]:
    async with Writer(url, FixedClock(), "run") as writer:
        yield writer


@pytest.fixture
def configuration(url: str) -> Iterator[Configuration]:
    opened = Configuration(url)
    yield opened
    opened.close()


@pytest.fixture
async def bench(tmp_path: Path, store: Writer, configuration: Configuration) -> Bench:
    path = tmp_path / "example.toml"
    await asyncio.to_thread(shutil.copy, EXAMPLE, path)
    await import_file(path, store, configuration, realm="simrack")
    return Bench(store, configuration, await asyncio.to_thread(configuration.in_force))
