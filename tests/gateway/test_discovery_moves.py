"""Modules that come back elsewhere: other node numbers behind the same socket, another terminal behind a link."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from simrack.gateway import discovery
from simrack.gateway.discovery import Tty, locate
from simrack.gateway.settings import ModuleSettings

EC25 = (0x2C7C, 0x0125)


@dataclass
class Bus:
    """What udev shows: socket -> number of its first ttyUSB."""

    firsts: dict[str, int]

    def present(self) -> tuple[Tty, ...]:
        return tuple(
            Tty(f"/dev/ttyUSB{first + interface}", socket, *EC25, interface)
            for socket, first in self.firsts.items()
            for interface in range(4)
        )


async def test_two_modules_that_swap_their_node_numbers_keep_their_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reset of both, ttyUSB numbers go by who came first; calls must not leave by the other SIM."""
    bus = Bus({"1-1.1": 0, "1-1.2": 4})
    monkeypatch.setattr(discovery, "present", bus.present)
    rows = [ModuleSettings(channel=1, usb="1-1.1"), ModuleSettings(channel=2, usb="1-1.2")]
    before = [await locate(row) for row in rows]
    bus.firsts = {"1-1.2": 0, "1-1.1": 4}
    after = [await locate(row) for row in rows]
    assert [(row.at, row.audio) for row in before if row] == [
        ("/dev/ttyUSB2", "/dev/ttyUSB1"), ("/dev/ttyUSB6", "/dev/ttyUSB5"),
    ]  # fmt: skip
    assert [(row.at, row.audio) for row in after if row] == [
        ("/dev/ttyUSB6", "/dev/ttyUSB5"), ("/dev/ttyUSB2", "/dev/ttyUSB1"),
    ]  # fmt: skip
    bus.firsts = {"1-1.2": 0}
    assert await locate(rows[0]) is None, "one that is away is not looked for at its neighbour's"


async def test_a_link_that_points_to_another_terminal_is_followed(tmp_path: Path) -> None:
    link, row = tmp_path / "at", ModuleSettings(channel=1, at=str(tmp_path / "at"))
    assert await locate(row) is None
    for name in ("pts-7", "pts-9"):
        (tmp_path / name).touch()
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        assert await locate(row) == row
