"""The control room behind a port, for tests with a real browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page
from waitress import wasyncore
from waitress.server import create_server
from web_helpers import Stand, wait_until

from simrack.wire import topics
from simrack.wire.messages import Message


@dataclass
class Served:
    """A control room behind a port, and the fleet's side of its bus."""

    stand: Stand
    base: str

    def publish(self, topic: str, message: Message) -> None:
        assert self.stand.room.live.loop is not None
        payload = message.encode()
        self.stand.room.live.loop.call_soon_threadsafe(lambda: self.stand.broker.route(topic, payload, retain=True))

    def channel(self, box: str, channel: int, seq: int, **changed: object) -> None:
        report = self.stand.model.snapshot().channels[box, channel]
        self.publish(topics.channel_state(box, channel), report.model_copy(update={"seq": seq, **changed}))

    def enter(self, page: Page, path: str = "/rack") -> None:
        """Open a page signed in."""
        self.let_in(page)
        page.goto(self.base + path)

    def let_in(self, page: Page) -> None:
        """Sign in; the door itself has its own test."""
        cookie = self.stand.signed_in().client.get_cookie("simrack")
        assert cookie is not None
        page.context.add_cookies([{"name": "simrack", "value": cookie.value, "url": self.base}])
        wait_until(lambda: self.stand.model.snapshot().broker, what="the broker")


@contextmanager
def behind_port(stand: Stand, port: int = 0) -> Iterator[Served]:
    """Serve it until the block ends, then cut every connection as a stopped process does."""
    stand.alone = False
    stand.room.live.start()
    sockets: dict[int, Any] = {}
    server = create_server(
        stand.app, map=sockets, host="127.0.0.1", port=port, threads=60, clear_untrusted_proxy_headers=False
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Served(stand, f"http://127.0.0.1:{server.effective_port}")
    finally:
        stand.room.live.stop()
        # The browser keeps its idle connections, for which the server's loop would wait.
        server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets, ignore_all=True))
        thread.join(5)
        server.task_dispatcher.shutdown()
