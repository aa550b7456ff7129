"""A call's SIP messages."""

from flask import Response
from pydantic import BaseModel, Field

from simrack.web.api.common import as_json, part
from simrack.web.api.records import CallPath
from simrack.web.app import mask, own, problem, room
from simrack.web.needs import needs
from simrack.web.pages_trace import PCAP, Unreadable, capture, give, trace_of
from simrack.web.services.tracing import Line, readable

api = part("trace", "records")


class MessagesOut(BaseModel):
    """The messages of one call, in the order of time."""

    call: str
    messages: list[Line] = Field(description="ms since the first one; numbers masked where the account reads them so")
    left_out: int = Field(description="more than is kept of one call")


class SentOut(BaseModel):
    """What went to the collector."""

    said: str


@api.get("/records/<call>/messages", responses={"200": MessagesOut, "404": None}, summary="A call's SIP messages")
@needs("records.trace")
def messages(path: CallPath) -> Response:
    story = room().desk.queries.story(path.call)
    if story is None or not own().everything:
        return problem(404, "No such record", f"There is no record of call {path.call} (yet).")
    try:
        shown = readable(trace_of(path.call), story, mask())
    except Unreadable as why:
        return problem(404, "No messages", str(why))
    if shown is None:
        return problem(403, "Not for this account", "Messages name what is hidden from this account.")
    return as_json(MessagesOut(call=path.call, messages=list(shown.lines), left_out=shown.left_out))


@api.get("/records/<call>/messages.pcap", responses={"200": {"description": "OK", "content": {PCAP: {"schema": {"type": "string", "format": "binary"}}}}, "404": None}, summary="A call's SIP messages as a capture file")
@needs("records.trace")
def messages_pcap(path: CallPath) -> Response:
    return Response(capture(path.call), mimetype=PCAP)


@api.post("/records/<call>/messages/send", responses={"200": SentOut, "404": None, "409": None}, summary="Send a call's SIP messages to the HEP3 collector")
@needs("records.give")
def send_messages(path: CallPath) -> Response:
    if room().desk.queries.story(path.call) is None:
        return problem(404, "No such record", f"There is no record of call {path.call} (yet).")
    said, status = give(path.call)
    if status != 200:
        return problem(status, "Not sent", said)
    return as_json(SentOut(said=said))
