"""Answers without a transaction (RFC 3261 8.2.7, 26.3.2.4): what most of a flood gets, for next to nothing.

A request that begins nothing is answered from its own headers and forgotten but for a bounded memory of the
answer: its repeat gets the same one, even when the verdict would now be another. The To tag tells such answers
apart, so that the ACK of one ends before anything is made of it.
"""

from collections import OrderedDict
from hashlib import blake2b

from simrack.sip.screen import Packet

Address = tuple[str, int]
#: Answers of each half; at 80 refusals a second one half is a minute, in a flood the oldest go first (about 4 MB).
MOST_KEPT = 5_000
#: An answer is at most as long as the Via headers that it copies; longer ones would serve a flood elsewhere.
MAX_REPLY = 4096
_MARK = "nt"  # our dialogs' tags are hexadecimal, so that this can't begin one


class Replies:
    """The memory of a running stack."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._young: OrderedDict[bytes, tuple[bytes, Address]] = OrderedDict()
        self._old: OrderedDict[bytes, tuple[bytes, Address]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def tag(self, packet: Packet) -> str:
        """The To tag: the same for the same request, guessable by nobody (RFC 3261 8.2.7)."""
        parts = (packet.first("call-id"), packet.first("from"), packet.first("cseq"), packet.first("via"))
        text = "\n".join(parts).encode("utf-8", "replace")
        return _MARK + blake2b(text, key=self._key[:64], digest_size=8).hexdigest()

    def made(self, to_tag: str) -> bool:
        """Whether an answer of this kind had this tag."""
        return to_tag.startswith(_MARK)

    def keep(self, checksum: bytes, data: bytes, address: Address) -> None:
        """Remember an answer; the oldest make room."""
        self._young[checksum] = (data, address)
        if len(self._young) > MOST_KEPT:
            self._young.popitem(last=False)

    def again(self, checksum: bytes) -> tuple[bytes, Address] | None:
        """What this very packet was answered before."""
        return self._young.get(checksum) or self._old.get(checksum)

    def turn(self) -> None:
        """Forget the older half; called every 32 s, as long as a request is repeated (timer B, F)."""
        self._old, self._young = self._young, OrderedDict()
