"""The control room in a real browser over a real rack, by mouse and keyboard alone."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from system.rack import Rack

PASSWORD = "four wet otters sing"


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        window = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        window.set_default_timeout(15_000)
        yield window
        browser.close()


def start_call(rack: Rack, number: str, seconds: int) -> "subprocess.Popen[bytes]":
    """A person at another desk places a call."""
    return subprocess.Popen(
        [
            sys.executable, "-P", "-m", "simrack.cli", "call", number, "--seconds", str(seconds), "--state",
            str(rack.state_file), "--json",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.stack
def test_from_the_set_up_link_to_the_story_of_a_call(rack: Rack, page: Page) -> None:
    """What a newcomer does in the first five minutes: sign up, watch a call live, read why it went where it went."""
    page.goto(rack.state["setup_link"])
    page.keyboard.type("Ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    # Set-up, while it has a step to go: the first answered call is the last one, and other tests may have placed it.
    expect(page).to_have_url(re.compile("/(set-up|rack)$"))
    page.get_by_role("link", name="Rack", exact=True).click()
    cells = page.locator("a.ch")
    expect(cells).to_have_count(8)
    ready = page.locator("a.ch", has_text="Ready")
    expect(ready).to_have_count(8)
    page.evaluate("window.stayed = true")

    number = rack.number("answer", answer_after_s=0.5)
    caller = start_call(rack, number, 4)
    try:
        speaking = page.locator("a.ch.speaking")
        expect(speaking).to_have_count(1)
        expect(speaking.locator(".r2")).to_have_text(re.compile(r"^0:0\d$"))
        expect(ready).to_have_count(8)
        assert page.evaluate("window.stayed") is True, "the page was loaded again"
    finally:
        assert caller.wait(30) == 0

    rack.records(number)
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page).to_have_url(re.compile("/records"))
    page.get_by_role("row", name=re.compile(re.escape(number[-6:]).replace("", r"\s*"))).get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    expect(page.get_by_role("heading", name="Why it went this way")).to_be_visible()
    why = page.locator("section", has=page.get_by_role("heading", name="Why it went this way"))
    expect(why).to_contain_text("lab numbers")
    expect(page.locator("svg.ladder")).to_contain_text("ATD")
    expect(page.get_by_role("region", name=re.compile("AT log"))).to_contain_text(f"ATD{number};")


@pytest.mark.stack
def test_the_set_up_link_works_once(rack: Rack, page: Page) -> None:
    """Whoever finds the link in a log later must not become an administrator."""
    page.goto(rack.state["setup_link"])
    expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
    page.goto(rack.state["web"] + "/records")
    expect(page).to_have_url(re.compile("/sign-in"))
