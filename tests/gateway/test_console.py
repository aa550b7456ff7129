"""A module's console, read from afar; and what the box says of its computer."""

import asyncio
from pathlib import Path

from gateway_support import NOON, HandClock, until

from simrack.drivers.at.command import masked
from simrack.drivers.modems.base import AtTrace
from simrack.gateway.console import KEPT, MOST_CHARS, MOST_LINES, Consoles
from simrack.gateway.host import linux_host
from simrack.wire import topics
from simrack.wire.messages import ConsoleLines
from simrack.wire.mqtt import MemoryBroker


class Desk:
    """Consoles over a broker in memory, and somebody who reads."""

    def __init__(self) -> None:
        broker = MemoryBroker()
        self.clock, self.bus, self.reader = HandClock(), broker.bus("box"), broker.bus("web")
        self.consoles = Consoles("lab-01", self.bus, self.clock, self.clock.utc)
        self.read: list[ConsoleLines] = []
        self.reader.subscribe(topics.ALL_CONSOLES, lambda _, data: self.read.append(ConsoleLines.decode(data)))
        self.tasks = [asyncio.create_task(bus.run()) for bus in (self.bus, self.reader)]

    async def connected(self) -> None:
        await until(lambda: self.bus.connected and self.reader.connected, "the broker")

    def hear(self, text: str) -> None:
        self.consoles.heard(1, AtTrace(self.clock.monotonic(), "<", text))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


async def test_whoever_opens_a_console_sees_what_went_before_and_then_what_passes() -> None:
    """A person opens it because something has just happened: the lines before are the ones that matter."""
    desk = Desk()
    await desk.connected()
    for index in range(KEPT + 5):
        desk.hear(f"before {index}")
    desk.clock.now += 2
    desk.consoles.watch(1, 60)
    desk.hear("after")
    desk.consoles.send()
    await until(lambda: desk.read, "lines")
    (first,) = desk.read
    assert [line.text for line in first.lines] == [f"before {index}" for index in range(5, KEPT + 5)] + ["after"]
    assert (first.lines[-1].at - first.lines[0].at).total_seconds() == 2
    assert (first.until - NOON).total_seconds() == 62
    await desk.close()


async def test_a_console_ends_by_itself_and_never_floods() -> None:
    """A forgotten console must not cost the box's link anything tomorrow, nor a storm of lines today."""
    desk = Desk()
    await desk.connected()
    desk.consoles.watch(1, 60)
    for index in range(MOST_LINES + 7):
        desk.hear(f"{index} " + "x" * 4000)
    desk.consoles.send()
    await until(lambda: desk.read, "lines")
    assert (len(desk.read[0].lines), desk.read[0].left_out) == (MOST_LINES, 7)
    assert max(len(line.text) for line in desk.read[0].lines) == MOST_CHARS
    desk.clock.now += 60
    desk.hear("too late")
    desk.consoles.send()
    desk.consoles.watch(1, 60)
    desk.consoles.watch(1, 0)
    desk.hear("nobody watches")
    desk.consoles.send()
    await asyncio.sleep(0)
    assert len(desk.read) == 1
    await desk.close()


def test_no_pin_and_no_password_reaches_a_console() -> None:
    """Whoever may read a console must not be able to take a card out and use it elsewhere."""
    for line in ('AT+CPIN="4711"', 'AT+CPIN="11112222","4711"', 'AT+CPWD="SC","4711","4712"', 'AT+CLCK="SC",1,"4711"'):
        assert "47" not in masked(line)


async def test_the_computer_is_described_as_linux_tells_it(tmp_path: Path) -> None:
    """A full disk or a hot cabinet is seen before it stops calls; what a machine can't tell is not made up."""
    memory, zones = tmp_path / "meminfo", tmp_path / "thermal"
    memory.write_text("MemTotal:        2000000 kB\nMemFree: 1 kB\nMemAvailable:    1000000 kB\n")
    for zone, value in (("thermal_zone0", "41000\n"), ("thermal_zone1", "56500\n"), ("thermal_zone2", "broken")):
        (zones / zone).mkdir(parents=True)
        (zones / zone / "temp").write_text(value)
    figures = await linux_host(tmp_path, memory=memory, sensors=zones)()
    assert (figures.memory_free_mb, figures.memory_mb, figures.temperature_c) == (1024, 2048, 56.5)
    assert figures.disk_mb
    assert figures.disk_free_mb is not None
    nowhere = await linux_host(tmp_path / "gone", memory=tmp_path / "none", sensors=tmp_path / "none")()
    assert (nowhere.disk_mb, nowhere.memory_mb, nowhere.temperature_c) == (None, None, None)
