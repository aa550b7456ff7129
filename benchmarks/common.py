"""What the benchmarks share: one JSON file a figure, with the reference of the same run beside it."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One measured figure; `ratio` is figure / reference, both from the same minute on the same machine."""

    id: str
    what: str
    unit: str
    figure: dict[str, float]
    reference: dict[str, float]
    reference_what: str
    ratio: float
    limited_by: str
    samples: int


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum, rounded to 0.01."""
    return {
        "p50": round(statistics.median(values), 2),
        "p99": round(percentile(values, 0.99), 2),
        "max": round(max(values), 2),
    }


def keep(figure: Figure) -> None:
    """Write the figure for `docs/figures.md`, and print it."""
    RESULTS.mkdir(exist_ok=True)
    document = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(figure)}
    (RESULTS / f"{figure.id}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document))
