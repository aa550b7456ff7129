"""Calls in progress by sender and by plan, and how many each sender began within the last second."""

from collections import Counter, deque
from collections.abc import Mapping

#: Calls per second are counted over this window.
RATE_WINDOW_S = 1.0


class Load:
    """Counts that routing's limits look at."""

    def __init__(self) -> None:
        self._senders: Counter[str] = Counter()
        self._plans: Counter[str] = Counter()
        self._begun: deque[tuple[float, str]] = deque()
        self._rate: Counter[str] = Counter()

    def begin(self, sender: str, now: float, *, resumed: bool = False) -> None:
        """A call of `sender` came in, or (`resumed`) goes on from an earlier run, whose beginning is long over."""
        self._senders[sender] += 1
        if resumed:
            return
        self._begun.append((now, sender))
        self._rate[sender] += 1

    def end(self, sender: str) -> None:
        """A call of `sender` is over."""
        _less(self._senders, sender)

    def seize(self, plan: str) -> None:
        """An attempt uses a SIM of `plan`."""
        self._plans[plan] += 1

    def leave(self, plan: str) -> None:
        """An attempt on `plan` is over."""
        _less(self._plans, plan)

    def senders(self) -> Mapping[str, int]:
        return dict(self._senders)

    def plans(self) -> Mapping[str, int]:
        return dict(self._plans)

    def rate(self, now: float) -> Mapping[str, int]:
        """Calls begun by each sender within the last second."""
        while self._begun and now - self._begun[0][0] >= RATE_WINDOW_S:
            _less(self._rate, self._begun.popleft()[1])
        return dict(self._rate)


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
