"""A person's test call through the whole rack: Chromium hears the network, the network hears Chromium, the record says TEST."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from support import processes
from system.rack import Rack, until
from web_far_end import LOUDEST

PASSWORD = "four wet otters sing"
PATIENCE_MS = 60_000
TO_BROWSER_HZ, TO_NETWORK_HZ = 620, 1000
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    """A rack of this module's own: its set-up link works once."""
    folder = tmp_path_factory.mktemp("test-call")
    with processes(folder) as begin, Rack(folder, begin, boxes=1, channels=2) as made:
        yield made


@pytest.fixture(scope="module")
def page(own: Rack) -> Iterator[Page]:
    """The first administrator's browser, whose microphone is the browser's own test sound."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
            ],
        )  # fmt: skip
        window = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        window.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        window.goto(own.state["setup_link"])
        for words in ("Ada", PASSWORD, PASSWORD):
            window.keyboard.type(words)
            window.keyboard.press("Tab")
        window.keyboard.press("Enter")
        window.wait_for_url(lambda url: "/setup/" not in url)
        window.goto(f"{own.state['web']}/rack")
        expect(window.locator("a.ch", has_text="Ready")).to_have_count(2)
        yield window
        expect.set_options(timeout=5_000)
        browser.close()


def call(page: Page, number: str, voice: str, sender: str = "Built-in caller", over: str = "lab-01") -> None:
    """By clicking: the page says what the call touches, then it is placed."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Test call").click()
    page.get_by_label("Number").fill(number)
    page.get_by_label("As sender").select_option(label=sender)
    box, _, channel = over.partition(" / ")
    page.get_by_role("combobox", name="Over", exact=True).select_option(box)
    if channel:
        page.get_by_role("combobox", name="Channel or SIM").select_option(f"channel={channel}")
    page.get_by_label(voice).check()
    expect(page.locator("#way")).to_contain_text(f"Takes {over}")
    page.get_by_role("button", name="Call", exact=True).click()


def hears(page: Page, hertz: int) -> None:
    page.wait_for_function(f"() => Math.abs(({LOUDEST})() - {hertz}) < 50", timeout=PATIENCE_MS)


def heard_by_network(rack: Rack, number: str) -> dict[str, Any]:
    found: dict[str, Any] = rack.ended(number)[0]["heard"]
    return found


def test_voice_goes_both_ways_and_the_record_is_marked(own: Rack, page: Page) -> None:
    """Nobody could try the rack without a telephone; or a test call would pass for a customer's."""
    number = own.number("answer", tone_hz=TO_BROWSER_HZ, answer_after_s=0.5)
    call(page, number, "a tone of 1000 Hz", over="lab-01 / 2")
    expect(page.locator(".run li[data-state='answered']")).to_have_class("now")
    hears(page, TO_BROWSER_HZ)
    until(lambda: own.ledger(number)[0]["heard"]["from_mobile_hz"], "the network hears the tone", 60)
    page.get_by_role("button", name="Hang up").click()
    expect(page.locator("#result")).to_contain_text("You hung up.")
    assert abs(heard_by_network(own, number)["from_mobile_hz"] - TO_NETWORK_HZ) <= 10
    page.get_by_role("link", name="Read its story").click()
    expect(page.locator("p.under")).to_contain_text("answered")
    expect(page.locator("p.under")).to_contain_text("TEST")
    record = own.records(number)[0]
    assert (record.sender, record.outcome, record.cause, record.channel) == ("lab-caller", "answered", 16, 2)
    page.goto(f"{own.state['web']}/records?text={number.removeprefix('+')}")
    expect(page.get_by_role("row").filter(has_text="answered")).to_contain_text("TEST")


def test_the_microphone_is_heard_and_who_leaves_ends_the_call(own: Rack, page: Page) -> None:
    """The person's voice would not arrive; or a closed page would leave a channel taken."""
    number = own.number("answer", tone_hz=TO_BROWSER_HZ, answer_after_s=0.1)
    call(page, number, "my microphone")
    expect(page.locator(".run li[data-state='answered']")).to_have_class("now")
    page.wait_for_function("() => document.getElementById('meter-said').value > -40", timeout=PATIENCE_MS)
    until(lambda: (own.ledger(number)[0]["heard"]["from_mobile_dbfs"] or -96) > -50, "the network hears the microphone", 60)
    page.goto(f"{own.state['web']}/rack")
    assert own.ended(number)[0]["released_by"] == "calling"
    expect(page.locator("a.ch", has_text="Ready")).to_have_count(2)


def test_a_refused_call_says_why(own: Rack, page: Page) -> None:
    """Somebody would see a number and no reason."""
    page.goto(f"{own.state['web']}/test-call")
    page.get_by_label("Number").fill("+43 1 2345678")
    expect(page.locator("#way")).to_contain_text("It would be refused")
    page.get_by_label("silence").check()
    page.get_by_role("button", name="Call", exact=True).click()
    expect(page.locator("#result")).to_contain_text("not answered")
    expect(page.locator("#result")).to_contain_text("Refused:")
    page.get_by_label("Number").fill("112")
    page.get_by_role("button", name="Call", exact=True).click()
    expect(page.locator("#e-number")).to_contain_text("Emergency numbers are not called for a test.")


def test_a_newcomer_makes_the_sender_and_calls_by_clicking_only(own: Rack, page: Page) -> None:
    """Somebody without a telephone, a password or the documentation could not make a first call."""
    page.goto(f"{own.state['web']}/senders/sender?for=test-calls")
    page.get_by_label("Numbers", exact=True).fill("+882109007777")
    page.get_by_role("button", name="Review the change").click()
    page.get_by_role("button", name="Apply now: 1 new sender").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    number = own.number("answer", tone_hz=TO_BROWSER_HZ, answer_after_s=0.1)
    call(page, number, "silence", sender="Test calls")
    hears(page, TO_BROWSER_HZ)
    page.get_by_role("button", name="Hang up").click()
    page.get_by_role("link", name="Read its story").click()
    expect(page.locator("p.under")).to_contain_text("TEST")
    assert own.ledger(number)[0]["released_by"] == "calling"
