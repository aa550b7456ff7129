"""The page that Prometheus reads."""

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from simrack.controller.calls.metrics import Metrics
from simrack.wire.errors import UserError


class MetricsPage:
    """Serves `/metrics` and nothing else."""

    def __init__(self, metrics: Metrics, listen: tuple[str, int]) -> None:
        self._metrics, self._listen = metrics, listen
        app = web.Application()
        app.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> tuple[str, int]:
        """Listen; returns the address. Raises `UserError` when it is taken."""
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
        address: tuple[str, int] = self._runner.addresses[0][:2]
        return address

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
