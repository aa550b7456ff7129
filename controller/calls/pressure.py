"""What part of the admitted rate this machine can carry now. Pure: lateness in, a factor out.

The rate in the settings was measured on a machine with nothing else to do. A loop that comes late to its timers
tells that the machine has less to give; the next thing to happen would be retransmissions, which make it worse.
"""

#: Half of T1 (RFC 3261 17.1.1.1): a loop later than this is about to be asked everything twice.
LATE_S = 0.25
#: So many in a row are no single slow step: there is more work than time.
IN_A_ROW = 2
#: Below this the loop keeps up.
EASY_S = 0.1
#: The worst lateness of this long decides; shorter, and one slow call would count as overload.
LOOK_S = 1.0
FALL, RISE = 0.7, 0.1
#: At a tenth of the rate the lateness is no longer the calls' fault, and refusing more would help nobody.
LEAST = 0.1


class Pressure:
    """Falls fast, rises slowly: from the least back to all in nine seconds."""

    def __init__(self) -> None:
        self.factor = 1.0
        self.worst_s = 0.0  # of the second that ended last
        self._worst = 0.0
        self._until: float | None = None
        self._late_turns = 0

    @property
    def behind(self) -> bool:
        """Whether work piles up this very moment: what is admitted now is served too late, and delays the rest."""
        return self._late_turns >= IN_A_ROW

    def heard(self, late_s: float, now: float) -> bool:
        """Take a lateness in; True when the factor changed."""
        self._late_turns = self._late_turns + 1 if late_s > LATE_S else 0
        self._worst = max(self._worst, late_s)
        if self._until is None:
            self._until = now + LOOK_S
        if now < self._until:
            return False
        self._until = now + LOOK_S
        self.worst_s, self._worst = self._worst, 0.0
        before = self.factor
        if self.worst_s > LATE_S:
            self.factor = max(LEAST, self.factor * FALL)
        elif self.worst_s < EASY_S:
            self.factor = min(1.0, self.factor + RISE)
        return self.factor != before
