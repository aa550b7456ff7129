"""Records, statistics and release causes in a real browser, by mouse and by keyboard."""

import re

import pytest
from playwright.sync_api import Page, expect
from web_browser import behind_port
from web_helpers import Stand

pytestmark = pytest.mark.system


def test_figures_are_grouped_compared_and_lead_to_their_calls(demo: Stand, page: Page) -> None:
    """Whoever asks why a figure is bad could not get from it to the calls."""
    with behind_port(demo) as served:
        served.enter(page)
        page.keyboard.press("g")
        page.keyboard.press("t")
        expect(page).to_have_url(f"{served.base}/statistics")
        page.locator("select[name=by]").select_option("box")
        page.locator("select[name=period]").select_option("7d")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(re.compile("by=box"))
        expect(page.locator(".chart canvas")).to_have_count(4)
        expect(page.locator("table.stats tfoot")).to_contain_text("Total")
        page.get_by_role("link", name="PDD").click()
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("PDD")
        page.locator("table.stats tbody a").first.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"/records\?.*box="))
        expect(page.locator("table.records tbody tr").first).to_be_visible()


def test_causes_lead_to_their_calls_by_keyboard(demo: Stand, page: Page) -> None:
    """A rise of one cause could be seen and not looked into."""
    with behind_port(demo) as served:
        served.enter(page)
        page.keyboard.press("g")
        page.keyboard.press("q")
        expect(page.locator("h1")).to_have_text("Release causes")
        page.locator("select[name=period]").focus()
        page.keyboard.type("last 7")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Show").focus()
        page.keyboard.press("Enter")
        link = page.locator("table a", has_text="17 User busy")
        link.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("cause=17"))
        expect(page.locator("caption")).to_contain_text("match")


def test_records_are_paged_both_ways_and_filtered_by_more(demo: Stand, page: Page) -> None:
    """The second page, or a filter behind the button, could not be reached."""
    with behind_port(demo) as served:
        served.enter(page, "/records?per_page=25")
        first = page.locator("table.records tbody tr").first.inner_text()
        page.get_by_role("link", name="Next page").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Page before")).to_be_visible()
        assert page.locator("table.records tbody tr").first.inner_text() != first
        page.get_by_role("link", name="Page before").click()
        expect(page.locator("table.records tbody tr").first).to_have_text(re.compile(re.escape(first.split("\t")[0])))
        page.locator("summary", has_text="More").click()
        page.get_by_label("Channel number").fill("nonsense")
        page.keyboard.press("Enter")
        expect(page.locator("#wrong-channel")).to_have_text("A number from 1 to 999.")
        page.get_by_label("Channel number").fill("3")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(re.compile("channel=3"))
        expect(page.locator("table.records td.c-place").first).to_contain_text("/ 3")
