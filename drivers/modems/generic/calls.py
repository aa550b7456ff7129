"""The one voice call of a module, derived from what its lines say; decisions only, no input or output.

Lines lie in many ways (at-dialects 4.2 to 4.4, 11): states are skipped, repeated or late, the end is told
twice or never, a data bearer shows as a call, the index is not 1. `CallView` takes observations and answers
with steps: what moved, what ended, which second call must be refused, which call nobody asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from simrack.drivers.modems.base import Progress

# A port that is busy or dead also shows no calls: one empty list proves nothing (at-dialects 4.2).
EMPTY_LISTS = 2

_RANK = {
    Progress.DIALLING: 1,
    Progress.INCOMING: 2,
    Progress.ALERTING: 2,
    Progress.ACTIVE: 3,
    Progress.HELD: 3,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One voice call as +CLCC, ccinfo or DSCI shows it."""

    index: int
    outgoing: bool
    state: Progress
    number: str = ""

    @property
    def rings(self) -> bool:
        """Somebody calls, and nobody has answered."""
        return not self.outgoing and self.state in (Progress.INCOMING, Progress.WAITING)


@dataclass(frozen=True, slots=True)
class Over:
    """A line says that the call with this index is released."""

    index: int
    number: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """The call reached a state that it had not yet."""

    state: Progress
    number: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over."""

    number: str


@dataclass(frozen=True, slots=True)
class Second:
    """Another call wants in; it is refused as busy."""

    index: int
    number: str


@dataclass(frozen=True, slots=True)
class Ghost:
    """An outgoing call that nobody asked for now, such as a dial given up too early."""

    index: int


Step = Moved | Ended | Second | Ghost


def _same_number(one: str, other: str) -> bool:
    """Networks show national and international forms of one number; an empty one tells nothing."""
    length = min(len(one), len(other), 7)
    return length == 0 or one[-length:] == other[-length:]


class CallView:
    """What is known of the call."""

    def __init__(self) -> None:
        self.state: Progress | None = None
        self.number = ""
        self._index: int | None = None
        self._asked = self._outgoing = False
        self._empty = 0
        self._refused: set[int] = set()
        self._crossing: Row | None = None

    @property
    def busy(self) -> bool:
        """A call is there or being asked for."""
        return self._asked or self.state is not None

    def asked(self, number: str) -> None:
        """A dial command goes out."""
        self._clear()
        self._asked, self.number = True, number

    def taken(self) -> tuple[Step, ...]:
        """The module took the dial command; a call that rang meanwhile is the second one."""
        crossing, self._crossing = self._crossing, None
        second = self._refuse(crossing) if crossing is not None else ()
        if not self._asked or self.state is not None:
            return second
        self.state = Progress.DIALLING
        return (Moved(self.state, self.number), *second)

    def failed(self) -> None:
        """The dial command failed: there is no call."""
        self._clear()

    def row(self, row: Row) -> tuple[Step, ...]:
        """A call was shown in a state."""
        self._empty = 0
        if self._index is None and self._fits(row):
            return self._adopt(row)
        if row.index == self._index:
            # The other direction under our index: our call's end was lost, and this is the next call.
            return self._move(row) if row.outgoing is self._outgoing else self.ended() + self.row(row)
        if row.state in (Progress.INCOMING, Progress.WAITING):
            if self._asked and self.state is None:
                # The ring may be why the dial will be refused, and then it is the call: the result decides.
                self._crossing = row
                return ()
            return self._refuse(row)
        return () if self.busy else (Ghost(row.index),)

    def ringing(self, number: str) -> tuple[Step, ...]:
        """RING came, and the module shows no list that would tell more."""
        if self.busy:
            return ()
        self.state, self.number = Progress.INCOMING, number
        return (Moved(self.state, number),)

    def gone(self, over: Over) -> tuple[Step, ...]:
        """A call was shown as released; the end of the call before, told late, has another number."""
        self._refused.discard(over.index)
        if self._crossing is not None and self._crossing.index == over.index:
            self._crossing = None
        if over.index != self._index or not _same_number(over.number, self.number):
            return ()
        return self.ended()

    def listing(self, rows: Iterable[Row]) -> tuple[Step, ...]:
        """A valid list of all voice calls came; two empty ones in a row end the call."""
        shown = tuple(rows)
        self._refused &= {row.index for row in shown}
        if self._index is None and self.state is not None:
            shown = tuple(row for row in shown if self._fits(row)) or shown
        if any(row.index == self._index or self._fits(row) for row in shown) or self.state is None:
            return tuple(step for row in shown for step in self.row(row))
        self._empty += 1
        return self.ended() if self._empty >= EMPTY_LISTS else ()

    def ended(self) -> tuple[Step, ...]:
        """The call is over, by whatever proof."""
        was = self.state
        number = self.number
        self._clear()
        return (Ended(number),) if was is not None else ()

    def _clear(self) -> None:
        self.state, self.number, self._index = None, "", None
        self._asked, self._empty, self._crossing = False, 0, None

    def _fits(self, row: Row) -> bool:
        """Tell whether a row of unknown index can be our call."""
        if self._asked or (self.state is not None and self.state is not Progress.INCOMING):
            return row.outgoing
        return not row.outgoing

    def _adopt(self, row: Row) -> tuple[Step, ...]:
        self._index, self._outgoing = row.index, row.outgoing
        self.number = self.number or row.number
        return self._move(row)

    def _move(self, row: Row) -> tuple[Step, ...]:
        state = row.state
        # Direction and state can contradict each other in garbled lines; the direction is the surer one.
        if state not in (Progress.ACTIVE, Progress.HELD):
            outgoing = Progress.ALERTING if state is Progress.ALERTING else Progress.DIALLING
            state = outgoing if row.outgoing else Progress.INCOMING
        if state is self.state or (self.state is not None and _RANK[state] < _RANK[self.state]):
            return ()
        self.state = state
        return (Moved(state, self.number),)

    def _refuse(self, row: Row) -> tuple[Step, ...]:
        if row.index in self._refused:
            return ()
        self._refused.add(row.index)
        return (Second(row.index, row.number),)
