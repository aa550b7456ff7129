"""Rack page, channel drawer, event stream, search."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from urllib.parse import urlencode

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
)
from jinja2 import Environment
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.models import RecordFilter, RecordRow
from simrack.controller.store.errors import StoreDown
from simrack.web import cells
from simrack.web.app import Room, mask, me, names, own, room, wants_part
from simrack.web.calling import call_view
from simrack.web.draw import TOP, TOP_BARE, Drawer
from simrack.web.feed import Item
from simrack.web.nav import start_page
from simrack.web.needs import needs
from simrack.web.overview import MOST_CELLS, Scope, Sheet, sheet
from simrack.web.rack import Changes, Rack
from simrack.web.services.fleet import CONSOLE_S
from simrack.web.services.live import ask, visible
from simrack.web.tiles import tiles
from simrack.wire.errors import CommandFailed

pages = Blueprint("rack", __name__)

# What may be listened to, and the right for it. Pieces of page are for those who may see all of them.
TOPICS = {"rack": "rack.see", "overview": "rack.see", "open": "rack.see", "site": "rack.see", "box": "rack.see",
          "pulse": "own.account", "calls": "calls.see", "logs": "logs.see"}  # fmt: skip
PIECES = frozenset(TOPICS) - {"pulse", "calls", "logs"}
# A page needs three; nobody asks for more in good faith.
MOST_TOPICS, MOST_CHARS = 8, 100
# Behind a proxy that gathers: a change is there within a second or two, an idle page asks four times in 15 s.
SHORT_S, SHORT_RETRY_MS = 3.0, 1000
# The drawer shows the newest of these; the box's newest page is read for them.
LAST_CALLS, LOOKED_AT = 5, 200


@pages.get("/")
@needs("own.account")
def start() -> AnyResponse:
    return redirect(start_page(me().may))


@pages.get("/rack")
@needs("rack.see")
def rack() -> str:
    return _page(Scope.read(request.args), None)


@pages.get("/rack/<box>/<int:channel>")
@needs("rack.see")
def channel(box: str, channel: int) -> str:
    drawer = _drawer(box, channel)
    if wants_part("drawer"):
        return render_template("drawer.html", drawer=drawer)
    seen = visible()
    # Behind the drawer of a large rack stand the cells of its box.
    return _page(Scope(box=box) if len(seen.channels) > MOST_CELLS else Scope(), drawer)


def _page(scope: Scope, drawer: dict[str, object] | None) -> str:
    desk = room().desk
    seen, known = visible(), names()
    shown = sheet(seen, known, desk.clock.utc(), scope)
    values: dict[str, object] = {"sheet": shown, "rack_bounded": seen.bounded}
    if wants_part("grid"):
        return render_template("grid.html", **values)
    figures = tiles(seen, None if seen.bounded else desk.figures(), bounded=seen.bounded)
    return render_template(
        "rack.html", tiles=figures, drawer=drawer, topics=topics_of(seen, shown), grid_path=_grid_path(shown.scope), **values
    )


def topics_of(seen: Rack, shown: Sheet) -> list[str]:
    """What a page listens to: pieces of just what it shows, or nudges for whoever may not see every piece."""
    if seen.bounded:
        return ["pulse"]
    if shown.kind == "tiles":
        return ["overview", "open"]
    if not shown.large:
        return ["rack", "open"]
    return [topic, "open"] if (topic := shown.scope.topic) else ["pulse", "open"]


def _grid_path(scope: Scope) -> str:
    query = {"site": scope.site, "box": scope.box, "show": "trouble" if scope.trouble else ""}
    chosen = {name: value for name, value in query.items() if value}
    return f"/rack?{urlencode(chosen)}" if chosen else "/rack"


def _drawer(box: str, channel: int) -> dict[str, object]:
    desk = room().desk
    snapshot, known = visible(), names()
    key = (box, channel)
    if box not in snapshot.boxes or (key not in snapshot.channels and channel not in cells.channels_of(box, snapshot)):
        abort(404)
    if not snapshot.bounded:
        desk.open(key)
    report = snapshot.channels.get(key)
    call = snapshot.call_on(key)
    status = snapshot.boxes[box]
    return {
        "cell": cells.cell(key, snapshot, known, desk.clock.utc()),
        "report": report,
        "box": status,
        "site": known.sites.get(status.site, status.site),
        "plan": cells.plan_of(report, known),
        "planned": cells.drain_text(report.drain, int(report.call is not None)) if report is not None and report.drain else "",
        "call": call_view(call, snapshot, known) if call is not None else None,
        # Events name numbers, and calls of the card that was here before.
        "events": () if snapshot.bounded else desk.model.events(key)[:12],
        "last": _last_calls(box, channel),
        "senders": known.senders,
        "bounded": snapshot.bounded,
    }


def _last_calls(box: str, channel: int) -> list[RecordRow] | None:
    """The newest records of a channel; None when they can't be read."""
    if mask().hides("box"):
        return []
    try:
        found = room().desk.queries.records(RecordFilter(box=box, per_page=LOOKED_AT), own()).rows
    except StoreDown:
        return None
    return [mask().record(row) for row in found if row.channel == channel][:LAST_CALLS]


@pages.get("/rack/<box>/<int:channel>/console")
@needs("gateways.console")
def console(box: str, channel: int) -> str:
    return _console(box, channel, "")


@pages.post("/rack/<box>/<int:channel>/console")
@needs("gateways.console")
def watch(box: str, channel: int) -> AnyResponse:
    """Watch a module's port for some minutes, or end it; a read-only look that is a command, so it is audited."""
    seconds = request.form.get("seconds", "")
    wanted = int(seconds) if seconds in ("0", str(CONSOLE_S)) else CONSOLE_S
    args = {"box": box, "channel": channel, "seconds": wanted}
    error = ""
    try:
        ask("console", args)
    except CommandFailed as failed:
        error = str(failed)
    if not error:
        room().desk.model.console_until(box, channel, wanted)
    if wants_part(f"console-{box}-{channel}"):
        return make_response(_console(box, channel, error))
    return redirect(f"/rack/{box}/{channel}", 303)


def _console(box: str, channel: int, error: str) -> str:
    desk = room().desk
    rack = desk.model.snapshot()
    if box not in rack.boxes or channel not in cells.channels_of(box, rack):
        abort(404)
    shown = desk.model.console_of((box, channel))
    watching = shown is not None and shown.until > desk.clock.utc()
    return render_template(
        "console.html", box=box, channel=channel, shown=shown, watching=watching, seconds=CONSOLE_S, error=error
    )


@pages.get("/search")
@needs("own.account")
def search() -> AnyResponse:
    """One field for everything: a box opens its place on the rack, a card its channel, the rest the records."""
    wanted = request.args.get("q", "").strip()
    snapshot = visible() if me().may("rack.see") else None
    if snapshot is not None and wanted in snapshot.boxes:
        return redirect(f"/rack?box={wanted}" if len(snapshot.channels) > MOST_CELLS else f"/rack#box-{wanted}")
    squeezed = wanted.replace(" ", "")
    for (box, channel), report in snapshot.channels.items() if snapshot is not None else ():
        sim = report.sim
        if sim is not None and squeezed and squeezed in (sim.iccid, sim.imsi, sim.msisdn):
            return redirect(f"/rack/{box}/{channel}")
    return redirect("/records?" + urlencode({"text": squeezed if squeezed.lstrip("+").isdigit() else wanted}))


@pages.get("/stream")
@needs("own.account")
def stream() -> Response:
    """Live changes as server-sent events."""
    here = room()
    chosen = _may_hear(request.args.getlist("topic")[:MOST_TOPICS])
    if not here.feed.enter(here.settings.streams, chosen):
        return Response("too many live pages", 503, {"Retry-After": "10"})
    place = request.headers.get("Last-Event-ID") or request.args.get("since", "")
    whole = _Whole(current_app.jinja_env, here, chosen)
    events = _some(here, place, chosen, whole) if "short" in request.args else _events(here, place, chosen, g.cookie, whole)
    response = Response(events, mimetype="text/event-stream")
    # Here and not in the generator: a generator that was never begun runs no `finally`.
    response.call_on_close(lambda: here.feed.leave(chosen))
    # Proxies that gather or pack what they pass on would hold every change back (RFC 9111, 5.2.2.6).
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Cache-Control"] = "no-store, no-transform"
    return response


def _may_hear(wanted: list[str]) -> frozenset[str]:
    whole = own().everything and mask().nothing
    kinds = {topic: topic.partition(":")[0] for topic in wanted if len(topic) <= MOST_CHARS}
    return frozenset(
        topic for topic, kind in kinds.items()
        if kind in TOPICS and me().may(TOPICS[kind]) and (whole or kind not in PIECES)
    ) | {TOP if me().may("alarms.see") else TOP_BARE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Whole:
    """The head of the page and the rack's figures as they are now, for a page that has missed something."""

    environment: Environment
    here: Room
    chosen: frozenset[str]

    def __call__(self) -> Iterator[str]:
        for topic, name, data in Drawer(lambda: self.environment, self.here.desk, lambda: self.chosen)(Changes(top=True)):
            if topic in self.chosen:
                yield _event("", name, data)


def _some(here: Room, place: str, chosen: frozenset[str], whole: _Whole) -> Iterator[str]:
    """A stream that ends soon: a proxy that gathers hands it on then, and the browser asks for the next one."""
    yield f"retry: {SHORT_RETRY_MS}\n\n"
    items, seq = here.feed.some(place, chosen, SHORT_S)
    for item in items:
        if item.name != "beat":
            yield _item(here, item)
        if item.name == "resync":
            yield from whole()
    yield _event(f"{here.feed.epoch}-{seq}", "beat", here.clock.utc().astimezone(UTC).isoformat())


def _events(here: Room, place: str, chosen: frozenset[str], cookie: str, whole: _Whole) -> Iterator[str]:
    yield "retry: 2000\n\n" + _event("", "beat", here.clock.utc().isoformat())
    for item in here.feed.read(place, chosen):
        if item is None or item.name == "beat":
            if not _still_signed_in(here, cookie):
                yield _event("", "signed-out", "now")
                return
            yield _event("", "beat", here.clock.utc().astimezone(UTC).isoformat())
        else:
            yield _item(here, item)
            if item.name == "resync":
                yield from whole()


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


