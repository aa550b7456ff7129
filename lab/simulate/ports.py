"""Clock and randomness of a simulated process."""

import random
from datetime import UTC, datetime, timedelta

from simrack.lab.simulate.loop import VirtualLoop

#: Where simulated time begins; the middle of a month and of a day, so that both turn during longer runs.
EPOCH = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
#: No process starts with its monotonic clock at nought.
UPTIME_S = 1000.0


class SimClock:
    """Both clocks of one machine; `skew` is how wrong its wall clock is."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.skew = timedelta()

    def monotonic(self) -> float:
        return self._loop.time() + UPTIME_S

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time()) + self.skew


class SimIds:
    """Tokens from a seeded generator."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def token(self, octets: int = 12) -> str:
        return f"{self._rng.getrandbits(8 * octets):0{octets * 2}x}"
