"""A call's SIP messages taken away: as a capture file, or to the NOC's HEP3 collector."""

from typing import Any

from flask import Blueprint, Response, abort, make_response, redirect, render_template
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.tracing.messages import Trace
from simrack.controller.tracing.pcap import pcap
from simrack.web.app import mask, me, own, room, wants_part
from simrack.web.needs import needs
from simrack.web.services.tracing import Messages, Told, readable
from simrack.wire import topics
from simrack.wire.errors import CommandFailed

pages = Blueprint("trace", __name__)

PCAP = "application/vnd.tcpdump.pcap"
SEND = "send-trace"


class Unreadable(Exception):
    """No messages can be shown of a call; the text says why, for people."""


def trace_of(call: str) -> Trace:
    """The stored messages. Raises `Unreadable`."""
    try:
        found = room().desk.queries.trace(call)
    except ValueError as error:
        raise Unreadable(f"They can't be read: {error}.") from error
    if found is None or not found.messages:
        raise Unreadable(
            "No messages are kept of this call. They are stored about 3 s after its end, for the calls that the "
            "option “SIP messages kept” in Settings names, and deleted when their time is over."
        )
    return found


@pages.app_context_processor
def _for_templates() -> dict[str, Any]:
    return {"messages_of": messages_of}


def messages_of(story: Told) -> Messages | str | None:
    """What a story shows of its messages: them, why there are none, or None where they are not for this session."""
    seen = mask()
    if not seen.trace or seen.hidden:
        return None
    try:
        return readable(trace_of(story.record.call), story, seen)
    except Unreadable as why:
        return str(why)


def capture(call: str) -> bytes:
    """The capture file of a call that this session may take away. 404: there is none for it; 403: only masked."""
    story = room().desk.queries.story(call)
    if story is None or not own().everything:
        abort(404)
    seen = mask()
    if not seen.whole or seen.hidden:
        abort(403, description="A capture can't be masked, and your account reads numbers masked.")
    try:
        return pcap(trace_of(call).messages)
    except Unreadable as why:
        abort(404, description=str(why))


@pages.get("/records/<call>/messages.pcap")
@needs("records.trace")
def download(call: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="call-{call}.pcap"'}
    return Response(capture(call), mimetype=PCAP, headers=headers)


@pages.post("/records/<call>/messages/send")
@needs("records.give")
def send(call: str) -> AnyResponse:
    if room().desk.queries.story(call) is None:
        abort(404)
    said, status = give(call)
    if wants_part("messages-said"):
        return make_response(render_template("messages_said.html", said=said, wrong=status != 200), 200)
    if status != 200:
        abort(make_response(render_template("error.html", status=status, title="Not sent", what=said), status))
    return redirect(f"/records/{call}#messages", 303)


def give(call: str) -> tuple[str, int]:
    """Have a call's messages sent to the collector: what came of it, and its HTTP status."""
    try:
        reply = room().live.command(topics.controller_command(), SEND, {"call": call}, actor=me().actor)
    except CommandFailed as error:
        return str(error), 502
    if not reply.ok:
        return f"Not sent: {reply.error}.", 409
    return f"{reply.result['messages']} messages sent to {reply.result['collector']}.", 200
