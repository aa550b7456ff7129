"""A pseudo-terminal that plays one USB serial port of a module."""

import asyncio
import fcntl
import os
import struct
import termios
import tty
from collections.abc import Callable
from pathlib import Path

READ_SIZE = 4096
#: Octets that wait unread at the host's side before we drop more, as a USB driver without a reader does.
BACKLOG = 3000
#: Pace of a port that puts out one octet at a time, in seconds.
DRIP_S = 0.0005


class Pty:
    """One port: the master side is ours, the host opens the slave through the link at `link`.

    We keep the slave open as well, else the master reads EIO whenever no client is there.
    """

    def __init__(self, link: Path, received: Callable[[bytes], None]) -> None:
        self.link = link
        self.drip = False
        self._received = received
        self._master = self._slave = -1
        self._waiting = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    async def plug(self) -> None:
        """Create the terminal and point the link at it."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        await asyncio.to_thread(self._point, os.ttyname(self._slave))

    def _point(self, device: str) -> None:
        fresh = self.link.with_name(self.link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(device)
        fresh.replace(self.link)

    async def unlink(self) -> None:
        """Take the link away, as udev does with a device that is gone."""
        await asyncio.to_thread(self.link.unlink, missing_ok=True)

    def unplug(self) -> None:
        """Close it, which the host sees as a device that went away. Idempotent."""
        if not self.plugged:
            return
        self._stop_writing()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def backlog(self) -> int:
        """Octets that we wrote and the host has not read."""
        count: int = struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, b"\0\0\0\0"))[0]
        return count + len(self._waiting)

    def write(self, data: bytes) -> None:
        """Put octets out in order, never waiting; they are lost when nobody reads the port."""
        if not self.plugged or self.backlog() > BACKLOG:
            return
        if self._waiting or self.drip:
            self._waiting += data
            self._schedule()
            return
        sent = self._put(data)
        if sent < len(data):
            self._waiting += data[sent:]
            self._schedule()

    def pour(self, data: bytes) -> None:
        """Put out as much as the host takes at once; the rest is lost."""
        if self.plugged and not self._waiting:
            self._put(data)

    def _put(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def _schedule(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(DRIP_S, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        sent = self._put(self._waiting[:1] if self.drip else self._waiting)
        del self._waiting[:sent]
        self._schedule()

    def _stop_writing(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        try:
            data = os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self._received(data)
