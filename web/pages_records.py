"""Records: search, CSV, and one call's story."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, render_template, request

from simrack.controller.models import RecordFilter, RecordRow
from simrack.web.app import me, room, wants_part
from simrack.web.columns import BY_ID, COLUMNS, USUAL, Shown, chosen, csv_lines, heading
from simrack.web.desk import call_view
from simrack.web.needs import needs
from simrack.web.story import story_view
from simrack.wire import causes

pages = Blueprint("records", __name__)

PER_PAGE = (25, 50, 100, 200)
OUTCOMES = ("answered", "failed", "refused", "cancelled")
# The database answers at most this many rows at once; an export reads block by block.
CSV_BLOCK = 1000
FILTERS = ("text", "sender", "plan", "box", "outcome", "cause", "since", "until", "sort", "per_page")


def read_filter(given: dict[str, str]) -> tuple[RecordFilter, dict[str, str]]:
    """The filter that a URL asks for, and what is wrong with it by field."""
    wrong: dict[str, str] = {}
    values: dict[str, Any] = {
        name: given.get(name, "").strip() for name in ("text", "sender", "plan", "box", "outcome", "sort")
    }
    values["sort"] = values["sort"] or "-started"
    if values["outcome"] and values["outcome"] not in OUTCOMES:
        wrong["outcome"] = f"Choose one of {', '.join(OUTCOMES)}."
        values["outcome"] = ""
    for name, least, most in (("cause", 1, 127), ("page", 1, 10_000_000), ("per_page", 1, PER_PAGE[-1])):
        number = given.get(name, "").strip()
        if number.isdecimal() and least <= int(number) <= most:
            values[name] = int(number)
        elif number:
            wrong[name] = f"A number from {least} to {most}."
    for name in ("since", "until"):
        values[name] = _moment(given.get(name, "").strip(), name, wrong)
    return RecordFilter(**values), wrong


def _moment(text: str, name: str, wrong: dict[str, str]) -> datetime | None:
    try:
        return room().times.parse(text)
    except (ValueError, OverflowError):
        wrong[name] = "A day and time, for instance 2026-11-21T14:30."
        return None


@pages.get("/records")
@needs("records.see")
def records() -> str:
    given = {key: value for key, value in request.args.items() if value}
    wanted, wrong = read_filter(given)
    columns = _columns()
    desk = room().desk
    page = desk.queries.records(wanted)
    shown = Shown(desk.names(), room().times)
    last = max(1, -(-page.total // page.per_page))
    values = {
        "page": page, "columns": columns, "all_columns": COLUMNS, "shown": shown, "wanted": wanted, "wrong": wrong,
        "names": shown.names, "boxes": sorted(desk.model.snapshot().boxes), "outcomes": OUTCOMES, "last": last,
        "per_pages": PER_PAGE, "filtered": any(getattr(wanted, name) for name in FILTERS[:8]),
        "link": _Link(given), "heading": heading, "times": room().times, "causes": _causes(),
    }  # fmt: skip
    return render_template("records_rows.html" if wants_part("records") else "records.html", **values)


class _Link:
    """URLs of this page with one thing changed."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = {key: value for key, value in given.items() if key in FILTERS or key == "page"}
        self._columns = request.args.getlist("col")

    def __call__(self, path: str = "/records", **changed: object) -> str:
        values = {**self._given, **{key: str(value) for key, value in changed.items()}}
        if "page" not in changed:
            values.pop("page", None)
        pairs = [(key, value) for key, value in values.items() if value]
        query = urlencode(pairs + [("col", name) for name in self._columns])
        return f"{path}?{query}" if query else path

    def without(self, name: str) -> str:
        return self(**{name: ""})


def _columns() -> tuple[Any, ...]:
    """The columns in the URL, else those that this person chose last, else the usual ones."""
    asked = [name for name in request.args.getlist("col") if name in BY_ID]
    accounts, user = room().accounts, me().user_id
    kept = accounts.settings(user).get("columns")
    if not asked:
        return chosen(kept if isinstance(kept, list) else USUAL)
    columns = chosen(asked)
    ids = [column.id for column in columns]
    if ids != kept and "keep" in request.args:
        accounts.keep_setting(user, "columns", ids)
    return columns


def _causes() -> list[tuple[int, str]]:
    return [(int(cause), causes.name(int(cause))) for cause in causes.Cause]


@pages.get("/records.csv")
@needs("records.export")
def export() -> Response:
    wanted, wrong = read_filter(dict(request.args.items()))
    if wrong:
        abort(400, description="; ".join(f"{name}: {text}" for name, text in wrong.items()))
    shown = Shown(room().desk.names(), room().times)
    lines = csv_lines(_columns(), _all_rows(wanted), shown)
    first = next(lines)  # an error of the database shows before the first octet is sent
    name = f"records-{room().clock.utc():%Y%m%d-%H%M%S}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(_chain(first, lines), mimetype="text/csv", headers=headers)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _all_rows(wanted: RecordFilter) -> Iterator[RecordRow]:
    queries = room().desk.queries
    first = queries.records(replace(wanted, page=1, per_page=CSV_BLOCK))

    def rows() -> Iterator[RecordRow]:
        yield from first.rows
        for page in range(2, -(-first.total // CSV_BLOCK) + 1):
            yield from queries.records(replace(wanted, page=page, per_page=CSV_BLOCK)).rows

    return rows()


@pages.get("/records/<call>")
@needs("records.see")
def story(call: str) -> str:
    desk = room().desk
    found = desk.queries.story(call)
    if found is None:
        snapshot = desk.model.snapshot()
        live = snapshot.calls.get(call)
        if live is None:
            abort(404)
        return render_template("story_open.html", view=call_view(live, snapshot, desk.names()))
    return render_template("story.html", story=story_view(found, desk.names(), room().times))
