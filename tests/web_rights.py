"""Writes docs/rights.md: every address and command with its right, every right with its roles.

    python -P tests/web_rights.py
"""

import sys
import tempfile
from pathlib import Path

from flask import Flask

sys.path.insert(0, str(Path(__file__).parent))

from simrack.web.app import OPEN_PAGES
from simrack.web.needs import right_of
from simrack.wire import rights

HEAD = """# Rights

Made by `python -P tests/web_rights.py` from `wire/rights.py` and the running application; a test compares.
`x`: everything; `o`: rows of one's own only ([accounts](accounts.md)). What is not ticked answers 403.
"""


def page(app: Flask) -> str:
    """The page's text."""
    return "\n".join([HEAD, *_table(), "", *_commands(), "", *_addresses(app), ""])


def _table() -> list[str]:
    lines = ["## Rights by role", f"| right | meaning | {' | '.join(rights.ROLES)} |", f"| --- | --- |{' :-: |' * len(rights.ROLES)}"]
    for right in rights.RIGHTS.values():
        marks = [("o" if role in rights.SCOPED and right.name != "own.account" else "x") if role in right.roles else "" for role in rights.ROLES]
        lines.append(f"| `{right.name}` | {right.title} | {' | '.join(marks)} |")
    return lines


def _commands() -> list[str]:
    rows = [f"| `{command}` | `{right}` |" for command, right in sorted(rights.COMMANDS.items())]
    return ["## Commands to the controller", "| command | right |", "| --- | --- |", *rows]


def _addresses(app: Flask) -> list[str]:
    rows = []
    for rule in app.url_map.iter_rules():
        right = right_of(app.view_functions[rule.endpoint])
        words = "open to everybody" if rule.endpoint in OPEN_PAGES else f"`{right}`"
        rows += [(rule.rule, method, words) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    lines = [f"| {method} | `{address}` | {words} |" for address, method, words in sorted(rows)]
    return ["## Pages and the API", "| method | address | right |", "| --- | --- | --- |", *lines]


def main() -> None:
    import web_helpers as helpers

    from simrack.controller.store.migrate import migrate

    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/web.db"
        migrate(url, helpers.Hands())
        stand = helpers.stand(url)
        (Path(__file__).parents[1] / "docs/rights.md").write_text(page(stand.app))
        stand.close()


if __name__ == "__main__":
    main()
