"""Statistics and release causes: what the page, the file, the API and the command say of the demo's records."""

import csv
import io
import re

import pytest
from typer.testing import CliRunner
from web_helpers import Stand, text_of

from simrack.cli import stats
from simrack.controller.models import RecordFilter

DAY = "since=2026-11-19T15:00&until=2026-11-20T15:00"


@pytest.mark.stack
def test_page_file_and_api_say_the_same(demo: Stand) -> None:
    """A report would differ from what the page shows."""
    browser = demo.signed_in()
    page = browser.get(f"/statistics?by=sender&{DAY}")
    assert page.status_code == 200
    rows = list(csv.reader(io.StringIO(browser.get(f"/statistics.csv?by=sender&{DAY}").text)))
    assert rows[0][:6] == ["Sender", "Calls", "Minutes", "ASR", "ASR-B", "NER"]
    assert rows[-1][0] == "Total"
    words = text_of(page.text)
    for row in rows[1:]:
        assert row[0] in words
        assert row[3] in words
    answer = browser.get(f"/api/v1/statistics?by=sender&{DAY}").json
    assert answer is not None
    assert {group["name"]: f"{group['now']['calls']:,}" for group in answer["groups"]} == {row[0]: row[1] for row in rows[1:-1]}
    found = demo.room.desk.queries.records(RecordFilter(since=None, per_page=1000)).rows
    day = [row for row in found if "2026-11-19T15:00" <= row.started.isoformat() < "2026-11-20T15:00"]
    assert answer["total"]["calls"] == len(day)


@pytest.mark.stack
def test_every_grouping_draws(demo: Stand) -> None:
    """One choice of the form would be a server error."""
    from simrack.web.services.statistics import GROUPINGS

    browser = demo.signed_in()
    for by in GROUPINGS:
        span = "since=2026-11-20T09:00&until=2026-11-20T15:00" if by == "minute" else DAY
        answer = browser.get(f"/statistics?{span}&by={by}")
        assert answer.status_code == 200, by
        assert f'value="{by}" selected' in answer.text, by
        total = re.search(r"<tfoot>.*?<td[^>]*>([\d,]+)", answer.text, re.DOTALL)
        assert total is not None
        assert int(total[1].replace(",", "")) > 0


@pytest.mark.stack
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("by=moon", "Choose one of the groupings."), ("since=never", "A day and time"), ("period=century", "Choose one of"),
        ("since=2026-11-20T15:00&until=2026-11-20T14:00", "The end lies before the beginning."),
        ("since=1970-01-01T00:00", "At most a year"), ("least_s=0", "A number from 1"), ("cause=900", "A number from 1 to 127."),
        (f"by=minute&{DAY}", "six hours"), ("sort=%3Bdrop", ""), ("page=-3", ""), ("pattern=%00%3Cscript%3E", "No call in this time"),
        ("sender=" + "x" * 4000, "At most 200"), ("since=0001-01-01T00:00%2B14:00", "A day and time"),
    ],
)  # fmt: skip
def test_nonsense_is_named_beside_its_field(demo: Stand, query: str, words: str) -> None:
    """A mistyped address would be a server error, or count something else without a word."""
    browser = demo.signed_in()
    for path in ("/statistics", "/causes"):
        answer = browser.get(f"{path}?{query}")
        assert answer.status_code == 200
        assert "<script>" not in answer.text
    assert words in text_of(browser.get(f"/statistics?{query}").text)
    if words not in ("", "No call in this time"):
        assert browser.get(f"/statistics.csv?{query}").status_code == 400


@pytest.mark.stack
def test_a_row_leads_to_exactly_its_calls(demo: Stand) -> None:
    """Whoever asks why a figure is bad would be shown other calls."""
    browser = demo.signed_in()
    page = browser.get(f"/statistics?by=sender&{DAY}").text
    link = re.search(r'<th scope="row"[^>]*><a href="(/records[^"]+)">.*?</th>\s*<td class="fig"[^>]*>([\d,]+)', page, re.DOTALL)
    assert link is not None
    listed = text_of(browser.get(link[1].replace("&amp;", "&")).text)
    assert f"{link[2]} record" in listed


@pytest.mark.stack
def test_causes_add_up_and_lead_to_their_calls(demo: Stand) -> None:
    """The chart would hide calls, or lead to others."""
    browser = demo.signed_in()
    answer = browser.get(f"/api/v1/causes?{DAY}").json
    assert answer is not None
    total = browser.get(f"/api/v1/statistics?{DAY}").json
    assert total is not None
    assert sum(row["calls"] for row in answer["causes"]) == total["total"]["calls"]
    assert all(row["by_calling"] + row["by_called"] + row["by_rack"] == row["calls"] for row in answer["causes"])
    page = browser.get(f"/causes?{DAY}").text
    link = re.search(r'href="(/records[^"]+cause=17[^"]*)"', page)
    assert link is not None
    calls = next(row["calls"] for row in answer["causes"] if row["cause"] == 17)
    assert f"{calls} record" in text_of(browser.get(link[1].replace("&amp;", "&")).text)
    rows = list(csv.reader(io.StringIO(browser.get(f"/causes.csv?{DAY}").text)))
    assert len(rows) - 1 == len(answer["causes"])


@pytest.mark.stack
def test_an_empty_rack_says_what_to_do(empty: Stand) -> None:
    """A new user would see an empty table and no way on."""
    browser = empty.signed_in()
    assert "simrack call NUMBER" in text_of(browser.get("/statistics").text)
    assert "No call ended" in text_of(browser.get("/causes").text)


def test_the_command_counts_the_same(demo: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script would report other figures than the page."""
    url = demo.room.settings.database
    monkeypatch.setattr(stats, "database_url", lambda _state: url)
    span = ["--since", "2026-11-19T15:00", "--until", "2026-11-20T15:00"]
    done = CliRunner().invoke(stats.app, ["show", "--by", "box", *span])
    assert done.exit_code == 0, done.output
    total = demo.signed_in().get(f"/api/v1/statistics?by=box&{DAY}").json
    assert total is not None
    assert f"{total['total']['calls']:,}" in done.output
    causes = CliRunner().invoke(stats.app, ["causes", *span, "--json"])
    assert '"cause": 16' in causes.output
