"""The read-only connection that all questions to the database go through."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from simrack.controller.store.engine import read_engine
from simrack.controller.store.errors import StoreDown


class Reader:
    """Opens short read transactions; safe to use from any thread."""

    def __init__(self, url: str) -> None:
        self._engine = read_engine(url)

    def close(self) -> None:
        """Close all connections; one that another thread reads through now, when that read is over. Does not wait."""
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreDown(f"the database can't be read: {error.orig}") from error
