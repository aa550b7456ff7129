"""How calls are admitted when more come than this process can carry. Pure: times come in, verdicts go out.

Each sender that called lately owns an equal part of the rate, which nobody else can use up; what the others leave
is for whoever asks. So a sender that floods gets what is left over, and one that calls as always notices nothing.
"""

from dataclasses import dataclass

#: A sender counts among those who share for this long after its last INVITE: longer than a Retry-After.
ACTIVE_S = 15.0
#: A newcomer finds the others' burst already spent; it may go this part of a second's calls into debt.
DEBT = 0.5


class Bucket:
    """A token bucket: `rate` tokens a second, at most `burst` of them."""

    __slots__ = ("_at", "_burst", "_rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self.tokens, self._at = burst, now

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        if self.empty(now):
            return False
        self.tokens -= 1
        return True

    def empty(self, now: float) -> bool:
        self.fill(now)
        return self.tokens < 1

    def give_back(self) -> None:
        """Return a token that was not needed after all."""
        self.tokens = min(self._burst, self.tokens + 1)

    def pace(self, rate: float, burst: float, now: float) -> None:
        """Go on at another rate."""
        self.fill(now)
        self._rate, self._burst = rate, burst
        self.tokens = min(burst, self.tokens)

    def fill(self, now: float) -> None:
        """Bring the tokens up to date."""
        self.tokens = min(self._burst, self.tokens + (now - self._at) * self._rate)
        self._at = now


@dataclass(slots=True)
class _Share:
    bucket: Bucket
    seen: float


class FairRate:
    """The admitted rate of a process, shared by its senders (as many as the configuration names)."""

    def __init__(self, calls_per_second: float, now: float) -> None:
        self.rate = calls_per_second
        self._all = Bucket(self.rate, self._burst(self.rate), now)
        self._shares: dict[str, _Share] = {}
        self._factor = 1.0

    def pace(self, calls_per_second: float, now: float) -> None:
        """Go on at another rate; who called lately is forgotten, so that all begin with their new shares."""
        self.rate = calls_per_second
        self._all.pace(self.rate, self._burst(self.rate), now)
        self._shares.clear()

    def admit(self, sender: str, now: float, factor: float = 1.0) -> bool:
        """Admit one call of `sender` at the part `factor` of the rate."""
        self._update(sender, now, factor)
        self._all.fill(now)
        own = self._shares[sender].bucket
        if not own.empty(now) and self._all.tokens >= 1 - DEBT * self.rate * factor:
            own.tokens -= 1
            self._all.tokens -= 1
            return True
        if self._all.tokens < 1 + self._reserved(sender, now):
            return False
        self._all.tokens -= 1
        return True

    def _reserved(self, sender: str, now: float) -> float:
        """What the others may still ask for: at most half a second's calls, or a full bucket would never be used."""
        others = 0.0
        for name, share in self._shares.items():
            if name != sender:
                share.bucket.fill(now)
                others += share.bucket.tokens
        return min(others, self._burst(self.rate * self._factor) / 2)

    def _update(self, sender: str, now: float, factor: float) -> None:
        gone = [name for name, share in self._shares.items() if now - share.seen > ACTIVE_S and name != sender]
        for name in gone:
            del self._shares[name]
        known = self._shares.get(sender)
        if known is not None:
            known.seen = now
        if known is not None and not gone and factor == self._factor:
            return
        self._factor = factor
        if known is None:
            self._shares[sender] = _Share(Bucket(0.0, float("inf"), now), now)
        part = self.rate * factor / len(self._shares)
        for share in self._shares.values():
            share.bucket.pace(part, self._burst(part), now)
        self._all.pace(self.rate * factor, self._burst(self.rate * factor), now)

    @staticmethod
    def _burst(rate: float) -> float:
        """A second's calls, and never less than one."""
        return max(1.0, rate)
