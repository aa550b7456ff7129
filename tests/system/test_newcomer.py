"""The first steps of docs/first-steps.md in a real browser over a real rack; `SIMRACK_SHOTS=FOLDER` keeps its pictures."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from support import processes
from system.people import window
from system.rack import Rack

PASSWORD = "four wet otters sing"
SENDER_PASSWORD = "seven green ladders"
CALLER = "+882109007777"
PATIENCE_MS = 20_000


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    """An installation that nobody has used: its set-up link works once."""
    with processes(tmp_path) as begin, Rack(tmp_path, begin, boxes=1, channels=2) as made:
        yield made


@pytest.fixture
def page() -> Iterator[Page]:
    with window(PATIENCE_MS) as opened:
        yield opened


def shot(page: Page, name: str) -> None:
    """A picture for the documentation, when somebody asks for pictures."""
    folder = os.environ.get("SIMRACK_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"first-steps-{name}.png")


def call_as_own_sender(rack: Rack) -> dict[str, object]:
    done = subprocess.run(
        [
            sys.executable, "-P", "-m", "simrack.cli", "call", "answer", "--user", "my-phone", "--caller", CALLER,
            "--seconds", "1", "--state", str(rack.state_file), "--json",
        ],
        env={**os.environ, "SIMRACK_CALL_PASSWORD": SENDER_PASSWORD}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    report: dict[str, object] = json.loads(done.stdout)
    return report


def sign_up(rack: Rack, page: Page) -> None:
    page.goto(rack.state["setup_link"])
    expect(page.get_by_role("heading", name="First administrator")).to_be_visible()
    for words in ("Ada", PASSWORD, PASSWORD):
        page.keyboard.type(words)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Set-up", exact=True)).to_be_visible()
    page.get_by_role("link", name="Rack", exact=True).click()
    expect(page.locator("a.ch", has_text="Ready")).to_have_count(2)
    shot(page, "rack")


def reviewed(page: Page, button: str) -> Locator:
    """The review comes into sight by itself; its last button names what it touches."""
    apply = page.get_by_role("button", name=button)
    expect(apply).to_be_visible()
    expect(page.locator("#review-title")).to_be_in_viewport()
    return apply


def make_sender(page: Page) -> None:
    """By keyboard alone."""
    page.keyboard.press("g")
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile("/senders$"))
    page.get_by_role("link", name="New sender").press("Enter")
    for label, words in (
        ("Title", "My phone"), ("Legal name", "Ada Ltd"), ("Contact", "Ada, +43 1 000"), ("Country *", "001"),
        ("Purpose", "first steps"), ("Use *", "test"), ("Digest user", "my-phone"), ("Digest password", SENDER_PASSWORD),
        ("Numbers", CALLER),
    ):  # fmt: skip
        page.get_by_label(label, exact=True).focus()
        page.keyboard.type(words)
    page.get_by_role("button", name="Review the change").press("Enter")
    apply = reviewed(page, "Apply now: 1 new sender")
    shot(page, "review")
    apply.press("Enter")
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    shot(page, "sender")


def make_pattern(page: Page) -> None:
    """By mouse."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Routing").click()
    page.get_by_role("link", name="New pattern").click()
    page.get_by_label("Name", exact=True).fill("my calls")
    page.get_by_label("Prefixes *", exact=True).fill("+88210")
    page.get_by_label("My phone").check()
    page.locator("select[name='targets.plan']").select_option("lab")
    page.locator("#f-priority").fill("10")
    shot(page, "pattern")
    page.get_by_role("button", name="Review the change").click()
    reviewed(page, "Apply now: 1 new pattern").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()


def explain(page: Page) -> None:
    """Which way a call would go, asked before anybody calls."""
    page.get_by_role("link", name="Senders").first.click()
    page.get_by_role("link", name="My phone").click()
    page.get_by_role("link", name="explain a call").click()
    expect(page.get_by_label("Called number")).to_be_focused()
    page.keyboard.type("+882109000001")
    page.keyboard.press("Tab")
    page.keyboard.type(CALLER)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Why it would go this way")).to_be_visible()
    expect(page.locator("#main")).to_contain_text("my calls")


def read_story(rack: Rack, page: Page) -> None:
    rack.records(rack.numbers["answer"])
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Records").click()
    row = page.get_by_role("row").filter(has_text="My phone")
    expect(row).to_contain_text("answered")
    shot(page, "records")
    row.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    why = page.locator("section", has=page.get_by_role("heading", name="Why it went this way"))
    expect(why).to_contain_text("my calls")
    expect(page.locator("svg.ladder")).to_contain_text("ATD")
    # The messages are stored a moment after the record, with those that come late.
    while page.get_by_text("INVITE sip:+882109000001@").count() == 0:
        page.wait_for_timeout(300)
        page.reload()
    shot(page, "story")


@pytest.mark.stack
@pytest.mark.timeout(180)  # its own installation starts within; two cores that many tests share
def test_own_sender_own_pattern_and_the_story_of_its_first_call(rack: Rack, page: Page) -> None:
    """A newcomer who follows the first page of the documentation would get stuck on the way to a first call."""
    sign_up(rack, page)
    refused = call_as_own_sender(rack)
    assert not refused["answered"], "a sender that nobody has made yet"
    make_sender(page)
    make_pattern(page)
    explain(page)
    report = call_as_own_sender(rack)
    assert report["answered"], report
    read_story(rack, page)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Set-up").click()
    expect(page.locator("#main")).to_contain_text("a call was answered")
