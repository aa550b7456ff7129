"""Power and reset of a module's place: what goes out to hub, kernel and the site's program."""

import errno
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import usb.core

from simrack.drivers.at.blind import restart
from simrack.drivers.board import command
from simrack.drivers.board.base import BoardError, HubPort, Place
from simrack.drivers.board.command import CommandBoard
from simrack.drivers.board.sysfs import SysfsPower
from simrack.drivers.board.usb import DeviceReset, HubPower
from simrack.drivers.modems.base import ModemError

PLACE = Place(3, "1-1.4", (HubPort(1, (1,), 4),))


@dataclass
class Device:
    """A hub or module that notes its requests; `characteristics` as in USB 2.0 table 11-13."""

    characteristics: int = 0x09
    bDeviceProtocol: int = 1
    requests: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None

    def reset(self) -> None:
        if self.error:
            raise self.error
        self.requests.append(("reset",))

    def ctrl_transfer(
        self, kind: int, request: int, value: int, index: int, data: Any = None, timeout: int = 0
    ) -> bytes:
        if self.error:
            raise self.error
        self.requests.append((kind, request, value, index))
        return bytes((9, value >> 8, 4, self.characteristics, 0, 50, 100, 0, 255))


def tree(*devices: tuple[int, tuple[int, ...], Device]) -> Any:
    known = {(bus, path): device for bus, path, device in devices}
    return lambda bus, path: known.get((bus, path))


async def test_port_power_is_the_hub_request_of_the_standard() -> None:
    """USB 2.0 11.24.2: ClearPortFeature and SetPortFeature (PORT_POWER = 8) of that port, to the hub."""
    hub = Device()
    power = HubPower(tree((1, (1,), hub)))
    await power.switch(PLACE, on=False)
    await power.switch(PLACE, on=True)
    assert [request for request in hub.requests if request[0] == 0x23] == [(0x23, 1, 8, 4), (0x23, 3, 8, 4)]


async def test_a_super_speed_hub_is_asked_for_its_own_descriptor() -> None:
    hub = Device(bDeviceProtocol=3)
    await HubPower(tree((1, (1,), hub))).switch(PLACE, on=True)
    assert hub.requests[0] == (0xA0, 6, 0x2A00, 0)


@pytest.mark.parametrize("characteristics", [0b00, 0b10, 0b11], ids=["ganged", "none", "none"])
async def test_a_hub_that_cant_switch_single_ports_is_said_and_left_alone(characteristics: int) -> None:
    """A ganged hub would take the power from all its modules, calls included."""
    hub = Device(characteristics)
    with pytest.raises(BoardError, match="single ports"):
        await HubPower(tree((1, (1,), hub))).switch(PLACE, on=False)
    assert not [request for request in hub.requests if request[0] == 0x23]


async def test_usb_reset_reaches_the_device_in_the_socket_and_no_other() -> None:
    wanted, other = Device(), Device()
    await DeviceReset(tree((1, (1, 4), wanted), (1, (1, 3), other))).reset(PLACE)
    assert (wanted.requests, other.requests) == ([("reset",)], [])


async def test_what_is_missing_is_named() -> None:
    with pytest.raises(BoardError, match=r"no USB device at 1-1\.4"):
        await DeviceReset(tree()).reset(PLACE)
    with pytest.raises(BoardError, match="no hub 1-1"):
        await HubPower(tree()).switch(PLACE, on=True)
    denied = Device(error=usb.core.USBError("Access denied", errno=errno.EACCES))
    with pytest.raises(BoardError, match="udev rule"):
        await DeviceReset(tree((1, (1, 4), denied))).reset(PLACE)
    with pytest.raises(BoardError, match="no USB socket"):
        HubPort.of_socket("ttyUSB2")


async def test_the_kernels_switch_of_a_port(tmp_path: Path) -> None:
    inner, root = tmp_path / "1-1:1.0" / "1-1-port4", tmp_path / "1-0:1.0" / "usb1-port2"
    for folder in (inner, root):
        folder.mkdir(parents=True)
    power = SysfsPower(tmp_path)
    both = Place(1, "1-1.4", (HubPort(1, (1,), 4), HubPort(1, (), 2)))
    await power.switch(both, on=False)
    assert [(folder / "disable").read_text() for folder in (inner, root)] == ["1", "1"]
    await power.switch(both, on=True)
    assert [(folder / "disable").read_text() for folder in (inner, root)] == ["0", "0"]
    with pytest.raises(BoardError, match="port 5 at 1-1"):
        await power.switch(Place(1, "", (HubPort(1, (1,), 5),)), on=True)


def program(folder: Path, text: str) -> str:
    file = folder / "power"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


async def test_the_sites_program_gets_act_channel_and_socket(tmp_path: Path) -> None:
    board = CommandBoard((program(tmp_path, f'echo "$@" >> {tmp_path}/log'), "--strip", "2"))
    await board.switch(PLACE, on=False)
    await board.switch(Place(7), on=True)
    await board.reset(PLACE)
    assert (tmp_path / "log").read_text().splitlines() == [
        "--strip 2 off 3 1-1.4", "--strip 2 on 7 -", "--strip 2 usb-reset 3 1-1.4",
    ]  # fmt: skip


async def test_a_program_that_fails_or_hangs_is_said_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BoardError, match="exit status 3: no such outlet"):
        await CommandBoard((program(tmp_path, "echo first; echo no such outlet >&2; exit 3"),)).reset(PLACE)
    with pytest.raises(BoardError, match="nowhere"):
        await CommandBoard((str(tmp_path / "nowhere"),)).reset(PLACE)
    monkeypatch.setattr(command, "COMMAND_S", 0.2)
    with pytest.raises(BoardError, match="not done in"):
        await CommandBoard((program(tmp_path, "exec sleep 60"),)).reset(PLACE)


async def test_a_blind_restart_of_a_port_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModemError, match="no such port"):
        await restart(str(tmp_path / "at"))
