"""Writes `docs/figures.md` and its charts from the results of the benchmarks."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from common import RESULTS, TARGETS, Target

DOCS = Path(__file__).parents[1] / "docs"
PAGE, CHARTS = DOCS / "figures.md", DOCS / "images/figures"
# A ratio moves by this much from run to run on a shared machine without anything having changed.
WORSE_BY = 1.15
HEAD = """# Figures

Machines are noisy and shared, so a speed counts as a ratio to a reference that ran in the same minute on the same
machine. `make bench` measures all and writes this page; one alone: `PYTHONPATH=benchmarks:tests .venv/bin/python -P
benchmarks/s1_calls.py`. A figure is never a test. Where a call's CPU goes: [performance](performance.md).

A red mark stands where a figure is missed, or worse than the best on record.

"""
STYLE = """<style>
text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:11px;fill:#59636e}.track{fill:#8c959f;opacity:.18}
.ok{fill:#1a8f7a}.bad{fill:#d1383d}.ref{fill:#8c959f}.line{stroke:#24292f;stroke-width:2}.curve{fill:none;stroke:#1a8f7a;stroke-width:2}
.badtext{fill:#d1383d;font-weight:600}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9aa4af}.ok{fill:#3cc4a8}.bad,.badtext{fill:#ff7b7f}.line{stroke:#e6edf3}.curve{stroke:#3cc4a8}}
</style>"""
WIDTH, LEFT, BAR, ROW = 720, 12, 520, 58


def main() -> None:
    """Render the page."""
    CHARTS.mkdir(parents=True, exist_ok=True)
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    for result in results:
        (CHARTS / f"{result['id']}.svg").write_text(chart(result))
    PAGE.write_text(HEAD + "\n".join(section(result) for result in results))
    print(f"{len(results)} figures in {PAGE.relative_to(DOCS.parent)}")


def shown(result: dict[str, Any]) -> Iterator[tuple[Target, float]]:
    """The targets of a figure that were measured."""
    for target in TARGETS.get(result["id"], ()):
        value = result["figure"].get(target.key)
        if value is not None:
            yield target, float(value)


def worse(result: dict[str, Any]) -> float | None:
    """The best ratio on record, if this one is worse than that by more than noise."""
    earlier = [entry["ratio"] for entry in result.get("history", []) if entry.get("ratio")]
    best = min(earlier, default=None)
    return best if best is not None and result["ratio"] > best * WORSE_BY else None


# --- the page ----------------------------------------------------------------------------------------------


def section(result: dict[str, Any]) -> str:
    """One figure."""
    best = worse(result)
    machine = result.get("machine", {})
    load = machine.get("load", ["?"])[0]
    lines = [
        f"## {result['id'].partition('_')[0].upper()}: {result['id'].partition('_')[2]}",
        "",
        f"{result['what'][0].upper()}{result['what'][1:]}.",
        "",
        "| what | measured | to reach | |",
        "| --- | --- | --- | --- |",
        *(_row(target, value) for target, value in shown(result)),
        "",
        f"![{result['id']}](images/figures/{result['id']}.svg)",
        "",
        f"Reference in the same run: {result['reference_what']}: {_values(result['reference'])}; ratio **{result['ratio']:g}**.",
    ]
    if best is not None:
        lines += ["", f"🔴 **Worse than on record**: the ratio was {best:g}."]
    lines += [
        "",
        f"What limits it: {result['limited_by']}.",
        "",
        f"Measured {result['measured'][:16].replace('T', ' ')} UTC, {result['samples']} samples, commit {result.get('commit', '?')}.",
        f"Machine: {machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, load {load} at the end.",
        f"All values: {_values(result['figure'])}.",
    ]
    earlier = [entry for entry in result.get("history", []) if entry.get("ratio")]
    if earlier:
        listed = ", ".join(f"{entry['ratio']:g} ({entry['measured'][:10]}, {entry.get('commit') or '?'})" for entry in earlier[-5:])
        lines += ["", f"Ratios before: {listed}."]
    return "\n".join(lines) + "\n"


def _row(target: Target, value: float) -> str:
    sign = "at least" if target.at_least else "at most"
    mark = "reached" if target.met(value) else "🔴 missed"
    return f"| {target.what} | {_number(value)} {target.unit} | {sign} {_number(target.limit)} {target.unit} | {mark} |"


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items() if isinstance(value, int | float))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


# --- the chart ---------------------------------------------------------------------------------------------


def chart(result: dict[str, Any]) -> str:
    """Bars against their targets, and how single values are spread."""
    rows = [part for place, row in enumerate(shown(result)) for part in _bar(place * ROW + 8, *row, result["reference"])]
    height = ROW * len(list(shown(result))) + 8
    values = result.get("spread") or []
    if values:
        rows += _curve(height + 22, values, result)
        height += 172
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    title = f"<title>{escape(result['what'])}</title>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{title}{STYLE}{"".join(rows)}</svg>\n'


def _bar(top: int, target: Target, value: float, reference: dict[str, Any]) -> Iterator[str]:
    other = reference.get(target.key)
    most = max(value, target.limit, other or 0, 1e-9) * 1.12
    kind = "ok" if target.met(value) else "bad"
    yield f'<text x="{LEFT}" y="{top + 12}">{escape(target.what)}</text>'
    yield f'<rect class="track" x="{LEFT}" y="{top + 20}" width="{BAR}" height="14" rx="3"/>'
    yield f'<rect class="{kind}" x="{LEFT}" y="{top + 20}" width="{max(2.0, BAR * value / most):.1f}" height="14" rx="3"/>'
    if other is not None:
        yield f'<rect class="ref" x="{LEFT}" y="{top + 36}" width="{max(2.0, BAR * other / most):.1f}" height="5" rx="2"/>'
    at = LEFT + BAR * target.limit / most
    yield f'<line class="line" x1="{at:.1f}" y1="{top + 16}" x2="{at:.1f}" y2="{top + 38}"/>'
    words, style = f"{_number(value)} {target.unit}".strip(), "" if kind == "ok" else ' class="badtext"'
    yield f'<text{style} x="{LEFT + BAR + 12}" y="{top + 26}">{escape(words)}</text>'
    sign = "at least" if target.at_least else "at most"
    against = "" if other is None else f"; reference {_number(other)}"
    yield f'<text class="small" x="{LEFT + BAR + 12}" y="{top + 40}">{sign} {_number(target.limit)}{against}</text>'


def _curve(top: int, values: Sequence[float], result: dict[str, Any]) -> Iterator[str]:
    """Value by percentile: the long tail of a delay is what callers notice."""
    most = max(values[-1], 1e-3)
    shape = [(LEFT + 30 + (BAR - 30) * place / (len(values) - 1), top + 110 - 100 * value / most) for place, value in enumerate(values)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape)
    yield f'<text x="{LEFT}" y="{top}">Single values by percentile, {escape(result["unit"])}</text>'
    yield f'<rect class="track" x="{LEFT + 30}" y="{top + 10}" width="{BAR - 30}" height="100"/>'
    yield f'<polyline class="curve" points="{points}"/>'
    for share in (0, 25, 50, 75, 100):
        x = LEFT + 30 + (BAR - 30) * share / 100
        yield f'<text class="small" x="{x:.0f}" y="{top + 126}" text-anchor="middle">{share} %</text>'
    yield f'<text class="small" x="{LEFT + BAR + 12}" y="{top + 18}">{_number(round(most, 1))}</text>'
    yield f'<text class="small" x="{LEFT + BAR + 12}" y="{top + 112}">0</text>'


if __name__ == "__main__":
    main()
