"""Where a module's ports are: named in the settings, or found by udev behind a USB socket.

`ttyUSB` numbers move when a module resets (field problem 8), so a row may name the USB socket instead, for
instance "1-1.4": the place where the module is plugged. Which of its serial ports is which follows from the
USB interface numbers in the families' sheets, never from the order of the nodes.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from simrack.drivers.modems.base import Sheet
from simrack.drivers.registry import by_usb
from simrack.gateway.settings import ModuleSettings

if TYPE_CHECKING:
    import pyudev

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tty:
    """One serial port of a USB device, as udev shows it."""

    node: str
    socket: str  # the device's place, for instance "1-1.4"
    vendor: int
    product: int
    interface: int


@dataclass(frozen=True, slots=True)
class Ports:
    """A module's ports; `audio` is "" where the family has none over USB."""

    at: str
    audio: str


def pick(ttys: Iterable[Tty], socket: str, sheets: Callable[[int, int], tuple[Sheet, ...]] = by_usb) -> Ports | None:
    """The ports of the module in `socket`, by the first sheet that knows its USB identity; None without one."""
    here = [tty for tty in ttys if tty.socket == socket]
    nodes = {tty.interface: tty.node for tty in here}
    for tty in here:
        for sheet in sheets(tty.vendor, tty.product):
            at = nodes.get(sheet.ports.get("at", -1))
            if at:
                return Ports(at, nodes.get(sheet.ports.get("audio", -1), ""))
    return None


def _tty(device: "pyudev.Device") -> Tty | None:
    """Read one udev device; None when it hangs on no USB device."""
    interface = device.find_parent("usb", "usb_interface")
    usb = device.find_parent("usb", "usb_device")
    if interface is None or usb is None or not device.device_node:
        return None
    try:
        return Tty(
            device.device_node,
            usb.sys_name,
            int(usb.attributes.asstring("idVendor"), 16),
            int(usb.attributes.asstring("idProduct"), 16),
            int(interface.attributes.asstring("bInterfaceNumber"), 16),
        )
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        log.warning("USB device not understood", node=device.device_node, error=str(error))
        return None


def present() -> tuple[Tty, ...]:
    """All serial ports on USB devices, as udev knows them now. Blocks on the disk; ImportError without udev."""
    import pyudev

    devices = pyudev.Context().list_devices(subsystem="tty")
    return tuple(tty for tty in map(_tty, devices) if tty is not None)


async def locate(row: ModuleSettings) -> ModuleSettings | None:
    """The row with its ports as they are now; None while the module is not there.

    A stat() of a device node waits for its driver, and a driver may hang: so this runs in a thread.
    """
    if not row.usb:
        return row if await asyncio.to_thread(os.path.exists, row.at) else None
    try:
        # The families' sheets are read from disk at the first look, too.
        ports = await asyncio.to_thread(lambda: pick(present(), row.usb))
    except (ImportError, OSError) as error:
        log.error("no udev: name the module's ports in the settings", channel=row.channel, error=str(error))
        return None
    return row.model_copy(update={"at": ports.at, "audio": row.audio or ports.audio}) if ports else None


class HotPlug:
    """Calls `plugged` when a serial port comes; without udev it does nothing, and ports are looked for."""

    def __init__(self, plugged: Callable[[], None]) -> None:
        self._plugged = plugged

    async def run(self) -> None:
        """Listen until cancelled."""
        monitor = await asyncio.to_thread(_monitor)
        if monitor is None:
            return
        loop, number = asyncio.get_running_loop(), monitor.fileno()
        loop.add_reader(number, self._take, monitor)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(number)

    def _take(self, monitor: "pyudev.Monitor") -> None:
        device = monitor.poll(timeout=0)
        if device is not None and device.action == "add":
            self._plugged()


def _monitor() -> "pyudev.Monitor | None":
    try:
        import pyudev

        monitor = pyudev.Monitor.from_netlink(pyudev.Context())
        monitor.filter_by("tty")
        monitor.start()
    except (ImportError, OSError) as error:
        log.info("no udev here: ports are looked for", error=str(error))
        return None
    return monitor
