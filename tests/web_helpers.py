"""What the tests of the control room share: a clock and ids that obey, a running room, a browser without a browser."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from argon2 import PasswordHasher
from flask_openapi3.openapi import OpenAPI
from werkzeug.test import Client, TestResponse

from simrack.controller.store.queries import Queries
from simrack.web.accounts import Accounts, KeyBox
from simrack.web.app import Room, create_app, serve_room
from simrack.web.desk import Desk, Reads
from simrack.web.draw import Drawer
from simrack.web.feed import Feed
from simrack.web.live import Live
from simrack.web.rack import RackModel
from simrack.web.settings import MqttSettings, WebSettings
from simrack.web.text import Times
from simrack.wire.messages import (
    AlarmSummary,
    BoxStatus,
    ChannelReport,
    ControllerStatus,
    LiveCall,
    Message,
)
from simrack.wire.mqtt import MemoryBroker, MemoryBus

KEY = "c2ltcmFjayB0ZXN0IGtleSwgMzIgb2N0ZXRzIGxvbmc="
PASSWORD = "four rainy copper horses"
NOW = datetime(2026, 11, 20, 14, 32, 7, tzinfo=UTC)
# Real ones take 50 ms each, which is their purpose and no test's.
FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Hands:
    """A clock that moves when told to."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now, self.seconds = now, 1000.0

    def utc(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def forward(self, seconds: float) -> None:
        self.seconds += seconds
        self.now += timedelta(seconds=seconds)


class Counted:
    """Ids that are never the same."""

    def __init__(self) -> None:
        self._next = 0

    def token(self, octets: int = 12) -> str:
        self._next += 1
        return f"{self._next:0{octets * 2}x}"


@dataclass
class Stand:
    """A control room on the bench: not started, fed by hand."""

    app: OpenAPI
    room: Room
    model: RackModel
    clock: Hands
    broker: MemoryBroker
    bus: "PausingBus"
    #: Nobody serves it from threads of his own, which could outlive this stand.
    alone: bool = True

    def browser(self) -> "Browser":
        return Browser(self.app.test_client())

    def signed_in(self) -> "Browser":
        """A browser of the administrator, whom the first call sets up."""
        browser = self.browser()
        if self.room.accounts.empty():
            browser.set_up(self.room.accounts.new_link())
        else:
            browser.sign_in()
        return browser

    def close(self) -> None:
        self.room.live.stop()
        self.room.accounts.close()
        queries = self.room.desk.queries
        if isinstance(queries, Queries):
            queries.close()
        if self.alone:
            self.alone = False
            _idle.append(self.app)

    def feed(self, *messages: Message) -> None:
        for message in messages:
            take(self.model, message)


def take(model: RackModel, message: Message) -> None:
    """Put one message into the model as the live thread would."""
    match message:
        case BoxStatus():
            model.box(message)
        case ChannelReport():
            model.channel(message)
        case LiveCall():
            model.call(message)
        case AlarmSummary():
            model.alarms(message)
        case ControllerStatus():
            model.controller(message)


def stand(url: str, *, queries: Reads | None = None, clock: Hands | None = None, **settings: object) -> Stand:
    """A control room over the database at `url`."""
    hands, ids = clock or Hands(), Counted()
    chosen = WebSettings.model_validate(
        {"database": url, "mqtt": MqttSettings(url="mqtt://127.0.0.1:1"), "listen": "127.0.0.1:0", **settings}
    )
    accounts = Accounts(
        url, hands, ids, keys=KeyBox([KEY], hands), session_hours=chosen.session_hours, link_hours=chosen.setup_link_hours, hasher=FAST
    )
    model, feed = RackModel(hands), Feed("run")
    desk = Desk(queries or Queries(url), model, hands)
    broker = MemoryBroker()
    bus = PausingBus(broker.bus("web"))
    apps: list[OpenAPI] = []

    live = Live(
        model, feed, bus=lambda: bus, draw=Drawer(lambda: apps[0].jinja_env, desk, lambda: feed.watched), seed=desk.seed, figures=desk.refresh,
        clock=hands, ids=ids,
    )  # fmt: skip
    room = Room(chosen, accounts, desk, feed, live, hands, ids, Times(chosen.zone))
    apps.append(_app(room))
    return Stand(apps[0], room, model, hands, broker, bus)


#: Applications of stands that are closed: making one costs more than most tests do with it.
_idle: list[OpenAPI] = []


def _app(room: Room) -> OpenAPI:
    """An application that serves the room: one that a closed stand has left, or a new one."""
    fits = (app for app in _idle if app.extensions["simrack"].settings.zone == room.settings.zone)
    app = next(fits, None)
    if app is None:
        return create_app(room)
    _idle.remove(app)
    serve_room(app, room)
    return app


class PausingBus:
    """The in-memory bus with a cable that can be pulled and put back."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus, self._paused = bus, False

    @property
    def connected(self) -> bool:
        return self._bus.connected and not self._paused

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await self._bus.publish(topic, payload, retain=retain)

    def tell(self, topic: str, payload: bytes) -> None:
        self._bus.tell(topic, payload)

    def subscribe(self, pattern: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        return self._bus.subscribe(pattern, handler)

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        self._bus.on_connect(callback)

    async def run(self) -> None:
        await self._bus.run()


class Browser:
    """The test client with what a browser does by itself: fills hidden fields, follows redirects."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.page: TestResponse | None = None

    def get(self, path: str, **headers: str) -> TestResponse:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.page = self.client.get(path, headers=named, buffered=True)
        return self.page

    def post(self, path: str, /, target: str = "", **fields: str) -> TestResponse:
        """Send a form with the hidden field of the page that was opened before."""
        data = {"csrf": self.csrf(), **fields}
        self.page = self.client.post(path, data=data, headers={"HX-Target": target} if target else {})
        return self.page

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.page.text) if self.page is not None else None
        return found[1] if found else ""

    def set_up(self, token: str, name: str = "Ada", password: str = PASSWORD) -> TestResponse:
        self.get(f"/setup/{token}")
        return self.post(f"/setup/{token}", name=name, password=password, again=password)

    def sign_in(self, name: str = "Ada", password: str = PASSWORD, **fields: str) -> TestResponse:
        self.get("/sign-in")
        return self.post("/sign-in", name=name, password=password, **fields)


def text_of(html: str) -> str:
    """What a reader sees: tags away, entities as signs, spaces squeezed."""
    import html as entities

    return re.sub(r"\s+", " ", entities.unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0, what: str = "the condition") -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {timeout_s} s")
        time.sleep(0.01)


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (what is awaited has no event)
            await asyncio.sleep(0.005)


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'web.db'}"
