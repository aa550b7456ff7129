"""The messages of one call, in memory and as they are stored (docs/tracing.md).

Stored form, compressed by zlib: a version octet, our address, how many messages were left out, then for each
message its time, flags, leg, the other side's address, its length and its octets. Addresses are IPv4: SIP is
spoken over nothing else here.
"""

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

Address = tuple[str, int]

VERSION = 1
#: Message headers repeat each other: level 6 makes an eighth of them, level 1 a sixth in half the time.
LEVEL = 6
#: A stored trace that grows beyond this was damaged or made elsewhere; the largest of ours is 33 legs of 96 KiB.
MOST_OCTETS = 4 * 1024 * 1024
_HEAD = struct.Struct("!B4sHI")
_EACH = struct.Struct("!QBH4sHI")
_SENT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What could be guessed from: a digest answer gives the password away to whoever has time, digits may be a PIN.
_SECRETS = re.compile(rb'((?:^|[\s,;])response="?)([0-9A-Fa-f]{16,})|(\nSignal=[ \t]*)([0-9A-Da-d*#])', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TraceMessage:
    """One SIP message of a call. `leg`: 0 the sender's, else the attempt's number."""

    at: datetime
    leg: int
    sent: bool  # by the controller
    local: Address
    remote: Address
    data: bytes

    @property
    def source(self) -> Address:
        return self.local if self.sent else self.remote

    @property
    def target(self) -> Address:
        return self.remote if self.sent else self.local

    @property
    def text(self) -> str:
        """As people read it; octets that are no UTF-8 are shown as such."""
        return self.data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")

    @property
    def start(self) -> str:
        """The first line without the protocol's name: `INVITE sip:...` or `180 Ringing`."""
        line = self.text.partition("\n")[0].strip()
        return line.removeprefix("SIP/2.0 ").removesuffix(" SIP/2.0")

    @property
    def call_id(self) -> str:
        found = re.search(r"^(?:call-id|i)[ \t]*:[ \t]*(.+)$", self.text, re.IGNORECASE | re.MULTILINE)
        return found.group(1).strip() if found else ""

    @property
    def method(self) -> str:
        """The method that it is, or that it answers."""
        found = re.search(r"^cseq[ \t]*:[ \t]*[0-9]+[ \t]+(\S+)", self.text, re.IGNORECASE | re.MULTILINE)
        return found.group(1) if found else ""


@dataclass(frozen=True, slots=True)
class Trace:
    """All messages of a call in the order of time; `left_out` were more than is kept of a call."""

    messages: tuple[TraceMessage, ...]
    left_out: int = 0


def masked(data: bytes) -> bytes:
    """A message without what a password or a PIN could be guessed from; its length stays."""
    lower = data.lower()
    if b"response=" not in lower and b"signal=" not in lower:
        return data
    return _SECRETS.sub(lambda hit: (hit[1] or hit[3]) + b"x" * len(hit[2] or hit[4]), data)


def pack(messages: Iterable[TraceMessage], local: Address, left_out: int = 0) -> bytes:
    """The stored form; messages in the order of time."""
    parts = [_HEAD.pack(VERSION, _octets(local), local[1], left_out)]
    for message in sorted(messages, key=lambda each: each.at):
        data, flags = masked(message.data), _SENT if message.sent else 0
        at = (message.at - _EPOCH) // timedelta(microseconds=1)
        remote = message.remote
        parts += (_EACH.pack(at, flags, message.leg, _octets(remote), remote[1], len(data)), data)
    return zlib.compress(b"".join(parts), LEVEL)


def unpack(stored: bytes) -> Trace:
    """What `pack` has made. Raises ValueError when it is damaged."""
    unzip = zlib.decompressobj()
    try:
        whole = unzip.decompress(stored, MOST_OCTETS)
        version, address, port, left_out = _HEAD.unpack_from(whole)
        if version != VERSION or unzip.unconsumed_tail or not unzip.eof:
            raise ValueError("not a trace of this release")
        local = (str(IPv4Address(address)), port)
        return Trace(tuple(_each(whole, local)), left_out)
    except (zlib.error, struct.error) as error:
        raise ValueError(f"the trace is damaged: {error}") from error


def _each(whole: bytes, local: Address) -> Iterable[TraceMessage]:
    place = _HEAD.size
    while place < len(whole):
        at, flags, leg, host, port, length = _EACH.unpack_from(whole, place)
        place += _EACH.size
        data = whole[place : place + length]
        if len(data) != length:
            raise ValueError("the trace is cut off")
        place += length
        moment = _EPOCH + timedelta(microseconds=at)
        yield TraceMessage(moment, leg, bool(flags & _SENT), local, (str(IPv4Address(host)), port), data)


def _octets(address: Address) -> bytes:
    try:
        return IPv4Address(address[0]).packed
    except ValueError:
        return bytes(4)
