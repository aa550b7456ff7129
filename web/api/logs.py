"""Log lines of all processes, and another level for a while."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.web.api.common import as_json, part
from simrack.web.app import problem, room
from simrack.web.logs import MOST_SHOWN, LogFilter
from simrack.web.needs import needs
from simrack.web.services import logs as service
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import PROCESS

api = part("logs", "logs")

Level = Literal["debug", "info", "warning", "error"]


class LogsQuery(BaseModel):
    """The same filters as the Logs page."""

    model_config = ConfigDict(extra="forbid")

    level: Literal["", "debug", "info", "warning", "error"] = Field("", description="this and worse")
    process: str = Field("", max_length=60)
    box: str = Field("", max_length=80)
    channel: str = Field("", max_length=80)
    call: str = Field("", max_length=80)
    sender: str = Field("", max_length=80)
    text: str = Field("", max_length=200, description="part of any field")
    since: datetime | None = None
    until: datetime | None = None
    before: str = Field("", max_length=40, description="`next` of the answer before")
    limit: int = Field(100, ge=1, le=MOST_SHOWN)


class LineOut(BaseModel):
    """One line."""

    at: datetime
    process: str
    level: str
    event: str
    box: str
    channel: str
    call: str
    sender: str
    sim: str
    fields: dict[str, str]


class ProcessOut(BaseModel):
    """A process that was heard since the control room started."""

    name: str
    level: str
    level_until: datetime | None
    heard: datetime
    silent: bool


class LogsOut(BaseModel):
    """Lines, newest first; `next` is empty when no older ones are kept."""

    lines: list[LineOut]
    next: str
    processes: list[ProcessOut]


class ProcessPath(BaseModel):
    """A process as `processes` names it."""

    process: str = Field(pattern=PROCESS)


class LevelIn(BaseModel):
    """Another level; the usual one comes back by itself."""

    model_config = ConfigDict(extra="forbid")

    level: Level
    minutes: int = Field(60, ge=1, le=60)


class LevelOut(BaseModel):
    """What is in force until when."""

    process: str
    level: str
    until: datetime


@api.get("/logs", responses={"200": LogsOut, "400": None}, summary="Log lines, newest first")
@needs("logs.see")
def logs(query: LogsQuery) -> Response:
    if not service.may_read():
        return problem(403, "Forbidden", service.WHY_NOT)
    wrong: dict[str, str] = {}
    before = service.read_place(query.before, wrong)
    if wrong:
        return problem(400, "Bad page", wrong["before"])
    zone = room().times.zone
    given = query.model_dump(exclude={"limit", "before", "since", "until"})
    since, until = (
        value if value is None or value.tzinfo else value.replace(tzinfo=zone) for value in (query.since, query.until)
    )
    page = service.find(LogFilter(**given, since=since, until=until, before=before), query.limit)
    lines = [
        LineOut(process=kept.process, **kept.line.model_dump(include=set(LineOut.model_fields) - {"process"}))
        for kept in page.lines
    ]
    views = [
        ProcessOut(name=view.name, level=view.level, level_until=view.level_until, heard=view.heard, silent=service.silent(view))
        for view in service.processes()
    ]
    return as_json(LogsOut(lines=lines, next=service.place_text(page.next), processes=views))


@api.put("/logs/<process>/level", responses={"200": LevelOut, "404": None, "502": None}, summary="Another level for a while")
@needs("logs.level")
def level(path: ProcessPath, body: LevelIn) -> Response:
    if path.process not in {view.name for view in service.processes()}:
        return problem(404, "No such process", f"No process {path.process} was heard.")
    try:
        return as_json(LevelOut.model_validate(service.set_level(path.process, body.level, body.minutes)))
    except CommandFailed as failed:
        return problem(502, "The controller did not do it", str(failed))
