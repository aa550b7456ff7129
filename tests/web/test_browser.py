"""The control room in a real browser, by mouse and keyboard, with changes that come over the bus."""

import re

import pytest
from playwright.sync_api import Page, expect
from web_browser import Served, behind_port
from web_demo import TELLING_CALL
from web_demo import messages as demo_messages
from web_helpers import PASSWORD, Stand, stand, wait_until

from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import CallInfo, Command, CommandReply

pytestmark = pytest.mark.system
S = ChannelState


def set_up(page: Page, served: Served) -> None:
    """By the set-up link, as the newcomer does."""
    page.goto(f"{served.base}/setup/{served.stand.room.accounts.new_link()}")
    page.keyboard.type("Ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{served.base}/rack")
    expect(page.locator("#live-word")).to_have_text("live")


def test_a_channel_goes_from_ready_to_speaking_and_back_without_reload(demo: Stand, page: Page) -> None:
    """The Rack page would show the past, or jump about while somebody points at it."""
    with behind_port(demo) as served:
        set_up(page, served)
        page.evaluate("window.stayed = true")
        cell = page.locator("#ch-vienna-01-6")
        expect(cell.locator(".r2")).to_have_text("Ready")
        place = cell.bounding_box()
        cell.focus()
        now = demo.clock.utc()
        call = CallInfo(call="c-9", attempt="a", direction="out", number="+882100000009", since=now, connected=now)
        served.channel("vienna-01", 6, 100, state=S.ACTIVE, since=now, call=call)
        expect(cell).to_have_class(re.compile("speaking"))
        expect(cell.locator(".r2")).to_have_text(re.compile(r"^0:0[1-9]$"))
        expect(cell).to_be_focused()
        assert cell.bounding_box() == place
        served.channel("vienna-01", 6, 101, state=S.READY, since=now, call=None)
        expect(cell.locator(".r2")).to_have_text("Ready")
        assert page.evaluate("window.stayed") is True


def test_drawer_by_mouse_keyboard_and_address(demo: Stand, page: Page) -> None:
    """A channel could not be looked at closely, or only by mouse."""
    with behind_port(demo) as served:
        served.enter(page)
        page.locator("#ch-vienna-01-3").click()
        expect(page).to_have_url(f"{served.base}/rack/vienna-01/3")
        expect(page.locator("#drawer h2")).to_have_text("vienna-01 / 3")
        expect(page.locator("#drawer-close")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#drawer .drawer")).to_have_count(0)
        expect(page).to_have_url(f"{served.base}/rack")
        expect(page.locator("#ch-vienna-01-3")).to_be_focused()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator("#drawer h2")).to_have_text("vienna-01 / 4")
        served.channel("vienna-01", 4, 100, state=S.FAULT, fault="no answer to AT", call=None)
        expect(page.locator("#drawer .state")).to_contain_text("Fault")
        page.goto(f"{served.base}/rack/vienna-02/5")
        expect(page.locator("#drawer .why")).to_contain_text("no answer to AT")


def test_story_opens_from_the_records_and_explains_the_route(demo: Stand, page: Page) -> None:
    """A complaint could not be answered."""
    with behind_port(demo) as served:
        served.enter(page)
        page.keyboard.press("g")
        page.keyboard.press("e")
        expect(page).to_have_url(f"{served.base}/records")
        page.keyboard.press("/")
        page.keyboard.type("+88210 1234567")
        page.keyboard.press("Enter")
        page.locator(f'a[href="/records/{TELLING_CALL}"]').click()
        expect(page.locator("h1")).to_contain_text("Alpine Tel")
        expect(page.locator(".ladder")).to_be_visible()
        page.get_by_text("7 out").click()
        expect(page.get_by_text("vienna-01 / 11 no SIM")).to_be_visible()
        expect(page.locator(".order tr.hit").first).to_contain_text("answered")
        expect(page.locator(".voice canvas")).to_have_count(2)


def test_ending_a_call_asks_first(demo: Stand, page: Page) -> None:
    """A slip would cut a call off."""
    heard: list[Command] = []

    def controller(_topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        heard.append(command)
        demo.broker.route(command.reply_to, CommandReply(id=command.id, ok=True).encode(), retain=False)

    with behind_port(demo) as served:
        assert demo.room.live.loop is not None
        demo.room.live.loop.call_soon_threadsafe(lambda: demo.bus.subscribe(topics.controller_command(), controller))
        served.enter(page, "/calls")
        page.get_by_role("link", name="End…").first.click()
        expect(page.locator("#dialog")).to_contain_text("Ends 1 call now")
        page.get_by_role("link", name="Keep it").click()
        expect(page.locator("#dialog")).to_be_hidden()
        assert heard == []
        page.get_by_role("link", name="End…").first.click()
        page.get_by_role("button", name="End 1 call").click()
        expect(page.locator("#say")).to_have_text("1 call ended")
        assert [command.action for command in heard] == ["hang-up"]


def test_a_lost_stream_is_said_on_the_page(demo: Stand, page: Page) -> None:
    """People would trust a page that stands still."""
    with behind_port(demo) as served:
        served.enter(page)
        expect(page.locator("#live-word")).to_have_text("live")
        assert demo.room.live.loop is not None
        demo.room.live.loop.call_soon_threadsafe(demo.bus.pause)
        expect(page.locator("#live-word")).to_contain_text("no broker")
        demo.room.live.loop.call_soon_threadsafe(demo.bus.resume)
        expect(page.locator("#live-word")).to_have_text("live")


def test_a_hidden_tab_gives_its_stream_back_and_catches_up(demo: Stand, page: Page) -> None:
    """Seven tabs would hang the control room in this browser, or a tab would wake up with the past on it."""
    with behind_port(demo) as served:
        page.clock.install()
        served.enter(page)
        expect(page.locator("#live-word")).to_have_text("live")
        page.evaluate("window.stayed = true")
        hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); "
        hide += "document.dispatchEvent(new Event('visibilitychange')) }"
        page.evaluate(hide, True)
        page.clock.fast_forward(21_000)
        expect(page.locator("#live-pill")).to_have_class(re.compile("trouble"))
        served.channel("vienna-01", 6, 100, state=S.MAINTENANCE)
        wait_until(lambda: demo.model.snapshot().channels["vienna-01", 6].state == S.MAINTENANCE, what="the change")
        page.evaluate(hide, False)
        expect(page.locator("#ch-vienna-01-6 .r2")).to_have_text("Service")
        expect(page.locator("#live-word")).to_have_text("live")
        served.channel("vienna-01", 6, 101, state=S.READY)
        expect(page.locator("#ch-vienna-01-6 .r2")).to_have_text("Ready")
        assert page.evaluate("window.stayed") is True


def test_theme_is_kept_and_small_screens_do_not_overflow(demo: Stand, page: Page) -> None:
    """The night shift would be blinded, or would have to scroll sideways on a phone."""
    with behind_port(demo) as served:
        served.enter(page)
        page.locator("#theme").click()
        page.locator("#theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.set_viewport_size({"width": 390, "height": 844})
        for path in ("/rack/vienna-01/3", "/calls", "/records", f"/records/{TELLING_CALL}", "/alarms"):
            page.goto(served.base + path, wait_until="domcontentloaded")
            assert page.evaluate("document.documentElement.dataset.theme") == "dark"
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_a_wall_comes_back_after_any_absence_of_the_control_room(demo: Stand, page: Page) -> None:
    """A screen on the wall would show a browser's error page until somebody climbs up to it."""
    page.clock.install()
    with behind_port(demo) as served:
        served.enter(page, "/rack?wall")
        expect(page.locator("#live-word")).to_have_text("live")
        port = int(served.base.rpartition(":")[2])
        page.evaluate("window.stayed = true")
    expect(page.locator("#live-pill")).to_have_class(re.compile("trouble"))
    page.clock.fast_forward(200_000)
    page.clock.run_for(31_000)
    assert page.evaluate("window.stayed") is True
    again = stand(demo.room.settings.database, clock=demo.clock)
    again.feed(*demo_messages(demo.clock.utc()))
    try:
        with behind_port(again, port):
            page.clock.run_for(31_000)
            expect(page.locator("#live-word")).to_have_text("live")
            assert page.evaluate("window.stayed") is None
    finally:
        again.close()
