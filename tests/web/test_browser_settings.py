"""Global options and versions in a real browser, each act by mouse and by keyboard alone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from web_browser import PATIENCE_MS, Hand, Served, behind_port
from web_controller import controller_of
from web_helpers import Stand

pytestmark = pytest.mark.system
RATE = "calls.per_second"


@pytest.fixture
def served(demo: Stand) -> Iterator[Served]:
    with behind_port(demo) as room, controller_of(demo):
        yield room


def test_an_option_is_found_changed_and_the_version_before_put_back(served: Served, hand: Hand) -> None:
    """A limit could not be changed at night, or a bad change not be taken back."""
    page = hand.page
    served.enter(page)
    hand.menu("Settings", "d")
    hand.write("Find$", "second")
    hand.button("Show")
    expect(page).to_have_url(f"{served.base}/settings?text=second")
    hand.act(page.locator(f'[id="{RATE}"]'))
    hand.clear("New value")
    hand.write("New value", "41")
    hand.write("Why", "a slow night")
    hand.button("Apply at once")
    hand.told("is in force.")
    expect(page.locator(f'[id="{RATE}"] .set')).to_contain_text("41")
    hand.link("Versions")
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("a slow night")
    expect(row).to_contain_text("Ada")
    hand.act(row.get_by_role("link").first)
    expect(page.locator("main")).to_contain_text("setting calls.per_second")
    hand.act(page.get_by_role("link", name="version 41"))
    hand.write("Why", "as it was")
    hand.button("Put version 41 in place of 42")
    hand.told("is in force: calls that come in now go by it.")
    expect(page.get_by_role("row").filter(has_text="in force")).to_contain_text("41")


def test_a_bad_value_is_said_beside_its_field_and_kept(served: Served, chromium: Browser) -> None:
    """A slip would be thrown away, or taken."""
    # A window of its own: the browser reports the refusal in its console, which fails a test elsewhere.
    page: Page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    hand = Hand(page, "keyboard")
    served.enter(page, f"/settings/options/{RATE}")
    hand.clear("New value")
    hand.write("New value", "many")
    page.keyboard.press("Enter")
    expect(page.locator("#e-value")).to_contain_text("This must be 1 to 10,000 calls per s", timeout=PATIENCE_MS)
    expect(page.get_by_label("New value")).to_have_value("many")
    expect(page.get_by_label("New value")).to_have_attribute("aria-invalid", "true")
    page.context.close()
