"""Calls in progress, and ending one of them or a whole group."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, abort, json, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.calls.commands import MOST_TOGETHER
from simrack.web.app import names, wants_part
from simrack.web.calling import GROUPS, SORTS, Asked, CallView, call_sheet, call_view, found
from simrack.web.columns import harmless
from simrack.web.needs import needs
from simrack.web.services.live import ask, visible
from simrack.wire.errors import CommandFailed
from simrack.wire.ports import iso_ms

pages = Blueprint("calls", __name__)

# controller: command "hang-up" with {"call": id}.
HANG_UP, HANG_UP_GROUP = "hang-up", "hang-up-group"
# Of a group that is to be ended, so many are named before.
NAMED = 5
HEADINGS = ("call", "state", "started (UTC)", "answered (UTC)", "sender", "from", "to", "box", "channel", "plan", "owner")


@pages.get("/calls")
@needs("calls.see")
def calls() -> str:
    sheet = call_sheet(visible(), names(), Asked.read(request.args))
    part = "calls_rows.html" if wants_part("calls") else "calls.html"
    return render_template(part, sheet=sheet, choices=GROUPS, sorts=SORTS)


@pages.get("/calls.csv")
@needs("calls.see")
def calls_csv() -> Response:
    views = found(visible(), names(), Asked.read(request.args))
    return Response(_csv(views), mimetype="text/csv", headers={"Content-Disposition": 'attachment; filename="calls.csv"'})


def _csv(views: list[CallView]) -> Iterator[str]:
    yield _line(HEADINGS)
    for v in views:
        call = v.call
        yield _line((
            call.call, call.state, iso_ms(call.started), iso_ms(call.answered) if call.answered else "", v.sender,
            call.calling, call.called, call.box, str(call.channel or ""), v.plan, v.owner,
        ))  # fmt: skip


def _line(values: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([harmless(value) for value in values])
    return buffer.getvalue()


@pages.get("/calls/<call>/hang-up")
@needs("calls.hang-up")
def confirm(call: str) -> str:
    return render_template("hang_up_part.html" if wants_part("dialog") else "hang_up.html", view=_open_call(call), error="")


@pages.post("/calls/<call>/hang-up")
@needs("calls.hang-up")
def hang_up(call: str) -> AnyResponse:
    view = _open_call(call)
    error = _order(HANG_UP, {"call": call})
    if isinstance(error, str):
        part = "hang_up_part.html" if wants_part("dialog") else "hang_up.html"
        return make_response(render_template(part, view=view, error=error), 502)
    return _ended(1)


@pages.get("/calls/hang-up")
@needs("calls.hang-up")
def confirm_group() -> str:
    return _group_form(found(visible(), names(), Asked.read(request.args))[:MOST_TOGETHER], "", "")


@pages.post("/calls/hang-up")
@needs("calls.hang-up")
def hang_up_group() -> AnyResponse:
    """Ends the calls that the form named, as far as they are still on; none that came meanwhile."""
    rack, known = visible(), names()
    wanted = list(dict.fromkeys(request.form.get("calls", "").split()))[:MOST_TOGETHER]
    views = [call_view(rack.calls[call], rack, known) for call in wanted if call in rack.calls]
    if not views:
        return _ended(0)
    if request.form.get("typed", "").strip() != str(len(wanted)):
        form = _group_form(views, "typed", f"type {len(views)} to confirm")
        return make_response(form, 200 if wants_part("dialog") else 422)
    answer = _order(HANG_UP_GROUP, {"calls": [view.call.call for view in views]})
    if isinstance(answer, str):
        return make_response(_group_form(views, "", answer), 502)
    return _ended(int(answer.get("ended", 0)))


def _group_form(views: list[CallView], wrong: str, mistake: str) -> str:
    part = "hang_up_group_part.html" if wants_part("dialog") else "hang_up_group.html"
    return render_template(part, views=views, named=NAMED, wrong=wrong, mistake=mistake, asked=Asked.read(request.values))


def _order(action: str, args: dict[str, Any]) -> Mapping[str, Any] | str:
    """What the controller answers; why not, as a sentence."""
    try:
        return ask(action, args)
    except CommandFailed as failed:
        return str(failed)


def _ended(count: int) -> AnyResponse:
    words = f"{count} call{'s' * (count != 1)} ended" if count else "They were over already"
    if wants_part("dialog"):
        return Response(status=204, headers={"HX-Trigger": json.dumps({"simrack:done": words})})
    return redirect(f"/calls?done={count}", 303)


def _open_call(call: str) -> CallView:
    snapshot = visible()
    wanted = snapshot.calls.get(call)
    if wanted is None:
        abort(404)
    return call_view(wanted, snapshot, names())
