"""DTMF digits as RTP events (RFC 4733), and as tones where the other side takes no events. No I/O here."""

import math
from collections import deque
from dataclasses import dataclass
from functools import cache

from simrack.sip import g711

DIGITS = "0123456789*#ABCD"  # event code = position (RFC 4733 3.2)
TONE_MS = 100  # a switch needs 40 ms to be sure; more helps across a lossy codec
PAUSE_MS = 60
VOLUME = 10  # -10 dBm0
END_REPEATS = 3  # RFC 4733 2.5.1.4: the final packet is sent three times
LONGEST = 0xFFFF
TONE_DBFS = -12.0
_ROWS, _COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
_PAD = ("123A", "456B", "789C", "*0#D")


@dataclass(frozen=True, slots=True)
class Event:
    """Payload of one event packet; `duration` in units of the event's clock."""

    digit: str
    end: bool
    volume: int
    duration: int

    def encode(self) -> bytes:
        flags = (0x80 if self.end else 0) | (self.volume & 0x3F)
        return bytes((DIGITS.index(self.digit), flags)) + self.duration.to_bytes(2, "big")


def decode(payload: bytes) -> Event | None:
    """The event, or None for a code that is no digit (flash, modem tones) or a short payload."""
    if len(payload) < 4 or payload[0] >= len(DIGITS):
        return None
    return Event(
        DIGITS[payload[0]],
        bool(payload[1] & 0x80),
        payload[1] & 0x3F,
        int.from_bytes(payload[2:4], "big"),
    )


class Hearing:
    """Turns event packets, repeated, reordered or lost, into digits: each digit once, at its first packet.

    A digit is told when it begins, so that a lost end packet loses nothing; the time stamp tells one event
    from the next.
    """

    def __init__(self) -> None:
        self._stamp: int | None = None
        self._last: Event | None = None

    def feed(self, payload: bytes, timestamp: int) -> str | None:
        """The digit when this packet begins a new one."""
        event = decode(payload)
        if event is None:
            return None
        if self._stamp is not None:
            ahead = (timestamp - self._stamp) & 0xFFFFFFFF
            if ahead == 0:
                self._last = event
                return None
            if ahead >= 0x80000000:
                return None
        fresh = not self._continues(event, timestamp)
        self._stamp, self._last = timestamp, event
        return event.digit if fresh else None

    def _continues(self, event: Event, timestamp: int) -> bool:
        """RFC 4733 2.5.1.3: an event longer than its duration field goes on in a new segment."""
        last = self._last
        if last is None or self._stamp is None or last.end or last.digit != event.digit:
            return False
        return last.duration == LONGEST and timestamp == (self._stamp + LONGEST) & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Spoken:
    """One event packet to send; `marker` on the first, `timestamp` is the event's beginning."""

    payload: bytes
    timestamp: int
    marker: bool


class Speaking:
    """A queue of digits to send as event packets, one call of `next` for each packet interval."""

    MOST_WAITING = 64

    def __init__(self, clock: int) -> None:
        self._clock = clock
        self._waiting: deque[str] = deque()
        self._digit = ""
        self._start = 0
        self._sent_ms = 0
        self._ends = 0
        self._pause_ms = 0

    def say(self, digit: str) -> None:
        """Queue a digit; raises ValueError for another character or a full queue."""
        if len(digit) != 1 or digit.upper() not in DIGITS:
            raise ValueError(f"{digit!r} is no DTMF digit; allowed are {DIGITS}")
        if len(self._waiting) >= self.MOST_WAITING:
            raise ValueError(f"{self.MOST_WAITING} digits already wait to be sent")
        self._waiting.append(digit.upper())

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._digit or self._pause_ms > 0)

    def next(self, now: int, interval_ms: int) -> tuple[Spoken, ...]:
        """Packets for this interval: none (send voice), one, or the three final ones."""
        if not self._digit:
            if self._pause_ms > 0:
                self._pause_ms -= interval_ms
                return ()
            if not self._waiting:
                return ()
            self._digit, self._start, self._sent_ms = self._waiting.popleft(), now, 0
        first = self._sent_ms == 0
        self._sent_ms += interval_ms
        end = self._sent_ms >= TONE_MS
        event = Event(self._digit, end, VOLUME, min(LONGEST, self._sent_ms * self._clock // 1000))
        packet = Spoken(event.encode(), self._start, first)
        if not end:
            return (packet,)
        self._digit, self._pause_ms = "", PAUSE_MS
        return (packet,) * END_REPEATS


@cache
def tone(digit: str, rate: int) -> bytes:
    """The digit as 100 ms of its two frequencies (ITU-T Q.23), for a side that takes no events."""
    row = next(i for i, keys in enumerate(_PAD) if digit in keys)
    low, high = _ROWS[row], _COLUMNS[_PAD[row].index(digit)]
    peak = g711.FULL_SCALE * 10 ** (TONE_DBFS / 20) / math.sqrt(2)
    count = rate * TONE_MS // 1000
    wave = [
        peak * (math.sin(2 * math.pi * low * i / rate) + math.sin(2 * math.pi * high * i / rate))
        for i in range(count)
    ]
    return g711.samples_of(wave)
