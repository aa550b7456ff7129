"""Writes `docs/figures.md` from the results of the benchmarks."""

import json
from pathlib import Path
from typing import Any

from common import RESULTS

PAGE = Path(__file__).parents[1] / "docs/figures.md"
HEAD = """# Figures

Machines are noisy and shared, so a speed counts as a ratio to a reference that ran in the same minute on the same machine.
`make bench` measures all and writes this page. A figure is never a test.

| figure | measured | p50 | p99 | max | reference p50 | ratio | what limits it |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    unit, figure, reference = result["unit"], result["figure"], result["reference"]
    cells = [
        f"**{result['id']}**: {result['what']} ({result['samples']} samples)",
        result["measured"][:16].replace("T", " "),
        *(f"{figure[name]:g} {unit}" for name in ("p50", "p99", "max")),
        f"{reference['p50']:g} {unit} ({result['reference_what']})",
        f"{result['ratio']:g}",
        result["limited_by"],
    ]
    return "| " + " | ".join(cells) + " |\n"


def main() -> None:
    """Render the page."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text(HEAD + "".join(map(row, results)))


if __name__ == "__main__":
    main()
