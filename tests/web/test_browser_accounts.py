"""Accounts and one's own account in a real browser, each act by mouse and by keyboard alone."""

import re

import pyotp
import pytest
from playwright.sync_api import expect
from web_browser import PATIENCE_MS, Hand, Served, behind_port
from web_helpers import PASSWORD, Browser, Stand

pytestmark = pytest.mark.system
OTHER = "nine quiet purple bicycles"


def make(hand: Hand) -> str:
    """A new account; its first password."""
    hand.link("New account")
    hand.write("Name", "Nora")
    hand.write("Email", "nora@example.net")
    hand.tick(hand.page.get_by_role("radio", name=re.compile("^support")))
    hand.button("Make the account")
    password = hand.page.locator("#first-password").inner_text()
    hand.link("To the accounts")
    return password


def change(hand: Hand) -> None:
    """Another role; off and on again, each asked first."""
    hand.link("Nora")
    hand.tick(hand.page.get_by_role("radio", name=re.compile("^auditor")))
    hand.button("Save")
    hand.told("Changed. Open sessions have the new rights.")
    expect(hand.page.get_by_role("radio", name=re.compile("^auditor"))).to_be_checked()
    for link, button in (("Disable…", "Disable Nora"), ("Enable…", "Enable Nora")):
        hand.link(link)
        expect(hand.page.locator("#dialog")).to_contain_text("Nora")
        hand.button(button)
        hand.told("Done.")
    hand.link("New password…")
    hand.button("Make a new password")
    expect(hand.page.locator("#first-password")).not_to_be_empty()


def free(hand: Hand, served: Served, stranger: Browser) -> None:
    """Somebody mistyped too often and waits at the telephone."""
    for _ in range(5):
        stranger.sign_in("Nora", "wrong wrong wrong")
    hand.page.goto(f"{served.base}/accounts")
    hand.act(hand.page.get_by_role("listitem").filter(has_text="Nora").get_by_role("button", name="Let it try again"))
    hand.told("Nora may try again.")


def test_an_account_is_made_changed_freed_and_its_session_ended(demo: Stand, hand: Hand) -> None:
    """A new colleague could not be let in, or one who left could not be kept out."""
    with behind_port(demo) as served:
        served.enter(hand.page, "/accounts")
        first = make(hand)
        colleague = demo.browser()
        assert colleague.sign_in("Nora", first).status_code == 303
        hand.link("Sessions and tokens")
        hand.act(hand.page.get_by_role("row").filter(has_text="Nora").get_by_role("button", name="End"))
        hand.told("It is ended.")
        assert colleague.get("/account/password").status_code == 302, "the colleague is at the door again"
        hand.menu("Accounts", "u")
        change(hand)
        free(hand, served, demo.browser())


def second_factor(hand: Hand, stand: Stand) -> tuple[str, list[str]]:
    """On; the secret and the recovery codes."""
    page = hand.page
    hand.link("Set it up…")
    hand.write("Your password", PASSWORD)
    hand.button("Show the QR code")
    expect(page.locator("img.qr")).to_be_visible()
    hand.act(page.get_by_text("Can't scan?"))
    secret = page.locator(".secret").inner_text().replace("-", "")
    hand.write("Code", pyotp.TOTP(secret).at(stand.clock.utc()))
    hand.button("Turn the second factor on")
    codes = page.locator(".codes code")
    expect(codes).to_have_count(10)
    kept = codes.all_inner_texts()
    hand.link("I have kept them")
    return secret, kept


def sign_in_again(hand: Hand, served: Served, code: str) -> None:
    hand.act(hand.page.get_by_role("button", name="Sign out"))
    hand.write("Name", "Ada")
    hand.write("Password", PASSWORD)
    hand.button("Sign in")
    hand.page.get_by_label(re.compile("[Cc]ode")).first.focus()
    hand.page.keyboard.type(code)
    hand.page.keyboard.press("Enter")
    expect(hand.page).to_have_url(re.compile("/rack"), timeout=PATIENCE_MS)
    hand.page.goto(f"{served.base}/account")


def token(hand: Hand) -> None:
    """One that may do a single thing, taken back again."""
    page = hand.page
    hand.link("New token…")
    hand.write("Name", "wall")
    hand.tick(page.get_by_role("radio", name=re.compile("only the rights ticked")))
    hand.act(page.get_by_text("Rights, one by one"))
    hand.tick(page.get_by_role("checkbox", name=re.compile("rack.see")))
    hand.write("Your password", PASSWORD)
    hand.button("Make the token")
    expect(page.locator("#token")).to_contain_text("Bearer ")
    expect(page.get_by_role("row").filter(has_text="wall")).to_contain_text("1 right")
    hand.button("Revoke")
    hand.told("It is ended.")


def test_ones_own_second_factor_token_sessions_and_password(demo: Stand, hand: Hand) -> None:
    """Nobody could guard their own account, or give a program as little as it needs."""
    with behind_port(demo) as served:
        served.enter(hand.page, "/account")
        secret, recovery = second_factor(hand, demo)
        demo.clock.forward(60)
        sign_in_again(hand, served, pyotp.TOTP(secret).at(demo.clock.utc()))
        sign_in_again(hand, served, recovery[0])
        expect(hand.page.locator("main")).to_contain_text("9 recovery codes left")
        hand.link("Manage…")
        hand.page.get_by_label("Your password").first.focus()
        hand.page.keyboard.type(PASSWORD)
        hand.button("Make 10 new codes")
        expect(hand.page.locator(".codes code")).to_have_count(10)
        hand.link("I have kept them")
        token(hand)
        other = demo.browser()
        other.sign_in()
        hand.link("Change…")
        hand.write("Password now", PASSWORD)
        hand.page.keyboard.press("Tab")
        hand.page.keyboard.type(OTHER)
        hand.page.keyboard.press("Tab")
        hand.page.keyboard.type(OTHER)
        hand.button("Change the password")
        hand.told("Your password is changed")
