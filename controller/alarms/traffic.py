"""Counts what alarms about traffic need: when the last call came, and how many of the last hour were answered."""

from collections import deque

from simrack.controller.models import RecordRow

#: The ratio is of an hour, in buckets of a minute.
BUCKET_S, BUCKETS = 60.0, 60


class Traffic:
    """Fed by the calls themselves; moments are of the monotonic clock, in s."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._buckets: deque[list[float]] = deque(maxlen=BUCKETS)  # [number of the minute, seizures, answers]

    def begun(self, now: float) -> None:
        """A call of an identified sender has come in."""
        self._last = now

    def ended(self, row: RecordRow, now: float) -> None:
        """A call is on record; one that was refused has seized nothing, so it is no part of the ratio."""
        if row.direction != "out" or row.outcome == "refused":
            return
        minute = now // BUCKET_S
        if not self._buckets or self._buckets[-1][0] != minute:
            self._buckets.append([minute, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += row.outcome == "answered"

    def silent_s(self, now: float, since: float) -> float:
        """How long no call has come in; from `since` when there was none yet."""
        return now - (since if self._last is None else max(since, self._last))

    def ratio(self, now: float) -> tuple[int, float]:
        """(calls, share of them that was answered) of the last hour."""
        oldest = now // BUCKET_S - BUCKETS
        buckets = [bucket for bucket in self._buckets if bucket[0] > oldest]
        calls = int(sum(bucket[1] for bucket in buckets))
        return calls, sum(bucket[2] for bucket in buckets) / calls if calls else 0.0
