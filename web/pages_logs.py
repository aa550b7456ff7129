"""Logs: lines of all processes as they come, by severity and by what they are about; another level for a while."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from flask import json as web_json
from werkzeug.wrappers import Response as AnyResponse

from simrack.web.app import me, room, wants_part
from simrack.web.logs import KEPT, Kept
from simrack.web.needs import needs
from simrack.web.services import logs as service
from simrack.wire.errors import CommandFailed
from simrack.wire.logs import LEVELS
from simrack.wire.ports import iso_ms

pages = Blueprint("logs", __name__)


@pages.get("/logs")
@needs("logs.see")
def logs() -> str:
    _check()
    given = {name: value for name in service.FILTERS if (value := request.args.get(name, "").strip())}
    wanted, wrong = service.read_filter(request.args)
    page = service.find(wanted)
    older = service.place_text(page.next)
    values = {
        "page": page, "wanted": wanted, "wrong": wrong, "given": given, "processes": service.processes(), "levels": LEVELS,
        "silent": service.silent, "boxes": sorted(room().desk.model.snapshot().boxes), "times": room().times,
        "address": _address(given), "older": _address({**given, "before": older}) if older else "",
        "download": _address(given, "/logs.jsonl"), "paused": "pause" in request.args or bool(wanted.before),
        "may": me().may, "kept": KEPT, "senders": room().desk.names().senders,
    }  # fmt: skip
    return render_template("logs_rows.html" if wants_part("logs") else "logs.html", **values)


def _check() -> None:
    if not service.may_read():
        abort(403, description=service.WHY_NOT)


def _address(given: dict[str, str], path: str = "/logs") -> str:
    return f"{path}?{urlencode(given)}" if given else path


@pages.get("/logs.jsonl")
@needs("logs.see")
def download() -> Response:
    """The lines that match, one JSON object each, oldest first."""
    _check()
    wanted, wrong = service.read_filter(request.args)
    if wrong:
        abort(400, description="; ".join(f"{name}: {text}" for name, text in wrong.items()))
    lines = reversed(service.find(wanted, KEPT).lines)
    headers = {"Content-Disposition": f'attachment; filename="logs-{room().clock.utc():%Y%m%d-%H%M%S}.jsonl"'}
    return Response(_json_lines(lines), mimetype="application/jsonl", headers=headers)


def _json_lines(lines: Iterator[Kept]) -> Iterator[str]:
    for kept in lines:
        yield json.dumps(as_document(kept), ensure_ascii=False) + "\n"


def as_document(kept: Kept) -> dict[str, Any]:
    """One line as JSON has it: ids that are empty are left out."""
    line = kept.line
    ids = {name: value for name in ("box", "channel", "call", "sender", "sim") if (value := getattr(line, name))}
    return {"at": iso_ms(line.at), "process": kept.process, "level": line.level, "event": line.event, **ids, **line.fields}


@pages.get("/logs/<process>/level")
@needs("logs.level")
def ask(process: str) -> str:
    return _form(process, "debug", 60, {})


@pages.post("/logs/<process>/level")
@needs("logs.level")
def change(process: str) -> AnyResponse:
    level, minutes = request.form.get("level", ""), request.form.get("minutes", "")
    wrong = {}
    if level not in LEVELS:
        wrong["level"] = f"Choose one of {', '.join(LEVELS)}."
    if minutes not in map(str, service.MINUTES):
        wrong["minutes"] = "Choose how long."
    if wrong:
        return make_response(_form(process, level, 60, wrong), 422)
    try:
        service.set_level(process, level, int(minutes))
    except CommandFailed as failed:
        return make_response(_form(process, level, int(minutes), {"": f"It was not changed: {failed}."}), 502)
    if wants_part("dialog"):
        words = f"{process} logs {level} and worse for {minutes} min"
        return Response(status=204, headers={"HX-Trigger": web_json.dumps({"simrack:done": words})})
    return redirect("/logs", 303)


def _form(process: str, level: str, minutes: int, wrong: dict[str, str]) -> str:
    known = {view.name: view for view in service.processes()}
    if process not in known:
        abort(404)
    return render_template(
        "logs_level_part.html" if wants_part("dialog") else "logs_level.html", view=known[process], level=level,
        minutes=minutes, wrong=wrong, levels=LEVELS, choices=service.MINUTES,
    )  # fmt: skip
