"""The menu."""

from simrack.web import text
from simrack.web.nav import PAGES, menu
from simrack.wire.rights import RIGHTS


def test_every_page_has_a_key_of_its_own_and_a_right_of_the_table() -> None:
    """Two pages under one key: the second can't be reached by it, and nobody is told."""
    for values in ([page.key for page in PAGES], [page.path for page in PAGES], [page.title for page in PAGES]):
        assert len(values) == len(set(values)), values
    assert {page.right for page in PAGES} <= set(RIGHTS)


def test_a_telephone_has_the_four_most_used_pages_at_the_thumb() -> None:
    """The way to a page of each day would go through "More"; somebody with few pages would have gaps in the bar."""
    assert [page.title for page in menu(lambda _: True).near] == ["Rack", "Calls", "Alarms", "Records"]
    few = menu(lambda right: right in {"records.see", "statistics.see", "sims.see"})
    assert [page.title for page in few.near] == ["SIMs", "Records", "Statistics", "Release causes"]
    assert [title for title, _ in few.sections] == ["Configure", "Look back"]
    assert menu(lambda _: False).pages == ()


def test_names_in_advice_are_told_from_its_words_and_carry_no_markup() -> None:
    """Advice would show its backticks, or a box's name could put elements into the page."""
    assert text.coded("try `simrack <b>` now") == "try <code>simrack &lt;b&gt;</code> now"
    assert text.coded("a lone ` and <i>") == "a lone ` and &lt;i&gt;"
