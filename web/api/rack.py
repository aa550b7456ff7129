"""Boxes, channels and calls in progress."""

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.calls.commands import MOST_TOGETHER
from simrack.web.api.common import as_json, part
from simrack.web.app import me, names, problem, room
from simrack.web.calling import Asked
from simrack.web.calling import found as find_calls
from simrack.web.cells import channels_of
from simrack.web.needs import needs
from simrack.web.overview import Scope, within
from simrack.web.services.live import ask, visible
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import AlarmSummary, BoxStatus, ChannelReport, LiveCall

api = part("rack", "rack")
# Longer than any name that there is.
TEXT_MOST = 100


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


class RackQuery(BaseModel):
    """Which part of the rack."""

    model_config = ConfigDict(extra="forbid")

    site: str | None = Field(None, max_length=TEXT_MOST, description="name of a site")
    box: str = Field("", max_length=TEXT_MOST)
    trouble: bool = Field(False, description="only boxes that somebody must look at")


class CallsQuery(BaseModel):
    """The same filters as the Calls page."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=TEXT_MOST, description="part of a number, sender, plan, box or call id")
    group: Literal["", "sender", "owner", "plan", "prefix", "box", "state"] = ""
    value: str | None = Field(None, max_length=TEXT_MOST, description="only this group")


class CallPath(BaseModel):
    """A call's id."""

    call: str = Field(max_length=TEXT_MOST)


class CallsIn(BaseModel):
    """Calls to end: exactly these."""

    model_config = ConfigDict(extra="forbid")

    calls: list[Annotated[str, Field(min_length=1, max_length=TEXT_MOST)]] = Field(min_length=1, max_length=MOST_TOGETHER)


class EndedOut(BaseModel):
    """What became of them."""

    ended: int
    over: int = Field(description="were over already")


@api.get("/rack", responses={"200": RackOut}, summary="Boxes and channels as last reported")
@needs("rack.see")
def rack(query: RackQuery) -> Response:
    desk, known = room().desk, names()
    now = desk.clock.utc()
    seen = within(visible(), known, now, Scope(query.site, query.box, query.trouble))
    boxes = []
    for box, status in sorted(seen.boxes.items()):
        found = {number: seen.channels.get((box, number)) for number in channels_of(box, seen)}
        boxes.append(
            BoxOut(
                status=status, site_title=known.sites.get(status.site, status.site),
                channels=[report for report in found.values() if report is not None],
                missing=[number for number, report in found.items() if report is None],
            )
        )  # fmt: skip
    alarms = seen.alarms if me().may("alarms.see") else None
    return as_json(RackOut(at=now, broker=seen.broker, boxes=boxes, alarms=alarms))


@api.get("/calls", responses={"200": CallsOut}, summary="Calls in progress, longest first")
@needs("calls.see")
def calls(query: CallsQuery) -> Response:
    asked = Asked(query.text, query.group, query.value if query.group else None)
    views = find_calls(visible(), names(), asked)
    return as_json(CallsOut(at=room().clock.utc(), calls=[view.call for view in views]))


@api.post("/calls/<call>/hang-up", responses={"200": EndedOut, "404": None, "502": None}, summary="End a call")
@needs("calls.hang-up")
def hang_up(path: CallPath) -> Response:
    if path.call not in visible().calls:
        return problem(404, "No such call", "It is over, or was never here.")
    return _end("hang-up", {"call": path.call}, 1)


@api.post("/calls/hang-up", responses={"200": EndedOut, "422": None, "502": None}, summary="End several calls")
@needs("calls.hang-up")
def hang_up_several(body: CallsIn) -> Response:
    seen, wanted = visible().calls, list(dict.fromkeys(body.calls))
    there = [call for call in wanted if call in seen]
    if not there:
        return as_json(EndedOut(ended=0, over=len(wanted)))
    return _end("hang-up-group", {"calls": there}, len(wanted))


def _end(action: str, args: dict[str, Any], wanted: int) -> Response:
    try:
        result = ask(action, args)
    except CommandFailed as failed:
        return problem(502, "It was not done", str(failed))
    ended = int(result.get("ended", 1))
    return as_json(EndedOut(ended=ended, over=wanted - ended))
