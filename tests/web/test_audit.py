"""The Audit page and its API: who did what, found, checked, handed out; numbers masked for whom they are not."""

import json
import re
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import web_demo as demo_data
from production_parts import as_owner
from sqlalchemy import insert
from web_helpers import FAST, NOW, PASSWORD, Stand, text_of

from simrack.controller.audit.chain import Fact
from simrack.controller.store import tables as t
from simrack.controller.store.audit import append
from simrack.controller.store.engine import write_engine
from simrack.web import accounts
from simrack.web.services.audit import TITLES
from simrack.wire import rights

NASTY = "<script>alert(1)</script>"


def write(stand: Stand, *facts: Fact) -> None:
    """Write into the log as the controller does."""
    engine = write_engine(as_owner(stand.room.settings.database))
    with engine.begin() as connection:
        append(connection, facts, "demo", NOW)
    engine.dispose()


def fact(number: int, **changes: Any) -> Fact:
    base = Fact(NOW + timedelta(minutes=number), "user:Ada", "hang-up", f"call-{number}", {"n": number})
    return replace(base, **changes)


@pytest.mark.stack
def test_the_page_shows_who_did_what_and_leads_to_each_entry(empty: Stand) -> None:
    """An auditor reads the night's acts in words, and opens one with everything that was written."""
    browser = empty.signed_in()
    write(empty, fact(1), fact(2, action="ban", subject="192.0.2.7", detail={"failed": "192.0.2.7 belongs to a sender"}))
    page = text_of(browser.get("/audit").text)
    assert "Ada ended a call call-1" in page
    assert "banned an address failed 192.0.2.7" in page
    one = browser.get("/audit/2")
    assert "call-1" in text_of(one.text)
    assert "Hash before" in text_of(one.text)
    assert browser.get("/audit/99").status_code == 404
    assert browser.get(f"/audit/{2**70}").status_code == 404


def test_every_act_has_its_words() -> None:
    """The log would tell people the program's names: "account made", "eyes begun"."""
    acts = {
        act
        for file in Path(accounts.__file__).parent.glob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        for act in re.findall(r"act\(connection,.*?\"([a-z-]+)\"(?: if| else|,)", line)
    }
    assert len(acts) > 12
    assert sorted((acts | set(rights.COMMANDS)) - set(TITLES)) == []


@pytest.mark.stack
def test_filters_live_in_the_address_and_pages_go_by_number(empty: Stand) -> None:
    """What one person did in one hour can be sent to a colleague as a link; older pages miss nothing."""
    browser = empty.signed_in()
    write(empty, *(fact(number, actor="user:Bo" if number % 2 else "cli:root") for number in range(120)))
    page = browser.get("/audit?actor=Bo").text
    assert page.count("call-") > 0
    assert "call-2<" not in page
    assert "Older entries" in page
    seen = []
    after = ""
    while True:
        answer = browser.get(f"/api/v1/audit?limit=50&after={after or 0}").get_json()
        seen += [entry["seq"] for entry in answer["entries"]]
        after = answer["next"]
        if not after:
            break
    assert seen == list(range(121, 0, -1))
    assert answer["head"].startswith("121:")


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday", "until=99999-01-01T00:00", "after=x", "after=-1", "after=" + "9" * 40, "text=" + "n" * 4000,
        "actor=%00", "action=" + NASTY, "subject=%27%3B+DROP+TABLE+audit", "sim=" + "8" * 300,
    ],
)  # fmt: skip
def test_nonsense_in_a_filter_is_told_beside_its_field(empty: Stand, query: str) -> None:
    """Nothing that stands in an address makes the page fail, or runs."""
    browser = empty.signed_in()
    write(empty, fact(1))
    answer = browser.get(f"/audit?{query}")
    assert answer.status_code == 200
    assert NASTY not in answer.text
    assert browser.get(f"/audit.csv?{query}").status_code in (200, 400)


@pytest.mark.stack
def test_script_and_endless_text_in_an_entry_is_shown_as_text(empty: Stand) -> None:
    """Whoever names a channel like a script gets it written down, not run."""
    browser = empty.signed_in()
    write(empty, fact(1, actor=f"user:{NASTY}", subject=NASTY, action=NASTY, detail={NASTY: NASTY * 100, "=cmd": "=1+1"}))
    for path in ("/audit", "/audit/2", "/audit.csv"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert path.endswith("csv") or NASTY not in answer.text
    row = browser.get("/audit.csv").text.splitlines()[-1]
    assert not row.partition(",")[2].startswith("=")


def test_the_check_says_whether_the_log_holds_and_where_it_does_not(empty: Stand) -> None:
    """One click; the head to be kept elsewhere; the first entry that can't be trusted."""
    browser = empty.signed_in()
    assert "no audit log here" in text_of(browser.get("/audit/check").text)
    write(empty, fact(1), fact(2), fact(3))
    assert "All 4 entries hold" in text_of(browser.get("/audit/check").text)
    good = browser.get("/api/v1/audit/check").get_json()
    assert (good["ok"], good["entries"]) == (True, 4)
    with sqlite3.connect(empty.room.settings.database.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE audit SET actor = 'user:Eve' WHERE seq = 3")
    database.close()
    page = text_of(browser.get("/audit/check").text)
    assert "does not hold" in page
    assert "Entry 3 was changed" in page
    bad = browser.get("/api/v1/audit/check").get_json()
    assert (bad["ok"], bad["seq"], bad["kind"]) == (False, 3, "changed")


@pytest.mark.stack
def test_an_empty_log_says_what_will_stand_there(empty: Stand) -> None:
    """The first day has no dead page."""
    page = text_of(empty.signed_in().get("/audit").text)
    assert "Nothing is written yet" in page
    assert "Nothing matches" in text_of(empty.signed_in().get("/audit?actor=Bo").text)


@pytest.mark.parametrize(("role", "status", "whole"), [("auditor", 200, False), ("noc", 403, True), ("sender", 403, True)])
def test_who_may_read_it_and_what_of_numbers(empty: Stand, role: str, status: int, whole: bool) -> None:
    """The auditor reads everything but subscribers' numbers; the night shift does not read what is written about it."""
    empty.signed_in()
    write(empty, fact(1, action="test-call", detail={"called": "+882100000001", "note": "for +882100000002", "deep": [{"calling": "0316123456"}]}))
    engine = write_engine(empty.room.settings.database)
    with engine.begin() as connection:
        row = {"name": "Rae", "password_hash": FAST.hash(PASSWORD), "role": role, "created": NOW, "scope": ["alpine"]}
        connection.execute(insert(t.web_user).values(**row))
    engine.dispose()
    browser = empty.browser()
    browser.sign_in("Rae")
    answers = [browser.get(path) for path in ("/audit", "/audit/2", "/audit.csv", "/audit/check", "/api/v1/audit", "/api/v1/audit/check")]
    assert {answer.status_code for answer in answers} == {status}
    if not whole:
        told = json.dumps([answer.text for answer in answers])
        for number in ("+882100000001", "+882100000002", "0316123456"):
            assert number not in told
        assert "+88210000" in told


@pytest.mark.stack
def test_the_demo_has_a_log_to_look_at(demo: Stand) -> None:
    """Screenshots and the tour show a log with every kind of entry."""
    page = text_of(demo.signed_in().get("/audit").text)
    for words in ("refused a call by policy", "banned an address", "refused", "failed"):
        assert words in page
    assert demo_data.TELLING_CALL in page
