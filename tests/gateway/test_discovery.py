"""Which node is which port of a module, whatever numbers the kernel gave."""

import asyncio
from pathlib import Path

import pytest

from simrack.drivers.modems.base import AudioFormat, Sheet, UsbId
from simrack.gateway.discovery import HotPlug, Ports, Tty, locate, pick, present
from simrack.gateway.settings import ModuleSettings

EC25 = Sheet("quectel", "EC2x", ("EC25",), (UsbId(0x2C7C, 0x0125),), {"at": 2, "audio": 1}, "x", AudioFormat(), (), Path())
MUTE = Sheet("mute", "Mute", (), (UsbId(0x1234, 0x0001),), {"at": 0}, "", AudioFormat(), (), Path())


def sheets(vendor: int, product: int) -> tuple[Sheet, ...]:
    return tuple(s for s in (EC25, MUTE) if any((u.vendor, u.product) == (vendor, product) for u in s.usb))


def ec25(socket: str, first: int) -> list[Tty]:
    return [Tty(f"/dev/ttyUSB{first + i}", socket, 0x2C7C, 0x0125, i) for i in (3, 1, 0, 2)]


@pytest.mark.parametrize(
    ("ttys", "socket", "ports"),
    [
        (ec25("1-1.4", 0), "1-1.4", Ports("/dev/ttyUSB2", "/dev/ttyUSB1")),
        (ec25("1-1.3", 0) + ec25("1-1.4", 4), "1-1.4", Ports("/dev/ttyUSB6", "/dev/ttyUSB5")),
        (ec25("1-1.4", 4)[:1], "1-1.4", None),
        (ec25("1-1.4", 0), "1-1", None),
        ([Tty("/dev/ttyUSB0", "2-1", 0x1234, 1, 0)], "2-1", Ports("/dev/ttyUSB0", "")),
        ([Tty("/dev/ttyUSB0", "2-1", 0x9999, 1, 0)], "2-1", None),
        ([], "2-1", None),
    ],
)
def test_ports_follow_the_socket_and_the_interface_never_the_node_number(
    ttys: list[Tty], socket: str, ports: Ports | None
) -> None:
    assert pick(ttys, socket, sheets) == ports


async def test_a_named_port_is_there_or_not(tmp_path: Path) -> None:
    row = ModuleSettings(channel=1, at=str(tmp_path / "at"))
    assert await locate(row) is None
    (tmp_path / "at").touch()
    assert await locate(row) == row


async def test_a_socket_without_a_module_is_empty() -> None:
    assert await locate(ModuleSettings(channel=1, usb="97-1.4")) is None


async def test_this_machines_own_ports_can_be_listed() -> None:
    """Whatever hangs here (mostly nothing), reading it must not fail."""
    try:
        found = await asyncio.to_thread(present)
    except ImportError:
        pytest.skip("no udev library here")
    assert all(tty.node.startswith("/dev/") for tty in found)


async def test_the_hot_plug_watch_runs_or_ends_without_udev() -> None:
    watch = asyncio.ensure_future(HotPlug(lambda: None).run())
    await asyncio.wait([watch], timeout=0.2)
    if watch.done():
        watch.result()
    watch.cancel()
