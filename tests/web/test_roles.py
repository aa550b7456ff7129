"""Every address x every role: what the one table of rights says is what answers (wire/rights.py)."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import web_rights
from web_helpers import Browser, Stand
from werkzeug.routing import Rule

from simrack.web.accounts import PersonForm, Who
from simrack.web.app import OPEN_PAGES
from simrack.web.needs import right_of
from simrack.wire import rights

CLI = Who("cli:test")
PASSWORD = "five slow yellow tractors"
#: Streams never end; they are tried by themselves.
ENDLESS = frozenset({"rack.stream", "api_events.events"})
# Signing out would end the session that the other addresses are tried with.
ENDING = frozenset({"access.sign_out"})


def browsers(stand: Stand) -> dict[str, Browser]:
    """One signed-in browser per role; scoped ones see one sender, or one owner who owns nothing."""
    stand.signed_in()
    made = {}
    sender = min(stand.room.desk.names().senders)
    for role in rights.ROLES:
        scope = {"senders": frozenset({sender}), "owners": frozenset({"somebody"}), None: frozenset[str]()}[rights.SCOPED.get(role)]
        people = stand.room.accounts.people
        first = people.make(CLI, f"a {role}", PersonForm(role, scope=scope))
        made[role] = stand.browser()
        made[role].sign_in(f"a {role}", first)
        made[role].get("/account/password")
        made[role].post("/account/password", old=first, new=PASSWORD, again=PASSWORD)
        stand.clock.forward(1)
    return made


def addresses(stand: Stand) -> Iterator[tuple[Rule, str, str]]:
    """(rule, method, address with things that are nobody's in it) of everything that is not open."""
    for rule in stand.app.url_map.iter_rules():
        if rule.endpoint in OPEN_PAGES | ENDLESS | ENDING:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            address = re.sub(r"<(int|float):[^>]*>", "987654", rule.rule)
            # An entry's page without a name is the form of a new one, which needs the right to change it as well.
            yield rule, method, re.sub(r"<[^>]*>", "nobodys", address) + "?name=nobodys"


def test_every_view_names_a_right_of_the_table(empty: Stand) -> None:
    """A page would be closed to everybody, or a right would be a typing mistake."""
    for rule, _, _ in addresses(empty):
        assert right_of(empty.app.view_functions[rule.endpoint]) in rights.RIGHTS, rule.rule


@pytest.mark.timeout(240)
def test_every_address_answers_each_role_as_the_table_says(demo: Stand) -> None:
    """Somebody could do what their role does not allow, or could not do what it does."""
    wrong = []
    for role, browser in browsers(demo).items():
        browser.get("/account")
        token = browser.csrf()
        for rule, method, address in addresses(demo):
            right = right_of(demo.app.view_functions[rule.endpoint]) or ""
            answer = browser.client.open(address, method=method, headers={"X-CSRF-Token": token}, buffered=True)
            if (answer.status_code == 403) == rights.may(role, right) or answer.status_code in (401, 500):
                wrong.append(f"{method} {rule.rule} ({right}) as {role}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


def test_nobody_gets_in_without_signing_in(demo: Stand) -> None:
    """An address would be open to strangers."""
    demo.signed_in()
    client = demo.browser().client
    for _, method, address in addresses(demo):
        answer = client.open(address, method=method, buffered=True)
        assert answer.status_code in (302, 303, 401, 400), f"{method} {address}: {answer.status_code}"
        assert answer.status_code != 302 or "/sign-in" in answer.location


def test_a_token_opens_no_page_and_never_accounts(demo: Stand) -> None:
    """A script's token would be a way to the pages, or to more tokens."""
    demo.signed_in()
    bearer = {"Authorization": f"Bearer {demo.room.accounts.new_token('all')}"}
    client = demo.browser().client
    for rule, method, address in addresses(demo):
        right = right_of(demo.app.view_functions[rule.endpoint])
        status = client.open(address, method=method, headers=bearer, buffered=True).status_code
        if not address.startswith("/api/"):
            assert status in (302, 303, 400, 401), f"{method} {address}: {status}"
        elif right in rights.NEVER_BY_TOKEN:
            assert status == 403, f"{method} {address}: {status}"


def test_menu_shows_exactly_what_opens(demo: Stand) -> None:
    """A row of the menu would lead to a closed page."""
    for role, browser in browsers(demo).items():
        page = browser.get("/account").text
        links = re.findall(r'<a class="go" href="([^"]+)"', page)
        assert links, role
        for link in links:
            assert browser.get(link).status_code == 200, (role, link)


def test_the_page_of_rights_is_current(empty: Stand) -> None:
    """The reference that an auditor reads would differ from what runs."""
    page = Path(__file__).parents[2] / "docs/rights.md"
    assert page.read_text() == web_rights.page(empty.app), "run: python -P tests/web_rights.py"
