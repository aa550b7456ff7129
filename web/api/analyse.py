"""What is wrong now."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, Field

from simrack.web.api.common import as_json, part
from simrack.web.needs import needs
from simrack.web.pages_analyse import facts_now
from simrack.web.services import analyse as service

api = part("analyse", "analyse")


class PlaceOut(BaseModel):
    """One thing that a finding is about, and its page."""

    title: str
    page: str


class FindingOut(BaseModel):
    """One thing that is wrong, and what to do about it."""

    rank: Literal["critical", "major", "minor", "note"]
    area: str
    title: str
    todo: str
    page: str = Field(description="where it is put right; empty where no page can")
    since: datetime | None
    hand: str = Field(description="who has it in hand; empty: nobody")
    where: list[PlaceOut]


class FindingsOut(BaseModel):
    """Everything that is wrong now, worst first."""

    findings: list[FindingOut]


@api.get("/analyse", responses={"200": FindingsOut}, summary="Everything that is wrong now, worst first")
@needs("alarms.see")
def analyse() -> Response:
    found = [
        FindingOut(
            rank=one.rank, area=one.area, title=one.title, todo=one.todo, page=one.href, since=one.since, hand=one.hand,
            where=[PlaceOut(title=words, page=address) for words, address in one.where],
        )
        for one in service.findings(facts_now())
    ]  # fmt: skip
    return as_json(FindingsOut(findings=found))
