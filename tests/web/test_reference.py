"""The generated pages say what the application and the commands are now."""

import reference
from web_helpers import Stand


def test_the_page_of_the_api_is_current(empty: Stand) -> None:
    """Whoever writes a program would go by operations that are not so any more."""
    for _ in range(2):
        assert reference.API.read_text() == reference.api_page(empty.app), "run: make docs"


def test_the_page_of_commands_is_current() -> None:
    """A person would look up options that are not there."""
    assert reference.COMMANDS.read_text() == reference.commands_page(), "run: make docs"
