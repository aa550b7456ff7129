"""Gateways, console, groups of calls and a large rack in a real browser, by mouse and by keyboard."""

import threading
from datetime import timedelta

import pytest
import web_demo as demo_data
from playwright.sync_api import Page, expect
from web_browser import Served, behind_port
from web_helpers import Stand

from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.drain import LIMITS_S
from simrack.wire.messages import BoxStatus, Command, CommandReply, ConsoleLine, ConsoleLines, DrainInfo

pytestmark = pytest.mark.system


class Controller:
    """Takes the commands at the other end of the bus and says yes."""

    def __init__(self, stand: Stand) -> None:
        self.heard: list[Command] = []
        self._stand = stand
        loop = stand.room.live.loop
        assert loop is not None
        there = threading.Event()

        def begin() -> None:
            stand.bus.subscribe(topics.controller_command(), self._on_command)
            there.set()

        loop.call_soon_threadsafe(begin)
        assert there.wait(5)

    def _on_command(self, _topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        self.heard.append(command)
        result = {"calls": 3, "mode": command.args.get("mode", ""), "ended": len(command.args.get("calls", ()))}
        self._stand.broker.route(command.reply_to, CommandReply(id=command.id, ok=True, result=result).encode(), retain=False)

    @property
    def asked(self) -> list[tuple[str, object]]:
        return [(command.action, command.args.get("mode")) for command in self.heard]


def drain_of(served: Served, box: str) -> None:
    """What the box then tells."""
    now = served.stand.clock.utc()
    status = served.stand.model.snapshot().boxes[box]
    drain = DrainInfo(mode="when-calls-end", then="restart-box", since=now, by=now + timedelta(seconds=LIMITS_S["when-calls-end"]))
    served.publish(topics.box_status(box), status.model_copy(update={"seq": 50, "drain": drain}))


def test_a_box_is_restarted_by_mouse_when_its_calls_end(demo: Stand, page: Page) -> None:
    """The act of the night shift: it must say what it touches, and show what becomes of it."""
    with behind_port(demo) as served:
        served.enter(page, "/gateways")
        controller = Controller(demo)
        page.locator("#restart-vienna-01").click()
        expect(page.locator("#dialog")).to_contain_text("drains 10 calls, then restarts the agent")
        page.locator("input[name=mode][value=now]").check()
        page.get_by_role("button", name="Restart the agent of this box").click()
        expect(page.locator("#typed-wrong")).to_contain_text("type vienna-01 to confirm")
        assert controller.heard == []
        page.locator("input[name=mode][value=when-calls-end]").check()
        page.get_by_role("button", name="Restart the agent of this box").click()
        expect(page.locator("#say")).to_contain_text("waits for 3 calls")
        assert controller.asked == [("restart-box", "when-calls-end")]
        page.goto(f"{served.base}/rack")
        expect(page.locator("#live-word")).to_have_text("live")
        drain_of(served, "vienna-01")
        expect(page.locator("#head-vienna-01")).to_contain_text("restarts after 10 calls left")


def test_a_module_is_restarted_by_keyboard_from_its_drawer(demo: Stand, page: Page) -> None:
    """Who works without a mouse must reach every act."""
    with behind_port(demo) as served:
        served.enter(page, "/rack/vienna-02/5")
        controller = Controller(demo)
        page.locator("#do-restart-module").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#dialog")).to_be_visible()
        expect(page.get_by_role("radio", name="When its calls end")).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("#say")).to_contain_text("vienna-02 / 5: restart this module")
        assert controller.asked == [("restart-module", "when-convenient")]
        page.locator("#do-disable-channel").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#dialog")).to_contain_text("takes no new calls until somebody enables it")
        page.keyboard.press("Escape")
        expect(page.locator("#dialog")).to_be_hidden()


def test_a_console_shows_lines_as_they_pass_and_stays_while_the_drawer_changes(demo: Stand, page: Page) -> None:
    """Lines that vanish at each change of the channel can't be read."""
    with behind_port(demo) as served:
        served.enter(page, "/rack/vienna-01/3")
        controller = Controller(demo)
        page.locator("#console-start").click()
        expect(page.locator("#console-stop")).to_be_visible()
        assert [command.action for command in controller.heard] == ["console"]
        now = demo.clock.utc()
        line = ConsoleLine(at=now, way=">", text="AT+CSQ")
        message = ConsoleLines(box="vienna-01", channel=3, until=now + timedelta(minutes=5), lines=(line,))
        served.publish(topics.channel_console("vienna-01", 3), message)
        expect(page.locator(".at.live")).to_contain_text("AT+CSQ")
        served.channel("vienna-01", 3, 100, state=ChannelState.FAULT, fault="no answer to AT", call=None)
        expect(page.locator("#drawer .state")).to_contain_text("Fault")
        expect(page.locator(".at.live")).to_contain_text("AT+CSQ")


def test_a_group_of_calls_is_ended_after_its_count_was_typed(demo: Stand, page: Page) -> None:
    """One slip must not cut off a whole customer."""
    with behind_port(demo) as served:
        served.enter(page, "/calls?group=sender")
        controller = Controller(demo)
        page.locator("#end-group-1").click()
        expect(page.locator("#dialog")).to_contain_text("and none that comes meanwhile")
        count = page.locator("#dialog h2").inner_text().split()[1]
        page.keyboard.press("Enter")
        expect(page.locator("#typed-wrong")).to_contain_text(f"type {count} to confirm")
        page.locator("#dialog input[name=typed]").fill(count)
        page.keyboard.press("Enter")
        expect(page.locator("#say")).to_have_text(f"{count} calls ended")
        assert [(command.action, len(command.args["calls"])) for command in controller.heard] == [("hang-up-group", int(count))]


def test_a_large_rack_opens_as_tiles_follows_its_boxes_and_leads_to_their_cells(demo: Stand, page: Page) -> None:
    """With a thousand boxes the page must still be one glance away from any channel."""
    demo.feed(*demo_data.hall(demo.clock.utc(), 90, 16))
    with behind_port(demo) as served:
        served.enter(page)
        expect(page.locator("#bx-vienna-040")).to_contain_text("unreachable")
        expect(page.locator("#live-word")).to_have_text("live")
        known = demo.model.snapshot().boxes["vienna-001"]
        served.publish(topics.box_status("vienna-001"), BoxStatus(**{**known.model_dump(), "seq": 9, "online": False}))
        expect(page.locator("#bx-vienna-001")).to_contain_text("unreachable")
        page.locator("#bx-vienna-002").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#box-vienna-002 .ch")).to_have_count(16)
        expect(page.locator("#live-word")).to_have_text("live")
        served.channel("vienna-002", 6, 100, state=ChannelState.MAINTENANCE, call=None)
        expect(page.locator("#ch-vienna-002-6 .r2")).to_have_text("Service")
        page.goto(f"{served.base}/rack?show=trouble")
        expect(page.locator("#box-vienna-013")).to_be_visible()
        expect(page.locator("#box-vienna-002")).to_have_count(0)
