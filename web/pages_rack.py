"""Rack page, channel drawer, event stream, alarms, search."""

from collections.abc import Iterator
from datetime import UTC
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.models import RecordFilter
from simrack.controller.store.errors import StoreDown
from simrack.web import cells
from simrack.web.app import Room, room, wants_part
from simrack.web.desk import call_view
from simrack.web.feed import Item
from simrack.web.needs import needs
from simrack.web.tiles import tiles

pages = Blueprint("rack", __name__)

TOPICS = frozenset({"rack", "calls"})
# The drawer shows the newest of these; the box's newest page is read for them.
LAST_CALLS, LOOKED_AT = 5, 200


@pages.get("/")
@needs("own.account")
def start() -> AnyResponse:
    return redirect("/rack")


@pages.get("/rack")
@needs("rack.see")
def rack() -> str:
    desk = room().desk
    snapshot = desk.model.snapshot()
    if wants_part("grid"):
        return render_template("grid.html", sites=desk.sites())
    return render_template("rack.html", sites=desk.sites(), tiles=tiles(snapshot, desk.figures()), drawer=None)


@pages.get("/rack/<box>/<int:channel>")
@needs("rack.see")
def channel(box: str, channel: int) -> str:
    drawer = _drawer(box, channel)
    if wants_part("drawer"):
        return render_template("drawer.html", drawer=drawer)
    desk = room().desk
    return render_template(
        "rack.html", sites=desk.sites(), tiles=tiles(desk.model.snapshot(), desk.figures()), drawer=drawer
    )


def _drawer(box: str, channel: int) -> dict[str, object]:
    desk = room().desk
    snapshot, names = desk.model.snapshot(), desk.names()
    key = (box, channel)
    if box not in snapshot.boxes or (key not in snapshot.channels and channel > snapshot.boxes[box].channels):
        abort(404)
    report = snapshot.channels.get(key)
    call = snapshot.call_on(key)
    try:
        found = desk.queries.records(RecordFilter(box=box, per_page=LOOKED_AT)).rows
        last = [row for row in found if row.channel == channel][:LAST_CALLS]
    except StoreDown:
        last = None
    return {
        "cell": cells.cell(key, snapshot, names, desk.clock.utc()),
        "report": report,
        "box": snapshot.boxes[box],
        "site": names.sites.get(snapshot.boxes[box].site, snapshot.boxes[box].site),
        "plan": cells.plan_of(report, names),
        "call": call_view(call, snapshot, names) if call is not None else None,
        "events": desk.model.events(key)[:12],
        "last": last,
        "senders": names.senders,
    }


@pages.get("/alarms")
@needs("alarms.see")
def alarms() -> str:
    everything = "all" in request.args
    rows = room().desk.queries.alarms(not everything)
    part = "alarms_rows.html" if wants_part("alarm-rows") else "alarms.html"
    return render_template(part, rows=rows, everything=everything)


@pages.get("/search")
@needs("own.account")
def search() -> AnyResponse:
    """One field for everything: a box opens its place on the rack, a card its channel, the rest the records."""
    wanted = request.args.get("q", "").strip()
    snapshot = room().desk.model.snapshot()
    if wanted in snapshot.boxes:
        return redirect(f"/rack#box-{wanted}")
    squeezed = wanted.replace(" ", "")
    for (box, channel), report in snapshot.channels.items():
        sim = report.sim
        if sim is not None and squeezed and squeezed in (sim.iccid, sim.imsi, sim.msisdn):
            return redirect(f"/rack/{box}/{channel}")
    return redirect("/records?" + urlencode({"text": squeezed if squeezed.lstrip("+").isdigit() else wanted}))


@pages.get("/stream")
@needs("own.account")
def stream() -> Response:
    """Live changes as server-sent events."""
    here = room()
    if not here.feed.enter(here.settings.streams):
        return Response("too many live pages", 503, {"Retry-After": "10"})
    topics = frozenset(request.args.getlist("topic")) & TOPICS
    place = request.headers.get("Last-Event-ID") or request.args.get("since", "")
    response = Response(_events(here, place, topics, g.cookie), mimetype="text/event-stream")
    # Here and not in the generator: a generator that was never begun runs no `finally`.
    response.call_on_close(here.feed.leave)
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _events(here: Room, place: str, topics: frozenset[str], cookie: str) -> Iterator[str]:
    yield "retry: 2000\n\n" + _event("", "beat", here.clock.utc().isoformat())
    for item in here.feed.read(place, topics):
        if item is None or item.name == "beat":
            if not _still_signed_in(here, cookie):
                yield _event("", "signed-out", "now")
                return
            yield _event("", "beat", here.clock.utc().astimezone(UTC).isoformat())
        else:
            yield _item(here, item)


def _still_signed_in(here: Room, cookie: str) -> bool:
    try:
        return here.accounts.session(cookie) is not None
    except StoreDown:
        return True


def _item(here: Room, item: Item) -> str:
    return _event(f"{here.feed.epoch}-{item.seq}", item.name, item.data)


def _event(ident: str, name: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return (f"id: {ident}\n" if ident else "") + f"event: {name}\n{lines}\n"


