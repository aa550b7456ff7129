"""Boxes, channels and calls in progress."""

from datetime import datetime

from flask import Response
from pydantic import BaseModel, Field

from simrack.web.api.common import as_json, part
from simrack.web.app import room
from simrack.web.needs import needs
from simrack.wire.messages import AlarmSummary, BoxStatus, ChannelReport, LiveCall

api = part("rack", "rack")


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


@api.get("/rack", responses={"200": RackOut}, summary="Boxes and channels as last reported")
@needs("rack.see")
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
    return as_json(RackOut(at=desk.clock.utc(), broker=snapshot.broker, boxes=boxes, alarms=snapshot.alarms))


@api.get("/calls", responses={"200": CallsOut}, summary="Calls in progress, longest first")
@needs("calls.see")
def calls() -> Response:
    desk = room().desk
    found = sorted(desk.model.snapshot().calls.values(), key=lambda call: call.started)
    return as_json(CallsOut(at=desk.clock.utc(), calls=found))
