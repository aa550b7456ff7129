"""What the site can do for a module beside talking to it: restart, USB reset, power."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from simrack.drivers.at.blind import restart
from simrack.drivers.board.base import BoardError, HubPort, Place, PortPower, UsbReset
from simrack.drivers.board.command import CommandBoard
from simrack.drivers.board.sysfs import SysfsPower
from simrack.drivers.board.usb import DeviceReset, HubPower
from simrack.drivers.modems.base import ModemError
from simrack.gateway.ladder import Rung
from simrack.gateway.settings import BoardSettings, ModuleSettings


def place_of(row: ModuleSettings) -> Place:
    """Where a row's module sits; its own USB socket is what feeds it unless the row says otherwise."""
    sockets = row.power_ports or ((row.usb,) if row.usb else ())
    return Place(row.channel, row.usb, tuple(HubPort.of_socket(socket) for socket in sockets))


@dataclass(slots=True)
class SiteHands:
    """Does the ladder's rungs; what the site lacks is None. `off_s` is how long a module stays without power."""

    usb: UsbReset | None = None
    power: PortPower | None = None
    off_s: float = 5.0
    anywhere: frozenset[Rung] = frozenset()  # rungs that need not know the place on the bus
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    def able(self, row: ModuleSettings) -> frozenset[Rung]:
        """The rungs that can be climbed for this module."""
        place = place_of(row)
        rungs = {Rung.REOPEN, Rung.RESET}
        if self.usb is not None and (place.socket or Rung.USB in self.anywhere):
            rungs.add(Rung.USB)
        if self.power is not None and (place.power or Rung.POWER in self.anywhere):
            rungs.add(Rung.POWER)
        return frozenset(rungs)

    @contextlib.asynccontextmanager
    async def turn(self, row: ModuleSettings) -> AsyncIterator[None]:
        """One module of a hub at a time: modules that come up together draw more than a hub gives.

        Modules whose hub nobody named are taken for one hub's.
        """
        place = place_of(row)
        hub = place.power[0].hub if place.power else ""
        async with self._turns.setdefault(hub, asyncio.Lock()):
            yield

    async def climb(self, rung: Rung, row: ModuleSettings) -> None:
        """Do it. Raises `BoardError`."""
        place = place_of(row)
        match rung:
            case Rung.RESET:
                try:
                    await restart(row.at)
                except ModemError as error:
                    raise BoardError(str(error)) from error
            case Rung.USB if self.usb is not None:
                await self.usb.reset(place)
            case Rung.POWER if self.power is not None:
                await self._cycle(self.power, place)

    async def _cycle(self, power: PortPower, place: Place) -> None:
        try:
            await power.switch(place, on=False)
            await asyncio.sleep(self.off_s)
        finally:
            # Whatever ends us meanwhile: a module must not stay dark.
            await asyncio.shield(power.switch(place, on=True))


def site_hands(board: BoardSettings) -> SiteHands:
    """The hands that the settings name."""
    program = CommandBoard(board.command) if board.command else None
    usb = {"none": None, "usb": DeviceReset(), "command": program}[board.usb_reset]
    power = {"none": None, "hub": HubPower(), "sysfs": SysfsPower(), "command": program}[board.power]
    ways = ((Rung.USB, board.usb_reset), (Rung.POWER, board.power))
    return SiteHands(usb, power, board.off_s, frozenset(rung for rung, way in ways if way == "command"))
