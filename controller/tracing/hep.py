"""HEP3: a message in an envelope that tells a collector (Homer and its kin) when and between whom it went.

An envelope is "HEP3", its length, and chunks of (vendor 0, type, length, value).
"""

import socket
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from simrack.controller.tracing.messages import Address, TraceMessage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IPV4 = socket.AF_INET.value
_UDP = 17
_SIP = 1
_FAMILY, _PROTOCOL, _SOURCE, _TARGET, _SOURCE_PORT, _TARGET_PORT = 0x01, 0x02, 0x03, 0x04, 0x07, 0x08
_SECONDS, _MICROS, _KIND, _AGENT, _PAYLOAD, _CORRELATION = 0x09, 0x0A, 0x0B, 0x0C, 0x0F, 0x11


def envelope(message: TraceMessage, *, agent: int, correlation: str) -> bytes:
    """One message for the collector. `agent`: our number there; `correlation`: what both legs of a call share."""
    seconds, micros = divmod((message.at - _EPOCH) // timedelta(microseconds=1), 1_000_000)
    source, target = message.source, message.target
    chunks = b"".join((
        _chunk(_FAMILY, struct.pack("!B", _IPV4)), _chunk(_PROTOCOL, struct.pack("!B", _UDP)),
        _chunk(_SOURCE, IPv4Address(source[0]).packed), _chunk(_TARGET, IPv4Address(target[0]).packed),
        _chunk(_SOURCE_PORT, struct.pack("!H", source[1])), _chunk(_TARGET_PORT, struct.pack("!H", target[1])),
        _chunk(_SECONDS, struct.pack("!I", seconds & 0xFFFFFFFF)), _chunk(_MICROS, struct.pack("!I", micros)),
        _chunk(_KIND, struct.pack("!B", _SIP)), _chunk(_AGENT, struct.pack("!I", agent)),
        _chunk(_CORRELATION, correlation.encode()), _chunk(_PAYLOAD, message.data),
    ))  # fmt: skip
    return b"HEP3" + struct.pack("!H", 6 + len(chunks)) + chunks


def send(messages: Iterable[TraceMessage], collector: Address, *, agent: int, correlation: str) -> int:
    """Send each message to the collector by UDP; how many went out. OSError: it can't be reached from here."""
    count = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for message in messages:
            out.sendto(envelope(message, agent=agent, correlation=correlation), collector)
            count += 1
    return count


def _chunk(kind: int, value: bytes) -> bytes:
    return struct.pack("!HHH", 0, kind, 6 + len(value)) + value
