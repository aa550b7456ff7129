"""A bridge between the far ends of the voice tests."""

from collections.abc import Callable
from typing import Any

import numpy as np

from simrack.drivers.modems.base import AudioFormat
from simrack.gateway.voice import AudioPort, Bridge, VoiceTicker
from simrack.sip import codecs
from simrack.sip.rtp import RtpPort
from simrack.sip.sdp import Chosen

Strongest = Callable[..., tuple[float, float]]
Clicks = Callable[[bytes, float, float], int]


class Rig:
    """A bridge between the fake module and the fake client."""

    def __init__(self, clock: Any, module: Any, client: Any, *, codec: str = "PCMU", rate: int = 8000) -> None:
        self.clock, self.module, self.client = clock, module, client
        self.rate, self.row = rate, codecs.row(codec)
        self.ticker = VoiceTicker(clock)
        self.port = RtpPort.bind("127.0.0.1", range(20000, 30000))
        self.audio = AudioPort.open(module.path, AudioFormat(rate))
        self.chosen = Chosen(codec, self.row.payload_type, 101, client.address, 20, True, True)
        self.bridge: Bridge = self.ticker.open(self.chosen, self.port, self.audio, no_media_s=5.0)
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


def rms(pcm: bytes | bytearray) -> float:
    return float(np.sqrt(np.mean(np.frombuffer(bytes(pcm), "<i2").astype(float) ** 2)))
