"""Channels and SIMs that the controller has given to calls, before the boxes can have reported it.

A reservation is made before the INVITE and ends on the box's word (a report that shows the channel without
the attempt) or 10 s after the leg ended, whichever is first.
"""

from collections import deque
from dataclasses import dataclass

from simrack.wire.channel import IN_CALL
from simrack.wire.messages import ChannelReport

#: The box's report normally takes milliseconds; its link may be down for longer, but then it gets no calls.
LINGER_S = 10.0


@dataclass(slots=True)
class Reservation:
    """One attempt's hold on a channel and its card."""

    attempt: str
    box: str
    channel: int
    iccid: str
    seen: bool = False  # the box has reported the attempt on this channel
    over: bool = False  # and then the channel without it
    ended: float | None = None  # when the leg ended


class Reservations:
    """All reservations, by attempt, by channel and by card."""

    def __init__(self) -> None:
        self._by_attempt: dict[str, Reservation] = {}
        self._by_channel: dict[tuple[str, int], Reservation] = {}
        self._by_card: dict[str, Reservation] = {}
        self._ending: deque[Reservation] = deque()

    def __len__(self) -> int:
        return len(self._by_attempt)

    def holds(self, box: str, channel: int, iccid: str) -> bool:
        """Whether the channel or the card is taken."""
        return (box, channel) in self._by_channel or bool(iccid and iccid in self._by_card)

    def take(self, attempt: str, box: str, channel: int, iccid: str) -> bool:
        """Reserve; False when channel or card are taken already."""
        if self.holds(box, channel, iccid):
            return False
        reservation = Reservation(attempt, box, channel, iccid)
        self._by_attempt[attempt] = self._by_channel[box, channel] = reservation
        if iccid:
            self._by_card[iccid] = reservation
        return True

    def end(self, attempt: str, now: float, *, at_once: bool = False) -> tuple[str, int] | None:
        """The leg has ended; `at_once` when the box never touched the channel. Returns the channel if freed."""
        reservation = self._by_attempt.get(attempt)
        if reservation is None or reservation.ended is not None:
            return None
        reservation.ended = now
        if reservation.over or at_once:
            return self._free(reservation)
        self._ending.append(reservation)
        return None

    def report(self, report: ChannelReport) -> bool:
        """Hear the box's word; True when it freed the channel."""
        reservation = self._by_channel.get((report.box, report.channel))
        if reservation is None:
            return False
        if report.call is not None and report.call.attempt == reservation.attempt:
            reservation.seen = True
            return False
        if report.state in IN_CALL:
            return False
        if reservation.ended is not None:
            self._free(reservation)
            return True
        reservation.over = reservation.seen
        return False

    def sweep(self, now: float) -> list[tuple[str, int]]:
        """Free what ended long enough ago; returns the channels."""
        freed = []
        while self._ending and now - (self._ending[0].ended or now) >= LINGER_S:
            reservation = self._ending.popleft()
            if self._by_attempt.get(reservation.attempt) is reservation:
                freed.append(self._free(reservation))
        return freed

    def _free(self, reservation: Reservation) -> tuple[str, int]:
        del self._by_attempt[reservation.attempt]
        del self._by_channel[reservation.box, reservation.channel]
        if reservation.iccid:
            del self._by_card[reservation.iccid]
        return reservation.box, reservation.channel
