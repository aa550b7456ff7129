"""A listener beside a bridge: both directions apart, and nothing changed in the call."""

import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from voice_bridge import Clicks, Rig, Strongest

from simrack.sip import codecs


class Listener:
    """Where copies of a call come to: two sockets, read as what they are."""

    def __init__(self) -> None:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in self.sockets:
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)

    @property
    def addresses(self) -> tuple[tuple[str, int], tuple[str, int]]:
        said, heard = (each.getsockname() for each in self.sockets)
        return said, heard

    def take(self, way: int) -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.sockets[way].recv(2048))
        return found

    def close(self) -> None:
        for each in self.sockets:
            each.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_a_listener_gets_each_direction_apart(
    rate: int, make_rig: Callable[..., Rig], listener: Listener, tone: Any, hz: Strongest
) -> None:
    """Breaks: who listens hears one side only, or the two in each other's place, or a wrong pitch."""
    rig = make_rig(rate=rate)
    rig.run(10)
    rig.bridge.listen(*listener.addresses, ("0" * 24, "f" * 24), 60.0)
    to_module, to_client = tone(700, rate=rate), tone(1100, rate=rate)
    copies: list[list[bytes]] = [[], []]
    for _ in range(100):
        rig.run(1, to_module=to_module, to_client=to_client)
        for way in (0, 1):
            copies[way] += listener.take(way)
    for way, wanted in ((0, 700), (1, 1100)):
        packets = copies[way]
        assert len(packets) == pytest.approx(100, abs=2)
        assert all(each[1] & 0x7F == 8 and len(each) == 12 + 160 for each in packets)
        numbers = [int.from_bytes(each[2:4], "big") for each in packets]
        stamps = [int.from_bytes(each[4:8], "big") for each in packets]
        assert {(b - a) % 2**16 for a, b in itertools.pairwise(numbers)} == {1}
        assert {(b - a) % 2**32 for a, b in itertools.pairwise(stamps)} == {160}
        pcm = codecs.make("PCMA", 8000).decode(b"".join(each[12:] for each in packets[-50:]))
        heard, level = hz(pcm, 8000)
        assert heard == pytest.approx(wanted, abs=3)
        assert level == pytest.approx(-13, abs=2)


async def test_listening_ends_by_itself_and_changes_nothing_in_the_call(
    make_rig: Callable[..., Rig], listener: Listener, tone: Any, clicks: Clicks
) -> None:
    """Breaks: a browser that was closed is sent voice for ever, or who is listened to hears it."""
    rig = make_rig()
    voice = tone(1100)
    rig.run(30, to_client=voice)
    rig.bridge.listen(*listener.addresses, ("0" * 24, "f" * 24), 1.0)
    rig.run(50, to_client=voice)
    assert rig.bridge.listened
    rig.run(2, to_client=voice)
    assert not rig.bridge.listened
    listener.take(1)
    rig.run(20, to_client=voice)
    assert listener.take(1) == []
    rig.bridge.listen(*listener.addresses, ("0" * 24, "f" * 24), 1.0)
    rig.bridge.unlisten()
    rig.run(20, to_client=voice)
    assert listener.take(1) == []
    assert clicks(rig.at_client()[-16000:], 1100, -13) == 0
