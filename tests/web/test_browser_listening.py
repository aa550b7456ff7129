"""Chromium hears a call: a tone that a box's port sends, measured inside the page, by mouse and by keyboard."""

import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from web_browser import LOUDEST, behind_port
from web_helpers import Stand, wait_until

from simrack.wire import topics
from simrack.wire.messages import CommandReply

pytestmark = pytest.mark.system

RATE, FRAME = 8000, 160


def alaw(sample: int) -> int:
    """One sample as A-law (ITU-T G.711, table 1a)."""
    sign, height = (0x80, sample) if sample >= 0 else (0x00, -sample - 1)
    height = min(height >> 4, 0x7FF)
    segment = max(height.bit_length() - 5, 0)
    step = (height >> max(segment - 1, 0) if segment else height) & 0x0F if segment < 2 else (height >> (segment - 1)) & 0x0F
    return (sign | segment << 4 | step) ^ 0x55


class Box:
    """The controller's answer to `listen`, and the box's port that then sends a tone each way."""

    def __init__(self, stand: Stand, monkeypatch: pytest.MonkeyPatch, hertz: tuple[int, int], error: str = "") -> None:
        self.asked: list[dict[str, Any]] = []
        self._hertz, self._error = hertz, error
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        monkeypatch.setattr(stand.room.live, "command", self._command)

    def _command(self, _topic: str, action: str, args: dict[str, Any], *, actor: str) -> CommandReply:
        assert action == "listen"
        assert actor
        self.asked.append(args)
        if self._error:
            return CommandReply(id="1", ok=False, error=self._error)
        if not args["seconds"]:
            self.close()
            return CommandReply(id="1", ok=True)
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=self._send, args=(port, args["said"], args["heard"]))
        self._threads.append(thread)
        thread.start()
        return CommandReply(id="1", ok=True, result={"source": "{}:{}".format(*port.getsockname()), "basis": "contract 7"})

    def _send(self, port: socket.socket, *ways: str) -> None:
        number = 0
        while not self._stop.wait(0.02):
            for way, hertz in zip(ways, self._hertz, strict=True):
                turn = 2 * math.pi * hertz / RATE
                voice = bytes(alaw(round(12_000 * math.sin(turn * (number * FRAME + at)))) for at in range(FRAME))
                head = bytes((0x80, 8)) + (number & 0xFFFF).to_bytes(2, "big") + (number * FRAME).to_bytes(4, "big")
                host, _, to = way.rpartition(":")
                port.sendto(head + b"ssrc" + voice, (host, int(to)))
            number += 1
        port.close()

    def hold(self) -> None:
        """The call goes on, its voice does not."""
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def speaking(demo: Stand) -> str:
    return next(call.call for call in demo.model.snapshot().calls.values() if call.state == "speaking")


@pytest.fixture
def ended(demo: Stand) -> Iterator[None]:
    yield
    demo.app.extensions["ears"].stop()


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_chromium_hears_each_side_of_a_call(
    way: str, demo: Stand, speaking: str, ended: None, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is allowed to listen hears both parties, told apart, and stops when they say so."""
    hertz = (600, 1500)
    with behind_port(demo) as served:
        box = Box(demo, monkeypatch, hertz)
        served.enter(page, f"/calls/{speaking}/listen")
        if way == "mouse":
            page.get_by_role("button", name="Listen", exact=True).click()
        else:
            page.get_by_role("button", name="Listen", exact=True).focus()
            page.keyboard.press("Enter")
        page.get_by_text("Listening. Legal basis: contract 7").wait_for(timeout=30_000)
        page.wait_for_function(
            f"() => {{ const found = ({LOUDEST})(); return Math.abs(found[0] - {hertz[0]}) < 50 && Math.abs(found[1] - {hertz[1]}) < 50; }}",
            timeout=30_000,
        )
        moved = "() => [...document.querySelectorAll('meter')].every((meter) => meter.value > -30)"
        page.wait_for_function(moved, timeout=10_000)
        stop = page.get_by_role("button", name="Stop")
        if way == "mouse":
            stop.click()
        else:
            stop.focus()
            page.keyboard.press("Space")
        page.get_by_text("Not listening.").wait_for()
        wait_until(lambda: box.asked[-1].get("seconds") == 0, what="the box is told to stop")
        box.close()


def test_the_page_says_that_the_call_is_over(
    demo: Stand, speaking: str, ended: None, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on to say that it listens, to nothing; the next one would be refused because of it."""
    with behind_port(demo) as served:
        box = Box(demo, monkeypatch, (600, 1500))
        served.enter(page, f"/calls/{speaking}/listen")
        page.get_by_role("button", name="Listen", exact=True).click()
        page.get_by_text("Listening. Legal basis: contract 7").wait_for(timeout=30_000)
        other = page.context.new_page()
        other.goto(f"{served.base}/calls/{speaking}/listen")
        other.get_by_text("You listen to this call already, in another window.").wait_for()
        other.get_by_role("button", name="Listen", exact=True).click()
        other.get_by_text("Not possible: you listen to this call already").wait_for(timeout=20_000)
        box.hold()
        page.get_by_text("Connected, but no voice comes now.").wait_for(timeout=30_000)
        call = demo.model.snapshot().calls[speaking]
        served.publish(topics.controller_call(speaking), call.model_copy(update={"seq": call.seq + 1, "state": "ended"}))
        page.get_by_text("The call is over.").wait_for(timeout=30_000)
        assert page.get_by_role("button", name="Listen", exact=True).is_enabled()
        wait_until(lambda: box.asked[-1].get("seconds") == 0, what="the box is told to stop")
        assert [args["seconds"] for args in box.asked] == [600, 0]


def test_who_may_not_is_told_why(
    demo: Stand, speaking: str, ended: None, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose sender has no basis stays closed, and the page says what is missing."""
    with behind_port(demo) as served:
        Box(demo, monkeypatch, (0, 0), error="the record of sender alpine names no legal basis for listening")
        served.enter(page, f"/calls/{speaking}/listen")
        page.get_by_role("button", name="Listen", exact=True).click()
        page.get_by_text("Not possible: the record of sender alpine names no legal basis").wait_for(timeout=20_000)
        assert page.get_by_role("button", name="Listen", exact=True).is_enabled()
