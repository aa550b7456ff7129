"""Whether a call had its voice both ways: one word for the record, and which way was dead.

Looked at from the answer on: ringing tones and announcements are no conversation. A direction is *dead* when nothing
came at all, *silent* when what came never rose above digital silence, which an open microphone always does.
"""

from dataclasses import dataclass

#: A shorter talk says nothing: people listen for some seconds before they speak.
LEAST_TALK_S = 10.0
#: Rms of one frame, -60 dBFS: below the room noise of any telephone that is not muted.
SILENT_RMS = 33

NO_MEDIA = "no-media"
ONE_WAY = "one-way"


@dataclass(slots=True)
class Way:
    """One direction since the answer; `asked_s`: how long the session allowed it."""

    asked_s: float = 0.0
    pieces: int = 0
    loudest: int = 0

    def heard(self, rms: int) -> None:
        """A frame of voice that really came."""
        self.loudest = max(self.loudest, rms)

    @property
    def judged(self) -> bool:
        return self.asked_s >= LEAST_TALK_S


def verdict(to_network: Way, from_network: Way) -> str:
    """"" when all is well or nothing can be said; else `no-media`, or `one-way:` and what was missing.

    `one-way:no-rtp`, `one-way:no-pcm`: nothing came from the SIP side, from the module. `one-way:silent-rtp`,
    `one-way:silent-pcm`: packets or samples came and held nothing.
    """
    if not (to_network.judged and from_network.judged):
        return ""
    if not to_network.pieces and not from_network.pieces:
        return NO_MEDIA
    for way, other, name in ((to_network, from_network, "rtp"), (from_network, to_network, "pcm")):
        if not way.pieces:
            return f"{ONE_WAY}:no-{name}"
        # Two silent ways may be two people who wait; one silent way against a loud one is a fault or a mute key.
        if way.loudest < SILENT_RMS <= other.loudest:
            return f"{ONE_WAY}:silent-{name}"
    return ""
