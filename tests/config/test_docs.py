"""docs/settings.md is made of the catalogue: `python -P tests/config/test_docs.py` writes it anew."""

from pathlib import Path

from simrack.controller.config.catalogue import CATALOGUE
from simrack.web.pages_settings import shown

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
MARK = "<!-- options -->\n"


def table() -> str:
    """A row for each option."""
    rows = ["| option | default | allowed | takes effect | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, one in CATALOGUE.items():
        unit = f" {one.unit}" if one.unit and one.least is not None else ""
        rows.append(f"| `{name}` | {shown(one, one.default)} | {one.range}{unit} | {one.effect} | {one.meaning} |")
    return "\n".join([*rows, ""])


def test_every_option_stands_in_the_documentation_as_it_is() -> None:
    """Somebody who reads the page at night must find what the rack does."""
    assert PAGE.read_text(encoding="utf-8").split(MARK)[1] == table(), "run python -P tests/config/test_docs.py"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").split(MARK)[0] + MARK + table(), encoding="utf-8")
