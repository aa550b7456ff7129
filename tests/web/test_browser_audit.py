"""The audit log in a real browser, by mouse and by keyboard alone."""

import re

import pytest
from playwright.sync_api import Page, expect
from web_browser import behind_port
from web_helpers import Stand

pytestmark = pytest.mark.system


def test_an_auditor_finds_an_act_and_checks_the_log_by_mouse(demo: Stand, page: Page) -> None:
    """From the menu to one person's acts, to one entry, to the proof that none is missing."""
    with behind_port(demo) as served:
        served.enter(page, "/rack")
        page.get_by_role("link", name=re.compile("Audit")).first.click()
        expect(page.get_by_role("row")).to_have_count(16)
        page.get_by_label("What").select_option(label="banned an address")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("row")).to_have_count(2)
        assert "action=ban" in page.url
        page.get_by_role("row").nth(1).get_by_role("link").first.click()
        expect(page.locator("main")).to_contain_text("scans for extensions")
        page.get_by_role("link", name="Audit", exact=True).first.click()
        page.get_by_role("link", name="Check the chain").click()
        expect(page.locator("main")).to_contain_text("All 15 entries hold")


def test_the_same_by_keyboard(demo: Stand, page: Page) -> None:
    """No mouse on the night desk: the key of the page, a filter, enter."""
    with behind_port(demo) as served:
        served.enter(page, "/rack")
        page.keyboard.press("g")
        page.keyboard.press("i")
        expect(page.locator("h1")).to_have_text("Audit")
        page.get_by_label("Who").focus()
        page.keyboard.type("Bo Lindqvist")
        page.keyboard.press("Enter")
        expect(page.get_by_role("row")).to_have_count(5)
        page.get_by_role("row").nth(1).get_by_role("link").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_contain_text("No. ")
