"""Alarms."""

from flask import Response
from pydantic import BaseModel

from simrack.controller.models import AlarmRow
from simrack.web.api.common import as_json, part
from simrack.web.app import room
from simrack.web.needs import needs

api = part("alarms", "alarms")


class AlarmsQuery(BaseModel):
    """Which alarms."""

    open_only: bool = True


class AlarmsOut(BaseModel):
    """Alarms, worst first."""

    alarms: list[AlarmRow]


@api.get("/alarms", responses={"200": AlarmsOut}, summary="Alarms, worst first")
@needs("alarms.see")
def alarms(query: AlarmsQuery) -> Response:
    return as_json(AlarmsOut(alarms=list(room().desk.queries.alarms(query.open_only))))
