"""Records: search, CSV, and one call's story."""

from collections.abc import Iterator
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, render_template, request

from simrack.web.app import mask, me, names, own, room, wants_part
from simrack.web.calling import call_view
from simrack.web.columns import COLUMNS, USUAL, Column, Shown, chosen, csv_lines, heading
from simrack.web.needs import needs
from simrack.web.services import records as service
from simrack.web.services.records import PER_PAGE
from simrack.web.story import story_view
from simrack.wire import causes

pages = Blueprint("records", __name__)

#: Filters behind the button "More".
MORE = ("channel", "iccid", "pattern", "direction", "side", "refusal")


@pages.get("/records")
@needs("records.see")
def records() -> str:
    given = {key: value for key, value in request.args.items() if value}
    masked = mask()
    asked = service.read(given, room().times, masked)
    page = service.find(room().desk.queries, asked, own(), masked)
    wanted, shown = asked.wanted, Shown(names(), room().times)
    columns = _columns()
    values = {
        "page": page, "columns": columns, "all_columns": _offered(), "shown": shown, "wanted": wanted,
        "wrong": asked.wrong, "names": shown.names, "boxes": _boxes(), "choices": service.CHOICES, "total": counted(page.total, page.more),
        "per_pages": PER_PAGE, "filtered": any(getattr(wanted, name) not in ("", None) for name in service.NARROWING),
        "link": _Link(given), "heading": heading, "times": room().times, "causes": _causes(), "may_not": service.without_use(mask(), own()),
        "more": sum(getattr(wanted, name) not in ("", None) for name in MORE), "may_export": me().may("records.export"),
    }  # fmt: skip
    return render_template("records_rows.html" if wants_part("records") else "records.html", **values)


def counted(total: int, more: bool) -> str:
    """How many there are, in words: "812" or "10,000+"."""
    return f"{total:,}{'+' if more else ''}"


def _boxes() -> list[str]:
    """Boxes to choose from; whoever sees rows of their own only is told no other name."""
    return sorted(room().desk.model.snapshot().boxes) if own().everything and not mask().hides("box") else []


class _Link:
    """URLs of this page with one thing changed."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = {key: value for key, value in given.items() if key in service.KEPT or key == "after"}
        self._columns = request.args.getlist("col")

    def __call__(self, path: str = "/records", **changed: object) -> str:
        values = {**self._given, **{key: str(value) for key, value in changed.items()}}
        if "after" not in changed:
            values.pop("after", None)
        pairs = [(key, value) for key, value in values.items() if value]
        query = urlencode(pairs + [("col", name) for name in self._columns])
        return f"{path}?{query}" if query else path

    def without(self, name: str) -> str:
        return self(**{name: ""})


def _offered() -> tuple[Column, ...]:
    """The columns that this session may read."""
    masked = mask()
    return tuple(column for column in COLUMNS if not masked.hides(column.id))


def _columns() -> tuple[Column, ...]:
    """The columns in the URL, else those that this person chose last, else the usual ones."""
    offered = {column.id for column in _offered()}
    asked = [name for name in request.args.getlist("col") if name in offered]
    accounts, user = room().accounts, me().user_id
    kept = accounts.settings(user).get("columns")
    if not asked:
        return chosen([name for name in (kept if isinstance(kept, list) else USUAL) if name in offered], offered)
    columns = chosen(asked, offered)
    ids = [column.id for column in columns]
    if ids != kept and "keep" in request.args:
        accounts.keep_setting(user, "columns", ids)
    return columns


def _causes() -> list[tuple[int, str]]:
    return [(int(cause), causes.name(int(cause))) for cause in causes.Cause]


@pages.get("/records.csv")
@needs("records.export")
def export() -> Response:
    masked = mask()
    asked = service.read(dict(request.args.items()), room().times, masked)
    if asked.wrong:
        abort(400, description="; ".join(f"{name}: {text}" for name, text in asked.wrong.items()))
    rows = service.every(room().desk.queries, asked.wanted, own(), masked)
    lines = csv_lines(_columns(), rows, Shown(names(), room().times))
    return csv_answer(lines, "records")


def csv_answer(lines: Iterator[str], name: str) -> Response:
    """Lines as a file of that name and now."""
    first = next(lines)  # an error of the database shows before the first octet is sent
    headers = {"Content-Disposition": f'attachment; filename="{name}-{room().clock.utc():%Y%m%d-%H%M%S}.csv"'}
    return Response(_chain(first, lines), mimetype="text/csv", headers=headers)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


@pages.get("/records/<call>")
@needs("records.see")
def story(call: str) -> str:
    desk, masked, known = room().desk, mask(), names()
    found = desk.queries.story(call, own())
    if found is not None:
        seen = masked.story(found, own(), desk.names())
        return render_template("story.html", story=story_view(seen, known, room().times))
    snapshot = desk.model.snapshot()
    live = snapshot.calls.get(call)
    if live is None or not own().sees(live.sender, live.plan):
        abort(404)
    return render_template("story_open.html", view=call_view(masked.live(live), snapshot, known))
