"""A test call in Chromium with the browser's own test microphone: heard, spoken into, ended, and what gets in the way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from web_browser import Served, behind_port
from web_demo import messages
from web_far_end import LOUDEST, FarEnd, far_end
from web_helpers import Stand, stand, wait_until

from simrack.controller.models import Explanation, OrderedCandidate
from simrack.wire.messages import CommandReply

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

PATIENCE_MS = 60_000
HERTZ = 600
EXPLAINED = Explanation(
    config_version=41, sender="alpine", called_received="+882101",
    order=(OrderedCandidate(box="vienna-01", channel=3, iccid="8988210020700004410", plan="nova"),),
)  # fmt: skip


@pytest.fixture(scope="module")
def speaking() -> Iterator[Browser]:
    """A browser whose microphone is its own test sound; who may use it is asked as in any other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-fake-device-for-media-stream"],
        )
        yield browser
        browser.close()


@contextmanager
def calling(demo: Stand, far: FarEnd, browser: Browser, monkeypatch: pytest.MonkeyPatch, *permissions: str) -> Iterator[tuple[Served, Page]]:
    """The page of test calls of a control room that calls this far end."""
    on = stand(demo.room.settings.database, controller_sip=far.address)
    on.feed(*messages(on.clock.utc()))
    told = CommandReply(id="1", ok=True, result={"explanation": EXPLAINED.model_dump(mode="json")})
    monkeypatch.setattr(on.room.live, "command", lambda *_args, **_more: told)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    with behind_port(on) as served:
        context.grant_permissions(permissions, origin=served.base)
        served.enter(page, "/test-call?number=%2B882101")
        expect(page.locator("#way")).to_contain_text("Takes vienna-01 / 3")
        yield served, page
        context.close()
        on.app.extensions["phone"].stop()
    expect.set_options(timeout=5_000)
    on.close()


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_a_person_hears_the_far_end_and_is_heard(way: str, demo: Stand, speaking: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would look well and be silent."""
    with far_end(hertz=HERTZ) as far, calling(demo, far, speaking, monkeypatch, "microphone") as (_, page):
        if way == "mouse":
            page.get_by_role("button", name="Call", exact=True).click()
        else:
            page.get_by_label("Number").press("Enter")
        expect(page.locator(".run li[data-state='answered']")).to_have_class("now")
        page.wait_for_function(f"() => Math.abs(({LOUDEST})() - {HERTZ}) < 50")
        page.wait_for_function("() => document.getElementById('meter-heard').value > -30")
        assert far.loud.wait(30), "the microphone arrives"
        expect(page.get_by_role("button", name="Hang up")).to_be_focused()
        if way == "mouse":
            page.get_by_role("button", name="Hang up").click()
        else:
            page.keyboard.press("Space")
        assert far.ended.wait(30)
        expect(page.locator("#result")).to_contain_text("You hung up.")
        expect(page.locator("#result")).to_contain_text("TEST")


def test_without_a_microphone_the_call_is_heard_only(demo: Stand, speaking: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad input: whoever says no to the microphone could not test at all. A second tab, and leaving, on the way."""
    with far_end(hertz=HERTZ) as far, calling(demo, far, speaking, monkeypatch) as (served, page):
        page.get_by_role("button", name="Call", exact=True).click()
        expect(page.locator("#call-said")).to_contain_text("The microphone was not allowed: nothing is sent, you only hear.")
        page.wait_for_function(f"() => Math.abs(({LOUDEST})() - {HERTZ}) < 50")
        second = page.context.new_page()
        second.goto(f"{served.base}/test-call")
        expect(second.locator("#elsewhere")).to_contain_text("You have a test call to")
        expect(second.get_by_role("button", name="Call", exact=True)).to_be_disabled()
        page.goto(f"{served.base}/calls")
        assert far.ended.wait(30), "who leaves ends the call"


def test_whoever_is_signed_out_in_the_middle_is_told_and_the_call_ends(
    demo: Stand, speaking: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call would go on for somebody who has no right to it any more."""
    with far_end(hertz=HERTZ) as far, calling(demo, far, speaking, monkeypatch) as (_, page):
        page.get_by_label("silence").check()
        page.get_by_role("button", name="Call", exact=True).click()
        expect(page.locator(".run li[data-state='answered']")).to_have_class("now")
        page.context.clear_cookies()
        expect(page.locator("#call-said")).to_contain_text("You are signed out, so the call was ended.")
        assert far.ended.wait(30)
        wait_until(lambda: len(far.invites) == 1)


def test_a_refusal_is_shown_with_its_cause_and_a_mistake_beside_its_field(
    demo: Stand, speaking: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would see that it did not work, and not why."""
    with far_end(404, reason='Reason: Q.850;cause=1;text="No such number"') as far, calling(demo, far, speaking, monkeypatch) as (_, page):
        page.get_by_label("a tone of 1000 Hz").check()
        page.get_by_role("button", name="Call", exact=True).click()
        expect(page.locator("#result")).to_contain_text("Cause 1, ")
        expect(page.locator("#result")).to_contain_text("SIP 404")
        page.get_by_label("Number").fill("<script>alert(1)</script>")
        page.get_by_role("button", name="Call", exact=True).click()
        expect(page.locator("#e-number")).to_contain_text("Digits, perhaps + in front")
        expect(page.get_by_label("Number")).to_be_focused()


def test_a_channel_is_chosen_by_keyboard_and_called_over(demo: Stand, speaking: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice would need a mouse, or be shown and not heeded."""
    with far_end(404, reason='Reason: Q.850;cause=1;text="No such number"') as far, calling(demo, far, speaking, monkeypatch) as (_, page):
        page.get_by_label("silence").check()
        part = page.get_by_role("combobox", name="Channel or SIM")
        expect(part).to_be_disabled()
        page.get_by_role("combobox", name="Over", exact=True).focus()
        page.keyboard.type("vienna-01")
        page.keyboard.press("Enter")
        expect(part).to_be_enabled()
        with page.expect_request(lambda request: "/test-call/way" in request.url and "part=channel%3D3" in request.url):
            part.focus()
            page.keyboard.type("vienna-01 / 3")
            page.keyboard.press("Enter")
        page.get_by_role("button", name="Call", exact=True).press("Enter")
        expect(page.locator("#result")).to_contain_text("Cause 1, ")
        assert far.invites[0].one("x-test-over") == "box=vienna-01; channel=3"
