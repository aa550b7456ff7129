"""More acts that each work by mouse and by keyboard alone; `test_browser_acts.py` has the others."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from web_browser import Hand, Obedient, Served, behind_port
from web_controller import controller_of
from web_demo import A_CARD
from web_helpers import Stand

from simrack.web.accounts import PersonForm, Who
from simrack.wire.drain import MODES, TITLES

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
BOX = "vienna-01"


@pytest.fixture
def served(demo: Stand) -> Iterator[Served]:
    with behind_port(demo) as room:
        yield room


def group_ended(hand: Hand) -> int:
    """All calls of one sender, after their count was typed; how many."""
    page = hand.page
    hand.calls_by_sender()
    hand.act(page.locator("#end-group-1"))
    count = int(page.locator("#dialog h2").inner_text().split()[1])
    hand.button(f"End {count} calls")
    expect(page.locator("#typed-wrong")).to_contain_text(f"type {count} to confirm")
    hand.write("Type", str(count))
    hand.button(f"End {count} calls")
    expect(page.locator("#say")).to_have_text(f"{count} calls ended")
    return count


def box_restarted(hand: Hand) -> None:
    """In each of the three ways; the one that cuts calls off wants the box's name."""
    page = hand.page
    hand.menu("Gateways", "b")
    for mode in MODES:
        hand.act(page.locator(f"#restart-{BOX}"))
        hand.tick(page.get_by_role("radio", name=re.compile(f"^{TITLES[mode]}")))
        if mode == "now":
            hand.write("For “Now”", BOX)
        hand.button("Restart the agent of this box")
        expect(page.locator("#dialog")).to_be_hidden()
        expect(page.locator("#say")).to_contain_text("under way" if mode == "now" else "waits for 3 calls")


def module_restarted(hand: Hand, served: Served) -> None:
    page = hand.page
    page.goto(f"{served.base}/rack/vienna-02/5")
    hand.act(page.locator("#do-restart-module"))
    hand.button("Restart this module")
    expect(page.locator("#say")).to_contain_text("vienna-02 / 5: restart this module")


def worst_found(hand: Hand) -> None:
    """From the worst finding to where it is dealt with."""
    page = hand.page
    hand.menu("Analyse", "y")
    worst = page.locator(".findings .alarm").first
    expect(worst).to_contain_text("critical")
    title = worst.locator("h2").inner_text()
    hand.act(worst.get_by_role("link", name="Go there"))
    expect(page).to_have_url(re.compile(r"/alarms#alarm-\d+$"))
    expect(page.locator(f"#{page.url.partition('#')[2]}")).to_contain_text(title)


def test_a_group_ended_boxes_restarted_and_the_worst_found(demo: Stand, served: Served, hand: Hand) -> None:
    """A customer's calls could not be stopped, or a box not be restarted without cutting calls off."""
    served.enter(hand.page)
    controller = Obedient(demo)
    count = group_ended(hand)
    box_restarted(hand)
    module_restarted(hand, served)
    worst_found(hand)
    group, *restarts, module = controller.heard
    assert (group[0], len(group[1]["calls"])) == ("hang-up-group", count)
    assert [(act, args["box"], args["mode"]) for act, args in restarts] == [("restart-box", BOX, mode) for mode in MODES]
    assert (module[0], module[1]["channel"]) == ("restart-module", 5)


def explained(hand: Hand) -> None:
    """Asked, answered with what fell out where, kept as a test and that taken away again."""
    page = hand.page
    hand.menu("Routing", "o")
    hand.link("Explain")
    hand.choose("Sender", "Alpine Tel")
    hand.write("Called number", "+882105551234")
    hand.write("Calling number", "+8821001")
    hand.button("Explain")
    expect(page.get_by_role("heading", name="Why it would go this way")).to_be_visible()
    hand.act(page.locator(".funnel summary", has_text=" out").first)
    expect(page.locator(".funnel details[open] li").first).to_be_visible()
    hand.button("Keep as a routing test")
    hand.act(page.get_by_role("row").filter(has_text="alpine").get_by_role("button", name="Remove"))
    expect(page.get_by_role("row").filter(has_text="alpine")).to_have_count(0)


def pattern_removed(hand: Hand) -> None:
    page = hand.page
    hand.menu("Routing", "o")
    hand.link("Premium")
    hand.button("Remove…")
    expect(page.locator("#review-title")).to_have_text("Remove this pattern")
    hand.write("Type", "Premium")
    hand.button("Remove 1 pattern now")
    hand.told("is in force")
    expect(page.get_by_role("link", name="Premium", exact=True)).to_have_count(0)


def card_enabled(hand: Hand, served: Served) -> None:
    page = hand.page
    page.goto(f"{served.base}/sims?text={A_CARD}")
    expect(page.locator("table.list tbody")).to_contain_text("switched off")
    hand.tick(page.get_by_role("checkbox").first)
    hand.button("Enable chosen")
    hand.write("Why", "back from the field")
    hand.button("Enable 1 SIM")
    hand.told("is in force")
    expect(page.locator("table.list tbody")).to_contain_text("in no module")


def test_a_call_is_explained_a_pattern_removed_and_a_sim_enabled(demo: Stand, served: Served, hand: Hand) -> None:
    """Nobody could ask which way a call goes, take a wrong pattern away, or a SIM back into use."""
    with controller_of(demo):
        served.enter(hand.page)
        explained(hand)
        pattern_removed(hand)
        card_enabled(hand, served)


def week_compared(hand: Hand, other: str) -> None:
    hand.page.wait_for_load_state()
    hand.act(hand.page.locator("form.period summary"))
    expect(hand.page.get_by_label(re.compile("^Compare with"))).to_be_visible()
    hand.choose("Compare with", other)
    hand.button("Show")


def figures(hand: Hand) -> None:
    page = hand.page
    hand.menu("Statistics", "t")
    hand.choose("Group by", "Box")
    week_compared(hand, "nothing")
    expect(page).to_have_url(re.compile("by=box.*week=0"))
    expect(page.locator("table.stats .moved")).to_have_count(0)
    week_compared(hand, "the same a week ago")
    expect(page).to_have_url(re.compile("by=box.*week=1"))
    expect(page.locator("table.stats tfoot .moved").first).to_be_visible()
    assert BOX.encode() in hand.saved("^CSV of")


def audit_checked(hand: Hand) -> None:
    page = hand.page
    hand.menu("Audit", "i")
    hand.choose("What", "banned an address")
    hand.button("Show")
    expect(page).to_have_url(re.compile("action=ban"))
    hand.link("Check the chain")
    expect(page.locator("main")).to_contain_text("All 15 entries hold")


def test_figures_are_compared_and_the_audit_log_checked(served: Served, hand: Hand) -> None:
    """Nobody could say whether today is worse than usual, or that no act was taken out of the log."""
    served.enter(hand.page)
    figures(hand)
    audit_checked(hand)


def partners_eyes(hand: Hand) -> None:
    page = hand.page
    hand.menu("Accounts", "u")
    hand.link("Sam")
    hand.link("Look with their eyes…")
    expect(page.locator("#dialog")).to_contain_text("It is written down.")
    hand.act(page.locator("#dialog").get_by_role("button", name="Look", exact=True))
    expect(page.locator("form.eyes")).to_contain_text("You look with the eyes of Sam")
    expect(page.get_by_role("link", name="Accounts", exact=True)).to_have_count(0)
    hand.button("Look as Ada again")
    expect(page.locator("h1")).to_have_text("Accounts")


def test_a_partners_eyes_are_borrowed_and_other_sessions_ended(demo: Stand, served: Served, hand: Hand) -> None:
    """What a partner complains of could not be seen; a session left open elsewhere would stay open."""
    served.enter(hand.page)
    demo.room.accounts.people.make(Who("cli:test"), "Sam", PersonForm("sender", scope=frozenset({"alpine"})))
    partners_eyes(hand)
    elsewhere = demo.browser()
    elsewhere.sign_in()
    assert elsewhere.get("/account").status_code == 200
    hand.page.goto(f"{served.base}/account")
    hand.act(hand.page.get_by_role("button", name=re.compile("^End the")))
    hand.told("other session")
    assert elsewhere.get("/account").status_code == 302, "it is at the door again"


def step_done(hand: Hand, number: int, coming: str) -> None:
    """Back at the page, which knows what was done meanwhile."""
    hand.menu("Rack", "r")
    hand.page.wait_for_url("**/rack")
    hand.menu("Set-up", "p")
    expect(hand.page.locator("main")).to_contain_text(f"{number} of 9 steps are done")
    expect(hand.page.locator("[aria-current=step]")).to_contain_text(coming)


def test_set_up_is_left_and_taken_up_again(empty: Stand, hand: Hand) -> None:
    """A newcomer would lose the thread between one step and the next."""
    with behind_port(empty) as served, controller_of(empty):
        served.enter(hand.page, "/set-up")
        hand.act(hand.page.get_by_role("link", name="Declare it"))
        hand.choose("Class", "test lab")
        hand.write("Owner", "Example Lab")
        hand.write("Country", "AT")
        hand.applied("Apply now")
        step_done(hand, 1, "A site and its emergency choice")
        hand.act(hand.page.get_by_role("link", name="Enter a site"))
        hand.write("Title", "Hall 1")
        hand.write("Country", "AT")
        hand.choose("Emergency", "refuse")
        hand.applied("Apply now")
        step_done(hand, 2, "The first box")
