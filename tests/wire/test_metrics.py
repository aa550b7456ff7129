"""The page tells how many tasks the process has: a leak of tasks is seen before memory shows it."""

import asyncio
import re

import aiohttp
from prometheus_client import CollectorRegistry

from simrack.wire.metrics import MetricsPage


async def test_tasks_of_the_loop_are_on_the_page() -> None:
    page = MetricsPage(CollectorRegistry(), ("127.0.0.1", 0))
    address = await page.start()

    async def count() -> float:
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            found = re.search(r"^simrack_asyncio_tasks (\S+)$", await answer.text(), re.MULTILINE)
            assert found is not None
            return float(found.group(1))

    try:
        before = await count()
        waiting = [asyncio.create_task(asyncio.sleep(60)) for _ in range(5)]
        assert await count() == before + 5
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await count() == before
    finally:
        await page.stop()
