"""The octet stream under an AT engine: a serial port, a PTY, or an in-memory twin.

pyserial and pyserial-asyncio-fast do the work. A PTY has no modem lines: their ioctls fail with ENOTTY, so
that nothing here may need RTS, DTR or CTS to work. A port that floods is read slowly, so that one broken
module cannot take the loop from its neighbours.
"""

import asyncio
import errno
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import serial
import serial_asyncio_fast

from simrack.drivers.at.errors import AtError

# USB ports ignore the speed; it matters on a real UART only.
SPEED = 115200
# An honest module sends at most a stored-message listing of 100 kB in a burst, and 12 kB/s on a UART. Beyond
# FLOOD_OCTETS in one window the port is left unread until the window ends, that is 128 kB/s at most.
FLOOD_OCTETS = 32 * 1024
FLOOD_WINDOW_S = 0.25
# Closing is two executor steps in pyserial-asyncio-fast; a dead USB port was never seen to need longer.
CLOSE_S = 5.0


class ByteStream(Protocol):
    """Octets in both directions, with one listener."""

    def attach(self, received: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        """Name who gets the octets and who hears of the end; octets that came before are kept for it."""

    def write(self, data: bytes) -> None:
        """Send without waiting; after the end it does nothing."""

    async def close(self) -> None:
        """Give the port back; `lost` is not called."""


class PortError(AtError):
    """A port cannot be opened; the text names it and says why."""


class SerialStream(asyncio.Protocol):
    """A serial device or PTY."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._transport: serial_asyncio_fast.SerialTransport | None = None
        self._received: Callable[[bytes], None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._early = bytearray()
        self._end: str | None = None
        self._closing = False
        self._closed = asyncio.Event()
        self._window_octets = 0
        self._window: asyncio.TimerHandle | None = None

    def attach(self, received: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self._received, self._lost = received, lost
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            received(early)
        if self._end is not None:
            lost(self._end)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def close(self) -> None:
        self._closing = True
        if self._window is not None:
            self._window.cancel()
        if self._transport is not None and not self._closed.is_set():
            # abort, not close: a hung module would hold the drain of its output for many seconds.
            if not self._transport.is_closing():
                self._transport.abort()
            async with asyncio.timeout(CLOSE_S):
                await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(serial_asyncio_fast.SerialTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._brake(len(data))
        if self._received is not None:
            self._received(data)
        else:
            self._early = (self._early + data)[-FLOOD_OCTETS:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        if self._window is not None:
            self._window.cancel()
        if self._closing:
            return
        self._end = f"{self.path}: {exc or 'port closed'}"
        if self._lost is not None:
            self._lost(self._end)

    def _brake(self, octets: int) -> None:
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(FLOOD_WINDOW_S, self._release)
        before = self._window_octets
        self._window_octets += octets
        if before <= FLOOD_OCTETS < self._window_octets and self._transport is not None:
            self._transport.pause_reading()

    def _release(self) -> None:
        self._window, braked = None, self._window_octets > FLOOD_OCTETS
        self._window_octets = 0
        if braked and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


async def open_port(path: str) -> SerialStream:
    """Open an AT port for this process alone.

    Raises:
        PortError: no such port, no right to it, or another process holds it.
    """
    loop = asyncio.get_running_loop()
    device = await loop.run_in_executor(None, _open, path)
    stream = SerialStream(path)
    # The transport makes its connection known a loop turn later; what is written before would be lost.
    stream.connection_made(serial_asyncio_fast.SerialTransport(loop, stream, device))
    return stream


def _open(path: str) -> serial.Serial:
    try:
        device = serial.Serial(path, SPEED, timeout=0, write_timeout=0, exclusive=True)
        attributes = termios.tcgetattr(device.fileno())
        # Without this, closing drops DTR, and with &D2 that hangs up a call in progress.
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(device.fileno(), termios.TCSANOW, attributes)
    except (OSError, ValueError, termios.error) as error:
        raise PortError(_reason(path, error)) from error
    return device


def _reason(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or not Path(path).exists():
        return f"{path}: no such port; is the module plugged in and powered?"
    if number == errno.EACCES:
        return f"{path}: no right to open it; add this user to the group dialout"
    if number in (errno.EAGAIN, errno.EBUSY):
        return f"{path}: another process holds it; stop ModemManager or the other box"
    return f"{path}: {error}"
