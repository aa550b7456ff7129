"""Fixtures of the driver tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from drivers_bench import Begin, Bench
from drivers_transcript import Transcript, Way

from simrack.drivers.at import chat
from simrack.drivers.modems.generic import service
from simrack.drivers.registry import open_module
from simrack.wire.ports import SystemClock


@pytest.fixture
async def bench() -> AsyncIterator[Begin]:
    """Start a transcript by name and a driver on it."""
    async with AsyncExitStack() as stack:

        async def begin(name: str, way: Way = Way.PLAIN, *, echo: bool = False, family: str = "") -> Bench:
            module = await stack.enter_async_context(Transcript.named(name, way, echo=echo))
            driver = await open_module(module.path, clock=SystemClock(), family=family)
            stack.push_async_callback(driver.close)
            made = Bench(module, driver)
            made.info = await driver.start()
            return made

        yield begin


@pytest.fixture(autouse=True)
def quick_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers of these tests are local: late answers and bursts of news need no 150 ms to show themselves."""
    monkeypatch.setattr(service, "NETWORK_SETTLE_S", 0.02)
    monkeypatch.setattr(service, "NETWORK_PAUSE_S", 0.05)
    monkeypatch.setattr(service, "CARD_RETRY_S", 0.1)
    monkeypatch.setattr(chat, "RESYNC_QUIET_S", 0.02)
