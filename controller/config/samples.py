"""Recent calls to try a change on: many different ones, not many of the same."""

from sqlalchemy import select

from simrack.controller.config.impact import SAMPLE, Sample
from simrack.controller.store import tables as t
from simrack.controller.store.reader import Reader

#: Calls looked through; a busy rack makes as many in a few minutes.
LOOK_THROUGH = 5000
#: Digits that tell destinations apart.
DIGITS = 7


class CallSamples(Reader):
    """Reads recent calls of senders."""

    def recent(self) -> tuple[Sample, ...]:
        """The newest call of each sender to each destination. Raises `StoreDown`."""
        columns = t.cdr.c
        newest = (
            select(columns.sender, columns.called_received, columns.calling_received, columns.started)
            .where(columns.direction == "out", columns.sender != "")
            .order_by(columns.started.desc())
            .limit(LOOK_THROUGH)
        )
        found: dict[tuple[str, str], Sample] = {}
        with self._read() as connection:
            for row in connection.execute(newest):
                key = row.sender, row.called_received[:DIGITS]
                if len(found) < SAMPLE and key not in found:
                    found[key] = Sample(
                        sender=row.sender, called=row.called_received, calling=row.calling_received, started=row.started
                    )
        return tuple(found.values())
