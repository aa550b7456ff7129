"""The page that Prometheus reads: one per process, off unless an address is named."""

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from simrack.wire.errors import UserError


class MetricsPage:
    """Serves `/metrics` of one registry and nothing else."""

    def __init__(self, registry: CollectorRegistry, listen: tuple[str, int]) -> None:
        self._registry, self._listen = registry, listen
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
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
