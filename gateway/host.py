"""How the box's own computer is: disk, memory, load, temperature, as Linux tells them."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from simrack.wire.messages import HostFigures

MB = 1_000_000
MEMORY, SENSORS = Path("/proc/meminfo"), Path("/sys/class/thermal")
#: Reads the figures now.
Host = Callable[[], Awaitable[HostFigures]]


async def nothing_known() -> HostFigures:
    """Of a box whose computer nobody asks."""
    return HostFigures()


def linux_host(data: Path, *, memory: Path = MEMORY, sensors: Path = SENSORS) -> Host:
    """Reads this computer; `data` is the folder whose disk counts. What can't be read is None."""

    def look() -> HostFigures:
        disk_free, disk = _disk(data)
        memory_free, whole = _memory(memory)
        return HostFigures(
            disk_free_mb=disk_free, disk_mb=disk, memory_free_mb=memory_free, memory_mb=whole, load=_load(),
            temperature_c=_temperature(sensors),
        )  # fmt: skip

    async def read() -> HostFigures:
        # A sensor may take milliseconds, which the voice of all calls would wait for.
        return await asyncio.to_thread(look)

    return read


def _disk(data: Path) -> tuple[int | None, int | None]:
    try:
        usage = shutil.disk_usage(data)
    except OSError:
        return None, None
    return usage.free // MB, usage.total // MB


def _memory(path: Path) -> tuple[int | None, int | None]:
    """MemAvailable and MemTotal, which the kernel gives in KiB."""
    known: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemAvailable", "MemTotal"):
                known[name] = int(rest.split()[0]) * 1024 // MB
    return known.get("MemAvailable"), known.get("MemTotal")


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except OSError:
        return None


def _temperature(folder: Path) -> float | None:
    """The hottest thermal zone, in degrees Celsius; many machines have none."""
    found = []
    for zone in sorted(folder.glob("thermal_zone*/temp")):
        with contextlib.suppress(OSError, ValueError):
            found.append(int(zone.read_text()) / 1000)
    return round(max(found), 1) if found else None
