"""The menu."""

from simrack.web.nav import PAGES
from simrack.wire.rights import RIGHTS


def test_every_page_has_a_key_of_its_own_and_a_right_of_the_table() -> None:
    """Two pages under one key: the second can't be reached by it, and nobody is told."""
    for values in ([page.key for page in PAGES], [page.path for page in PAGES], [page.title for page in PAGES]):
        assert len(values) == len(set(values)), values
    assert {page.right for page in PAGES} <= set(RIGHTS)
