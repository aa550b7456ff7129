"""Port power through the kernel (6.0 and later): the file `disable` of a hub's port in sysfs.

The kernel sends the same hub request as `usb.py`, but knows of it, and so neither suspends nor re-powers the port
behind our back. It needs the right to write that file (a udev rule), and a hub with per-port power switching.
"""

import asyncio
from pathlib import Path

from simrack.drivers.board.base import BoardError, HubPort, Place

DEVICES = Path("/sys/bus/usb/devices")


class SysfsPower:
    """See the module."""

    def __init__(self, devices: Path = DEVICES) -> None:
        self._devices = devices

    def file(self, port: HubPort) -> Path:
        """The switch of one port."""
        interface = f"{port.hub}:1.0" if port.path else f"{port.bus}-0:1.0"
        return self._devices / interface / f"{port.hub}-port{port.port}" / "disable"

    async def switch(self, place: Place, *, on: bool) -> None:
        """Switch all ports that feed the place. Raises `BoardError`."""
        for port in place.power:
            try:
                await asyncio.to_thread(self.file(port).write_text, "0" if on else "1")
            except OSError as error:
                raise BoardError(f"power of port {port.port} at {port.hub}: {error}") from error
