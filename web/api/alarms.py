"""Alarms: what is open, the history, the catalogue, acknowledging, and who is told."""

from datetime import datetime
from typing import Any, Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.models import AlarmFilter, AlarmRow
from simrack.web.api.common import Empty, as_json, part
from simrack.web.app import problem, room
from simrack.web.needs import needs
from simrack.web.services import alarms as service
from simrack.wire.errors import CommandFailed

api = part("alarms", "alarms")


class AlarmsQuery(BaseModel):
    """Which alarms. With any filter, or `open_only` false: the history, newest first, in pages."""

    model_config = ConfigDict(extra="forbid")

    open_only: bool = Field(True, description="those that are open, worst first; filters below are not looked at then")
    state: service.State = Field("", description="acknowledged: open, and in somebody's hand")
    severity: Literal["", "critical", "major", "minor"] = ""
    kind: str = Field("", max_length=100)
    text: str = Field("", max_length=200, description="part of the title, the cause, the note or the name")
    since: datetime | None = Field(None, description="open at or after; RFC 3339")
    until: datetime | None = Field(None, description="opened before; RFC 3339")
    after: int = Field(0, ge=0, lt=2**63, description="`next` of the answer before")
    limit: int = Field(50, ge=1, le=200)


class AlarmsOut(BaseModel):
    """Alarms; `next` is 0 when no more follow."""

    alarms: list[AlarmRow]
    next: int = 0


class AlarmPath(BaseModel):
    """An alarm's number."""

    alarm: int = Field(ge=1, lt=2**63)


class AlarmOut(BaseModel):
    """An alarm as one document."""

    id: int
    cause: str
    severity: str
    title: str
    advice: str
    opened: datetime
    closed: datetime | None
    count: int
    last: datetime | None
    acknowledged: datetime | None
    acknowledged_by: str
    note: str


class NoteIn(BaseModel):
    """What whoever takes it in hand wants others to know."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field("", max_length=service.MOST_NOTE)


class KindOut(BaseModel):
    """One kind of alarm; `threshold` names the global option that sets when it opens."""

    kind: str
    severity: str
    title: str
    advice: str
    threshold: str
    open: int


class KindsOut(BaseModel):
    """The catalogue."""

    kinds: list[KindOut]


class TargetOut(BaseModel):
    """One place where notices go, and how delivery goes since the controller started."""

    name: str
    kind: str
    addresses: list[str]
    least: str
    after_min: int
    sent: int
    failed: int
    waiting: int
    last_sent: str
    last_error: str
    last_error_at: str
    signed: bool


class TargetsOut(BaseModel):
    """Who is told of alarms."""

    targets: list[TargetOut]
    held: int = Field(description="notices that quiet times and delays hold back")


class TargetPath(BaseModel):
    """A target's name: webhook, mail or escalation."""

    target: str = Field(max_length=60)


@api.get("/alarms", responses={"200": AlarmsOut}, summary="Alarms: open ones, or the history")
@needs("alarms.see")
def alarms(query: AlarmsQuery) -> Response:
    queries = room().desk.queries
    if query.open_only:
        return as_json(AlarmsOut(alarms=list(queries.alarms(True))))
    zone = room().times.zone
    moments = {
        name: value if value is None or value.tzinfo else value.replace(tzinfo=zone)
        for name, value in (("since", query.since), ("until", query.until))
    }
    page = queries.alarm_page(
        AlarmFilter(
            state=query.state, severity=query.severity, kind=query.kind, text=query.text, after=query.after,
            per_page=query.limit, **moments,
        )
    )  # fmt: skip
    return as_json(AlarmsOut(alarms=list(page.rows), next=page.next))


@api.get("/alarms/kinds", responses={"200": KindsOut}, summary="Every kind of alarm with what to do")
@needs("alarms.see")
def kinds() -> Response:
    found = [
        KindOut(
            kind=view.kind.kind, severity=view.kind.severity, title=view.kind.title, advice=view.kind.advice,
            threshold=view.option.name if view.option else "", open=view.open,
        )
        for view in service.kinds()
    ]  # fmt: skip
    return as_json(KindsOut(kinds=found))


@api.get("/alarms/notices", responses={"200": TargetsOut, "502": None}, summary="Who is told, and how delivery goes")
@needs("alarms.see")
def notices() -> Response:
    try:
        return as_json(TargetsOut.model_validate(service.notices()))
    except CommandFailed as failed:
        return _refused(failed)


@api.post("/alarms/notices/<target>/test", responses={"200": Empty, "502": None}, summary="Send a test notice now")
@needs("alarms.rules")
def test(path: TargetPath) -> Response:
    return _act(lambda: service.test_notice(path.target))


@api.get("/alarms/<int:alarm>", responses={"200": AlarmOut, "404": None}, summary="One alarm")
@needs("alarms.see")
def alarm(path: AlarmPath) -> Response:
    found = room().desk.queries.alarm(path.alarm)
    if found is None:
        return problem(404, "No such alarm", f"There is no alarm {path.alarm}.")
    return as_json(AlarmOut.model_validate(found, from_attributes=True))


@api.post(
    "/alarms/<int:alarm>/acknowledge", responses={"200": Empty, "404": None, "502": None}, summary="Take an alarm in hand"
)
@needs("alarms.act")
def acknowledge(path: AlarmPath, body: NoteIn) -> Response:
    if service.open_alarm(path.alarm) is None:
        return problem(404, "No such alarm", f"Alarm {path.alarm} is not open (any more).")
    return _act(lambda: service.acknowledge(path.alarm, body.note))


@api.post("/alarms/<int:alarm>/release", responses={"200": Empty, "404": None, "502": None}, summary="Take it out of hand")
@needs("alarms.act")
def release(path: AlarmPath) -> Response:
    if service.open_alarm(path.alarm) is None:
        return problem(404, "No such alarm", f"Alarm {path.alarm} is not open (any more).")
    return _act(lambda: service.release(path.alarm))


def _act(act: Any) -> Response:
    try:
        act()
    except CommandFailed as failed:
        return _refused(failed)
    return as_json(Empty())


def _refused(failed: CommandFailed) -> Response:
    return problem(502, "The controller did not do it", str(failed))
