"""The door: how much one source may cost, and who is not answered for a while.

Three limits, cheapest first. A *ban* leaves a source unanswered that failed too often; addresses that a
sender or a box has are never banned, a person is told instead. A *budget* bounds the refusals and challenges
that one source gets per second, so that a flood from one address doesn't eat the others' time. The *rate* is
what this process admits; the rest get 503 with Retry-After.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from simrack.wire.ports import Clock

Address = tuple[str, int]
#: Sources remembered; the longest unseen are forgotten first, so that forged addresses can't fill the memory.
MOST_SOURCES = 10_000


class Gate(Enum):
    """What becomes of a packet that would begin a call."""

    OPEN = "open"
    OVERLOAD = "overload"
    SHUT = "shut"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Figures of the guard; times in seconds."""

    calls_per_second: float = 80.0
    #: Challenges and refusals per second and source; a sender's burst of one second is its credit.
    refusals_per_second: float = 20.0
    failures: int = 20
    failures_within_s: float = 300.0
    ban_s: float = 12 * 3600.0


class Bucket:
    """A token bucket: `rate` tokens a second, at most `burst` of them."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def empty(self, now: float) -> bool:
        self._fill(now)
        return self._tokens < 1

    def give_back(self) -> None:
        """Return a token that was not needed after all."""
        self._tokens = min(self._burst, self._tokens + 1)

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


@dataclass(slots=True)
class _Source:
    bucket: Bucket
    failures: list[float] = field(default_factory=list)
    banned_until: float = 0.0


class Guard:
    """Per-source memory and the rate of the process."""

    def __init__(self, clock: Clock, limits: GuardLimits | None = None) -> None:
        self._clock = clock
        self.limits = limits or GuardLimits()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        rate, now = self.limits.calls_per_second, clock.monotonic()
        self._calls = Bucket(rate, rate, now)
        # A digest call is two INVITEs, and a burst may begin with many challenges.
        self._packets = Bucket(4 * rate, 4 * rate, now)

    def gate(self, source: Address) -> Gate:
        """Judge a packet before it is parsed."""
        now = self._clock.monotonic()
        known = self._sources.get(source[0])
        if known is not None and (now < known.banned_until or known.bucket.empty(now)):
            return Gate.SHUT
        return Gate.OPEN if self._packets.take(now) else Gate.OVERLOAD

    def admit(self) -> bool:
        """Admit one identified call."""
        return self._calls.take(self._clock.monotonic())

    def refused(self, source: Address) -> None:
        """A challenge or refusal went to this source."""
        self._of(source).bucket.take(self._clock.monotonic())

    def passed(self, source: Address) -> None:
        """Its challenge was met: the challenge costs it nothing, and its failures are forgotten."""
        known = self._sources.get(source[0])
        if known is not None:
            known.bucket.give_back()
            known.failures.clear()

    def failed(self, source: Address, *, spare: bool) -> bool:
        """Count a failed identification; True when it is one too many. `spare` sources are never banned."""
        now, known, limits = self._clock.monotonic(), self._of(source), self.limits
        if now < known.banned_until:
            return False
        known.failures = [at for at in known.failures if now - at < limits.failures_within_s]
        known.failures.append(now)
        if len(known.failures) < limits.failures:
            return False
        known.failures.clear()
        if not spare:
            known.banned_until = now + limits.ban_s
        return True

    def is_banned(self, source: Address) -> bool:
        """Whether this source is not answered now."""
        known = self._sources.get(source[0])
        return known is not None and self._clock.monotonic() < known.banned_until

    def banned(self) -> tuple[str, ...]:
        """Addresses that are not answered now."""
        now = self._clock.monotonic()
        return tuple(host for host, known in self._sources.items() if now < known.banned_until)

    def free(self, host: str) -> bool:
        """End a ban; False when there is none."""
        known = self._sources.get(host)
        if known is None or self._clock.monotonic() >= known.banned_until:
            return False
        known.banned_until = 0.0
        return True

    def _of(self, source: Address) -> _Source:
        host = source[0]
        known = self._sources.get(host)
        if known is None:
            burst = 2 * self.limits.calls_per_second
            bucket = Bucket(self.limits.refusals_per_second, burst, self._clock.monotonic())
            known = self._sources[host] = _Source(bucket)
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(host)
        return known
