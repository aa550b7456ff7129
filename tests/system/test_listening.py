"""A person hears a call in the browser: box, controller, control room and Chromium as they are shipped."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support import processes
from system.people import NAME, PASSWORD, Api, command, sign_up, told, window
from system.rack import Rack, until
from web_browser import LOUDEST

from simrack.wire.ports import SystemIds

pytestmark = pytest.mark.timeout(240)  # its own installation starts within; two cores that many tests share
SENDER = "lab-caller"
BASIS = "contract with the lab, clause 7"
PATIENCE_MS = 40_000
CLOCK_TRIES = 20


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Rack]:
    with processes(tmp_path) as begin, Rack(tmp_path, begin, boxes=1, channels=1) as made:
        yield made


@pytest.fixture
def page() -> Iterator[Page]:
    with window(PATIENCE_MS) as opened:
        yield opened


@contextmanager
def a_call(rack: Rack, said_hz: int, heard_hz: int) -> Iterator[str]:
    """A call that speaks, each end with its own tone, until the block ends; its number."""
    number = rack.number("answer", answer_after_s=0.1, tone_hz=heard_hz)
    line = command("call", number, "--tone", str(said_hz), "--seconds", "120", "--state", str(rack.state_file), "--json")
    caller = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    try:
        until(lambda: [row for row in rack.queries.open_calls() if row.answered], "a call that speaks")
        yield number
    finally:
        for leg in rack.ledger(number):
            rack.ask(f"/calls/{leg['id']}", method="DELETE")
        caller.wait(60)


def enter(rack: Rack, page: Page) -> None:
    page.goto(rack.state["web"] + "/sign-in")
    for words in (NAME, PASSWORD):
        page.keyboard.type(words)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/rack$"))


def give_a_basis(api: Api) -> None:
    """The sender's record gets the ground on which its calls may be heard."""
    found = api(f"/config/sender/entry?name={SENDER}")
    change = {"kind": "sender", "name": SENDER, "base": found["digest"], "body": {**found["body"], "listening": BASIS}}
    api("/config/changes", {"changes": [change], "note": "the lab agreed"})


def hears(page: Page, *hertz: int) -> None:
    """Both sides sound as they were sent, each on its own side; the page's bins are 23 Hz wide."""
    near = " && ".join(f"Math.abs(found[{side}] - {one}) < 50" for side, one in enumerate(hertz))
    page.wait_for_function(f"() => {{ const found = ({LOUDEST})(); return {near}; }}")


def audited(rack: Rack, page: Page) -> None:
    page.goto(rack.state["web"] + "/audit?action=listen-end")
    # The controller takes over what the control room wrote a moment later.
    while page.get_by_role("row").count() < 2:
        page.wait_for_timeout(300)
        page.reload()
    page.get_by_role("row").nth(1).get_by_role("link").first.click()
    expect(page.locator("main")).to_contain_text(re.compile(r"Seconds\s*\d+"))
    expect(page.locator("main")).to_contain_text(NAME)
    verdict = json.loads(told(rack, "audit", "verify", "--json"))
    assert verdict["ok"], verdict


@pytest.mark.stack
def test_a_call_is_heard_where_its_sender_agreed_and_nowhere_else(own: Rack, page: Page) -> None:
    """A complaint about voice could not be heard; or calls would be heard without a ground, or without a trace."""
    sign_up(own.state["setup_link"])
    api = Api(own.state["web"], told(own, "account", "token", NAME, "a program", "--all").strip())
    pick = int(SystemIds().token(2), 16)
    tones = 400 + pick % 1000, 1600 + pick // 64 % 1000
    with a_call(own, *tones) as number:
        enter(own, page)
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Calls").click()
        page.get_by_role("link", name="Listen").click()
        listen = page.get_by_role("button", name="Listen", exact=True)
        listen.click()
        expect(page.locator("#listen-said")).to_have_text(re.compile(f"Not possible: the record of sender {SENDER} names no legal basis"))
        give_a_basis(api)
        said = page.locator("#listen-said")
        listen.click()
        # A box that has just started hears the controller's time every 10 s, and takes no order before.
        for _ in range(CLOCK_TRIES):
            expect(said).to_have_text(re.compile(r"Listening\.|time is not known yet"))
            if "time is not known" not in said.inner_text():
                break
            page.wait_for_timeout(1000)
            listen.click()
        expect(said).to_have_text(f"Listening. Legal basis: {BASIS}")
        hears(page, *tones)
        calls = page.context.new_page()
        calls.goto(own.state["web"] + "/calls")
        expect(calls.get_by_role("row").nth(1)).to_contain_text("listened to")
        calls.close()
        page.get_by_role("button", name="Stop").press("Enter")
        expect(page.locator("#listen-said")).to_have_text("Not listening.")
    [row] = own.records(number)
    assert "listened" in row.marks
    audited(own, page)
