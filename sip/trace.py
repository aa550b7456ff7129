"""What goes over the SIP socket, kept by Call-ID until a call claims it: octets in a list, nothing looked into.

A call's first messages come before anybody knows that there is a call (a challenge, the INVITE itself), so
everything is kept for a moment. What no call claims goes first when the room is short: a flood of strangers costs
a bounded memory and pushes out nothing that belongs to a call.
"""

import re
from dataclasses import dataclass, field

from simrack.sip.ports import Address
from simrack.wire.ports import Clock

#: Of one Call-ID; an ordinary call has 12, one that is repeated on a bad link 40.
MOST_MESSAGES = 120
#: Octets of one Call-ID; an ordinary call has 8,000. Whoever floods a dialog fills no memory.
MOST_OCTETS = 96 * 1024
#: Call-IDs that no call has claimed: a challenge round is over within a second or given up within 32.
MOST_LOOSE = 1_000

_PLAIN = b"\r\nCall-ID: "
_ANY = re.compile(rb"\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Taped:
    """One message on the wire. `at`: seconds of the monotonic clock."""

    at: float
    sent: bool
    remote: Address
    data: bytes


@dataclass(slots=True)
class Tape:
    """The messages of one Call-ID, in the order of the wire; `left_out` came when it was full."""

    messages: list[Taped] = field(default_factory=list)
    octets: int = 0
    left_out: int = 0


class Tapes:
    """All messages of the moment. `on` may be switched at any time; nothing is kept while it is off."""

    def __init__(self, clock: Clock, *, on: bool = True) -> None:
        self.on = on
        self._now = clock.monotonic
        self._loose: dict[bytes, Tape] = {}
        self._held: dict[bytes, Tape] = {}

    def __len__(self) -> int:
        return len(self._loose) + len(self._held)

    def note(self, data: bytes, remote: Address, *, sent: bool) -> None:
        """Keep one message; what names no Call-ID is not SIP."""
        if not self.on:
            return
        key = call_id_of(data)
        tape = self._held.get(key) or self._loose.get(key)
        if tape is None:
            if not key:
                return
            tape = self._loose[key] = Tape()
            if len(self._loose) > MOST_LOOSE:
                del self._loose[next(iter(self._loose))]
        if len(tape.messages) >= MOST_MESSAGES or tape.octets + len(data) > MOST_OCTETS:
            tape.left_out += 1
            return
        tape.octets += len(data)
        tape.messages.append(Taped(self._now(), sent, remote, data))

    def hold(self, call_id: str) -> None:
        """Keep this Call-ID until it is taken: a call has begun with it."""
        if self.on:
            key = call_id.encode()
            if key not in self._held:
                self._held[key] = self._loose.pop(key) if key in self._loose else Tape()

    def take(self, call_id: str) -> Tape:
        """The messages of a Call-ID, which are then forgotten here."""
        key = call_id.encode()
        for tapes in (self._held, self._loose):
            if key in tapes:
                return tapes.pop(key)
        return Tape()


def call_id_of(data: bytes) -> bytes:
    """The Call-ID of a message; b"" when it names none."""
    start = data.find(_PLAIN)
    if start >= 0:
        start += len(_PLAIN)
        return data[start : data.find(b"\r\n", start)].strip()
    found = _ANY.search(data)
    return found.group(1).strip() if found else b""
