"""Test calls without a browser: one is placed with a tone, and says how it goes and what it heard."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.routing.decision import Over
from simrack.web.api.common import as_json, part, wrong_field
from simrack.web.app import me, problem
from simrack.web.errors import BadForm
from simrack.web.needs import needs
from simrack.web.phone import NotPlaced, PhoneCall
from simrack.web.services import over, test_calls
from simrack.web.services.test_calls import Wish

api = part("test_calls", "test calls")

#: Without a browser nobody listens: enough to hear a tone both ways.
USUAL_S = 10


class OverIn(BaseModel):
    """What a test call is to go over: a box, a channel of a box, a SIM; what is given must all fit."""

    model_config = ConfigDict(extra="forbid")

    box: str = Field("", max_length=100)
    channel: int | None = Field(None, ge=0, le=99999, description="a channel of `box`")
    iccid: str = Field("", max_length=30)


class TestCallIn(BaseModel):
    """A test call to place."""

    __test__ = False  # its name is a telephonist's word, not a test's
    model_config = ConfigDict(extra="forbid")

    number: str = Field(min_length=1, max_length=100)
    sender: str = Field(min_length=1, max_length=100, description="a sender whose use is test")
    voice: Literal["tone", "silence"] = "tone"
    over: OverIn | None = Field(None, description="what the call is to go over; without it, as routing chooses")
    seconds: int = Field(USUAL_S, ge=1, le=3600, description="of talk; the installation's limit holds as well")


class TestCallPath(BaseModel):
    """A test call by its id."""

    __test__ = False

    id: str = Field(max_length=100)


class TestCallOut(BaseModel):
    """How a test call goes. `times`: ms since the INVITE, by state."""

    __test__ = False

    id: str
    number: str
    sender: str
    begun: datetime
    state: Literal["connecting", "calling", "trying", "ringing", "early", "answered", "over"]
    times: dict[str, int]
    sip_status: int
    cause: int = Field(description="Q.850; 0 before the end")
    why: str = Field(description="why this side ended it, or could not place it")
    talk_ms: int
    heard_hz: float = Field(description="the strongest tone at the end; 0 before")
    heard_dbfs: float | None
    call: str = Field(description="its record, once that is written")


class TestCallsOut(BaseModel):
    """Your test calls since the control room was started, the newest first."""

    __test__ = False

    calls: list[TestCallOut]


@api.get("/test-calls", responses={"200": TestCallsOut}, summary="Your test calls")
@needs("calls.test")
def listed() -> Response:
    return as_json(TestCallsOut(calls=[_out(call) for call in test_calls.phone().of(me().user_id)]))


@api.post("/test-calls", responses={"200": TestCallOut, "409": None, "422": None}, summary="Place a test call with a tone")
@needs("calls.test")
def place(body: TestCallIn) -> Response:
    try:
        call, _ = test_calls.place(Wish(body.number, body.sender, body.voice, body.seconds, over=_over(body.over)))
    except BadForm as wrong:
        return wrong_field(wrong)
    except NotPlaced as why:
        return problem(409, "Not placed", str(why))
    return as_json(_out(call))


@api.get("/test-calls/<id>", responses={"200": TestCallOut, "404": None}, summary="How a test call goes")
@needs("calls.test")
def state(path: TestCallPath) -> Response:
    call = test_calls.phone().find(path.id, me().user_id)
    return as_json(_out(call)) if call is not None else _nowhere()


@api.post("/test-calls/<id>/hang-up", responses={"200": TestCallOut, "404": None}, summary="End a test call")
@needs("calls.test")
def hang_up(path: TestCallPath) -> Response:
    call = test_calls.phone().find(path.id, me().user_id)
    if call is None:
        return _nowhere()
    test_calls.phone().hang_up(call)
    return as_json(_out(call))


def _over(given: OverIn | None) -> Over | None:
    if given is None:
        return None
    return over.read(given.box, "" if given.channel is None else str(given.channel), given.iccid)


def _nowhere() -> Response:
    return problem(404, "No such test call", "You have placed none with this id since the control room was started.")


def _out(call: PhoneCall) -> TestCallOut:
    return TestCallOut(
        id=call.id, number=call.order.number, sender=call.order.sender, begun=call.begun, state=call.state, times=dict(call.times),
        sip_status=call.status, cause=call.cause, why=call.why, talk_ms=call.talk_ms, heard_hz=call.heard_hz,
        heard_dbfs=call.heard_dbfs, call=test_calls.record_of(call) if call.is_over else "",
    )  # fmt: skip
