"""Voice through a bridge over a real PTY and UDP loopback, with a clock moved by hand."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from simrack.drivers.modems.base import AudioFormat
from simrack.gateway.voice import AudioPort, Bridge, VoiceTicker
from simrack.sip import codecs
from simrack.sip.rtp import RtpPort
from simrack.sip.sdp import Chosen

Strongest = Callable[..., tuple[float, float]]


class Rig:
    """A bridge between the fake module and the fake client."""

    def __init__(self, clock: Any, module: Any, client: Any, *, codec: str = "PCMU", rate: int = 8000) -> None:
        self.clock, self.module, self.client = clock, module, client
        self.rate, self.row = rate, codecs.row(codec)
        self.ticker = VoiceTicker(clock)
        self.port = RtpPort.bind("127.0.0.1", range(20000, 30000))
        self.audio = AudioPort.open(module.path, AudioFormat(rate))
        self.chosen = Chosen(codec, self.row.payload_type, 101, client.address, 20, True, True)
        self.bridge: Bridge = self.ticker.open(self.chosen, self.port, self.audio)
        self.far = codecs.make(codec, rate)

    def tick(self) -> None:
        self.ticker.tick()
        self.module.listen()
        self.client.listen()
        self.clock.now += 0.02

    def run(self, ticks: int, to_module: Any = None, to_client: Any = None) -> None:
        frame, units = self.rate // 50, self.row.clock // 50
        for _ in range(ticks):
            if to_module:
                payload = self.far.encode(to_module.take(frame))
                self.client.send(payload, self.port.address, kind=self.row.payload_type, units=units)
            if to_client:
                self.module.speak(to_client.take(frame))
            self.tick()

    def at_client(self) -> bytes:
        """What the client hears, decoded."""
        ear = codecs.make(self.row.name, self.rate)
        return b"".join(ear.decode(p.payload) for p in self.client.packets if p.payload_type == self.row.payload_type)

    def close(self) -> None:
        self.bridge.close()
        self.audio.close()
        self.port.close()


@pytest.fixture
async def make_rig(clock: Any, module: Any, client: Any) -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(clock, module, client, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("codec", codecs.available())
async def test_a_tone_passes_both_ways(
    codec: str, rate: int, make_rig: Callable[..., Rig], tone: Any, hz: Strongest
) -> None:
    """Breaks: nobody hears anything, or not what was said."""
    rig = make_rig(codec=codec, rate=rate)
    rig.run(150, to_module=tone(700, rate=rate), to_client=tone(1100, rate=rate))
    half = rate  # octets of half a second
    heard, level = hz(bytes(rig.module.heard[-2 * half :]), rate)
    assert heard == pytest.approx(700, abs=3)
    assert level == pytest.approx(-13, abs=2)
    heard, level = hz(rig.at_client()[-2 * half :], rate)
    assert heard == pytest.approx(1100, abs=3)
    assert level == pytest.approx(-13, abs=2)
    figures = rig.bridge.figures()
    assert (figures.to_network.lost, figures.to_network.late, figures.to_network.concealed) == (0, 0, 0)
    assert (figures.from_network.late, figures.from_network.concealed) == (0, 0)
    assert figures.mos is not None
    assert figures.mos > 4.0
