"""Statistics and release causes."""

from datetime import datetime
from typing import Any, Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.figures import Counts
from simrack.web.api.common import as_json, part
from simrack.web.app import mask, names, own, problem, room
from simrack.web.needs import needs
from simrack.web.services import release_causes
from simrack.web.services import statistics as service
from simrack.web.services.records import TEXT_MOST

api = part("statistics", "statistics")

Period = Literal["", "hour", "today", "yesterday", "7d", "30d"]


class PeriodQuery(BaseModel):
    """A period and filters, as on the pages."""

    model_config = ConfigDict(extra="forbid")

    period: Period = Field("", description="today, where neither this nor since and until are given")
    since: str = Field("", max_length=40, description="ISO 8601; without zone: the zone of the pages")
    until: str = Field("", max_length=40)
    sender: str = Field("", max_length=TEXT_MOST)
    plan: str = Field("", max_length=TEXT_MOST)
    box: str = Field("", max_length=TEXT_MOST)
    channel: int | None = Field(None, ge=1, le=999)
    iccid: str = Field("", max_length=TEXT_MOST)
    pattern: str = Field("", max_length=TEXT_MOST)
    outcome: Literal["", "answered", "failed", "refused", "cancelled"] = ""
    direction: Literal["", "out", "in"] = ""
    side: Literal["", "calling", "called", "rack"] = ""
    refusal: str = Field("", max_length=TEXT_MOST)
    cause: int | None = Field(None, ge=1, le=127, description="Q.850")
    week: bool = Field(True, description="with the same a week ago")

    def given(self) -> dict[str, str]:
        """As the address of a page would say it."""
        values = {name: str(value) for name, value in self.model_dump().items() if value not in ("", None)}
        return {**values, "week": "1" if self.week else "0"}


class StatisticsQuery(PeriodQuery):
    """Statistics, grouped by one field."""

    by: str = Field("sender", max_length=40, description=", ".join(service.GROUPINGS))
    least_s: int = Field(service.LEAST_S, ge=1, le=service.LEAST_MOST, description="s that an answer of ASR-B lasts at least")


class FiguresOut(BaseModel):
    """Figures of some calls; ratios 0..1, null where nothing was counted."""

    calls: int
    minutes: float
    asr: float | None
    asr_b: float | None
    ner: float | None
    acd_s: float | None
    pdd_ms: float | None
    at_once: float | None = Field(description="calls at the same time, mean (erlang)")

    @classmethod
    def of(cls, counts: Counts, seconds: float) -> "FiguresOut":
        names = ("calls", "minutes", "asr", "asr_b", "ner", "acd_s", "pdd_ms")
        return cls(**{name: getattr(counts, name) for name in names}, at_once=counts.at_once(seconds))


class GroupOut(BaseModel):
    """One group."""

    key: str
    name: str
    now: FiguresOut
    week_ago: FiguresOut | None


class StatisticsOut(BaseModel):
    """Figures of a period by group, most calls first; the total holds all, also where groups were cut."""

    since: datetime
    until: datetime
    by: str
    least_s: int
    groups: list[GroupOut]
    cut: bool
    total: FiguresOut
    week_ago: FiguresOut | None
    peak: int | None = Field(description="most calls at once; null: too many to count")


class CauseOut(BaseModel):
    """One cause of one direction."""

    direction: str
    cause: int
    name: str
    failure_of: str
    calls: int
    share: float
    by_calling: int
    by_called: int
    by_rack: int
    week_ago: int | None


class CausesOut(BaseModel):
    """Release causes of a period."""

    since: datetime
    until: datetime
    causes: list[CauseOut]


def _asked(given: dict[str, str]) -> service.Asked | Response:
    asked = service.read(given, room().times, mask(), room().clock.utc())
    if asked.wrong:
        return problem(400, "Not understood", "; ".join(f"{name}: {text}" for name, text in asked.wrong.items()))
    return asked


@api.get("/statistics", responses={"200": StatisticsOut, "400": None}, summary="Calls, minutes, ASR, NER, ACD, PDD by any field")
@needs("statistics.see")
def statistics(query: StatisticsQuery) -> Response:
    asked = _asked(query.given())
    if isinstance(asked, Response):
        return asked
    reads = room().desk.queries
    view = service.count(reads, asked, own(), names(), room().times, charts=False)
    peak = reads.peaks(asked.wanted, own())
    figures, width = FiguresOut.of, service.seconds_of(asked)
    return as_json(
        StatisticsOut(
            since=asked.since, until=asked.until, by=asked.by, least_s=asked.least_s, cut=view.cut,
            groups=[
                GroupOut(
                    key=line.key, name=line.name, now=figures(line.now, width),
                    week_ago=figures(line.before, width) if line.before is not None else None,
                )
                for line in view.lines
            ],
            total=figures(view.total, asked.seconds), peak=peak.calls if peak is not None else None,
            week_ago=figures(view.before, asked.seconds) if view.before is not None else None,
        )
    )  # fmt: skip


@api.get("/causes", responses={"200": CausesOut, "400": None}, summary="Release causes by direction and side")
@needs("statistics.see")
def causes(query: PeriodQuery) -> Response:
    asked = _asked(query.given())
    if isinstance(asked, Response):
        return asked
    view = release_causes.count(room().desk.queries, asked, own())
    return as_json(
        CausesOut(since=asked.since, until=asked.until, causes=[_cause(line) for way in view for line in way.lines])
    )


def _cause(line: release_causes.CauseLine) -> CauseOut:
    values: dict[str, Any] = dict(zip(("by_calling", "by_called", "by_rack"), line.sides, strict=True))
    return CauseOut(
        direction=line.direction, cause=line.cause, name=line.name, failure_of=line.blame, calls=line.calls,
        share=line.share, week_ago=line.before, **values,
    )  # fmt: skip
