"""The control room in bad weather: no network for an hour, a proxy that gathers, wrong clocks, sessions that end, two people."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from web_browser import Served, behind_port
from web_controller import controller_of
from web_helpers import PASSWORD, Stand, wait_until
from web_proxy import gathering_proxy

from simrack.web.accounts import Who
from simrack.wire.channel import ChannelState

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
S = ChannelState
LONGER_MS = 40_000
HOUR_MS = 3_600_000
CELL = "#ch-vienna-01-6"


@pytest.fixture
def served(demo: Stand) -> Iterator[Served]:
    """The demo behind a port with a controller behind it."""
    with behind_port(demo) as room, controller_of(demo):
        yield room


def signed_in(served: Served, page: Page, base: str = "") -> None:
    """A session for this window."""
    served.stand.signed_in()
    cookie = served.stand.room.accounts.sign_in("Ada", PASSWORD, "", "")
    page.context.add_cookies([{"name": "simrack", "value": cookie, "url": base or served.base}])


# --- network ------------------------------------------------------------------------------------------------------


def test_an_hour_without_network_is_said_and_made_good(demo: Stand, page: Page) -> None:
    """A laptop in a lift would show the rack of an hour ago as if it were now, or need a reload that nobody thinks of."""
    page.set_default_timeout(LONGER_MS)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text) if message.type == "error" else None)
    page.clock.install()
    with behind_port(demo) as served:
        served.enter(page, "/rack/vienna-01/6")
        expect(page.locator("#live-word")).to_have_text("live")
        page.evaluate("window.stayed = true")
        page.context.set_offline(True)
        expect(page.locator("#live-word")).to_contain_text("offline, 0:")
        expect(page.locator("body")).to_have_class(re.compile("stale"))
        page.clock.fast_forward(HOUR_MS)
        expect(page.locator("#live-word")).to_contain_text("offline, 1:00:")
        # The world goes on by more than is kept for those who come back.
        served.channel("vienna-01", 6, 100, state=S.MAINTENANCE, call=None)
        wait_until(lambda: demo.model.snapshot().channels["vienna-01", 6].state == S.MAINTENANCE, what="the change")
        for number in range(600):
            demo.room.feed.publish("elsewhere", "filler", str(number))
        page.context.set_offline(False)
        expect(page.locator(f"{CELL} .r2")).to_have_text("Service")
        expect(page.locator("#drawer .state")).to_contain_text("Maintenance")
        expect(page.locator("#live-word")).to_have_text("live")
        assert page.evaluate("window.stayed") is True
        served.channel("vienna-01", 6, 101, state=S.READY, call=None)
        expect(page.locator(f"{CELL} .r2")).to_have_text("Ready")
    assert len(heard) <= 3, heard


def test_a_proxy_that_gathers_does_not_hold_the_rack_back(demo: Stand, page: Page) -> None:
    """Behind such a proxy the rack would stand still for ever and look as if it were alive."""
    page.set_default_timeout(LONGER_MS)
    page.clock.install()
    with behind_port(demo) as served, gathering_proxy(served.base) as base:
        signed_in(served, page, base)
        wait_until(lambda: demo.model.snapshot().broker, what="the broker")
        page.goto(f"{base}/rack")
        expect(page.locator(CELL)).to_be_visible()
        assert page.locator("#live-word").text_content() == "connecting", "nothing has come, and nothing else is claimed"
        page.clock.run_for(31_000)
        expect(page.locator("#live-word")).to_have_text("live")
        page.evaluate("window.stayed = true")
        for number, (state, word) in enumerate(((S.MAINTENANCE, "Service"), (S.READY, "Ready"))):
            served.channel("vienna-01", 6, 100 + number, state=state, call=None)
            expect(page.locator(f"{CELL} .r2")).to_have_text(word)
        assert page.evaluate("window.stayed") is True
        # The next page knows it already.
        page.goto(f"{base}/rack")
        expect(page.locator("#live-word")).to_have_text("live")


# --- clocks -------------------------------------------------------------------------------------------------------

SHIFTED = """(() => {
  const real = Date, shift = SHIFT;
  window.Date = class extends real {
    constructor(...given) { super(...(given.length ? given : [real.now() + shift])); }
    static now() { return real.now() + shift; }
  };
})()"""


@pytest.mark.parametrize("shift_s", [3 * 3600, -366 * 86400])
def test_a_wrong_clock_in_the_browser_shifts_nothing(demo: Stand, chromium: Browser, shift_s: int) -> None:
    """A laptop with a wrong clock would show calls of minus three hours, or charts of another day."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, timezone_id="Pacific/Kiritimati")
    context.add_init_script(SHIFTED.replace("SHIFT", str(shift_s * 1000)))
    page = context.new_page()
    page.set_default_timeout(LONGER_MS)
    with behind_port(demo) as served:
        served.enter(page)
        expect(page.locator("#live-word")).to_have_text("live")
        clock = demo.clock.utc()
        expect(page.locator("#clock")).to_have_text(re.compile(rf"{clock:%H:%M}:\d\d"))
        ages = page.locator(".ch.speaking .r2[data-since], .ch.speaking [data-since]").all_text_contents()
        assert ages, "somebody speaks"
        since = page.locator(".ch.speaking [data-since]").first.get_attribute("data-since")
        told = page.locator(".ch.speaking [data-since]").first.text_content() or ""
        true = page.evaluate("([since, now]) => (Date.parse(since) - Date.parse(now)) / -1000", [since, clock.isoformat()])
        minutes, seconds = (int(part) for part in told.split(":")[-2:])
        assert abs(minutes * 60 + seconds - true % 3600) < 120, (told, true)
        page.goto(f"{served.base}/calls")
        expect(page.locator("#calls [data-since]").first).to_have_text(re.compile(r"^\d?\d:\d\d$"))
        page.goto(f"{served.base}/statistics?period=today")
        expect(page.locator(".uplot").first).to_be_visible()
        assert f"{clock:%Y}" in (page.content()), "the day is the server's"
    context.close()


# --- sessions -----------------------------------------------------------------------------------------------------


def test_a_form_of_a_session_that_ended_comes_back_after_signing_in(served: Served, chromium: Browser) -> None:
    """An administrator would type a new account twice, because the session had ended meanwhile."""
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/account/tokens/new")
    page.get_by_label("Name").fill("night reports")
    page.get_by_label("Days").fill("17")
    page.get_by_label("Your password").fill(PASSWORD)
    page.context.clear_cookies()
    page.get_by_role("button", name="Make the token").click()
    expect(page).to_have_url(re.compile(r"/sign-in\?next=/account/tokens/new"))
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{served.base}/account/tokens/new")
    expect(page.get_by_role("alert")).to_contain_text("What you typed is back")
    expect(page.get_by_label("Name")).to_have_value("night reports")
    expect(page.get_by_label("Days")).to_have_value("17")
    expect(page.get_by_label("Your password")).to_have_value("")
    kept = page.evaluate("JSON.stringify(sessionStorage)")
    assert PASSWORD not in kept
    assert "night reports" not in kept, "kept for this one time"
    # Signed in anew in another tab: the token of the form fits no more.
    page.get_by_label("Days").fill("18")
    signed_in(served, page)
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Make the token").click()
    page.get_by_role("link", name="Back to the form").click()
    expect(page.get_by_label("Days")).to_have_value("18")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_text("night reports").first).to_be_visible()
    page.context.close()


def test_a_session_that_is_ended_elsewhere_takes_nothing_along(served: Served, chromium: Browser) -> None:
    """Somebody else ends the session, the page leads to the door, and the half-written sender would be gone."""
    # A window of its own: the browser reports a check of the form that is refused meanwhile in its console.
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/senders/sender")
    page.get_by_label("Title", exact=True).fill("Half written")
    expect(page.locator("#live-word")).to_have_text("live")
    sessions = served.stand.room.accounts.sessions
    for row in sessions.listed():
        sessions.revoke(Who("cli:test"), row.public)
    # With the next heartbeat.
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Title", exact=True)).to_have_value("Half written")
    page.context.close()


# --- two people ---------------------------------------------------------------------------------------------------


def test_two_people_change_one_pattern_and_nothing_is_lost(served: Served, chromium: Browser) -> None:
    """The second to save would overwrite the first unseen, or would have to type everything again."""
    first, second = (chromium.new_context(viewport={"width": 1280, "height": 900}).new_page() for _ in range(2))
    for page in (first, second):
        page.set_default_timeout(LONGER_MS)
        signed_in(served, page)
        page.goto(f"{served.base}/routing/pattern?name=Premium")
    first.locator("#f-priority").fill("9")
    first.locator("#f-prefixes").fill("+882109\n+882108")
    first.get_by_role("button", name="Review the change").click()
    first.get_by_role("button", name="Apply now").click()
    expect(first.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    second.locator("#f-priority").fill("3")
    second.locator("#f-prefixes").fill("+882109\n+882107")
    second.get_by_role("button", name="Review the change").click()
    expect(second.get_by_role("heading", name="Changed meanwhile")).to_be_visible()
    table = second.locator("#review table").first
    expect(table).to_contain_text("3")
    expect(table).to_contain_text("9")
    second.get_by_role("button", name="Take theirs: Prefixes").press("Enter")
    expect(second.locator("#f-prefixes")).to_have_value("+882109\n+882108")
    expect(second.locator("#f-priority")).to_have_value("3")
    expect(second.get_by_role("button", name="Take theirs: Prefixes")).to_have_count(0)
    second.get_by_role("button", name="Go on with mine").click()
    second.get_by_role("button", name="Apply now: 1 field").click()
    expect(second.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    expect(second.locator("#f-priority")).to_have_value("3")
    expect(second.locator("#f-prefixes")).to_have_value("+882109\n+882108")
    first.context.close()
    second.context.close()
