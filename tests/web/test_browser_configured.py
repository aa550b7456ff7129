"""Forms of configured things in a real browser, by mouse and by keyboard alone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from web_browser import Served, behind_port
from web_controller import Controller, controller_of
from web_helpers import PASSWORD, Stand

pytestmark = pytest.mark.system
LONGER_MS = 20_000


@pytest.fixture
def served(demo: Stand) -> Iterator[Served]:
    """The demo behind a port with a controller behind it."""
    with behind_port(demo) as room, controller_of(demo):
        yield room


@pytest.fixture
def fresh(empty: Stand) -> Iterator[tuple[Served, Controller]]:
    """An empty installation behind a port with a controller behind it."""
    with behind_port(empty) as room, controller_of(empty) as controller:
        yield room, controller


def test_a_pattern_is_changed_by_mouse(served: Served, page: Page) -> None:
    """The form would look right and do nothing."""
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/routing")
    page.get_by_role("link", name="Test mobile, weekday").click()
    page.locator("#f-priority").fill("many")
    expect(page.locator("#e-priority")).to_have_text("A whole number, -1,000 to 1,000.")
    page.locator("#f-priority").fill("7")
    expect(page.locator("#e-priority")).to_have_text("")
    page.get_by_role("button", name="Another row").click()
    expect(page.locator(".row-set")).to_have_count(4)
    page.get_by_role("button", name="Review the change").click()
    expect(page.get_by_role("heading", name="What would change")).to_be_visible()
    page.get_by_label("Why").fill("weekday first")
    page.get_by_role("button", name="Apply now: 1 field").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    expect(page.get_by_text("weekday first")).to_be_visible()


def test_what_was_changed_after_its_review_is_reviewed_again(served: Served, page: Page) -> None:
    """The button to apply would do nothing and say nothing."""
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/routing")
    page.get_by_role("link", name="Test mobile, weekday").click()
    page.locator("#f-priority").fill("7")
    page.get_by_role("button", name="Review the change").click()
    expect(page.locator("#review-title")).to_be_in_viewport()
    page.locator("#f-priority").fill("8")
    page.get_by_role("button", name="Apply now: 1 field").click()
    expect(page.locator("#review").get_by_role("cell", name="8", exact=True)).to_be_visible()
    page.get_by_role("button", name="Apply now: 1 field").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    expect(page.locator("#f-priority")).to_have_value("8")


def test_sims_are_switched_off_by_mouse(served: Served, page: Page) -> None:
    """The night shift could not take a SIM out of use."""
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/sims?plan=tel7&state=away")
    page.get_by_role("checkbox").nth(0).check()
    page.get_by_role("checkbox").nth(1).check()
    page.get_by_role("button", name="Disable chosen").click()
    expect(page.get_by_role("heading", name="Disable 2 SIMs?")).to_be_visible()
    page.get_by_role("button", name="Disable 2 SIMs").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    assert "plan=tel7" in page.url


def test_a_sender_is_made_by_keyboard(served: Served, page: Page) -> None:
    """Whoever works without a mouse could not let a customer in."""
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/senders")
    page.get_by_role("link", name="New sender").press("Enter")
    for label, text in (
        ("Title", "By keys"), ("Legal name", "Keys Ltd"), ("Contact", "+43 2 000"), ("Country *", "001"), ("Purpose", "trial"),
    ):  # fmt: skip
        page.get_by_label(label, exact=True).focus()
        page.keyboard.type(text)
    page.get_by_label("Use *", exact=True).focus()
    page.keyboard.type("test")
    page.get_by_label("Addresses", exact=True).focus()
    page.keyboard.type("192.0.2.77")
    page.get_by_label("Numbers", exact=True).focus()
    page.keyboard.type("+882100*")
    page.get_by_role("button", name="Review the change").press("Enter")
    button = page.get_by_role("button", name="Apply now: 1 new sender")
    expect(button).to_be_visible()
    button.press("Enter")
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()
    assert "name=by-keys" in page.url


def test_a_call_is_explained_by_keyboard(served: Served, page: Page) -> None:
    """Nobody could ask which way a call goes while a customer waits on the line."""
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/routing/explain?sender=alpine")
    expect(page.get_by_label("Called number")).to_be_focused()
    page.keyboard.type("+882105551234")
    page.keyboard.press("Tab")
    page.keyboard.type("+8821001")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Why it would go this way")).to_be_visible()
    expect(page.get_by_text("Test mobile, weekday").first).to_be_visible()


def test_an_empty_installation_leads_to_its_first_form(fresh: tuple[Served, Controller], page: Page) -> None:
    """A newcomer would stand before an empty page."""
    page.set_default_timeout(LONGER_MS)
    room, _ = fresh
    room.enter(page, "/routing")
    page.get_by_role("link", name="Declare what this rack is").click()
    page.get_by_label("Class *", exact=True).select_option("test-lab")
    page.get_by_label("Owner *", exact=True).fill("Example Lab")
    page.get_by_label("Country *", exact=True).fill("AT")
    page.get_by_role("button", name="Review the change").click()
    page.get_by_role("button", name="Apply now").click()
    expect(page.get_by_role("status").filter(has_text="is in force")).to_be_visible()


def test_a_session_that_ends_in_a_form_loses_nothing(served: Served, chromium: Browser) -> None:
    """Half an hour of typing would be gone with the session."""
    # A window of its own: the browser reports the refusal in its console, which fails a test elsewhere.
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(LONGER_MS)
    served.enter(page, "/senders/sender")
    page.get_by_label("Title", exact=True).fill("Long work")
    page.context.clear_cookies()
    page.get_by_role("button", name="Review the change").click()
    expect(page.locator("#say")).to_contain_text("Your session has ended")
    cookie = served.stand.room.accounts.sign_in("Ada", PASSWORD, "", "")
    page.context.add_cookies([{"name": "simrack", "value": cookie, "url": served.base}])
    page.get_by_role("button", name="Review the change").click()
    expect(page.locator("#say")).to_contain_text("press the button once more")
    page.get_by_role("button", name="Review the change").click()
    expect(page.get_by_role("heading", name="need a look")).to_be_visible()
    expect(page.get_by_label("Title", exact=True)).to_have_value("Long work")
    page.context.close()
