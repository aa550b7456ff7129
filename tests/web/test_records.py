"""Records: filters in the URL, order, pages, columns, and the CSV that equals the table."""

import csv
import html
import io
import re

import pytest
from production_parts import as_owner
from sqlalchemy import update
from web_helpers import Browser, Stand, text_of

from simrack.controller.models import RecordFilter
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine


def table(page: str) -> list[list[str]]:
    """Heading and rows as a reader sees them."""
    # The mark of a sender for tests is the page's alone.
    inner = page[page.index("<table") : page.index("</table>")].replace('<span class="note test">TEST</span>', "")
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", inner, re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def rows_of(browser: Browser, query: str) -> list[list[str]]:
    return table(browser.get(f"/records{query}").text)[1:]


@pytest.mark.stack
@pytest.mark.parametrize(
    "query",
    ["", "?outcome=failed", "?sender=alpine&sort=talk_network_ms", "?cause=17&sort=-called", "?text=88210&col=called&col=cause&col=marks"],
)
def test_csv_is_exactly_the_table(demo: Stand, query: str) -> None:
    """An export would show other calls, another order or other words than the page."""
    browser = demo.signed_in()
    shown = table(browser.get(f"/records{query}{'&' if query else '?'}per_page=200").text)
    answer = browser.get(f"/records.csv{query}")
    exported = list(csv.reader(io.StringIO(answer.text)))
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert [re.sub(r" +", " ", cell) for cell in exported[0]] == shown[0]
    assert exported[1 : len(shown)] == [[cell.lstrip() for cell in row] for row in shown[1:]]
    total = demo.room.desk.queries.records(RecordFilter(text="88210")).total
    assert len(exported) - 1 == total or "=" in query


@pytest.mark.stack
def test_the_csv_link_says_how_many_it_holds(demo: Stand) -> None:
    """People would export a page and believe it was all."""
    browser = demo.signed_in()
    page = browser.get("/records?outcome=failed&per_page=25").text
    link = re.search(r'href="(/records\.csv[^"]*)"[^>]*>.*?CSV of ([\d,]+)', page, re.DOTALL)
    assert link is not None
    exported = browser.get(html.unescape(link[1])).text
    assert exported.count("\n") - 1 == int(link[2].replace(",", ""))


@pytest.mark.stack
@pytest.mark.parametrize("evil", ["=1+1", "@SUM(A1)", "+HYPERLINK(1)", "-2+cmd|x", "\tx"])
def test_csv_runs_no_formula(demo: Stand, evil: str) -> None:
    """A caller could put a formula into a colleague's spreadsheet."""
    engine = write_engine(as_owner(demo.room.settings.database))
    with engine.begin() as connection:
        connection.execute(update(t.cdr).values(pattern=evil))
    engine.dispose()
    exported = list(csv.reader(io.StringIO(demo.signed_in().get("/records.csv?col=pattern").text)))
    assert exported[1] == ["'" + evil]


@pytest.mark.stack
def test_filters_filter_and_stay_in_the_form(demo: Stand) -> None:
    """A URL sent to a colleague would show something else."""
    browser = demo.signed_in()
    assert {row[4] for row in rows_of(browser, "?outcome=refused")} == {"refused"}
    assert {row[1] for row in rows_of(browser, "?sender=moravia")} == {"Moravia Voice"}
    page = browser.get("/records?sender=moravia&outcome=failed&text=8821").text
    assert re.search(r'<option value="moravia" selected', page)
    assert re.search(r'name="text" value="8821"', page)
    assert 'href="/records?sender=moravia' not in page.split("</form>")[0]
    assert "sender=moravia" in page.split("<thead>")[1].split("</thead>")[0]


@pytest.mark.stack
def test_time_filters_use_the_zone_of_the_page(demo: Stand) -> None:
    """A filter would be off by the difference to UTC."""
    browser = demo.signed_in()
    everything = rows_of(browser, "?per_page=200&sort=started")
    middle = everything[len(everything) // 2][0]
    since = middle[:16].replace(" ", "T")
    later = rows_of(browser, f"?per_page=200&sort=started&since={since}")
    assert later
    assert all(row[0] >= middle[:16] for row in later)
    assert rows_of(browser, f"?until={since}&sort=-started&per_page=25")[0][0] < middle


@pytest.mark.stack
def test_sorting_turns_around(demo: Stand) -> None:
    """A heading could be clicked only once."""
    browser = demo.signed_in()
    down = [row[0] for row in rows_of(browser, "?sort=-started")]
    up = [row[0] for row in rows_of(browser, "?sort=started")]
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)
    page = browser.get("/records?sort=-started").text
    assert 'aria-sort="descending"' in page
    assert 'href="/records?sort=started"' in page


@pytest.mark.stack
def test_pages_follow_each_other_without_gap(demo: Stand) -> None:
    """Calls would be shown twice or never."""
    browser = demo.signed_in()
    first = browser.get("/records?per_page=25").text
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = browser.get(html.unescape(following[1])).text
    both = [row[0] for row in table(first)[1:] + table(second)[1:]]
    assert both == [row[0] for row in rows_of(browser, "?per_page=50")]
    back = re.search(r'rel="prev" href="([^"]+)"', browser.page.text if browser.page else "")
    assert back is None
    browser.get(html.unescape(following[1]))
    before = re.search(r'rel="prev" href="([^"]+)"', browser.page.text if browser.page else "")
    assert before is not None
    assert rows_of(browser, html.unescape(before[1]).removeprefix("/records")) == table(first)[1:]
    wrong = browser.get("/records?after=nowhere&per_page=25").text
    assert "no page of this list" in text_of(wrong)
    assert table(wrong)[1:] == table(first)[1:]


@pytest.mark.stack
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?cause=900", "A number from 1 to 127."), ("?since=yesterday", "A day and time"),
        ("?outcome=lost", "Choose one of"), ("?per_page=100000", "1,"), ("?page=-1", ""), ("?sort=;drop", ""),
        ("?text=%27%22%3Cscript%3E", "No record matches"), ("?since=0001-01-01T00:00", ""), ("?text=%25", "No record matches"),
    ],
)  # fmt: skip
def test_wrong_filters_are_named_or_harmless(demo: Stand, query: str, words: str) -> None:
    """A mistyped URL would be a server error."""
    answer = demo.signed_in().get("/records" + query)
    assert answer.status_code == 200
    assert "<script>" not in answer.text
    if words != "1,":
        assert words in text_of(answer.text)


@pytest.mark.stack
def test_csv_of_a_wrong_filter_is_refused(demo: Stand) -> None:
    """A file would hold everything although a filter was meant."""
    answer = demo.signed_in().get("/records.csv?cause=900")
    assert answer.status_code == 400
    assert "cause: A number from 1 to 127." in text_of(answer.text)


@pytest.mark.stack
def test_columns_are_chosen_and_kept_for_this_person(demo: Stand) -> None:
    """The choice would be lost with the page."""
    browser = demo.signed_in()
    chosen = table(browser.get("/records?col=called&col=cause&keep=1").text)
    assert chosen[0] == ["To", "Cause"]
    assert table(browser.get("/records").text)[0] == ["To", "Cause"]
    assert table(browser.get("/records?col=started").text)[0] == ["Start, UTC"]
    assert table(browser.get("/records").text)[0] == ["To", "Cause"]
    assert len(table(browser.get("/records?col=nonsense&keep=1").text)[0]) == 2


@pytest.mark.stack
def test_no_match_offers_the_way_back(demo: Stand) -> None:
    """An empty table would look like lost records."""
    words = text_of(demo.signed_in().get("/records?text=000000000000").text)
    assert "No record matches" in words
    assert "Clear all filters" in words
