"""Statistics and release causes: tables, charts and files."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, render_template, request

from simrack.controller.figures import Counts
from simrack.web.app import mask, me, names, own, room, wants_part
from simrack.web.columns import harmless
from simrack.web.needs import needs
from simrack.web.pages_records import csv_answer
from simrack.web.services import records as search
from simrack.web.services import release_causes
from simrack.web.services import statistics as service
from simrack.wire import causes

pages = Blueprint("statistics", __name__)

_KEPT = ("by", "period", "since", "until", "least_s", "week", "sort", *search.NARROWING[1:])


class _Link:
    """URLs of a page with one thing changed; a page number is not kept over it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._given = {key: value for key, value in request.args.items() if key in _KEPT and value}

    def __call__(self, path: str = "", **changed: object) -> str:
        values = {**self._given, **{key: str(value) for key, value in changed.items()}}
        query = urlencode([(key, value) for key, value in values.items() if value])
        return f"{path or self._path}?{query}" if query else path or self._path


def _asked() -> service.Asked:
    return service.read(dict(request.args.items()), room().times, mask(), room().clock.utc())


@pages.get("/statistics")
@needs("statistics.see")
def statistics() -> str:
    asked = _asked()
    view = service.count(room().desk.queries, asked, own(), names(), room().times)
    pages_there = max(1, -(-len(view.lines) // service.PER_PAGE))
    number = min(asked.page, pages_there)
    values = {
        **_form(asked), "view": view, "asked": asked, "figures": service.FIGURES, "change": service.change,
        "rows": view.lines[(number - 1) * service.PER_PAGE : number * service.PER_PAGE], "number": number, "last": pages_there, "seconds": service.seconds_of(asked),
        "offered": service.offered(mask()), "link": _Link("/statistics"), "series": list(map(_series, view.charts)),
        "to_records": _to_records(asked), "most": max((line.now.calls for line in view.lines), default=0),
    }  # fmt: skip
    return render_template("statistics_rows.html" if wants_part("statistics") else "statistics.html", **values)


def _form(asked: service.Asked) -> dict[str, Any]:
    """What the form of filters needs."""
    masked, known = mask(), names()
    boxes = room().desk.model.snapshot().boxes
    return {
        "wrong": asked.wrong, "names": known, "times": room().times, "periods": service.PERIODS, "choices": search.CHOICES,
        "boxes": sorted(boxes) if own().everything and not masked.hides("box") else [], "may_export": me().may("records.export"),
        "may_not": search.without_use(mask(), own()),
        "causes": [(int(cause), causes.name(int(cause))) for cause in causes.Cause],
        "filtered": [name for name in search.NARROWING[1:] if name not in ("since", "until") and getattr(asked.wanted, name) not in ("", None)],
        "least_s": asked.least_s,
    }  # fmt: skip


def _series(series: service.Series) -> str:
    return json.dumps([series.moments, series.now, series.before])


def _to_records(asked: service.Asked) -> Any:
    """The address of the records that a row counts, with the filters of this page."""
    times = room().times
    kept = {name: str(value) for name in search.NARROWING[1:] if name not in ("since", "until") and (value := getattr(asked.wanted, name)) not in ("", None)}
    span = {"since": times.iso(asked.since), "until": times.iso(asked.until)}

    def link(line: service.Line) -> str:
        return f"/records?{urlencode({**kept, **span, **line.found_by})}" if line.found_by else ""

    return link


@pages.get("/statistics.csv")
@needs("records.export")
def export() -> Response:
    asked = _asked()
    _refuse(asked.wrong)
    view = service.count(room().desk.queries, asked, own(), names(), room().times, charts=False)
    return csv_answer(_csv(service.csv_rows(view)), "statistics")


def _refuse(wrong: dict[str, str]) -> None:
    if wrong:
        abort(400, description="; ".join(f"{name}: {text}" for name, text in wrong.items()))


def _csv(rows: Iterable[list[str]]) -> Iterator[str]:
    for row in rows:
        buffer = io.StringIO()
        csv.writer(buffer).writerow([harmless(text) for text in row])
        yield buffer.getvalue()


@pages.get("/causes")
@needs("statistics.see")
def release() -> str:
    asked = _asked()
    view = release_causes.count(room().desk.queries, asked, own())
    values = {**_form(asked), "asked": asked, "view": view, "link": _Link("/causes"), "cause_link": _cause_link(asked)}
    return render_template("causes_rows.html" if wants_part("causes") else "causes.html", **values)


def _cause_link(asked: service.Asked) -> Any:
    to_records = _to_records(asked)

    def link(line: release_causes.CauseLine) -> str:
        found = {"direction": line.direction, "cause": str(line.cause)} if line.cause else {"direction": line.direction}
        return str(to_records(service.Line("", "", Counts(), None, found)))

    return link


@pages.get("/causes.csv")
@needs("records.export")
def export_causes() -> Response:
    asked = _asked()
    _refuse(asked.wrong)
    view = release_causes.count(room().desk.queries, asked, own())
    return csv_answer(_csv(release_causes.csv_rows(view)), "release-causes")
