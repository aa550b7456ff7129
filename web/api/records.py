"""Call records and their stories."""

from datetime import UTC, datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.models import AttemptRow, Explanation, LadderLine, RecordFilter, RecordRow
from simrack.controller.store.pages import BadPlace
from simrack.web import ladder
from simrack.web.api.common import as_json, part
from simrack.web.app import mask, own, problem, room
from simrack.web.needs import needs
from simrack.web.services import records as service
from simrack.web.services.records import PER_PAGE, TEXT_MOST

api = part("records", "records")


class RecordsQuery(BaseModel):
    """The same filters as the Records page."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=TEXT_MOST, description="a whole number, part of one, or part of a call id")
    sender: str = Field("", max_length=TEXT_MOST)
    plan: str = Field("", max_length=TEXT_MOST)
    box: str = Field("", max_length=TEXT_MOST)
    channel: int | None = Field(None, ge=1, le=999)
    iccid: str = Field("", max_length=TEXT_MOST, description="a SIM")
    pattern: str = Field("", max_length=TEXT_MOST)
    outcome: Literal["", "answered", "failed", "refused", "cancelled"] = ""
    direction: Literal["", "out", "in"] = ""
    side: Literal["", "calling", "called", "rack"] = Field("", description="who ended it")
    refusal: str = Field("", max_length=TEXT_MOST, description="reason code of a refusal")
    cause: int | None = Field(None, ge=1, le=127, description="Q.850")
    since: datetime | None = Field(None, description="RFC 3339; without zone: the zone of the pages")
    until: datetime | None = None
    sort: str = Field("-started", max_length=40, description="a field of the record, with - for the largest first")
    after: str = Field("", max_length=1000, description="what the last answer called `next` or `previous`")
    per_page: int = Field(50, ge=1, le=PER_PAGE[-1])


class RecordsOut(BaseModel):
    """One page of records."""

    rows: list[RecordRow]
    total: int = Field(description="counted up to 10,000")
    more: bool = Field(description="there are, or may be, more than `total`")
    per_page: int
    next: str = Field(description="give it as `after` for the page behind this one; empty: there is none")
    previous: str
    looked_back_to: datetime | None = Field(
        description="set when so many records were looked at: older ones come with `next`"
    )


class CallPath(BaseModel):
    """A call's id."""

    call: str


class StoryOut(BaseModel):
    """One call's story."""

    record: RecordRow
    explanation: Explanation | None
    ladder: list[LadderLine] = Field(description="with the modules' lines merged in")
    attempts: list[AttemptRow]


@api.get("/records", responses={"200": RecordsOut, "400": None}, summary="Call records, filtered, sorted, paged by key")
@needs("records.see")
def records(query: RecordsQuery) -> Response:
    masked, wrong = mask(), dict[str, str]()
    wanted = RecordFilter(**{**query.model_dump(), "since": _utc(query.since), "until": _utc(query.until)})
    wanted = service.permitted(wanted, masked, wrong)
    if wrong:
        return problem(403, "Not for this account", "; ".join(f"{name}: {text}" for name, text in wrong.items()))
    try:
        page = room().desk.queries.records(wanted, own())
    except BadPlace as error:
        return problem(400, "No such page", f"after: {error}")
    return as_json(
        RecordsOut(
            rows=list(map(masked.record, page.rows)), total=page.total, more=page.more, per_page=page.per_page,
            next=page.next, previous=page.previous, looked_back_to=page.looked_back_to,
        )
    )  # fmt: skip


def _utc(moment: datetime | None) -> datetime | None:
    """In UTC; a moment that no zone can tell is the first or last there is."""
    if moment is None:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=room().times.zone)).astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


@api.get("/records/<call>", responses={"200": StoryOut, "404": None}, summary="One call's story")
@needs("records.see")
def record(path: CallPath) -> Response:
    found = room().desk.queries.story(path.call, own())
    if found is None:
        return problem(404, "No such record", f"There is no record of call {path.call} (yet).")
    story = mask().story(found, own(), room().desk.names())
    return as_json(
        StoryOut(
            record=story.record, explanation=story.explanation, ladder=list(ladder.merged(story)),
            attempts=list(story.attempts),
        )
    )  # fmt: skip
