"""Whose packets a bridge takes for its client's: strangers and thieves are not heard."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from voice_bridge import Clicks, Rig, rms

from simrack.sip import codecs
from simrack.sip.rtp import Packet


async def test_strangers_are_counted_and_not_heard(make_rig: Callable[..., Rig], tone: Any) -> None:
    """Breaks: anybody on the network speaks into the call."""
    rig = make_rig()
    rig.run(20, to_module=tone(700))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        for k in range(30):
            data = Packet(0, k, k * 160, 5, codecs.make("PCMU", 8000).encode(tone(2500).take(160))).encode()
            stranger.sendto(data, rig.port.address)
            stranger.sendto(b"nonsense", rig.port.address)
            rig.run(1, to_module=tone(0))
    assert rig.bridge.strangers == 30
    assert rig.bridge.foreign == 30
    assert rms(rig.module.heard[-3200:]) < 110


class Attacker:
    """Somebody who found the call's port: loud, in perfect order, from another host or another port of the client's."""

    def __init__(self, host: str) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)
        self.voice = codecs.make("PCMU", 8000).encode(b"\x00\x60" * 160)
        self.sent = 0

    def shout(self, target: tuple[str, int], client: Any, times: int = 1) -> None:
        """Packets with the client's own numbers, so that only their source gives them away."""
        for _ in range(times):
            packet = Packet(0, client.sequence, client.timestamp, client.ssrc, self.voice)
            self.sock.sendto(packet.encode(), target)
            self.sent += 1

    def got(self) -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self.sock.recv(4096):
                count += 1
        return count


@pytest.fixture
def attacker() -> Iterator[Callable[[str], Attacker]]:
    made: list[Attacker] = []

    def make(host: str) -> Attacker:
        made.append(Attacker(host))
        return made[-1]

    yield make
    for one in made:
        one.sock.close()


@pytest.mark.parametrize("times", [1, 100])
async def test_a_strangers_packets_with_the_clients_numbers_change_nothing(
    times: int, make_rig: Callable[..., Rig], tone: Any, attacker: Callable[[str], Attacker], clicks: Clicks
) -> None:
    """Breaks: who guesses port and numbers speaks into the call, or a flood of his tears holes into it."""
    rig, thief = make_rig(), attacker("127.0.0.9")
    voice = tone(700)
    rig.run(50, to_module=voice)
    for _ in range(100):
        thief.shout(rig.port.address, rig.client, times)
        rig.run(1, to_module=voice)
    figures = rig.bridge.figures()
    assert clicks(bytes(rig.module.heard[3200:]), 700, -13) == 0
    assert (figures.to_network.lost, figures.to_network.late, figures.to_network.concealed) == (0, 0, 0)
    assert figures.strangers == thief.sent
    assert thief.got() == 0


@pytest.mark.parametrize(("host", "few"), [("127.0.0.9", 100), ("127.0.0.1", 2)])
async def test_a_stranger_who_is_faster_than_the_client_is_not_heard(
    host: str, few: int, make_rig: Callable[..., Rig], tone: Any, attacker: Callable[[str], Attacker], clicks: Clicks
) -> None:
    """Breaks: in the moment before the client's first packet anybody takes the call over."""
    rig, thief = make_rig(), attacker(host)
    for _ in range(few):
        thief.shout(rig.port.address, rig.client)
        rig.run(1, to_client=tone(1100))
    assert rms(rig.module.heard) < 33
    assert thief.got() == 0
    assert len(rig.client.packets) == few
    rig.module.heard.clear()
    rig.run(100, to_module=tone(700))
    assert clicks(bytes(rig.module.heard[3200:]), 700, -13) == 0


async def test_a_thief_behind_the_clients_own_address_is_out_with_its_first_packet(
    make_rig: Callable[..., Rig], tone: Any, attacker: Callable[[str], Attacker], clicks: Clicks
) -> None:
    """Breaks: behind the same NAT as the client, the first one keeps the call for good (the price that ADR 0403 names)."""
    rig, thief = make_rig(), attacker("127.0.0.1")
    for _ in range(20):
        thief.shout(rig.port.address, rig.client)
        thief.shout(rig.port.address, rig.client)
        rig.client.skip()
        rig.run(1, to_client=tone(1100))
    assert thief.got() > 0
    rig.client.ssrc = 4711
    rig.run(1, to_module=tone(700))
    thief.got()
    rig.module.heard.clear()
    rig.run(100, to_module=tone(700))
    assert thief.got() == 0
    assert clicks(bytes(rig.module.heard[6400:]), 700, -13) == 0
