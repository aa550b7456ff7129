"""A host that knows nothing but the ports of a lab in this process."""

import asyncio
import contextlib
import math
import os
import re
import tty
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path

from simrack.lab.emulator.network import Timing
from simrack.lab.emulator.rack import Lab

FAST = Timing(
    setup_s=(0.02, 0.04), refuse_s=(0.02, 0.04), register_s=0.05, usb_return_s=0.1, sim_ready_s=0.03, ring_period_s=0.2
)
WAIT_S = 5.0


class Port:
    """A raw serial client: writes octets, collects octets, waits for patterns."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.got = bytearray()
        self.lost = False
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        if not data:
            self.lost = True
            asyncio.get_running_loop().remove_reader(self.fd)
        self.got += data
        self._news.set()

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    async def until(self, test: Callable[[], bool], what: str = "") -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not test():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come; got {bytes(self.got)!r}") from None

    async def match(self, pattern: str) -> re.Match[bytes]:
        """Wait for a pattern; what was read up to its end is used up."""
        compiled = re.compile(pattern.encode(), re.DOTALL)
        found: list[re.Match[bytes]] = []

        def look() -> bool:
            found[:] = [m] if (m := compiled.search(bytes(self.got))) else []
            return bool(found)

        await self.until(look, pattern)
        del self.got[: found[0].end()]
        return found[0]

    async def ask(self, command: str, result: str = "OK") -> list[str]:
        """Send a command; return its lines before the result, without echo and blanks."""
        self.write(command.encode() + b"\r")
        match = await self.match(rf"(.*?)\r\n{re.escape(result)}\r\n")
        lines = [line.decode() for line in re.split(rb"[\r\n]+", match[1]) if line]
        return [line for line in lines if line != command]

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)


class Bench:
    """A running lab with its ports opened on demand."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ports: list[Port] = []

    def at(self, channel: int = 1) -> Port:
        return self._open(self.lab.modules["lab-01", channel].at.link)

    def audio(self, channel: int = 1) -> Port:
        return self._open(self.lab.modules["lab-01", channel].audio.link)

    def _open(self, path: Path) -> Port:
        self.ports.append(Port(path))
        return self.ports[-1]

    def msisdn(self, channel: int) -> str:
        return self.lab.modules["lab-01", channel].subscriber.msisdn

    async def ready_at(self, channel: int = 1) -> Port:
        """Return a port with echo off, notices on and voice on."""
        port = self.at(channel)
        await port.ask("ATE0")
        for command in (
            'AT+QINDCFG="ccinfo",1', "AT+CLIP=1", 'AT+QGPSCFG="outport","none"', "AT+QPCMV=1,0", "AT+QTONEDET=1",
        ):  # fmt: skip
            await port.ask(command)
        return port

    async def until(self, test: Callable[[], bool], what: str) -> None:
        """Wait until something is true of the lab."""
        try:
            async with asyncio.timeout(WAIT_S):
                # The lab has no event for everything it knows.
                while not test():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"not true in time: {what}") from None


def tone(hz: float, frames: int) -> list[bytes]:
    """Return 20 ms frames of a tone at -15 dB."""
    whole = array("h", (round(8000 * math.sin(2 * math.pi * hz * n / 8000)) for n in range(160 * frames)))
    return [whole[start : start + 160].tobytes() for start in range(0, len(whole), 160)]


async def speak(audio: Port, frames: list[bytes]) -> None:
    """Write frames in real time, 80 ms ahead, however late single steps come."""
    loop = asyncio.get_running_loop()
    due = loop.time() - 0.08
    for frame in frames:
        audio.write(frame)
        due += 0.02
        await asyncio.sleep(max(0.0, due - loop.time()))


Maker = Callable[..., Awaitable[Bench]]
