"""What a board can do for a module that answers nothing any more."""

import re
from dataclasses import dataclass
from typing import Protocol

# What holds on USB names: "1-1.4" is port 4 of the hub at port 1 of bus 1; "1-4" is port 4 of the root hub.
_SOCKET = re.compile(r"(\d+)-(\d+(?:\.\d+)*)")


class BoardError(Exception):
    """The board could not do it; the text says why and what is missing."""


@dataclass(frozen=True, slots=True)
class HubPort:
    """One port of a hub: `bus` and `path` (the ports on the way, () = the root hub) name the hub."""

    bus: int
    path: tuple[int, ...]
    port: int

    @classmethod
    def of_socket(cls, socket: str) -> "HubPort":
        """The hub port that is the socket "1-1.4". Raises `BoardError` for text of another form."""
        match = _SOCKET.fullmatch(socket)
        if match is None:
            raise BoardError(f"{socket!r} is no USB socket such as 1-1.4")
        *path, port = (int(number) for number in match[2].split("."))
        return cls(int(match[1]), tuple(path), port)

    @property
    def hub(self) -> str:
        """The hub's name in sysfs: "1-1", or "usb1" for the root hub of bus 1."""
        return f"{self.bus}-{'.'.join(map(str, self.path))}" if self.path else f"usb{self.bus}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module sits. `power` are the ports that feed it: two on a USB 3 hub, whose halves both do."""

    channel: int
    socket: str = ""
    power: tuple[HubPort, ...] = ()


class UsbReset(Protocol):
    """Resets a device at its USB port; it comes back under new device nodes."""

    async def reset(self, place: Place) -> None:
        """Raises `BoardError`."""


class PortPower(Protocol):
    """Switches the power of a place."""

    async def switch(self, place: Place, *, on: bool) -> None:
        """Raises `BoardError`."""
