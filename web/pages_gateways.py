"""Gateways: how each box is, and what can be done to it or one of its channels."""

from collections.abc import Mapping
from dataclasses import replace

from flask import Blueprint, Response, abort, json, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.web import cells, health, listing
from simrack.web.app import room, wants_part
from simrack.web.listing import Cell, Choice, Column, Row
from simrack.web.needs import needs
from simrack.web.rack import Rack
from simrack.web.services import fleet
from simrack.web.services.live import ask as order
from simrack.web.text import DASH
from simrack.wire.drain import LIMITS_S, MEANINGS, MODES, TITLES
from simrack.wire.errors import CommandFailed

pages = Blueprint("gateways", __name__)

COLUMNS = (
    Column("box", "Box"), Column("site", "Site", "cut"), Column("state", "State", "state"), Column("calls", "Calls", "fig"),
    Column("ready", "Ready", "fig"), Column("trouble", "Trouble", "fig"), Column("disk", "Disk free", "fig"),
    Column("load", "Load", "fig"), Column("heat", "Heat", "fig"), Column("clock", "Clock", "fig"), Column("facts", "Facts", "fig"),
    Column("uptime", "Up for", "fig"), Column("software", "Software"), Column("worries", "What to look at", "cut"),
)  # fmt: skip
# Tone of a state in lists (`.out`), by the tone of web.health.
_TONES = {"good": "answered", "warn": "look", "bad": "failed"}


@pages.get("/gateways")
@needs("gateways.see")
def gateways() -> str:
    part = "gateways_rows.html" if wants_part("gateways") else "gateways.html"
    return render_template(part, listing=_listing(request.args))


@pages.get("/gateways.csv")
@needs("gateways.see")
def gateways_csv() -> Response:
    asked = {**request.args, "per_page": ""}
    found = _listing(asked, every=True)
    return Response(
        listing.csv_lines(found), mimetype="text/csv", headers={"Content-Disposition": 'attachment; filename="gateways.csv"'}
    )


@pages.get("/gateways/<box>")
@needs("gateways.see")
def gateway(box: str) -> str:
    rack = _known(box)
    desk = room().desk
    names, now = desk.names(), desk.clock.utc()
    numbers = cells.channels_of(box, rack)
    rows = [(cells.cell((box, number), rack, names, now), rack.channels.get((box, number))) for number in numbers]
    part = "gateway_part.html" if wants_part("gateway") else "gateway.html"
    return render_template(
        part, h=health.health(box, rack, names, now), rows=rows, sizes=health.size_text, clock_text=health.clock_text,
        uptime=health.uptime_text, states=health.STATES, drain_text=cells.drain_text,
    )  # fmt: skip


@pages.get("/gateways/<box>/<do>")
@pages.get("/gateways/<box>/<int:channel>/<do>")
@needs("gateways.act")
def ask(box: str, do: str, channel: int | None = None) -> str:
    target = _target(box, channel, do)
    return _form(do, target, {}, None)


@pages.post("/gateways/<box>/<do>")
@pages.post("/gateways/<box>/<int:channel>/<do>")
@needs("gateways.act")
def act(box: str, do: str, channel: int | None = None) -> AnyResponse:
    target = _target(box, channel, do)
    calls = fleet.calls_on(target, room().desk.model.snapshot())
    try:
        asked = fleet.read(do, target, request.form, calls)
        result = order(asked.do, asked.args)
    except fleet.Unfit as mistake:
        # htmx and the browser's console take anything but 2xx for a fault of the page.
        return make_response(_form(do, target, request.form, mistake), 200 if wants_part("dialog") else 422)
    except CommandFailed as failed:
        return make_response(_form(do, target, request.form, fleet.Unfit("", f"{failed}")), 502)
    words = fleet.said(do, target, result)
    if wants_part("dialog"):
        return Response(status=204, headers={"HX-Trigger": room_trigger(words)})
    return redirect(f"/gateways/{box}?done=1", 303)


def room_trigger(words: str) -> str:
    """The header that closes the dialog and says what was done; header values are ASCII."""
    return json.dumps({"simrack:done": words})


def _form(do: str, target: fleet.Target, given: Mapping[str, str], mistake: fleet.Unfit | None) -> str:
    calls = fleet.calls_on(target, room().desk.model.snapshot())
    ways = [(mode, TITLES[mode], fleet.outlook(do, mode, calls), MEANINGS[mode]) for mode in MODES]
    return render_template(
        "act_part.html" if wants_part("dialog") else "act.html", do=do, target=target, title=fleet.TITLES[do], calls=calls,
        ways=ways if do in fleet.DRAINS else [], limits=fleet.LIMITS, usual=LIMITS_S, given=given, mistake=mistake,
    )  # fmt: skip


def _target(box: str, channel: int | None, do: str) -> fleet.Target:
    rack = _known(box)
    if do not in fleet.TITLES or (channel is not None and channel not in cells.channels_of(box, rack)):
        abort(404)
    return fleet.Target(box, channel)


def _known(box: str) -> Rack:
    rack = room().desk.model.snapshot()
    if box not in rack.boxes:
        abort(404)
    return rack


def _listing(given: Mapping[str, str], *, every: bool = False) -> listing.Listing:
    desk = room().desk
    rack, names, now = desk.model.snapshot(), desk.names(), desk.clock.utc()
    sites = {status.site: names.sites.get(status.site, status.site) for status in rack.boxes.values()}
    words: dict[str, str] = {key: row[0] for key, row in health.STATES.items()}
    choices = (
        Choice("site", "Site", dict(sorted(sites.items(), key=lambda item: item[1])), lambda row, value: row.cells["site"].text == sites[value]),
        Choice("state", "State", words, lambda row, value: row.cells["state"].text == words[value]),
    )  # fmt: skip
    asked = listing.ask("/gateways", given, choices)
    rows = [_row(health.health(box, rack, names, now)) for box in sorted(rack.boxes)]
    if every:
        asked = replace(asked, page=1, per_page=max(1, len(rows)))
    return listing.listed(rows, COLUMNS, choices, asked)


def _row(h: health.Health) -> Row:
    host, status = h.host, h.status
    word, tone, icon = health.STATES[h.state]
    load = "" if host.load is None else f"{host.load:.2f}"
    heat = "" if host.temperature_c is None else f"{host.temperature_c:.0f} °C"
    gone = "" if status.online else f"last report {room().times.short(status.at)}"
    worries = "; ".join(filter(None, (h.plan, gone, *h.worries)))
    shown = {
        "box": Cell(h.box), "site": Cell(h.site),
        "state": Cell(word, tone=_TONES[tone], icon=icon), "calls": Cell(f"{h.calls} / {h.channels}", sort=h.calls),
        "ready": Cell(str(h.ready), sort=h.ready), "trouble": Cell(str(h.troubles or ""), sort=h.troubles),
        "disk": Cell(health.size_text(host.disk_free_mb), sort=host.disk_free_mb or 0), "load": Cell(load or DASH, sort=host.load or 0.0),
        "heat": Cell(heat or DASH, sort=host.temperature_c or 0.0),
        "clock": Cell(health.clock_text(status.clock_offset_ms), sort=abs(status.clock_offset_ms or 0)),
        "facts": Cell(str(status.outbox or ""), sort=status.outbox), "uptime": Cell(health.uptime_text(status.uptime_s), sort=status.uptime_s),
        "software": Cell(status.software or DASH), "worries": Cell(worries),
    }  # fmt: skip
    return Row(h.box, f"/gateways/{h.box}", shown, also=" ".join(name for name, _ in h.models))
