"""Wires the control room together and serves it with waitress until SIGTERM."""

import json
import signal
import sys
from concurrent.futures import Future
from types import FrameType

import structlog
from flask_openapi3.openapi import OpenAPI
from waitress.server import create_server

from simrack.controller.store.errors import StoreDown
from simrack.controller.store.queries import Queries
from simrack.web.accounts import Accounts
from simrack.web.accounts.keybox import load as load_keys
from simrack.web.app import Room, create_app
from simrack.web.desk import Desk
from simrack.web.draw import Drawer
from simrack.web.feed import Feed
from simrack.web.live import Live
from simrack.web.metrics import WebMetrics, count_requests, page_service
from simrack.web.rack import RackModel
from simrack.web.settings import WebSettings
from simrack.web.text import Times
from simrack.wire import tuning
from simrack.wire.errors import UserError
from simrack.wire.logship import LogShip
from simrack.wire.metrics import MetricsPage
from simrack.wire.mqtt import MqttBus
from simrack.wire.ports import Clock, Ids, SystemClock, SystemIds
from simrack.wire.sections import parse_address

log = structlog.get_logger(__name__)

# Kept-alive connections of browsers beside the streams; more are closed at once by the kernel's queue.
CONNECTIONS = 2000
# aiohttp is imported meanwhile, on a machine that is busy starting everything else.
METRICS_WITHIN_S = 20.0
# A full search for cycles walks over a whole fleet's reports: 130 ms and more in which no page is drawn, and the usual
# thresholds ask for one for each 8,000 that replace others. What requests leave is found young; the rest can wait.
GC_AFTER = (5_000, 10, 100)


def accounts_of(settings: WebSettings, clock: Clock | None = None, ids: Ids | None = None) -> Accounts:
    """The accounts, with the keys of the settings. Raises `UserError` when the key file can't be used."""
    clock, ids = clock or SystemClock(), ids or SystemIds()
    return Accounts(
        settings.database, clock, ids, keys=load_keys(settings.keys, settings.key_path, clock, ids),
        session_hours=settings.session_hours, link_hours=settings.setup_link_hours,
    )  # fmt: skip


def link_of(settings: WebSettings, token: str, port: int = 0) -> str:
    """The set-up link as a browser on this machine (or behind the public name) opens it."""
    host, own_port = settings.address
    shown = f"[{host}]" if ":" in host else host
    base = settings.public_url or f"http://{shown}:{port or own_port}"
    return f"{base}/setup/{token}"


def build(settings: WebSettings, queries: Queries, accounts: Accounts, clock: Clock, ids: Ids) -> tuple[OpenAPI, Live]:
    """The application and its live thread, not yet started."""
    model, feed = RackModel(clock), Feed(ids.token(4))
    desk = Desk(queries, model, clock)
    applications: list[OpenAPI] = []
    client_id = f"web-{ids.token(4)}"
    live = Live(
        model, feed,
        bus=lambda: MqttBus(settings.mqtt.url, client_id),
        draw=Drawer(lambda: applications[0].jinja_env, desk, lambda: feed.watched),
        seed=desk.seed, figures=desk.refresh, clock=clock, ids=ids, client_id=client_id,
    )  # fmt: skip
    times = Times(settings.zone)
    app = create_app(Room(settings, accounts, desk, feed, live, clock, ids, times))
    applications.append(app)
    return app, live


def serve(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `UserError` when the port is taken."""
    clock, ids = SystemClock(), SystemIds()
    queries, accounts = Queries(settings.database), accounts_of(settings, clock, ids)
    check_database(accounts)
    app, live = build(settings, queries, accounts, clock, ids)
    host, port = settings.address
    try:
        server = create_server(
            app, host=host, port=port, threads=settings.threads, connection_limit=CONNECTIONS, ident=None,
            asyncore_use_poll=True, clear_untrusted_proxy_headers=True, **_proxy(settings),
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"can't listen on {settings.listen}: {error.strerror}", "listen", "Choose a free port, or end what uses it."
        ) from error
    live.services.append(lambda bus: LogShip("web", ids.token(4), bus, clock).run())
    page = _metrics(settings, app, live, clock)
    live.start()
    metrics = page.result(METRICS_WITHIN_S) if page is not None else ""
    signal.signal(signal.SIGTERM, _stop)
    _announce(settings, accounts, server.effective_port, metrics)
    tuning.settle(GC_AFTER)
    try:
        server.run()
    except (KeyboardInterrupt, SystemExit):
        log.info("control room ends")
    finally:
        # First: listeners that are ended tell the controller so, over the live link.
        app.extensions["ears"].stop()
        app.extensions["phone"].stop()
        live.stop()
        server.close()
        queries.close()
        accounts.close()


def _metrics(settings: WebSettings, app: OpenAPI, live: Live, clock: Clock) -> Future[str] | None:
    """The page for Prometheus, served by the live thread's loop; its address comes once that runs."""
    if not settings.metrics.listen:
        return None
    here: Room = app.extensions["simrack"]
    figures = WebMetrics(here.desk.model, here.feed, live)
    count_requests(app, figures, clock)
    told: Future[str] = Future()
    live.services.append(page_service(MetricsPage(figures.registry, parse_address(settings.metrics.listen)), told))
    return told


def _proxy(settings: WebSettings) -> dict[str, object]:
    """Forwarded headers count only when they come from the named proxy itself."""
    if not settings.trusted_proxy:
        return {}
    headers = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
    return {"trusted_proxy": settings.trusted_proxy, "trusted_proxy_headers": headers, "trusted_proxy_count": 1}


def check_database(accounts: Accounts) -> None:
    """Raise `UserError` when the tables can't be read: the controller makes them at its start."""
    try:
        accounts.empty()
    except StoreDown as error:
        todo = "Start `simrack controller` first: it makes the tables. Check the address under `database`."
        raise UserError(str(error), "database", todo) from error


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _announce(settings: WebSettings, accounts: Accounts, port: int, metrics: str = "") -> None:
    """One line of JSON: whoever started this process waits for it."""
    ready: dict[str, object] = {"ready": True, "web": link_of(settings, "", port).removesuffix("/setup/")}
    if metrics:
        ready["metrics"] = metrics
    if accounts.empty():
        ready["setup_link"] = link_of(settings, accounts.new_link(), port)
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
