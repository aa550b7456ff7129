"""USB reset and hub port power through pyusb (libusb), in a thread: its calls block.

Port power is the hub class request of USB 2.0 11.24.2: SetPortFeature or ClearPortFeature with PORT_POWER, to
the hub itself. Only hubs with per-port power switching obey (wHubCharacteristics bits 1..0 = 01, USB 2.0 11.23.2);
others accept the request and keep the power on, so that is read first.
"""

import asyncio
import errno
from collections.abc import Callable
from functools import partial

import usb.core

from simrack.drivers.board.base import BoardError, HubPort, Place

# USB 2.0 table 11-15: bmRequestType 00100011B (class, other, to the hub) and the standard request codes.
_TO_PORT = 0x23
_FROM_HUB = 0xA0
_SET_FEATURE, _CLEAR_FEATURE, _GET_DESCRIPTOR = 3, 1, 6
# Table 11-17.
_PORT_POWER = 8
# Table 11-13: bDescriptorType of a hub descriptor (USB 3.2 table 10-5 for SuperSpeed), and where its parts lie.
_HUB_DESCRIPTOR, _SUPER_HUB_DESCRIPTOR = 0x29, 0x2A
_HUB_PROTOCOL_SUPER = 3
_CHARACTERISTICS_AT = 3
_PER_PORT = 0b01
# A hub that answers nothing for this long is itself the trouble.
CONTROL_MS = 2000

Find = Callable[[int, tuple[int, ...]], usb.core.Device | None]


def find(bus: int, path: tuple[int, ...]) -> usb.core.Device | None:
    """The device at these ports of a bus; () is the root hub. Blocks."""
    for device in usb.core.find(find_all=True, bus=bus):
        if tuple(device.port_numbers or ()) == path:
            return device
    return None


async def _in_thread(work: Callable[[], None], what: str) -> None:
    try:
        await asyncio.to_thread(work)
    except usb.core.NoBackendError as error:
        raise BoardError(f"{what}: libusb is missing; install libusb-1.0-0") from error
    except usb.core.USBError as error:
        hint = "; this user needs the right to write the device (udev rule)" if error.errno == errno.EACCES else ""
        raise BoardError(f"{what}: {error}{hint}") from error


class DeviceReset:
    """USB reset of a module."""

    def __init__(self, find: Find = find) -> None:
        self._find = find

    async def reset(self, place: Place) -> None:
        """Reset the device in the place's socket. Raises `BoardError`."""
        where = HubPort.of_socket(place.socket)

        def work() -> None:
            device = self._find(where.bus, (*where.path, where.port))
            if device is None:
                raise BoardError(f"no USB device at {place.socket}")
            device.reset()

        await _in_thread(work, f"USB reset of {place.socket}")


class HubPower:
    """Port power by the hub that the module hangs on."""

    def __init__(self, find: Find = find) -> None:
        self._find = find

    async def switch(self, place: Place, *, on: bool) -> None:
        """Switch all ports that feed the place. Raises `BoardError`, also where a hub can't switch single ports."""
        for port in place.power:
            await _in_thread(partial(self._one, port, on), f"power of port {port.port} at {port.hub}")

    def _one(self, port: HubPort, on: bool) -> None:
        hub = self._find(port.bus, port.path)
        if hub is None:
            raise BoardError(f"no hub {port.hub}")
        kind = _SUPER_HUB_DESCRIPTOR if hub.bDeviceProtocol == _HUB_PROTOCOL_SUPER else _HUB_DESCRIPTOR
        told = hub.ctrl_transfer(_FROM_HUB, _GET_DESCRIPTOR, kind << 8, 0, 9, CONTROL_MS)
        if len(told) <= _CHARACTERISTICS_AT or told[_CHARACTERISTICS_AT] & 0b11 != _PER_PORT:
            raise BoardError(f"hub {port.hub} can't switch single ports")
        feature = _SET_FEATURE if on else _CLEAR_FEATURE
        hub.ctrl_transfer(_TO_PORT, feature, _PORT_POWER, port.port, None, CONTROL_MS)
