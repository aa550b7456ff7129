"""Connections of an engine that may be closed while other threads still read through it."""

from typing import cast

from sqlalchemy.pool import ConnectionPoolEntry, QueuePool


class ReadPool(QueuePool):
    """Closes each connection in the end: what is lent when the pool is disposed of, by the thread that brings it back.

    The library would leave those to the garbage collector, and so would it those of a read that begins later still;
    to wait for such reads instead would stop an event loop that closes.
    """

    _over = False

    def dispose(self) -> None:
        self._over = True  # before the rest are closed: what comes back from now on is not kept
        super().dispose()

    def recreate(self) -> "ReadPool":
        again = cast("ReadPool", super().recreate())
        again._over = self._over
        return again

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        late = self._over
        if late:
            record.close()  # it connects again if it is lent again
        super()._do_return_conn(record)
        if self._over and not late:
            super().dispose()  # in this very moment: it may have been put back after the rest were closed
