"""A call's messages as a capture file that every network tool opens (libpcap's file format, version 2.4).

Each message is a UDP datagram in an Ethernet frame, as if it had been captured where it passed. Frames may be
longer than a cable takes, as captures on a host with segmentation offload are; nothing is cut into fragments.
"""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from simrack.controller.tracing.messages import Address, TraceMessage

_MAGIC = 0xA1B2C3D4  # times in microseconds
_ETHERNET = 1
_SNAP = 262_144
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UDP = 17
_HOPS = 64
#: Locally administered addresses (IEEE 802): the frames were made here, and say so. The last octets are the IP's.
_MAC = b"\x02\x00"


def pcap(messages: Iterable[TraceMessage]) -> bytes:
    """The whole file."""
    parts = [struct.pack("!IHHiIII", _MAGIC, 2, 4, 0, 0, _SNAP, _ETHERNET)]
    for number, message in enumerate(messages):
        data = frame(message.source, message.target, message.data, number)
        whole, part = divmod((message.at - _EPOCH) // timedelta(microseconds=1), 1_000_000)
        parts += (struct.pack("!IIII", whole & 0xFFFFFFFF, part, len(data), len(data)), data)
    return b"".join(parts)


def frame(source: Address, target: Address, payload: bytes, number: int = 0) -> bytes:
    """One datagram in IPv4 (RFC 791) in Ethernet; ValueError when it is longer than UDP carries."""
    ours, theirs = IPv4Address(source[0]).packed, IPv4Address(target[0]).packed
    length = 8 + len(payload)
    if 20 + length > 0xFFFF:
        raise ValueError(f"{len(payload)} octets are more than a datagram carries")
    bare = struct.pack("!HHHH", source[1], target[1], length, 0)
    pseudo = ours + theirs + struct.pack("!BBH", 0, _UDP, length)
    # RFC 768: a sum of zero is sent as all ones, because zero means that there is none.
    udp = bare[:6] + struct.pack("!H", _sum(pseudo + bare + payload) or 0xFFFF)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, number & 0xFFFF, 0x4000, _HOPS, _UDP, 0, ours, theirs)
    ip = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    return _MAC + theirs + _MAC + ours + b"\x08\x00" + ip + udp + payload


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
