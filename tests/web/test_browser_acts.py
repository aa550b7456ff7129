"""Acts that no other browser test presses both ways: each once by mouse, once by keyboard alone."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from web_browser import Hand, Obedient, Served, behind_port
from web_controller import controller_of
from web_demo import A_CARD, TELLING_CALL
from web_helpers import Stand
from web_ops import log_lines, more_alarms

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


@pytest.fixture
def served(demo: Stand) -> Iterator[Served]:
    """The demo with alarms and lines of a week."""
    more_alarms(demo.room.settings.database, demo.clock.utc(), count=3)
    for message in log_lines(demo.clock.utc(), count=40):
        demo.room.live.logs.take(message, demo.clock.utc())
    with behind_port(demo) as room:
        yield room


def calls(hand: Hand) -> None:
    page = hand.page
    hand.calls_by_sender()
    hand.act(page.get_by_role("link", name="End…").first)
    hand.button("End 1 call")
    expect(page.locator("#say")).to_have_text("1 call ended")


def boxes(hand: Hand) -> None:
    page = hand.page
    hand.menu("Gateways", "b")
    hand.act(page.locator("#restart-vienna-01"))
    hand.tick(page.get_by_role("radio", name="When its calls end"))
    hand.button("Restart the agent of this box")
    expect(page.locator("#say")).to_contain_text("waits for 3 calls")


def console(hand: Hand, served: Served) -> None:
    page = hand.page
    page.goto(f"{served.base}/rack/vienna-01/3")
    hand.act(page.locator("#console-start"))
    hand.act(page.locator("#console-stop"))
    expect(page.locator("#console-start")).to_be_visible()
    hand.act(page.locator("#do-disable-channel"))
    hand.act(page.locator("#dialog").get_by_role("button"))
    expect(page.locator("#say")).to_contain_text("vienna-01 / 3")


def alarms(hand: Hand, served: Served) -> None:
    page = hand.page
    page.goto(f"{served.base}/alarms")
    hand.act(page.get_by_role("button", name="Release").first)
    expect(page.locator("#say")).to_have_text("1 alarm is in nobody's hand now")
    page.goto(f"{served.base}/alarms/notices")
    hand.act(page.get_by_role("button", name="Send 1 test notice").first)
    expect(page.locator("#test-webhook")).to_have_text("It arrived.")


def logs(hand: Hand) -> None:
    page = hand.page
    hand.menu("Logs", "l")
    hand.write("Words", "call")
    hand.button("Show")
    expect(page).to_have_url(re.compile("text=call"))
    hand.link("Pause")
    expect(page.get_by_role("link", name="Follow")).to_be_visible()
    hand.act(page.get_by_role("link", name="Level… of controller"))
    hand.choose("Level", "debug")
    hand.button("Change 1 process")
    expect(page.locator("#say")).to_contain_text("controller logs debug")


def test_acts_on_calls_boxes_modules_alarms_and_logs(demo: Stand, served: Served, hand: Hand) -> None:
    """The night shift would see what is wrong and could do nothing, with a hand of the wrong kind."""
    served.enter(hand.page)
    controller = Obedient(demo)
    calls(hand)
    boxes(hand)
    console(hand, served)
    alarms(hand, served)
    logs(hand)
    assert controller.acts == [
        "hang-up", "restart-box", "console", "console", "disable-channel", "acknowledge-alarm", "test-notice", "log-level",
    ]  # fmt: skip
    assert [args["seconds"] > 0 for action, args in controller.heard if action == "console"] == [True, False]


def test_columns_are_chosen_and_records_and_messages_taken_away(demo: Stand, served: Served, hand: Hand) -> None:
    """Who answers a complaint could not take anything out of the page."""
    page = hand.page
    served.enter(page, "/records")
    Obedient(demo)
    before = page.locator("table.records thead th").count()
    hand.act(page.locator("summary", has_text="Columns"))
    hand.tick(page.locator("input[name=col]:not(:checked)").first)
    hand.button("Show")
    expect(page.locator("table.records thead th")).to_have_count(before + 1)
    assert hand.saved("^CSV of").count(b"\n") > 400
    page.goto(f"{served.base}/records/{TELLING_CALL}")
    assert hand.saved("Download pcap")[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")
    hand.act(page.get_by_role("button", name=re.compile("to the HEP collector")))
    expect(page.locator("#messages-said")).to_have_text("9 messages sent to 192.0.2.9:9060.")


def sims(hand: Hand, served: Served) -> None:
    page = hand.page
    page.goto(f"{served.base}/sims?plan=tel7&state=away")
    hand.tick(page.get_by_role("checkbox").first)
    hand.button("Disable chosen")
    hand.button("Disable 1 SIM")
    hand.told("is in force")
    page.goto(f"{served.base}/sims/card?name={A_CARD}")
    hand.write("Note", "swapped today ")
    hand.applied("Apply now")
    expect(page.get_by_label(re.compile("^Note"))).to_have_value(re.compile("swapped today"))


def agreement(hand: Hand) -> None:
    hand.menu("Agreements", "m")
    hand.act(hand.page.locator("table.list tbody a").first)
    hand.write("Title", "! ")
    hand.applied("Apply now: 1 field")


def route_test(hand: Hand, served: Served) -> None:
    hand.page.goto(f"{served.base}/routing/tests")
    hand.choose("Sender", "Alpine Tel")
    hand.write("Called number", "+882105551234")
    hand.write("Calling number", "+8821001")
    hand.choose("Expected", "refused")
    hand.write("Name", "never out")
    hand.button("Keep this test")
    expect(hand.page.get_by_role("row").filter(has_text="never out")).to_be_visible()


def draft(hand: Hand) -> None:
    page = hand.page
    hand.menu("Routing", "o")
    hand.link("Test mobile, weekday")
    hand.clear(page.locator("#f-priority"))
    hand.write(page.locator("#f-priority"), "7")
    hand.button("Review the change")
    hand.button("Keep as a draft")
    expect(page).to_have_url(re.compile("/routing/drafts/"))
    hand.button("Apply now: 1 change together")
    hand.told("is in force")


def test_acts_on_sims_agreements_routing_tests_and_drafts(demo: Stand, served: Served, hand: Hand) -> None:
    """A change could be prepared and not be made, by mouse or by keyboard."""
    with controller_of(demo):
        served.enter(hand.page)
        sims(hand, served)
        agreement(hand)
        route_test(hand, served)
        draft(hand)
