"""A driver at its transcript, with its events one by one."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from drivers_transcript import Transcript, Way

from simrack.drivers.modems.base import AtTrace, CallProgress, ModemDriver, ModemEvent, Progress
from simrack.wire.messages import ModuleInfo

E = TypeVar("E", bound=ModemEvent)
WAIT_S = 30.0


class Bench:
    """A driver at its transcript."""

    def __init__(self, module: Transcript, driver: ModemDriver) -> None:
        self.module, self.driver = module, driver
        self.lines: list[AtTrace] = []
        self.seen: list[ModemEvent] = []
        self.info = ModuleInfo()
        driver.trace = self.lines.append

    async def next(self, kind: type[E], fits: Callable[[E], bool] = lambda _: True) -> E:
        """The next event of a kind; others before it are kept in `seen`."""
        async with asyncio.timeout(WAIT_S):
            while True:
                event = await self.driver.events.get()
                self.seen.append(event)
                if isinstance(event, kind) and fits(event):
                    return event

    async def progress(self, *states: Progress) -> CallProgress:
        """The next call progress events are exactly these; returns the last one."""
        events = [await self.next(CallProgress) for _ in states]
        assert tuple(event.state for event in events) == states
        return events[-1]

    def progresses(self) -> list[Progress]:
        """Call progress that came and was not waited for, too."""
        while not self.driver.events.empty():
            self.seen.append(self.driver.events.get_nowait())
        return [event.state for event in self.seen if isinstance(event, CallProgress)]


class Begin(Protocol):
    """Start a transcript by name and a driver on it."""

    async def __call__(
        self, name: str, way: Way = Way.PLAIN, *, echo: bool = False, family: str = ""
    ) -> Bench: ...
