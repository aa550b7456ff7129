"""Nobody sees another's row: a partner's account opens every address that it may, and no other's thing is in any answer."""

import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import web_fleets
from hypothesis import HealthCheck, Phase, given, settings
from web_demo import A_CARD as CARD
from web_helpers import Browser, Hands, Stand, database
from web_helpers import stand as make_stand

from simrack.controller.models import RecordFilter
from simrack.web.accounts import PersonForm, Who
from simrack.web.draw import Drawer
from simrack.web.needs import right_of
from simrack.web.rack import Changes
from simrack.wire import rights
from simrack.wire.messages import CommandReply

pytestmark = pytest.mark.stack

PASSWORD = "five slow yellow tractors"
ENDLESS = frozenset({"rack.stream", "api_events.events"})
# They would end the session that the others are tried with.
ENDING = frozenset({"access.sign_out", "own.revoke_others"})
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


#: What an address takes, filled with things of others; `box` and `call` are then nowhere to be found.
NOWHERE = frozenset({"call", "box"})
KINDS = ("sender", "plan", "sim", "agreement", "pattern", "setting", "site")


@pytest.mark.timeout(300)
@settings(
    max_examples=2, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(room=web_fleets.rooms())
def test_no_answer_tells_a_partner_of_another(templates: Path, tmp_path_factory: pytest.TempPathFactory, room: web_fleets.Room) -> None:
    """In some room of partners one would read another's name, number, card or amount, or learn that an id of theirs exists."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(templates / "empty.db", folder / "web.db")
    web_fleets.fill(database(folder), room, Hands())
    stand = make_stand(database(folder))
    try:
        web_fleets.feed(stand, room)
        leaks = [leak for role in rights.SCOPED for leak in leaks_of(stand, room, role)]
    finally:
        stand.close()
    assert not leaks, "\n".join(leaks[:40])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("role", sorted(rights.SCOPED))
def test_nobody_acts_on_anothers_thing(demo: Stand, role: str) -> None:
    """A customer would end another's call, switch another's card off or sign another out, by an id in a form."""
    asked_for: list[str] = []

    def command(topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0) -> CommandReply:
        asked_for.append(f"{action} {args}")
        return CommandReply(id="1", ok=True, result={})

    demo.room.live.command = command  # type: ignore[method-assign]
    names, rack = demo.room.desk.names(), demo.model.snapshot()
    mine = min(names.senders)
    browser = partner(demo, role, "somebody" if role == "owner" else mine)
    call = next(call for call in rack.calls.values() if call.sender != mine)
    box, channel = next(key for key, report in rack.channels.items() if report.sim is not None)
    public = demo.room.accounts.sessions.listed(1)[0].public
    ids = {"call": call.call, "box": box, "channel": str(channel), "public": public, "user_id": "1", "id_": "1", "process": "controller"}
    browser.get("/account")
    body = {"csrf": browser.csrf(), "_name": CARD, "name": CARD, "calls": call.call, "to": "off", "act": "review", "typed": "1", "_confirm": CARD}
    words = {call.called[1:], *names.plans.values()} if role == "owner" else {call.called[1:]}
    wrong = []
    for rule in demo.app.url_map.iter_rules():
        right = right_of(demo.app.view_functions[rule.endpoint])
        if "POST" not in (rule.methods or ()) or not right or not rights.may(role, right) or rule.endpoint in ENDING:
            continue
        address = re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", lambda found: ids.get(found[1], "1"), rule.rule)
        for act in ("review", "apply", "remove", "removed"):
            answer = browser.client.post(address, data=body | {"act": act}, buffered=True)
            if rule.arguments and answer.status_code < 400:
                wrong.append(f"{address}: {answer.status_code}")
            if answer.status_code >= 500 or any(word in answer.text for word in words):
                wrong.append(f"{address} {act}: {answer.status_code} {[word for word in words if word in answer.text]}")
    assert not wrong, "\n".join(wrong)
    assert not [told for told in asked_for if any(str(value) in told for value in (CARD, call.call, box))], asked_for
    assert demo.room.accounts.sessions.listed(1), "the administrator is still signed in"


def leaks_of(stand: Stand, room: web_fleets.Room, role: str) -> list[str]:
    """What one of this role, who is number 0, finds out about others."""
    who = room.owners[0] if role == "owner" else 0
    browser = partner(stand, role, (web_fleets.owner_name if role == "owner" else web_fleets.sender_name)(who))
    words, found = room.theirs(role, who), list[str]()
    for address, hidden in asked(stand, room, role, who):
        answer = browser.client.get(address, buffered=True)
        shown = sorted(word for word in words if word in answer.text and word not in address)
        found += [f"{role} {address}: {shown[:4]}"] if shown else []
        found += [f"{role} {address}: {answer.status_code}"] if answer.status_code >= 500 or (hidden and answer.status_code != 404) else []
        if "alarm-pill" in answer.text:
            found.append(f"{role} {address}: alarms")
    return found + heard(stand, browser, role, words) + miscounted(browser, room, role, who)


def asked(stand: Stand, room: web_fleets.Room, role: str, who: int) -> Iterator[tuple[str, bool]]:
    """Addresses that the role may open, with whether each is about a thing of somebody else's."""
    owner = role == "owner"
    theirs = [call for call in room.traffic if (room.owners[call.plan] if owner else call.sender) != who]
    plans = [plan for plan, of in enumerate(room.owners) if not owner or of != who]
    some = [next(call for call in theirs if call.live is live) for live in (True, False) if any(call.live is live for call in theirs)]
    names = {"call": [call.call for call in some], "box": [f"box-q{plan}" for plan in plans[:1]], "channel": ["1"], "kind": KINDS}
    texts = [f"?text={call.called[3:]}&q={call.called[3:]}" for call in some[:1]]
    texts += ["?" + "&".join(f"{key}={value}" for key, value in (
        ("sender", web_fleets.sender_name(1)), ("plan", web_fleets.plan_name(plan)), ("iccid", web_fleets.card(plan)), ("name", web_fleets.card(plan)),
    )) for plan in plans[:1]]  # fmt: skip
    texts += [f"?name={web_fleets.sender_name(1)}", *(f"?name={web_fleets.plan_name(plan)}" for plan in plans[:1])]
    for rule in stand.app.url_map.iter_rules():
        right = right_of(stand.app.view_functions[rule.endpoint])
        if "GET" not in (rule.methods or ()) or rule.endpoint in ENDLESS or not right or not rights.may(role, right):
            continue
        choices = [names.get(name, ["1"]) for name in sorted(rule.arguments)]
        for values in product(*choices):
            address = rule.rule
            for name, value in zip(sorted(rule.arguments), values, strict=True):
                address = re.sub(rf"<(?:\w+(?:\([^)]*\))?:)?{name}>", value, address)
            yield address, bool(rule.arguments & NOWHERE)
            yield from ((address + query, False) for query in (QUERIES[4], *texts) if not rule.arguments & NOWHERE)


def heard(stand: Stand, browser: Browser, role: str, words: frozenset[str]) -> list[str]:
    """What of others is in the stream of somebody who listens to everything."""
    feed, model = stand.room.feed, stand.model
    place = feed.place
    topics = "&".join(f"topic={topic}" for topic in ("rack", "overview", "open", "site:site", "box:box-q0", "box:box-q1", "calls", "pulse"))
    rack = model.snapshot()
    everything = Changes(channels=set(rack.channels), boxes=set(rack.boxes), calls=True, top=True, layout=False)
    for topic, name, data in Drawer(lambda: stand.app.jinja_env, stand.room.desk)(everything):
        feed.publish(topic, name, data)
    feed.publish("logs", "logs", "changed")
    feed.publish("*", "last", "")
    text = ""
    answer = browser.client.get(f"/stream?since={place}&{topics}&topic=logs")
    for block in answer.response:
        text += block.decode() if isinstance(block, bytes) else block
        if "event: last" in text:
            break
    answer.close()
    told = [word for word in words | {"alarm-pill", "event: logs"} if word in text]
    return [f"{role} stream: {told[:4]}"] if told or "event: top" not in text else []


def miscounted(browser: Browser, room: web_fleets.Room, role: str, who: int) -> list[str]:
    """Counts and sums that have more in them than their own rows."""
    over = [call for call in room.traffic if not call.live]
    mine = [call for call in over if (room.owners[call.plan] if role == "owner" else call.sender) == who]
    records = browser.client.get("/api/v1/records").json or {}
    figures = browser.client.get("/api/v1/statistics?since=2026-11-01T00:00:00Z&until=2026-11-30T00:00:00Z").json or {}
    wrong = [] if records.get("total") == len(mine) else [f"{role} records: {records.get('total')} of {len(mine)}"]
    calls = figures.get("total", {}).get("calls")
    return wrong if calls == len(mine) else [*wrong, f"{role} statistics: {calls} of {len(mine)}: {str(figures)[:300]}"]
