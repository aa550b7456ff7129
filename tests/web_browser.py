"""The control room behind a port, for tests with a real browser."""

import contextlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect
from waitress import wasyncore
from waitress.server import create_server
from web_helpers import Stand, wait_until
from web_ops import TARGETS

from simrack.wire import topics
from simrack.wire.messages import CommandReply, Message

#: What the analysers of the page Listen say is loudest of each side, in Hz (its bins are 48000 / 2048 wide).
LOUDEST = """() => document.getElementById('listen').analysers.map((analyser) => {
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    let best = 0;
    bins.forEach((value, at) => { if (value > bins[best]) best = at; });
    return bins[best] > -60 ? best * analyser.context.sampleRate / analyser.fftSize : 0;
})"""

#: Many pages and a browser on few cores.
PATIENCE_MS = 20_000


class Hand:
    """One way of working: `act` presses a button or follows a link, `write` fills a field."""

    def __init__(self, page: Page, way: str) -> None:
        self.page, self.mouse = page, way == "mouse"
        page.set_default_timeout(PATIENCE_MS)

    def act(self, thing: Locator) -> None:
        if self.mouse:
            thing.click()
        else:
            thing.focus()
            # What was drawn this moment is not bound to its act yet: the key would take the way of a page without scripts.
            self.drawn()
            self.page.keyboard.press("Enter")

    def drawn(self) -> None:
        """Until nothing is being put into the page any more."""
        self.page.wait_for_function("() => !document.querySelector('.htmx-swapping, .htmx-settling, .htmx-added')")

    def tick(self, thing: Locator) -> None:
        if self.mouse:
            thing.check()
        else:
            # A dialog that opens takes the focus to its first field.
            expect(thing).to_be_visible()
            self.drawn()
            box = thing.element_handle()
            box.focus()
            self.page.keyboard.press("Space")
            self.page.wait_for_function("box => box.checked", arg=box)

    def write(self, where: str | Locator, words: str) -> None:
        """Into a field, by its label's first words."""
        field = self.page.get_by_label(re.compile(f"^{where}")) if isinstance(where, str) else where
        if self.mouse:
            field.click()
        else:
            field.focus()
        self.page.keyboard.type(words)

    def button(self, name: str) -> None:
        self.act(self.page.get_by_role("button", name=name))

    def link(self, name: str) -> None:
        self.act(self.page.get_by_role("link", name=name, exact=True))

    def choose(self, label: str, option: str) -> None:
        """From a list."""
        field = self.page.get_by_label(re.compile(f"^{label}"))
        if self.mouse:
            asks = field.evaluate("(field, option) => !!field.closest('.filters') && field.selectedOptions[0].label !== option", option)
            # A filter asks anew by itself.
            with self.page.expect_navigation() if asks else contextlib.nullcontext():
                field.select_option(label=option)
        else:
            field.focus()
            self.page.keyboard.type(option)

    def clear(self, where: str | Locator) -> None:
        """Empty a field."""
        self.write(where, "")
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")

    def menu(self, title: str, key: str) -> None:
        """To another page."""
        if self.mouse:
            self.page.get_by_role("navigation", name="Main").get_by_role("link", name=title, exact=True).click()
        else:
            # A page that is still coming hears no keys yet.
            self.page.wait_for_load_state()
            self.page.keyboard.press("g")
            self.page.keyboard.press(key)

    def calls_by_sender(self) -> None:
        """To the calls that stand, grouped by who sent them."""
        self.menu("Calls", "c")
        self.choose("Group by", "Sender")
        self.button("Show")
        expect(self.page).to_have_url(re.compile("group=sender"))

    def told(self, words: str) -> None:
        expect(self.page.get_by_role("status").filter(has_text=words)).to_be_visible(timeout=PATIENCE_MS)

    def applied(self, button: str) -> None:
        """A change is reviewed and put in force."""
        self.button("Review the change")
        self.button(button)
        self.told("is in force")

    def saved(self, link: str) -> bytes:
        """What a link brings as a file."""
        with self.page.expect_download() as coming:
            self.act(self.page.get_by_role("link", name=re.compile(link)))
        return Path(coming.value.path()).read_bytes()


class Obedient:
    """A controller that does as it is told, and what it was told."""

    def __init__(self, stand: Stand) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        stand.room.live.command = self._command  # type: ignore[method-assign]

    def _command(
        self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0
    ) -> CommandReply:
        assert actor == "user:Ada"
        if action != "notices":
            self.heard.append((action, args))
        result = {
            "targets": TARGETS, "held": 0, "calls": 3, "mode": args.get("mode", ""), "messages": 9, "collector": "192.0.2.9:9060",
            "ended": len(args.get("calls", ())),
        }  # fmt: skip
        return CommandReply(id="1", ok=True, result=result)

    @property
    def acts(self) -> list[str]:
        return [action for action, _ in self.heard]


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
        with contextlib.suppress(OSError):  # where it has none, the loop has ended already
            server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets, ignore_all=True))
        thread.join(5)
        server.task_dispatcher.shutdown()
