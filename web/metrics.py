"""What Prometheus reads of the control room: requests as they end, the rest is looked at when it is asked for."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from simrack.web.feed import Feed
from simrack.web.live import Live
from simrack.web.rack import RackModel
from simrack.wire.errors import UserError
from simrack.wire.metrics import MetricsPage
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock

PREFIX = "simrack_web_"
#: Seconds; a page is to come within 0.2, an export takes what it takes.
BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15)


class WebMetrics(Collector):
    """All figures of one control room, in a registry of its own."""

    def __init__(self, model: RackModel, feed: Feed, live: Live) -> None:
        self._model, self._feed, self._live = model, feed, live
        self.registry = CollectorRegistry()
        self.requests = Counter(
            PREFIX + "requests", "Requests, by view and status.", ("view", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            PREFIX + "request_seconds", "Time to the first octet of an answer.", ("view",), buckets=BUCKETS, registry=self.registry
        )
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        """One reading of the live side."""
        rack = self._model.snapshot()
        yield GaugeMetricFamily(PREFIX + "streams", "Live pages that are open.", value=self._feed.streams)
        yield GaugeMetricFamily(PREFIX + "broker_connected", "1 while the control room has a session with the broker.", value=rack.broker)
        yield GaugeMetricFamily(PREFIX + "boxes", "Boxes that the control room knows.", value=len(rack.boxes))
        online = sum(status.online for status in rack.boxes.values())
        yield GaugeMetricFamily(PREFIX + "boxes_online", "Boxes that are reachable.", value=online)
        yield GaugeMetricFamily(PREFIX + "log_lines", "Log lines taken in since the start.", value=self._live.logs.number)

    def ended(self, view: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(view, str(status)).inc()
        self.seconds.labels(view).observe(seconds)


def count_requests(app: Flask, metrics: WebMetrics, clock: Clock) -> None:
    """Have each request counted under its view, whose names are few; addresses are not."""

    def begin() -> None:
        g.began = clock.monotonic()

    def end(response: Response) -> Response:
        began = g.get("began")
        if began is not None:
            metrics.ended(request.endpoint or "none", response.status_code, clock.monotonic() - began)
        return response

    app.before_request_funcs.setdefault(None, []).insert(0, begin)
    app.after_request(end)


def page_service(page: MetricsPage, told: Future[str]) -> Callable[[Bus], Coroutine[Any, Any, None]]:
    """Work for the live thread: serves the page as long as the thread runs; `told` gets its address or the mistake."""

    async def serve(_bus: Bus) -> None:
        try:
            told.set_result(await page.start())
        except UserError as error:
            told.set_exception(error)
            return
        try:
            await asyncio.Event().wait()
        finally:
            await page.stop()

    return serve
