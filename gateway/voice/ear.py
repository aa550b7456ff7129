"""A copy of one call's voice for somebody who listens: each direction as an RTP stream of its own, PCMA at 8 kHz.

Nothing waits for it and nothing depends on it: what the listener's network loses is lost to the listener alone.
"""

from collections.abc import Callable

from simrack.sip import g711, rtp

Address = tuple[str, int]

PCMA = 8  # RFC 3551, table 4
RATE = 8000
#: A listener that vanished costs at most this; whoever listens on asks again.
MOST_S = 600.0


class Copy:
    """One direction, 20 ms a packet."""

    def __init__(self, send: Callable[[bytes, Address], bool], target: Address, seed: str, rate: int) -> None:
        self._send, self._target = send, target
        self._stream = rtp.Stream(seed)
        self._halve = g711.Halver().feed if rate == 2 * RATE else None
        self._first = True

    def feed(self, pcm: bytes) -> None:
        """Send one frame at the module's rate."""
        narrow = self._halve(pcm) if self._halve else pcm
        payload = g711.alaw_encode(narrow)
        self._send(self._stream.packet(PCMA, payload, marker=self._first), self._target)
        self._stream.advance(len(payload))
        self._first = False


class Ear:
    """Both directions, until a moment of the monotonic clock."""

    def __init__(
        self, port: rtp.RtpPort, said: Address, heard: Address, seeds: tuple[str, str], rate: int, until: float
    ) -> None:
        self.until = until
        #: What the SIP side says, and what comes from the network.
        self.said, self.heard = Copy(port.send, said, seeds[0], rate), Copy(port.send, heard, seeds[1], rate)
