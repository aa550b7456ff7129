"""The tiles above the rack: a figure, what it is compared with, and its last 24 hours (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from simrack.controller.models import Figures
from simrack.web.cells import sims_in_service
from simrack.web.rack import Rack
from simrack.web.text import DASH, clock_text, percent, seconds_text

# The drawing's own units; the browser stretches it to the tile.
SPARK_WIDTH, SPARK_HEIGHT = 240, 30


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile; `spark` holds the points of a line, `parts` the widths of a bar in percent."""

    id: str
    label: str
    value: str
    sub: str
    trend: str = ""  # "up", "down" or "": better or worse than a week ago
    trend_text: str = ""
    spark: str = ""
    parts: tuple[tuple[str, float], ...] = ()
    tone: str = ""
    href: str = ""


def tiles(rack: Rack, figures: Figures | None, *, bounded: bool = False) -> tuple[Tile, ...]:
    """All of them; `bounded`: only what can be said of the part of the rack that somebody sees."""
    if bounded:
        return (Tile("calls", "Calls now", str(len(rack.calls)), "over your plans", href="/calls"), _sims(rack))
    return (_calls(rack, figures), *_ratios(figures), _sims(rack), _alarms(rack))


def _calls(rack: Rack, figures: Figures | None) -> Tile:
    sub = f"{figures.calls_hour} in the last hour" if figures is not None else "records can't be read"
    spark = points(figures.spark_calls) if figures is not None and figures.calls_hour < sum(figures.spark_calls) else ""
    return Tile("calls", "Calls now", str(len(rack.calls)), sub, spark=spark, href="/calls")


def _ratios(figures: Figures | None) -> tuple[Tile, ...]:
    if figures is None:
        gone = "records can't be read"
        return (
            Tile("asr", "ASR, last hour", DASH, gone),
            Tile("acd", "ACD, last hour", DASH, gone),
            Tile("pdd", "Delay to ring", DASH, gone),
        )
    asr_trend = _trend(figures.asr_hour, figures.asr_week_ago, 0.005)
    acd_trend = _trend(figures.acd_s, figures.acd_week_ago_s, 1)
    return (
        Tile(
            "asr", "ASR, last hour", percent(figures.asr_hour), _week_ago(percent(figures.asr_week_ago)),
            asr_trend, _points_of(figures.asr_hour, figures.asr_week_ago), _ratio_points(figures, figures.spark_asr),
        ),
        Tile(
            "acd", "ACD, last hour", clock_text(figures.acd_s), _week_ago(clock_text(figures.acd_week_ago_s)),
            acd_trend, _seconds_of(figures.acd_s, figures.acd_week_ago_s), _ratio_points(figures, figures.spark_acd),
        ),
        Tile(
            "pdd", "Delay to ring", seconds_text(figures.pdd_ms),
            f"p95 {seconds_text(figures.pdd_p95_ms)}" if figures.pdd_p95_ms is not None else "no call in the last hour",
            spark=_ratio_points(figures, figures.spark_pdd),
        ),
    )  # fmt: skip


def _sims(rack: Rack) -> Tile:
    registered, known, resting = sims_in_service(rack)
    out = known - registered
    sub = ", ".join(filter(None, (f"{resting} resting" if resting else "", f"{out} out" if out else "")))
    share = 100 * registered / known if known else 0.0
    return Tile(
        "sims", "SIMs in service", f"{registered} / {known}" if known else DASH,
        sub or ("all registered" if known else "no card reported yet"),
        parts=(("good", share), ("rest", 100 - share)) if known else (("track", 100.0),),
    )  # fmt: skip


def _alarms(rack: Rack) -> Tile:
    alarms = rack.alarms
    if alarms is None:
        return Tile("alarms", "Alarms open", DASH, "controller not heard yet", href="/alarms")
    total = alarms.critical + alarms.major + alarms.minor
    kinds = (("critical", alarms.critical), ("major", alarms.major), ("minor", alarms.minor))
    sub = ", ".join(f"{count} {kind}" for kind, count in kinds if count) or "nothing to do"
    parts = tuple((kind, 100 * count / total) for kind, count in kinds if count) or (("clear", 100.0),)
    tone = "bad" if alarms.critical else "warn" if total else ""
    return Tile("alarms", "Alarms open", str(total), sub, parts=parts, tone=tone, href="/alarms")


def points(values: Sequence[float | None]) -> str:
    """The points of a sparkline, oldest left, scaled between the least and the most; None leaves an hour out.

    Fewer than two points make no line.
    """
    there = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(there) < 2 or not any(value for _, value in there):
        return ""
    low, high = min(value for _, value in there), max(value for _, value in there)
    span = (high - low) or 1
    step = SPARK_WIDTH / (len(values) - 1)
    top = SPARK_HEIGHT - 4
    return " ".join(f"{index * step:.1f},{2 + top - top * (value - low) / span:.1f}" for index, value in there)


def _ratio_points(figures: Figures, values: Sequence[float]) -> str:
    """An hour without a call has no ratio: it is left out instead of drawn as nought."""
    calls = figures.spark_calls
    return points([value if index < len(calls) and calls[index] else None for index, value in enumerate(values)])


def _week_ago(text: str) -> str:
    return "no call a week ago" if text == DASH else f"week ago {text}"


def _trend(now: float | None, then: float | None, least: float) -> str:
    if now is None or then is None or abs(now - then) < least:
        return ""
    return "up" if now > then else "down"


def _points_of(now: float | None, then: float | None) -> str:
    return "" if now is None or then is None else f"{abs(now - then) * 100:.0f} pt"


def _seconds_of(now: float | None, then: float | None) -> str:
    return "" if now is None or then is None else f"{abs(now - then):.0f} s"
