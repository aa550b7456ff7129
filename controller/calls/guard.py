"""The door's memory: how much one source may cost, who is not answered, how many calls come in.

Cheapest first. A *ban* leaves an address unanswered that failed or flooded; addresses that a sender or a box has,
or from which a password was right lately, are never banned, a person is told instead. A *packet budget* bounds
what of one source is read at all, and one more what all strangers together cost. An *answer budget* bounds the
refusals and challenges that one source gets. The *rate* is what this process admits, shared fairly among the
senders (`fair.py`) and less on a machine that is late (`pressure.py`); the rest get 503 with Retry-After.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from simrack.controller.calls.bans import Ban, BanList
from simrack.controller.calls.fair import Bucket, FairRate
from simrack.controller.calls.pressure import Pressure
from simrack.wire.ports import Clock

Address = tuple[str, int]
#: Sources remembered; the longest unseen are forgotten first, so that forged addresses can't fill the memory.
MOST_SOURCES = 10_000
#: A password that was right shows who is behind an address for this long; phones call at least so often.
GOOD_FOR_S = 3600.0
#: Packets of a known sender per admitted call: a digest call has 7, five refused ones beside it 10, the rest is air.
PACKETS_PER_CALL = 20.0
FLOOD, FAILURES, BY_HAND = "flood", "failures", "by hand"


class Heard(Enum):
    """What becomes of a packet before it is read."""

    YES = "yes"
    BANNED = "banned"
    BUDGET = "budget"  # its source sends too much
    STRANGERS = "strangers"  # all strangers together send too much
    FLOOD = "flood"  # as BUDGET, and now somebody must be told


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Figures of the guard; times in seconds."""

    calls_per_second: float = 80.0
    #: Unanswered calls of one sender; more than all channels of a rack can ring at once for one.
    setup_per_sender: int = 500
    #: Challenges and refusals per second and source; a sender's burst of two seconds' calls is its credit.
    refusals_per_second: float = 20.0
    #: Packets per second that are read of an address nobody names; a phone that calls needs ten.
    stranger_packets_per_second: float = 50.0
    #: Packets over its budget that make an address a flood.
    flood_packets: int = 1000
    failures: int = 20
    failures_within_s: float = 300.0
    ban_s: float = 12 * 3600.0


@dataclass(slots=True)
class _Source:
    answers: Bucket
    packets: Bucket
    known: bool
    over: int = 0
    over_since: float = 0.0
    failures: list[float] = field(default_factory=list)


class Guard:
    """Per-source memory and the rate of the process."""

    def __init__(self, clock: Clock, limits: GuardLimits | None = None) -> None:
        self._clock = clock
        self.limits = limits or GuardLimits()
        self.bans = BanList()
        self.pressure = Pressure()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._good: OrderedDict[str, float] = OrderedDict()
        rate, now = self.limits.calls_per_second, clock.monotonic()
        self._calls = FairRate(rate, now)
        # First contacts of digest senders from anywhere: a call is two INVITEs, and a burst begins with challenges.
        self._strangers = Bucket(4 * rate, 4 * rate, now)

    def take(self, limits: GuardLimits) -> None:
        """Go on under other limits; bans, failures and credits stay as they are."""
        if limits == self.limits:
            return
        rate, now = limits.calls_per_second, self._clock.monotonic()
        self.limits = limits
        self._calls.pace(rate, now)
        self._strangers.pace(4 * rate, 4 * rate, now)

    def hears(self, host: str, *, known: bool) -> Heard:
        """Judge a packet by its address alone; `known`: a sender names the address, or has a call from it."""
        now = self._clock.monotonic()
        known = known or now < self._good.get(host, 0.0)
        if not known and host in self.bans and self.bans.holds(host, self._clock.utc()):
            return Heard.BANNED
        source = self._of(host, known)
        if not source.packets.take(now):
            return self._over(source, now)
        return Heard.YES if known or self._strangers.take(now) else Heard.STRANGERS

    def admit(self, sender: str) -> bool:
        """Admit one identified call; none while work piles up."""
        return not self.pressure.behind and self._calls.admit(sender, self._clock.monotonic(), self.pressure.factor)

    def late(self, late_s: float) -> bool:
        """Take a lateness of the loop in; True when the admitted part changed."""
        return self.pressure.heard(late_s, self._clock.monotonic())

    def may_answer(self, host: str) -> bool:
        """Whether the source has an answer left; takes none."""
        known = self._sources.get(host)
        return known is None or not known.answers.empty(self._clock.monotonic())

    def answered(self, host: str) -> bool:
        """A challenge or refusal goes to this source; False when it had none left."""
        return self._of(host).answers.take(self._clock.monotonic())

    def passed(self, host: str) -> None:
        """Its challenge was met: the challenge costs it nothing, and its failures are forgotten."""
        self._good[host] = self._clock.monotonic() + GOOD_FOR_S
        self._good.move_to_end(host)
        if len(self._good) > MOST_SOURCES:
            self._good.popitem(last=False)
        known = self._sources.get(host)
        if known is not None:
            known.answers.give_back()
            known.failures.clear()

    def is_good(self, host: str) -> bool:
        """Whether a password was right from there lately."""
        return self._clock.monotonic() < self._good.get(host, 0.0)

    def failed(self, host: str, reason: str, *, spare: bool) -> bool:
        """Count a failed identification; True when it is one too many. `spare` sources are never banned."""
        now, known, limits = self._clock.monotonic(), self._of(host), self.limits
        if host in self.bans:
            return False
        known.failures = [at for at in known.failures if now - at < limits.failures_within_s]
        known.failures.append(now)
        if len(known.failures) < limits.failures:
            return False
        known.failures.clear()
        if not spare and not self.is_good(host):
            self.ban(host, reason)
        return True

    def ban(self, host: str, reason: str, seconds: float | None = None) -> Ban:
        """Answer this address no more for a while; the settings' time unless another is given."""
        return self.bans.add(host, reason, self._clock.utc(), self.limits.ban_s if seconds is None else seconds)

    def banned(self) -> tuple[Ban, ...]:
        """The bans in force."""
        return self.bans.all(self._clock.utc())

    def free(self, host: str) -> bool:
        """End a ban; False when there is none."""
        return self.bans.lift(host)

    def _over(self, source: _Source, now: float) -> Heard:
        """One packet too many; FLOOD once for each `flood_packets` within the time in which failures count."""
        if now - source.over_since > self.limits.failures_within_s:
            source.over, source.over_since = 0, now
        source.over += 1
        if source.over < self.limits.flood_packets:
            return Heard.BUDGET
        source.over, source.over_since = 0, now
        return Heard.FLOOD

    def _of(self, host: str, known: bool | None = None) -> _Source:
        source = self._sources.get(host)
        if source is None or (known is not None and known != source.known):
            source = self._sources[host] = self._new(source, known=bool(known))
            if len(self._sources) > MOST_SOURCES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(host)
        return source

    def _new(self, old: _Source | None, *, known: bool) -> _Source:
        now, limits = self._clock.monotonic(), self.limits
        rate = PACKETS_PER_CALL * limits.calls_per_second if known else limits.stranger_packets_per_second
        packets = Bucket(rate, 2 * rate, now)
        if old is not None:
            return _Source(old.answers, packets, known, failures=old.failures)
        answers = Bucket(limits.refusals_per_second, 2 * limits.calls_per_second, now)
        return _Source(answers, packets, known)
