"""Boxes: how they are, and orders to them and their channels."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.web import cells, health
from simrack.web.api.common import ListQuery, as_json, part, wrong_fields
from simrack.web.app import problem, room
from simrack.web.needs import needs
from simrack.web.services import fleet
from simrack.web.services.live import ask, visible
from simrack.wire.drain import LEAST_LIMIT_S, MOST_LIMIT_S, Mode
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import BoxStatus

api = part("gateways", "gateways")


class BoxPath(BaseModel):
    """A box by its name."""

    box: str = Field(max_length=100)


class HealthOut(BaseModel):
    """How one box is."""

    status: BoxStatus
    site_title: str
    state: Literal["healthy", "look", "unreachable", "restarting", "draining", "planned"]
    calls: int
    channels: int
    ready: int
    troubles: int = Field(description="channels missing or at fault")
    plan: str = Field(description="what was ordered, in words")
    worries: list[str] = Field(description="what to look at")
    modules: dict[str, int] = Field(description="model and firmware, and how many there are")


class BoxesOut(BaseModel):
    """One page of boxes by name."""

    at: datetime
    boxes: list[HealthOut]
    next: str = Field(description="give it as `after`; empty: that was the last")


class OrderIn(BaseModel):
    """What to do with a box, or with one of its channels."""

    model_config = ConfigDict(extra="forbid")

    do: Literal["restart-module", "restart-box", "drain", "end-drain", "disable-channel", "enable-channel"]
    channel: int | None = Field(None, ge=1, le=999)
    mode: Mode = "when-calls-end"
    limit_s: int | None = Field(None, ge=LEAST_LIMIT_S, le=MOST_LIMIT_S, description="seconds; then it happens whatever is on")
    cut_off: bool = Field(False, description="must be true where mode `now` would cut off calls")


class OrderOut(BaseModel):
    """What the box answered."""

    calls: int = Field(description="calls that it waits for, or that were cut off")
    by: datetime | None = Field(description="then it happens at the latest")
    said: str


@api.get("/boxes", responses={"200": BoxesOut}, summary="How the boxes are")
@needs("gateways.see")
def boxes(query: ListQuery) -> Response:
    desk, rack = room().desk, visible()
    names, now = desk.names(), desk.clock.utc()
    left = [box for box in sorted(rack.boxes) if box > query.after]
    chosen = left[: query.limit]
    shown = [_out(health.health(box, rack, names, now)) for box in chosen]
    return as_json(BoxesOut(at=now, boxes=shown, next=chosen[-1] if len(left) > len(chosen) else ""))


@api.get("/boxes/<box>", responses={"200": HealthOut, "404": None}, summary="How one box is")
@needs("gateways.see")
def box(path: BoxPath) -> Response:
    desk, rack = room().desk, visible()
    if path.box not in rack.boxes:
        return _nowhere()
    return as_json(_out(health.health(path.box, rack, desk.names(), desk.clock.utc())))


@api.post(
    "/boxes/<box>/orders", responses={"200": OrderOut, "404": None, "422": None, "502": None},
    summary="Restart, drain, disable or enable a box or a channel",
)  # fmt: skip
@needs("gateways.act")
def order(path: BoxPath, body: OrderIn) -> Response:
    rack = visible()
    target = fleet.Target(path.box, body.channel)
    if path.box not in rack.boxes or (body.channel is not None and body.channel not in cells.channels_of(path.box, rack)):
        return _nowhere()
    given = {"mode": body.mode, "limit_s": str(body.limit_s or ""), "typed": target.name if body.cut_off else ""}
    try:
        asked = fleet.read(body.do, target, given, fleet.calls_on(target, rack))
        result = ask(asked.do, asked.args)
    except fleet.Unfit as mistake:
        return wrong_fields({"cut_off" if mistake.field == "typed" else mistake.field: _words(mistake)})
    except CommandFailed as failed:
        return problem(502, "It was not done", str(failed))
    by = result.get("by")
    told = datetime.fromisoformat(by) if isinstance(by, str) else None
    return as_json(OrderOut(calls=int(result.get("calls", 0)), by=told, said=fleet.said(asked.do, target, result)))


def _words(mistake: fleet.Unfit) -> str:
    return "calls would be cut off: send true to confirm" if mistake.field == "typed" else str(mistake)


def _nowhere() -> Response:
    return problem(404, "No such box", "No box of this name has reported, or it has no such channel.")


def _out(h: health.Health) -> HealthOut:
    return HealthOut(
        status=h.status, site_title=h.site, state=h.state, calls=h.calls, channels=h.channels, ready=h.ready,
        troubles=h.troubles, plan=h.plan, worries=list(h.worries), modules=dict(h.models),
    )  # fmt: skip
