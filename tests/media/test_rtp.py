"""RTP packets, ports, sources, and DTMF events."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.sip import dtmf, g711, rtp
from simrack.sip.rtp import Packet, Peer, RtpPort

HERE = "127.0.0.1"

packets = st.builds(
    Packet, st.integers(0, 127), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=200), st.booleans(),
)  # fmt: skip


@settings(deadline=None)
@given(packets)
def test_a_packet_survives_the_wire(packet: Packet) -> None:
    """Breaks: all voice."""
    assert rtp.parse(packet.encode()) == packet


@settings(deadline=None)
@given(packets, st.integers(0, 15), st.one_of(st.none(), st.integers(0, 9)), st.integers(0, 40))
def test_csrc_extension_and_padding_are_skipped(
    packet: Packet, sources: int, words: int | None, padding: int
) -> None:
    """Breaks: a conference bridge's or WebRTC gateway's packets are decoded as noise."""
    plain = packet.encode()
    first = 0x80 | sources | (0x10 if words is not None else 0) | (0x20 if padding else 0)
    extension = b"" if words is None else b"\xbe\xde" + words.to_bytes(2, "big") + b"e" * 4 * words
    tail = bytes(padding - 1) + bytes((padding,)) if padding else b""
    data = bytes((first,)) + plain[1:12] + b"c" * 4 * sources + extension + plain[12:] + tail
    assert rtp.parse(data) == packet


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_datagram_is_parsed_or_refused(data: bytes) -> None:
    """Breaks: a stray datagram stops the ticker."""
    packet = rtp.parse(data)
    assert packet is None or len(packet.payload) <= len(data) - 12


@pytest.mark.parametrize("data", [b"", b"\x80" * 11, b"\x40" + bytes(11), b"\xa0" + bytes(11), b"\xb0" + bytes(14)])
def test_contradicting_lengths_are_refused(data: bytes) -> None:
    """Breaks: header octets are played as voice."""
    assert rtp.parse(data) is None


@pytest.fixture
def free_range() -> range:
    """A range of eight ports that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HERE, 0))
        start = min(65_000, probe.getsockname()[1])
    return range(start | 1, (start | 1) + 9)


@pytest.fixture
def ports(free_range: range) -> Iterator[list[RtpPort]]:
    made: list[RtpPort] = []
    yield made
    for port in made:
        port.close()


def test_ports_are_even_and_their_odd_neighbour_is_ours(free_range: range, ports: list[RtpPort]) -> None:
    """Breaks: RFC 3550 11, RTCP of one call falls into another's voice."""
    with pytest.raises(rtp.NoPortFree):
        ports.extend(RtpPort.bind(HERE, free_range) for _ in range(9))
    numbers = [port.address[1] for port in ports]
    assert numbers
    assert all(n % 2 == 0 and n in free_range and n + 1 in free_range for n in numbers)
    assert len(set(numbers)) == len(numbers)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind((HERE, numbers[0] + 1))


def test_a_closed_port_rests(free_range: range, ports: list[RtpPort]) -> None:
    """Breaks: late packets of the last call are heard in the next."""
    first = RtpPort.bind(HERE, free_range)
    first.close()
    ports.append(RtpPort.bind(HERE, free_range))
    assert ports[0].address != first.address


def test_a_flood_is_read_in_bites(free_range: range, ports: list[RtpPort]) -> None:
    """Breaks: a flood at one call stops the voice of its neighbours."""
    ports.append(RtpPort.bind(HERE, free_range))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(rtp.MOST_PER_POLL + 40):
            sender.sendto(b"x", ports[0].address)
    assert len(list(ports[0].poll())) == rtp.MOST_PER_POLL


VOICE = frozenset((0, 101))
SIGNALLED, MOVED, STRANGER = ("192.0.2.1", 4000), ("192.0.2.1", 9999), ("203.0.113.5", 4000)
HIDDEN = ("192.168.1.7", 4000)


def test_the_signalled_address_is_used_until_something_comes() -> None:
    """Breaks: one-way voice when the far side waits for us to speak first."""
    assert Peer(SIGNALLED, VOICE).target == SIGNALLED


def learn(peer: Peer, source: tuple[str, int], now: float = 0.0) -> list[bool]:
    """Packets in a row from a source that was not signalled."""
    return [peer.accepts(source, 0, now + k * 0.02) for k in range(rtp.PROBATION)]


@pytest.mark.parametrize(("signalled", "source"), [(SIGNALLED, MOVED), (HIDDEN, STRANGER), (("0.0.0.0", 9), STRANGER)])
def test_a_client_behind_nat_is_learnt(signalled: tuple[str, int], source: tuple[str, int]) -> None:
    """Breaks: clients behind NAT hear nothing."""
    peer = Peer(signalled, VOICE)
    assert not peer.accepts(source, 18, 0.0)
    assert peer.target == signalled
    assert learn(peer, source) == [False] * (rtp.PROBATION - 1) + [True]
    assert peer.target == source


def test_before_anything_came_a_stranger_is_not_believed_either() -> None:
    """Breaks: whoever is faster than the client gets its voice and speaks to the called person."""
    peer = Peer(SIGNALLED, VOICE)
    assert not any(peer.accepts(STRANGER, 0, k * 0.02) for k in range(200))
    assert (peer.target, peer.strangers) == (SIGNALLED, 200)
    assert peer.accepts(SIGNALLED, 0, 4.0)


def test_two_candidates_are_not_added_up() -> None:
    """Breaks: packets of a scan over many ports make one of them the client."""
    peer = Peer(SIGNALLED, VOICE)
    assert not any(peer.accepts((SIGNALLED[0], 5000 + k % 2), 0, k * 0.02) for k in range(50))
    assert peer.target == SIGNALLED


@pytest.mark.parametrize("host", ["no address", "192.0.2.1", "2001:db8::1"])
def test_only_private_addresses_hide_behind_nat(host: str) -> None:
    """Breaks: a public sender's calls can be taken from elsewhere."""
    peer = Peer((host, 4000), VOICE)
    assert not any(learn(peer, ("203.0.113.5", 4000)))


def test_a_stranger_can_not_take_over() -> None:
    """Breaks: anybody who guesses the port listens to and speaks into the call."""
    peer = Peer(SIGNALLED, VOICE)
    assert peer.accepts(SIGNALLED, 0, 0.0)
    assert not peer.accepts(STRANGER, 0, 0.02)
    assert not peer.accepts(STRANGER, 0, 60.0)
    assert not peer.accepts(MOVED, 0, 0.5)
    assert peer.target == SIGNALLED
    assert peer.strangers == 3


def test_a_nat_that_moves_is_followed_after_a_second() -> None:
    """Breaks: voice stops when a NAT binds anew in a call."""
    peer = Peer(SIGNALLED, VOICE)
    assert peer.accepts(SIGNALLED, 0, 0.0)
    assert learn(peer, MOVED, 1.5)[-1]
    assert peer.target == MOVED


def test_the_signalled_address_wins_over_one_learnt() -> None:
    """Breaks: a stranger that was first keeps the call."""
    peer = Peer(HIDDEN, VOICE)
    assert learn(peer, STRANGER)[-1]
    assert peer.accepts(HIDDEN, 0, 0.08)
    assert peer.target == HIDDEN
    assert not peer.accepts(STRANGER, 0, 0.10)


def test_update_learns_anew() -> None:
    """Breaks: after a transfer the voice goes to the old phone."""
    peer = Peer(SIGNALLED, VOICE)
    learn(peer, MOVED)
    peer.update(SIGNALLED, VOICE)
    assert peer.target == MOVED
    peer.update(("192.0.2.7", 5000), VOICE)
    assert peer.target == ("192.0.2.7", 5000)
    assert peer.accepts(("192.0.2.7", 5000), 0, 0.0)


def test_numbering_wraps() -> None:
    """Breaks: voice stops after 22 minutes when the sequence wraps."""
    stream = rtp.Stream("f" * 20)
    stream.sequence = 0xFFFF
    first, second = rtp.parse(stream.packet(0, b"a")), rtp.parse(stream.packet(0, b"b"))
    assert first is not None
    assert second is not None
    assert (first.sequence, second.sequence) == (0xFFFF, 0)
    stream.timestamp = 0xFFFFFFFF
    stream.advance(160)
    assert stream.timestamp == 159


# DTMF


def speak(digits: str, clock: int = 8000) -> list[tuple[bytes, int]]:
    """(payload, timestamp) of each packet that a sender of `digits` makes."""
    speaking, now, out = dtmf.Speaking(clock), 1000, []
    for digit in digits:
        speaking.say(digit)
    while not speaking.idle:
        out += [(p.payload, p.timestamp) for p in speaking.next(now, 20)]
        now = (now + clock // 50) & 0xFFFFFFFF
    return out


def hear(packets: list[tuple[bytes, int]]) -> str:
    hearing = dtmf.Hearing()
    return "".join(hearing.feed(payload, stamp) or "" for payload, stamp in packets)


DIGITS = st.text(st.sampled_from(dtmf.DIGITS), max_size=20)


@settings(deadline=None)
@given(DIGITS, st.sampled_from([8000, 48000]))
def test_digits_survive_the_wire(digits: str, clock: int) -> None:
    """Breaks: voice menus."""
    assert hear(speak(digits, clock)) == digits


@settings(deadline=None)
@given(DIGITS, st.data())
def test_digits_survive_doubles_loss_and_reordering(digits: str, data: st.DataObject) -> None:
    """Breaks: a digit is heard twice or not at all on a bad network."""
    sent = speak(digits)
    events: dict[int, list[tuple[bytes, int]]] = {}
    for packet in sent:
        events.setdefault(packet[1], []).append(packet)
    worse: list[tuple[bytes, int]] = []
    for group in events.values():
        kept = data.draw(st.lists(st.sampled_from(group), min_size=1, max_size=12))
        worse += kept
        if data.draw(st.booleans()) and len(worse) > 1:
            worse.append(worse[0])
    assert hear(worse) == digits


def test_the_end_is_sent_three_times_with_the_same_stamp() -> None:
    """Breaks: RFC 4733 2.5.1.4, a gateway holds the tone for ever."""
    sent = speak("5")
    events = [dtmf.decode(payload) for payload, _ in sent]
    assert [e.end for e in events if e] == [False] * 4 + [True] * 3
    assert len({stamp for _, stamp in sent}) == 1
    assert [e.duration for e in events if e] == [160, 320, 480, 640, 800, 800, 800]


def test_a_very_long_press_is_one_digit() -> None:
    """Breaks: RFC 4733 2.5.1.3, a held key becomes a series of digits."""
    long = dtmf.Event("7", end=False, volume=10, duration=0xFFFF).encode()
    more = dtmf.Event("7", end=True, volume=10, duration=800).encode()
    assert hear([(long, 0), (more, 0xFFFF)]) == "7"


@settings(deadline=None)
@given(st.binary(max_size=6), st.integers(0, 0xFFFFFFFF))
def test_any_event_payload_is_heard_or_ignored(payload: bytes, stamp: int) -> None:
    """Breaks: a flash or modem event crashes the call."""
    digit = dtmf.Hearing().feed(payload, stamp)
    assert digit is None or digit in dtmf.DIGITS


@pytest.mark.parametrize("digit", ["", "E", "12", "é"])
def test_only_digits_are_sent(digit: str) -> None:
    """Breaks: garbage from SIP INFO reaches the wire."""
    with pytest.raises(ValueError, match="no DTMF digit"):
        dtmf.Speaking(8000).say(digit)


def test_the_queue_of_digits_is_bounded() -> None:
    """Breaks: a script that floods digits fills memory."""
    speaking = dtmf.Speaking(8000)
    for _ in range(dtmf.Speaking.MOST_WAITING):
        speaking.say("1")
    with pytest.raises(ValueError, match="wait"):
        speaking.say("1")


@pytest.mark.parametrize("digit", dtmf.DIGITS)
def test_tones_have_both_frequencies(digit: str) -> None:
    """Breaks: in-band digits are not recognised by a voice menu."""
    import numpy as np

    line = np.frombuffer(dtmf.tone(digit, 8000), "<i2").astype(float)
    power = [abs(np.sum(line * np.exp(-2j * np.pi * f * np.arange(len(line)) / 8000)))
             for f in (697, 770, 852, 941, 1209, 1336, 1477, 1633)]  # fmt: skip
    low, high = int(np.argmax(power[:4])), int(np.argmax(power[4:]))
    assert ("123A", "456B", "789C", "*0#D")[low][high] == digit
    assert -18 < g711.level_dbfs(dtmf.tone(digit, 8000)) < -6
