"""SIMs from a file in a real browser, by mouse and by keyboard alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from web_browser import Served, behind_port
from web_controller import controller_of
from web_demo import A_CARD
from web_helpers import Stand

pytestmark = pytest.mark.system
LONGER_MS = 20_000


@pytest.fixture
def served(demo: Stand) -> Iterator[Served]:
    """The demo behind a port with a controller behind it."""
    with behind_port(demo) as room, controller_of(demo):
        yield room


def test_a_file_with_a_bad_line_by_mouse(served: Served, page: Page, tmp_path: Path) -> None:
    """The list of a supplier could not come in, or a bad line would go unseen."""
    page.set_default_timeout(LONGER_MS)
    file = tmp_path / "delivery of november.csv"
    file.write_text(f"ICCID;Registered to;Colour\n8943000000000000011;Acme;red\n8.9E+18;Acme;red\n{A_CARD};Acme;red\n")
    served.enter(page, "/sims")
    page.get_by_role("link", name="From a file").click()
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("Plan of lines that name none").select_option("nova")
    page.get_by_role("button", name="See what it would do").click()
    expect(page.get_by_role("heading", name="1 line can't be taken")).to_be_visible()
    expect(page.get_by_role("cell", name="8.9E+18 was rounded by a spreadsheet")).to_be_visible()
    expect(page.get_by_role("button", name="Put 2 SIMs in force")).to_be_visible()
    expect(page.get_by_text("Columns that are not read: Colour.")).to_be_visible()
    page.get_by_label("Why").fill("delivery of November")
    page.get_by_label("Leave the 1 bad line out").check()
    page.get_by_role("button", name="Put 2 SIMs in force").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    page.get_by_label("Find").fill("8943000000000000011")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("cell", name="Acme")).to_be_visible()


def test_a_file_by_keyboard(served: Served, page: Page, tmp_path: Path) -> None:
    """Whoever works without a mouse could not bring cards in."""
    page.set_default_timeout(LONGER_MS)
    file = tmp_path / "cards.csv"
    file.write_text(f"iccid,note\n{A_CARD},back from the field\n")
    served.enter(page, "/sims")
    page.get_by_role("link", name="From a file").press("Enter")
    with page.expect_file_chooser() as chooser:
        page.get_by_label("File", exact=True).press("Enter")
    chooser.value.set_files(file)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    button = page.get_by_role("button", name="Put 1 SIM in force")
    expect(button).to_be_visible()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
