"""Nobody sees another's row: a partner's account opens every address that it may, and no other's thing is in any answer."""

import re

import pytest
from web_helpers import Browser, Stand

from simrack.controller.models import RecordFilter
from simrack.web.accounts import PersonForm, Who
from simrack.web.needs import right_of
from simrack.wire import rights

PASSWORD = "five slow yellow tractors"
ENDLESS = frozenset({"rack.stream"})
# What is in every record and names nobody.
QUERIES = ("", "?text=0", "?text=88", "?sort=-called", "?all=1", "?group=sender", "?per_page=200")


def partner(stand: Stand, role: str, name: str) -> Browser:
    stand.signed_in()
    people = stand.room.accounts.people
    first = people.make(Who("cli:test"), f"a {role}", PersonForm(role, scope=frozenset({name})))
    browser = stand.browser()
    browser.sign_in(f"a {role}", first)
    browser.get("/account/password")
    browser.post("/account/password", old=first, new=PASSWORD, again=PASSWORD)
    return browser


def open_addresses(stand: Stand, role: str) -> list[str]:
    """Every address without a name in it that the role may read."""
    found = []
    for rule in stand.app.url_map.iter_rules():
        right = right_of(stand.app.view_functions[rule.endpoint])
        if "GET" in (rule.methods or ()) and "<" not in rule.rule and rule.endpoint not in ENDLESS and right and rights.may(role, right):
            found.append(rule.rule)
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("role", ["sender", "reseller", "sales"])
def test_a_sender_finds_no_other_sender_anywhere(demo: Stand, role: str) -> None:
    """A customer would read who else sends traffic, whom they call, and how much."""
    names = demo.room.desk.names()
    mine = min(names.senders)
    browser = partner(demo, role, mine)
    rows = demo.room.desk.queries.records(RecordFilter(per_page=400)).rows
    theirs = [row for row in rows if row.sender != mine]
    words = {title for name, title in names.senders.items() if name != mine} | {row.call for row in theirs}
    words |= {call.call for call in demo.model.snapshot().calls.values() if call.sender != mine}
    # The demo data tell one call both as over and as going on.
    words -= {row.call for row in rows if row.sender == mine}
    leaks = []
    for address in open_addresses(demo, role):
        for query in QUERIES:
            answer = browser.client.get(address + query, buffered=True)
            assert answer.status_code < 500, address + query
            shown = {word for word in words if word in answer.text}
            leaks += [f"{address}{query}: {sorted(shown)[:3]}"] if shown else []
    assert not leaks, "\n".join(leaks)
    statuses = {browser.client.get(f"{path}/{theirs[0].call}").status_code for path in ("/records", "/api/v1/records")}
    assert statuses == {404}
    numbers = re.sub(r"\D", "", theirs[0].called)[-7:]
    assert theirs[0].call not in browser.client.get(f"/records?text={numbers}").text


@pytest.mark.timeout(120)
def test_an_owner_without_plans_sees_nothing_of_the_rack(demo: Stand) -> None:
    """An account that was given nothing would see everything."""
    browser = partner_owner(demo)
    snapshot = demo.model.snapshot()
    words = {*snapshot.boxes, *demo.room.desk.names().plans.values()}
    words |= {report.sim.iccid for report in snapshot.channels.values() if report.sim is not None}
    words |= {call.call for call in snapshot.calls.values()}
    leaks = []
    for address in open_addresses(demo, "owner"):
        answer = browser.client.get(address, buffered=True)
        shown = {word for word in words if word in answer.text}
        leaks += [f"{address}: {sorted(shown)[:3]}"] if shown else []
    assert not leaks, "\n".join(leaks)


def partner_owner(stand: Stand) -> Browser:
    return partner(stand, "owner", "somebody")
