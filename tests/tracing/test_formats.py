"""A trace as it is stored and as it is given away, read back by readers written from the formats alone."""

import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as some

from simrack.controller.tracing.hep import envelope, send
from simrack.controller.tracing.messages import TraceMessage, masked, pack, unpack
from simrack.controller.tracing.pcap import frame, pcap

LOCAL = ("127.0.0.1", 5060)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
INVITE = b"INVITE sip:1@h SIP/2.0\r\nCall-ID: abc@x\r\nCSeq: 2 INVITE\r\n\r\nv=0\r\n"

addresses = some.tuples(some.ip_addresses(v=4).map(str), some.integers(1, 65535))
moments = some.integers(0, 2**32 * 10**6 - 1).map(lambda micros: EPOCH + timedelta(microseconds=micros))
message_lists = some.lists(
    some.builds(
        TraceMessage, at=moments, leg=some.integers(0, 33), sent=some.booleans(), local=some.just(LOCAL),
        remote=addresses, data=some.binary(max_size=300).filter(lambda data: masked(data) == data),
    ),
    max_size=6,
)  # fmt: skip


def messages() -> list[TraceMessage]:
    answer = b"SIP/2.0 180 Ringing\r\nCall-ID: abc@x\r\nCSeq: 2 INVITE\r\n\r\n"
    return [
        TraceMessage(NOON, 0, False, LOCAL, ("192.0.2.7", 5062), INVITE),
        TraceMessage(NOON + timedelta(milliseconds=3), 0, True, LOCAL, ("192.0.2.7", 5062), answer),
    ]


@given(message_lists, some.integers(0, 1000))
def test_what_is_stored_comes_back(kept: list[TraceMessage], left_out: int) -> None:
    """A story shows the messages as they were, in the order of time."""
    trace = unpack(pack(kept, LOCAL, left_out))
    assert trace.left_out == left_out
    assert list(trace.messages) == sorted(kept, key=lambda each: each.at)


@given(some.binary(max_size=200))
def test_a_damaged_trace_says_so(data: bytes) -> None:
    """A damaged row must not end a page in an error of ours."""
    for stored in (data, pack(messages(), LOCAL)[:-3], zlib.compress(data)):
        try:
            unpack(stored)
        except ValueError:
            continue
        assert data[:1] == b"\x01", "only what looks like a trace is one"


def test_a_trace_that_unpacks_to_a_flood_is_refused() -> None:
    """A row of 10 KB must not become 100 MB in a page's memory."""
    with pytest.raises(ValueError, match="trace"):
        unpack(zlib.compress(b"\x01" + bytes(100_000_000)))


def test_credentials_and_digits_are_not_kept() -> None:
    """Whoever may read messages must not get at the sender's password, nor at a PIN that was typed."""
    digest = b'Authorization: Digest username="pbx", nonce="0011223344556677", response="0123456789abcdef0123456789abcdef"'
    info = b"INFO x SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=7\r\nDuration=160\r\n"
    for data, secret in (
        (digest, b"0123456789abcdef"), (digest.replace(b"response=", b"Response="), b"0123456789abcdef"),
        (info, b"Signal=7"), (info.replace(b"Signal=", b"signal= "), b"signal= 7"),
    ):  # fmt: skip
        assert secret not in masked(data)
        assert len(masked(data)) == len(data)
    assert b'username="pbx"' in masked(digest)
    assert masked(INVITE) == INVITE


def test_a_message_tells_what_a_table_shows() -> None:
    """The story's table: who to whom, the first line, the call, the method."""
    asked, answered = messages()
    assert (asked.source, asked.target) == (("192.0.2.7", 5062), LOCAL)
    assert (answered.source, answered.target) == (LOCAL, ("192.0.2.7", 5062))
    assert (asked.start, answered.start) == ("INVITE sip:1@h", "180 Ringing")
    assert (asked.call_id, answered.method) == ("abc@x", "INVITE")


# --- pcap: a reader from the description of the file format, RFC 791, RFC 768 ------------------------------


@dataclass
class Read:
    """One datagram of a capture file."""

    at: datetime
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


def datagrams(file: bytes) -> Iterator[Read]:
    order = {b"\xa1\xb2\xc3\xd4": ">", b"\xd4\xc3\xb2\xa1": "<"}[file[:4]]
    major, minor, zone, _figures, snap, link = struct.unpack(order + "HHiIII", file[4:24])
    assert (major, minor, zone, link) == (2, 4, 0, 1)
    place = 24
    while place < len(file):
        seconds, micros, kept, length = struct.unpack(order + "IIII", file[place : place + 16])
        assert kept == length <= snap
        assert micros < 1_000_000
        yield datagram(seconds, micros, file[place + 16 : place + 16 + kept])
        place += 16 + kept
    assert place == len(file)


def datagram(seconds: int, micros: int, ethernet: bytes) -> Read:
    assert ethernet[12:14] == b"\x08\x00", "IPv4"
    packet = ethernet[14:]
    words = packet[0] & 0x0F
    assert (packet[0] >> 4, words) == (4, 5)
    total, protocol = int.from_bytes(packet[2:4], "big"), packet[9]
    assert (total, protocol) == (len(packet), 17)
    assert added(packet[:20]) == 0xFFFF, "header checksum"
    udp = packet[20:]
    source, target, length, _sum = struct.unpack("!HHHH", udp[:8])
    assert length == len(udp)
    assert added(packet[12:20] + b"\0\x11" + udp[4:6] + udp) == 0xFFFF, "checksum over the pseudo header"
    ends = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
    at = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)
    return Read(at, (ends[0], source), (ends[1], target), udp[8:])


def added(data: bytes) -> int:
    """One's complement sum, octet by octet."""
    total = 0
    for place, octet in enumerate(data):
        total += octet << 8 if place % 2 == 0 else octet
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(message_lists)
def test_a_capture_holds_each_message_where_it_went(kept: list[TraceMessage]) -> None:
    """A network tool shows the messages with their addresses, ports and times, and finds no wrong checksum."""
    found = list(datagrams(pcap(kept)))
    assert [(each.source, each.target, each.payload) for each in found] == [
        (each.source, each.target, each.data) for each in kept
    ]
    assert [each.at for each in found] == [each.at for each in kept]


def test_a_capture_of_the_largest_message_is_whole_and_a_larger_one_is_refused() -> None:
    """SIP over UDP takes 16 KiB here; what no datagram carries must not become a damaged file."""
    whole = datagram(0, 0, frame(LOCAL, ("192.0.2.7", 5062), b"x" * 65_507))
    assert len(whole.payload) == 65_507
    with pytest.raises(ValueError, match="datagram"):
        frame(LOCAL, LOCAL, b"x" * 65_508)


# --- HEP3 -------------------------------------------------------------------------------------------------


def chunks(data: bytes) -> dict[int, bytes]:
    assert data[:4] == b"HEP3"
    assert int.from_bytes(data[4:6], "big") == len(data)
    found, place = {}, 6
    while place < len(data):
        vendor, kind, length = struct.unpack("!HHH", data[place : place + 6])
        assert vendor == 0
        found[kind] = data[place + 6 : place + length]
        place += length
    return found


def test_an_envelope_tells_the_collector_everything() -> None:
    """A collector orders by time and address, and puts both legs of a call together by the correlation id."""
    asked, answered = messages()
    first, second = (chunks(envelope(each, agent=7, correlation="call-1")) for each in (asked, answered))
    assert (first[1], first[2], first[11]) == (b"\x02", b"\x11", b"\x01")
    assert (first[3], first[4]) == (IPv4Address("192.0.2.7").packed, IPv4Address("127.0.0.1").packed)
    assert (second[3], second[4]) == (first[4], first[3])
    assert struct.unpack("!HH", first[7] + first[8]) == (5062, 5060)
    seconds, micros = struct.unpack("!II", first[9] + first[10])
    assert datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros) == NOON
    assert (first[12], first[15], first[17]) == (struct.pack("!I", 7), INVITE, b"call-1")


def test_a_collector_gets_one_envelope_for_each_message() -> None:
    """`send` really sends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(5)
        assert send(messages(), collector.getsockname(), agent=1, correlation="c") == 2
        got = [chunks(collector.recv(65535))[15] for _ in range(2)]
    assert got == [each.data for each in messages()]
