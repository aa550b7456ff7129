"""RTP (RFC 3550): packets, a pair of UDP ports, the sender's numbering, and whom to believe.

Nothing here waits: ports are polled by the ticker that owns them.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import chain

from simrack.sip.errors import SipError

Address = tuple[str, int]
LARGEST = 2048  # octets; voice packets are under 700
MOST_PER_POLL = 256  # of one port and tick: a flood costs its own call and 0.5 ms, not its neighbours
COMFORT_NOISE = 13  # RFC 3389
MOVE_AFTER_S = 1.0  # a sender that changed its port (NAT) is believed once the old one was silent this long
PROBATION = 3  # packets in a row, 60 ms, before a source that was not signalled is believed
RTP_BUFFER = 212_992  # octets of socket buffer, what Linux grants to anybody: 500 small packets of a flood in one tick
EXPEDITED = 0xB8  # DSCP EF, RFC 4594
#: RFC 1918, shared space of carriers (RFC 6598), link-local, unspecified, unique local.
_BEHIND_NAT = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "0.0.0.0/32", "fc00::/7"))
)
_HEADER = struct.Struct("!BBHII")


class NoPortFree(SipError):
    """Every even port of the range is taken; widen `[rtp]` or end calls."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def encode(self) -> bytes:
        second = self.payload_type | (0x80 if self.marker else 0)
        return _HEADER.pack(0x80, second, self.sequence, self.timestamp, self.ssrc) + self.payload


def parse(datagram: bytes) -> Packet | None:
    """The packet, or None when the datagram is not RTP version 2 or its lengths contradict each other."""
    if len(datagram) < 12:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first >> 6 != 2:
        return None
    start, end = 12 + 4 * (first & 0x0F), len(datagram)
    if first & 0x10:
        if end < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4], "big")
    if first & 0x20:
        padding = datagram[-1]
        if not padding:
            return None
        end -= padding
    if start > end:
        return None
    return Packet(second & 0x7F, sequence, timestamp, ssrc, datagram[start:end], bool(second & 0x80))


class RtpPort:
    """An even UDP port for RTP and the odd one above for RTCP (RFC 3550 11), bound together."""

    def __init__(self, rtp: socket.socket, rtcp: socket.socket) -> None:
        self._rtp, self._rtcp = rtp, rtcp
        name = rtp.getsockname()
        self.address: Address = (name[0], name[1])
        self.send_errors = 0
        self.closed = False

    @classmethod
    def bind(cls, host: str, ports: range) -> "RtpPort":
        """Bind the first free pair of the range.

        The search starts where the last one found, so that a port rests before a new call gets it and
        late packets of the old call find nobody. Raises NoPortFree.
        """
        even = range(ports.start + ports.start % 2, ports.stop - 1, 2)
        start = _next_start.get((host, ports.start, ports.stop), 0) % max(1, len(even))
        for port in chain(even[start:], even[:start]):
            pair = _bind_pair(host, port)
            if pair:
                _next_start[host, ports.start, ports.stop] = even.index(port) + 1
                return cls(*pair)
        raise NoPortFree(f"no free RTP port pair at {host} in {ports.start}-{ports.stop - 1}")

    def poll(self) -> Iterator[tuple[bytes, Address]]:
        """Datagrams that have come, at most 256; RTCP is read and dropped."""
        for _ in range(MOST_PER_POLL):
            try:
                data, source = self._rtp.recvfrom(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error of an earlier packet; the next read tells whether more has come.
                continue
            yield data, (source[0], source[1])

    def drain_rtcp(self) -> int:
        """Throw away what came for RTCP; how many."""
        for count in range(MOST_PER_POLL):
            try:
                self._rtcp.recvfrom(LARGEST)
            except BlockingIOError:
                return count
            except OSError:
                continue
        return MOST_PER_POLL

    def send(self, data: bytes, target: Address) -> bool:
        """Send now or count an error; voice is never queued."""
        try:
            self._rtp.sendto(data, target)
        except OSError:
            self.send_errors += 1
            return False
        return True

    def fileno(self) -> int:
        return self._rtp.fileno()

    def close(self) -> None:
        self.closed = True
        self._rtp.close()
        self._rtcp.close()


# Where the next search begins, for each range.
_next_start: dict[tuple[str, int, int], int] = {}


def _bind_pair(host: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made: list[socket.socket] = []
    for number in (port, port + 1):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        made.append(sock)
        try:
            sock.bind((host, number))
        except OSError as error:
            for one in made:
                one.close()
            if _taken(error):
                return None
            raise
        sock.setblocking(False)
    made[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RTP_BUFFER)
    if family == socket.AF_INET:
        made[0].setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
    return made[0], made[1]


def _taken(error: OSError) -> bool:
    import errno

    return error.errno in (errno.EADDRINUSE, errno.EACCES)


class Stream:
    """Numbers outgoing packets: sequence, time stamp and SSRC of one sender."""

    def __init__(self, seed: str) -> None:
        """`seed`: at least 20 hexadecimal digits; RFC 3550 5.1 wants unpredictable starts."""
        value = int(seed[:20], 16)
        self.ssrc = value & 0xFFFFFFFF
        self.sequence = (value >> 32) & 0x7FFF
        self.timestamp = (value >> 48) & 0xFFFFFFFF

    def packet(self, payload_type: int, payload: bytes, *, marker: bool = False, at: int | None = None) -> bytes:
        """The next packet; `at` gives another time stamp (events), else the stream's own is used."""
        stamp = self.timestamp if at is None else at
        data = Packet(payload_type, self.sequence, stamp, self.ssrc, payload, marker).encode()
        self.sequence = (self.sequence + 1) & 0xFFFF
        return data

    def advance(self, units: int) -> None:
        self.timestamp = (self.timestamp + units) & 0xFFFFFFFF


def _hidden(host: str) -> bool:
    """Whether an address in an SDP is one that its owner has behind a NAT, so that packets must come from elsewhere."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _BEHIND_NAT if network.version == address.version)


class Peer:
    """The other end of a stream: where to send, and which sources to believe (symmetric RTP, ADR 0403).

    We send to the signalled address until valid packets come, and believe it always. The same host with another
    port is a NAT at work; another host can be one only where the signalled address is private. Such a source
    is believed after `PROBATION` packets in a row, and only while nobody better speaks; all others are strangers.
    """

    def __init__(self, signalled: Address, payload_types: frozenset[int]) -> None:
        self.payload_types = payload_types
        self.strangers = 0
        self._begin(signalled)

    def _begin(self, signalled: Address) -> None:
        self.signalled = self.target = signalled
        self._nat = _hidden(signalled[0])
        self._heard: Address | None = None
        self._heard_at = 0.0
        self._candidate, self._tries = signalled, 0

    def update(self, signalled: Address, payload_types: frozenset[int]) -> None:
        """A new session description: a changed address is learnt anew."""
        self.payload_types = payload_types
        if signalled != self.signalled:
            self._begin(signalled)

    def accepts(self, source: Address, payload_type: int, now: float) -> bool:
        """Whether a packet from `source` belongs to the stream; learns the source."""
        if payload_type not in self.payload_types:
            self.strangers += source != self._heard
            return False
        if source != self._heard and not self._may_move(source, now):
            return False
        self._heard, self._heard_at, self.target = source, now, source
        self._tries = 0
        return True

    def _may_move(self, source: Address, now: float) -> bool:
        if source == self.signalled:
            return True
        free = self._heard is None or now - self._heard_at > MOVE_AFTER_S
        known = (self.signalled[0],) if self._heard is None else (self.signalled[0], self._heard[0])
        if not free or not (source[0] in known or (self._nat and self._heard is None)):
            self.strangers += 1
            return False
        self._tries = self._tries + 1 if source == self._candidate else 1
        self._candidate = source
        return self._tries >= PROBATION
