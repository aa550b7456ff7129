"""Alarms: what needs a hand, who has it, what there was, the catalogue, and who is told."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, json, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.models import AlarmFilter, AlarmRow
from simrack.web.app import me, room, wants_part
from simrack.web.columns import harmless
from simrack.web.needs import needs
from simrack.web.services import alarms as service
from simrack.wire.errors import CommandFailed

pages = Blueprint("alarms", __name__)

FILTERS = ("state", "severity", "kind", "text", "since", "until")
CSV_BLOCK = 200
CSV_HEADING = (
    "alarm", "severity", "kind", "cause", "title", "opened", "last", "closed", "seen", "acknowledged", "by", "note",
)  # fmt: skip


@pages.get("/alarms")
@needs("alarms.see")
def alarms() -> str:
    given = dict(request.args.items())
    # An address of an earlier release.
    if "all" in given:
        given["state"] = ""
    elif not any(given.get(name) for name in FILTERS) and "state" not in given:
        return _now()
    return _history(given)


def _now() -> str:
    rows = room().desk.queries.alarms()
    loud = [row for row in rows if row.acknowledged is None]
    quiet = [row for row in rows if row.acknowledged is not None]
    part = "alarms_rows.html" if wants_part("alarm-rows") else "alarms.html"
    return render_template(part, tab="open", loud=loud, quiet=quiet, place_of=service.place_of, may=me().may)


def _history(given: Mapping[str, str]) -> str:
    wanted, wrong = service.read_filter(given)
    page = room().desk.queries.alarm_page(wanted)
    kept = {name: given[name] for name in FILTERS if given.get(name)}
    part = "alarms_history_rows.html" if wants_part("alarm-history") else "alarms_history.html"
    return render_template(
        part, tab="history", page=page, wanted=wanted, wrong=wrong, given=kept, link=_link(kept), kinds=sorted(CATALOGUE),
        states=service.STATES, severities=service.SEVERITIES, times=room().times, place_of=service.place_of,
    )  # fmt: skip


def _link(kept: Mapping[str, str]) -> Callable[..., str]:
    def link(path: str = "/alarms", **changed: object) -> str:
        values = {"state": "", **kept, **{name: str(value) for name, value in changed.items()}}
        return f"{path}?{urlencode([(name, value) for name, value in values.items() if value or name == 'state'])}"

    return link


@pages.get("/alarms.csv")
@needs("alarms.see")
def export() -> Response:
    wanted, wrong = service.read_filter(dict(request.args.items()))
    if wrong:
        abort(400, description="; ".join(f"{name}: {text}" for name, text in wrong.items()))
    lines = _csv(replace(wanted, after=0, per_page=CSV_BLOCK))
    first = next(lines)  # an error of the database shows before the first octet is sent
    headers = {"Content-Disposition": f'attachment; filename="alarms-{room().clock.utc():%Y%m%d-%H%M%S}.csv"'}
    return Response(_chain(first, lines), mimetype="text/csv", headers=headers)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv(wanted: AlarmFilter) -> Iterator[str]:
    queries = room().desk.queries
    page = queries.alarm_page(wanted)
    yield _line(CSV_HEADING)
    while True:
        yield from (_line(_cells(row)) for row in page.rows)
        if not page.next:
            return
        page = queries.alarm_page(replace(wanted, after=page.next))


def _line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([harmless(value) for value in values])
    return buffer.getvalue()


def _cells(row: AlarmRow) -> list[str]:
    moments = [
        moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""
        for moment in (row.opened, row.last, row.closed)
    ]
    taken = row.acknowledged.astimezone(UTC).isoformat(timespec="seconds") if row.acknowledged else ""
    kind = row.cause.partition(":")[0]
    return [
        str(row.id), row.severity, kind, row.cause, row.title, *moments, str(row.count), taken, row.acknowledged_by, row.note,
    ]  # fmt: skip


@pages.get("/alarms/kinds")
@needs("alarms.see")
def kinds() -> str:
    return render_template("alarms_kinds.html", tab="kinds", kinds=service.kinds(), options=_options())


def _options() -> Mapping[str, object]:
    from simrack.web.services.configuration import table

    values = table().options
    return {name: values.get(name) for name in service.THRESHOLDS.values()}


@pages.get("/alarms/notices")
@needs("alarms.see")
def notices() -> str:
    from simrack.web.services.configuration import table

    error, told = "", {}
    try:
        told = service.notices()
    except CommandFailed as failed:
        error = str(failed)
    part = "alarms_notices_part.html" if wants_part("notices") else "alarms_notices.html"
    return render_template(
        part, tab="notices", targets=told.get("targets", []), held=told.get("held", 0), error=error, options=table().options,
        may=me().may, parse=room().times.parse,
    )  # fmt: skip


@pages.get("/alarms/<int:alarm>/acknowledge")
@needs("alarms.act")
def ask(alarm: int) -> str:
    return _form(_open(alarm), "", "")


@pages.post("/alarms/<int:alarm>/acknowledge")
@needs("alarms.act")
def acknowledge(alarm: int) -> AnyResponse:
    row, note = _open(alarm), request.form.get("note", "").strip()
    if len(note) > service.MOST_NOTE:
        words = f"At most {service.MOST_NOTE} characters; this has {len(note)}."
        return make_response(_form(row, note, words), 422)
    try:
        service.acknowledge(alarm, note)
    except CommandFailed as failed:
        return make_response(_form(row, note, f"It was not acknowledged: {failed}."), 502)
    return _done("1 alarm is in your hand now")


@pages.post("/alarms/<int:alarm>/release")
@needs("alarms.act")
def release(alarm: int) -> AnyResponse:
    row = _open(alarm)
    try:
        service.release(alarm)
    except CommandFailed as failed:
        return make_response(_form(row, row.note, f"It was not released: {failed}."), 502)
    return _done("1 alarm is in nobody's hand now")


@pages.post("/alarms/notices/<target>/test")
@needs("alarms.rules")
def test(target: str) -> AnyResponse:
    try:
        service.test_notice(target)
    except CommandFailed as failed:
        words = render_template("alarms_test.html", target=target, error=str(failed), tab="notices")
        return make_response(words, 200 if "HX-Request" in request.headers else 502)
    return make_response(render_template("alarms_test.html", target=target, error="", tab="notices"))


def _open(alarm: int) -> AlarmRow:
    found = service.open_alarm(alarm) if alarm < 2**63 else None
    if found is None:
        abort(404)
    return found


def _form(row: AlarmRow, note: str, error: str) -> str:
    part = "alarms_ask_part.html" if wants_part("dialog") else "alarms_ask.html"
    return render_template(part, alarm=row, note=note, error=error, most=service.MOST_NOTE, tab="open")


def _done(words: str) -> AnyResponse:
    if "HX-Request" in request.headers:
        return Response(status=204, headers={"HX-Trigger": json.dumps({"simrack:done": words})})
    return redirect("/alarms?done=1", 303)
