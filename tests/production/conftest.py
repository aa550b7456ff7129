"""Databases and brokers that are hurt on purpose."""

from collections.abc import Iterator

import pytest
from production_parts import Postgres, PostgresDatabase


@pytest.fixture
def on_server(postgres: Postgres) -> Iterator[PostgresDatabase]:
    """A fresh database on PostgreSQL, for what SQLite has no twin of."""
    made = PostgresDatabase(postgres)
    yield made
    made.close()
