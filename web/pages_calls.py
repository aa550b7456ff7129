"""Calls in progress, and ending one of them."""

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.web.app import me, room, wants_part
from simrack.web.desk import GROUPS, CallView, call_view
from simrack.web.needs import needs
from simrack.wire import topics
from simrack.wire.errors import CommandFailed

pages = Blueprint("calls", __name__)

# controller: command "hang-up" with {"call": id}.
HANG_UP = "hang-up"


@pages.get("/calls")
@needs("calls.see")
def calls() -> str:
    text, group = request.args.get("text", "").strip(), request.args.get("group", "")
    groups = room().desk.calls(text, group)
    return render_template(
        "calls_rows.html" if wants_part("calls") else "calls.html",
        groups=groups, text=text, group=group, choices=GROUPS, count=sum(len(views) for _, views in groups),
    )  # fmt: skip


@pages.get("/calls/<call>/hang-up")
@needs("calls.hang-up")
def confirm(call: str) -> str:
    return render_template("hang_up_part.html" if wants_part("dialog") else "hang_up.html", view=_open_call(call), error="")


@pages.post("/calls/<call>/hang-up")
@needs("calls.hang-up")
def hang_up(call: str) -> AnyResponse:
    view = _open_call(call)
    error = ""
    try:
        reply = room().live.command(topics.controller_command(), HANG_UP, {"call": call}, actor=me().user)
        error = "" if reply.ok else reply.error or "the controller refused it"
    except CommandFailed as failed:
        error = str(failed)
    if error:
        part = "hang_up_part.html" if wants_part("dialog") else "hang_up.html"
        return make_response(render_template(part, view=view, error=error), 502)
    return _ended()


def _ended() -> AnyResponse:
    if wants_part("dialog"):
        return Response(status=204, headers={"HX-Trigger": '{"simrack:done": "1 call ended"}'})
    return redirect("/calls?done=1", 303)


def _open_call(call: str) -> CallView:
    desk = room().desk
    snapshot = desk.model.snapshot()
    found = snapshot.calls.get(call)
    if found is None:
        abort(404)
    return call_view(found, snapshot, desk.names())
