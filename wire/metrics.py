"""The page that Prometheus reads: one per process, off unless an address is named."""

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from simrack.wire.errors import UserError


class MetricsPage:
    """Serves `/metrics` of one registry, with `simrack_asyncio_tasks` of the process's loop, and nothing else."""

    def __init__(self, registry: CollectorRegistry, listen: tuple[str, int]) -> None:
        self._registry, self._listen = registry, listen
        self._own = CollectorRegistry()
        self._tasks = Gauge(
            "simrack_asyncio_tasks", "Tasks of the process's loop; it comes back to the same once idle", registry=self._own
        )
        app = web.Application()
        app.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> str:
        """Listen; returns the page's address. Raises `UserError` when the port is taken."""
        await self._runner.setup()
        host, port = self._listen
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise UserError(
                f"can't listen for metrics: {error.strerror or error}",
                f"metrics.listen {host}:{port}",
                "End the program that has this port, or choose another.",
            ) from error
        return "http://{}:{}/metrics".format(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _page(self, _request: web.Request) -> web.Response:
        self._tasks.set(len(asyncio.all_tasks()))
        body = generate_latest(self._registry) + generate_latest(self._own)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
