"""Call records and their stories."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.models import AttemptRow, Explanation, LadderLine, RecordFilter, RecordRow
from simrack.web import ladder
from simrack.web.api.common import as_json, part
from simrack.web.app import problem, room
from simrack.web.needs import needs
from simrack.web.pages_records import PER_PAGE

api = part("records", "records")


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


@api.get("/records", responses={"200": RecordsOut}, summary="Call records, filtered, sorted, paged")
@needs("records.see")
def records(query: RecordsQuery) -> Response:
    zone = room().times.zone
    moments = {
        name: value if value is None or value.tzinfo else value.replace(tzinfo=zone)
        for name, value in (("since", query.since), ("until", query.until))
    }
    page = room().desk.queries.records(RecordFilter(**{**query.model_dump(), **moments}))
    return as_json(RecordsOut(rows=list(page.rows), total=page.total, page=page.page, per_page=page.per_page))


@api.get("/records/<call>", responses={"200": StoryOut, "404": None}, summary="One call's story")
@needs("records.see")
def record(path: CallPath) -> Response:
    story = room().desk.queries.story(path.call)
    if story is None:
        return problem(404, "No such record", f"There is no record of call {path.call} (yet).")
    return as_json(
        StoryOut(
            record=story.record, explanation=story.explanation, ladder=list(ladder.merged(story)),
            attempts=list(story.attempts),
        )
    )  # fmt: skip
