"""The page that Prometheus reads: one per process, off unless an address is named."""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from simrack.wire.errors import UserError

if TYPE_CHECKING:
    from aiohttp import web


class MetricsPage:
    """Serves `/metrics` of one registry, with `simrack_asyncio_tasks` of the process's loop, and nothing else."""

    def __init__(self, registry: CollectorRegistry, listen: tuple[str, int]) -> None:
        self._registry, self._listen = registry, listen
        self._own = CollectorRegistry()
        self._tasks = Gauge(
            "simrack_asyncio_tasks", "Tasks of the process's loop; it comes back to the same once idle", registry=self._own
        )
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen; returns the page's address. Raises `UserError` when the port is taken."""
        # Half a second of imports and 10 MB, which a process without the page is spared.
        http = await asyncio.to_thread(import_module, "aiohttp.web")
        app = http.Application()
        app.router.add_get("/metrics", self._page)
        runner: web.AppRunner = http.AppRunner(app, access_log=None)
        self._runner = runner
        await runner.setup()
        host, port = self._listen
        try:
            await http.TCPSite(runner, host, port).start()
        except OSError as error:
            await self.stop()
            raise UserError(
                f"can't listen for metrics: {error.strerror or error}",
                f"metrics.listen {host}:{port}",
                "End the program that has this port, or choose another.",
            ) from error
        return "http://{}:{}/metrics".format(*runner.addresses[0][:2])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _page(self, _request: "web.Request") -> "web.Response":
        from aiohttp import web  # long loaded by `start`

        self._tasks.set(len(asyncio.all_tasks()))
        body = generate_latest(self._registry) + generate_latest(self._own)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
