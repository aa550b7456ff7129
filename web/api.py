"""The HTTP API: the pages' own services as JSON, described at /openapi.json (OpenAPI 3.1).

Whoever is signed in may read it, by session cookie or by `Authorization: Bearer TOKEN` (`simrack web --new-token`).
"""

from datetime import datetime
from typing import Literal

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.models import (
    AlarmRow,
    AttemptRow,
    Explanation,
    LadderLine,
    RecordFilter,
    RecordRow,
)
from simrack.web import ladder
from simrack.web.app import problem, room
from simrack.web.pages_records import PER_PAGE
from simrack.wire.messages import AlarmSummary, BoxStatus, ChannelReport, LiveCall

api = APIBlueprint(
    "api", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="control room")],
    abp_security=[{"bearer": []}], abp_responses={"401": None, "503": None},
)  # fmt: skip


class BoxOut(BaseModel):
    """One box with everything it last reported."""

    status: BoxStatus
    site_title: str
    channels: list[ChannelReport]
    missing: list[int] = Field(description="channels that the box should have but has not reported")


class RackOut(BaseModel):
    """The rack at one instant."""

    at: datetime
    broker: bool = Field(description="false: the live link is down and everything here is old")
    boxes: list[BoxOut]
    alarms: AlarmSummary | None


class CallsOut(BaseModel):
    """Calls in progress."""

    at: datetime
    calls: list[LiveCall]


class RecordsQuery(BaseModel):
    """The same filters as the Records page."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", description="part of a number or of a call id")
    sender: str = ""
    plan: str = ""
    box: str = ""
    outcome: Literal["", "answered", "failed", "refused", "cancelled"] = ""
    cause: int | None = Field(None, ge=1, le=127, description="Q.850")
    since: datetime | None = Field(None, description="RFC 3339; without zone: the zone of the pages")
    until: datetime | None = None
    sort: str = Field("-started", description="a field of the record, with - for the largest first")
    page: int = Field(1, ge=1, le=10_000_000)
    per_page: int = Field(50, ge=1, le=PER_PAGE[-1])


class RecordsOut(BaseModel):
    """One page of records."""

    rows: list[RecordRow]
    total: int
    page: int
    per_page: int


class CallPath(BaseModel):
    """A call's id."""

    call: str


class StoryOut(BaseModel):
    """One call's story."""

    record: RecordRow
    explanation: Explanation | None
    ladder: list[LadderLine] = Field(description="with the modules' lines merged in")
    attempts: list[AttemptRow]


class AlarmsQuery(BaseModel):
    """Which alarms."""

    open_only: bool = True


class AlarmsOut(BaseModel):
    """Alarms, worst first."""

    alarms: list[AlarmRow]


@api.get("/rack", responses={"200": RackOut}, summary="Boxes and channels as last reported")
def rack() -> Response:
    desk = room().desk
    snapshot, names = desk.model.snapshot(), desk.names()
    boxes = []
    for box, status in sorted(snapshot.boxes.items()):
        reports = [report for key, report in sorted(snapshot.channels.items()) if key[0] == box]
        told = {report.channel for report in reports}
        boxes.append(
            BoxOut(
                status=status, site_title=names.sites.get(status.site, status.site), channels=reports,
                missing=[number for number in range(1, status.channels + 1) if number not in told],
            )
        )  # fmt: skip
    return _json(RackOut(at=desk.clock.utc(), broker=snapshot.broker, boxes=boxes, alarms=snapshot.alarms))


@api.get("/calls", responses={"200": CallsOut}, summary="Calls in progress, longest first")
def calls() -> Response:
    desk = room().desk
    found = sorted(desk.model.snapshot().calls.values(), key=lambda call: call.started)
    return _json(CallsOut(at=desk.clock.utc(), calls=found))


@api.get("/records", responses={"200": RecordsOut}, summary="Call records, filtered, sorted, paged")
def records(query: RecordsQuery) -> Response:
    zone = room().times.zone
    moments = {
        name: value if value is None or value.tzinfo else value.replace(tzinfo=zone)
        for name, value in (("since", query.since), ("until", query.until))
    }
    page = room().desk.queries.records(RecordFilter(**{**query.model_dump(), **moments}))
    return _json(RecordsOut(rows=list(page.rows), total=page.total, page=page.page, per_page=page.per_page))


@api.get("/records/<call>", responses={"200": StoryOut, "404": None}, summary="One call's story")
def record(path: CallPath) -> Response:
    story = room().desk.queries.story(path.call)
    if story is None:
        return problem(404, "No such record", f"There is no record of call {path.call} (yet).")
    return _json(
        StoryOut(
            record=story.record, explanation=story.explanation, ladder=list(ladder.merged(story)),
            attempts=list(story.attempts),
        )
    )  # fmt: skip


@api.get("/alarms", responses={"200": AlarmsOut}, summary="Alarms, worst first")
def alarms(query: AlarmsQuery) -> Response:
    return _json(AlarmsOut(alarms=list(room().desk.queries.alarms(query.open_only))))


def _json(model: BaseModel) -> Response:
    response = Response(model.model_dump_json(), mimetype="application/json")
    response.headers["Content-Location"] = request.path
    return response
