"""Acknowledging an alarm, a test notice, the live tail and a log level, in a real browser by mouse and keyboard."""

import pytest
from playwright.sync_api import Page, expect
from web_browser import Served, behind_port
from web_helpers import Stand
from web_ops import TARGETS, log_lines, more_alarms

from simrack.wire import topics
from simrack.wire.messages import Command, CommandReply, LogLine, LogLines

pytestmark = pytest.mark.system


@pytest.fixture
def heard(demo: Stand) -> list[Command]:
    """A controller that does as it is told, and what it was told."""
    more_alarms(demo.room.settings.database, demo.clock.utc(), count=3)
    told: list[Command] = []

    async def listen(bus: object) -> None:
        def answer(_topic: str, payload: bytes) -> None:
            command = Command.decode(payload)
            told.append(command)
            result = {"targets": TARGETS, "held": 0} if command.action == "notices" else {}
            demo.broker.route(command.reply_to, CommandReply(id=command.id, ok=True, result=result).encode(), retain=False)

        demo.bus.subscribe(topics.controller_command(), answer)

    demo.room.live.services.append(listen)
    return told


def acted(heard: list[Command]) -> list[tuple[str, object]]:
    return [(command.action, command.args.get("note")) for command in heard if command.action != "notices"]


def test_acknowledging_by_mouse(demo: Stand, page: Page, heard: list[Command]) -> None:
    """The first act of the night shift."""
    with behind_port(demo) as served:
        served.enter(page, "/alarms")
        page.get_by_role("link", name="Acknowledge…").first.click()
        expect(page.locator("#dialog")).to_contain_text("Take this alarm in hand?")
        page.get_by_label("Note").fill("on my way")
        page.get_by_role("button", name="Acknowledge 1 alarm").click()
        expect(page.locator("#say")).to_have_text("1 alarm is in your hand now")
        expect(page.locator("#dialog")).to_be_hidden()
        assert acted(heard) == [("acknowledge-alarm", "on my way")]


def test_acknowledging_by_keyboard(demo: Stand, page: Page, heard: list[Command]) -> None:
    with behind_port(demo) as served:
        served.enter(page, "/rack")
        page.keyboard.press("g")
        page.keyboard.press("a")
        expect(page).to_have_url(f"{served.base}/alarms")
        page.get_by_role("link", name="Acknowledge…").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#note")).to_be_focused()
        page.keyboard.type("by keys")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#say")).to_have_text("1 alarm is in your hand now")
        assert acted(heard) == [("acknowledge-alarm", "by keys")]


def test_test_notice_and_release(demo: Stand, page: Page, heard: list[Command]) -> None:
    with behind_port(demo) as served:
        served.enter(page, "/alarms/notices")
        page.get_by_role("button", name="Send 1 test notice").first.click()
        expect(page.locator("#test-webhook")).to_have_text("It arrived.")
        page.goto(f"{served.base}/alarms")
        page.get_by_role("button", name="Release").first.click()
        expect(page.locator("#say")).to_have_text("1 alarm is in nobody's hand now")
        assert [action for action, _ in acted(heard)] == ["test-notice", "acknowledge-alarm"]


def publish(served: Served, message: LogLines) -> None:
    loop = served.stand.room.live.loop
    assert loop is not None
    loop.call_soon_threadsafe(
        lambda: served.stand.broker.route(topics.log_lines(message.process), message.encode(), retain=False)
    )


def test_lines_come_by_themselves_and_a_level_is_changed(demo: Stand, page: Page, heard: list[Command]) -> None:
    """Whoever waits for a line would have to load the page again and again."""
    for message in log_lines(demo.clock.utc(), count=20):
        demo.room.live.logs.take(message, demo.clock.utc())
    with behind_port(demo) as served:
        served.enter(page, "/logs")
        expect(page.locator("#live-word")).to_have_text("live")
        line = LogLine(seq=9000, at=demo.clock.utc(), level="warning", event="something new happened")
        publish(served, LogLines(process="web", boot="b9", level="info", lines=(line,)))
        expect(page.locator(".loglines tbody tr").first).to_contain_text("something new happened")
        page.get_by_role("link", name="Level… of controller").click()
        page.keyboard.press("d")
        page.get_by_role("button", name="Change 1 process").click()
        expect(page.locator("#say")).to_contain_text("controller logs debug")
        assert heard[-1].args == {"process": "controller", "level": "debug", "minutes": 60}


def test_analyse_leads_to_the_alarm(demo: Stand, page: Page, heard: list[Command]) -> None:
    with behind_port(demo) as served:
        served.enter(page, "/analyse")
        first = page.locator(".findings .alarm").first
        expect(first).to_contain_text("critical")
        first.get_by_role("link", name="Go there").click()
        expect(page).to_have_url(served.base + "/alarms#alarm-1")
