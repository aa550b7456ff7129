"""Far ends for the voice tests: a module behind a PTY, a SIP client behind UDP, and a clock by hand."""

import math
import os
import pty
import socket
import termios
import tty
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from voice_bridge import Clicks, Rig

from simrack.sip import rtp
from simrack.sip.rtp import Packet


class HandClock:
    """A clock that moves only when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


class Tone:
    """A sine that goes on from call to call."""

    def __init__(self, hz: float, dbfs: float = -13.0, rate: float = 8000.0) -> None:
        self.hz, self.rate = hz, rate
        self.peak = 32768 * 10 ** (dbfs / 20) * math.sqrt(2)
        self._at = 0

    def take(self, count: int) -> bytes:
        step = 2 * math.pi * self.hz / self.rate
        out = [round(self.peak * math.sin(step * (self._at + i))) for i in range(count)]
        self._at += count
        return array("h", out).tobytes()


class FakeModule:
    """The module's end of the audio port."""

    def __init__(self) -> None:
        self.fd, slave = pty.openpty()
        tty.setraw(self.fd)
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.path = os.ttyname(slave)
        # Held open until the port is opened by the code under test: else the master reads EIO.
        self._slave = slave
        os.set_blocking(self.fd, False)
        self.heard = bytearray()

    def speak(self, pcm: bytes) -> None:
        os.write(self.fd, pcm)

    def listen(self) -> bytes:
        try:
            data = os.read(self.fd, 65536)
        except (BlockingIOError, OSError):
            return b""
        self.heard += data
        return data

    def unplug(self) -> None:
        if self.fd >= 0:
            os.close(self._slave)
            os.close(self.fd)
            self.fd = -1


class FakeClient:
    """The SIP client's RTP end; sends G.711 mu-law unless told otherwise."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.address: tuple[str, int] = self.sock.getsockname()
        self.sequence, self.timestamp, self.ssrc = 65530, 0xFFFFFF00, 77
        self.packets: list[Packet] = []

    def send(self, payload: bytes, target: tuple[str, int], *, kind: int = 0, units: int = 160) -> None:
        packet = Packet(kind, self.sequence, self.timestamp, self.ssrc, payload)
        self.sock.sendto(packet.encode(), target)
        self.skip(units)

    def skip(self, units: int = 160) -> None:
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + units) & 0xFFFFFFFF

    def listen(self) -> list[Packet]:
        came = []
        while True:
            try:
                data = self.sock.recv(4096)
            except BlockingIOError:
                break
            packet = rtp.parse(data)
            assert packet is not None, "the box sends nothing but RTP"
            came.append(packet)
        self.packets += came
        return came

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def tone() -> type[Tone]:
    return Tone


@pytest.fixture
def module() -> Iterator[FakeModule]:
    made = FakeModule()
    yield made
    made.unplug()


@pytest.fixture
def client() -> Iterator[FakeClient]:
    made = FakeClient()
    yield made
    made.close()


@pytest.fixture
def hz() -> Callable[..., tuple[float, float]]:
    """(frequency, dBFS) of the strongest tone: numpy's FFT as a judge that is none of our code."""
    import numpy as np

    def strongest(pcm: bytes, rate: int = 8000) -> tuple[float, float]:
        line = np.frombuffer(pcm, dtype="<i2").astype(float)
        spectrum = np.abs(np.fft.rfft(line * np.hanning(len(line)), 1 << 17))
        spectrum[: int(100 / rate * (1 << 17))] = 0
        level = 20 * math.log10(max(1e-9, float(np.sqrt(np.mean(line**2)))) / 32768)
        return float(np.argmax(spectrum)) * rate / (1 << 17), level

    return strongest


@pytest.fixture
async def make_rig(clock: Any, module: Any, client: Any) -> AsyncIterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(clock, module, client, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def clicks() -> Clicks:
    """Samples that break the recurrence x[n] = 2 cos(w) x[n-1] - x[n-2] of a sine by a fifth of its height."""

    def count(pcm: bytes, hz: float, dbfs: float) -> int:
        line = np.frombuffer(pcm, "<i2").astype(float)
        wave = 2 * math.cos(2 * math.pi * hz / 8000)
        peak = 32768 * 10 ** (dbfs / 20) * math.sqrt(2)
        return int((np.abs(line[2:] - wave * line[1:-1] + line[:-2]) > peak / 5).sum())

    return count
