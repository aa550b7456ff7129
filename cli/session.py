"""One short session with the broker, as every command needs it that asks the running installation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from simrack.wire.errors import UserError
from simrack.wire.mqtt import MqttBus


def place(url: str) -> str:
    """`host:port` of a URL, without the password in it."""
    return url.rpartition("@")[2]


@asynccontextmanager
async def session(bus: MqttBus, url: str, within_s: float) -> AsyncIterator[None]:
    """Keep `bus` connected inside the block; its subscriptions stand when the block begins.

    Raises:
        UserError: the broker at `url` can't be reached within `within_s` seconds.
    """
    connected = asyncio.Event()

    async def mark() -> None:
        connected.set()

    bus.on_connect(mark)
    running = asyncio.create_task(bus.run())
    try:
        try:
            async with asyncio.timeout(within_s):
                await connected.wait()
        except TimeoutError:
            raise UserError(
                "the broker can't be reached", place(url), "Is it running? `simrack doctor` looks further."
            ) from None
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
