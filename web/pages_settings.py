"""Settings: every global option with its meaning, and the versions of the configuration with the way back."""

import io
import zipfile
from dataclasses import dataclass

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.config import fileset
from simrack.controller.config.catalogue import Option, Value
from simrack.controller.config.changes import Conflict
from simrack.web.app import me, room
from simrack.web.needs import needs
from simrack.web.services import configuration
from simrack.web.services.configuration import Applied, OptionView

pages = Blueprint("settings", __name__)

AREAS = {
    "calls": "Calls", "bans": "Bans", "trace": "Traces", "alarms": "Alarms", "notices": "Notices", "backup": "Backups",
    "retention": "How long things are kept", "config": "Configuration",
}  # fmt: skip
PER_PAGE = 50
NOTE_MOST = 200
#: Longer than any value; a longer one is a mistake and comes back cut.
VALUE_MOST = 5000


@dataclass(frozen=True, slots=True)
class Asked:
    """An option's form as it was sent."""

    text: str
    base: str
    note: str = ""
    wrong: str = ""
    error: str = ""
    conflict: Conflict | None = None


@pages.get("/settings")
@needs("settings.see")
def settings() -> str:
    text = request.args.get("text", "").strip()[:100]
    areas: dict[str, list[OptionView]] = {}
    for view in configuration.options():
        if text.casefold() in f"{view.option.title} {view.option.name} {view.option.meaning}".casefold():
            areas.setdefault(AREAS.get(view.option.area, view.option.area.capitalize()), []).append(view)
    return render_template("settings.html", areas=areas, text=text, shown=shown, done=request.args.get("done", "")[:20])


def shown(option: Option, value: Value) -> str:
    """A value with its unit, as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "":
        return "none"
    number = f"{value:,.10g}" if not isinstance(value, str) else value
    return f"{number} {option.unit}".strip()


def _view(name: str) -> OptionView:
    return next((view for view in configuration.options() if view.option.name == name), None) or abort(404)


@pages.get("/settings/options/<name>")
@needs("settings.see")
def option(name: str) -> str:
    view = _view(name)
    return _form(view, Asked(written(view.value), view.base))


def written(value: Value) -> str:
    """A value as a form holds it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _form(view: OptionView, asked: Asked) -> str:
    return render_template(
        "settings_option.html", view=view, asked=asked, shown=shown, may=me().may("settings.change"),
        title_area=AREAS.get(view.option.area, view.option.area.capitalize()),
    )  # fmt: skip


@pages.post("/settings/options/<name>")
@needs("settings.change")
def change_option(name: str) -> AnyResponse:
    view = _view(name)
    form = request.form
    asked = Asked(
        form.get("value", "").strip()[:VALUE_MOST], form.get("base", "")[:64], form.get("note", "").strip()[:NOTE_MOST]
    )
    default = form.get("act") == "default"
    value, wrong = (None, "") if default else read_value(view.option, asked.text)
    if wrong:
        return make_response(_form(view, Asked(asked.text, asked.base, asked.note, wrong=wrong)), 422)
    body = None if value is None or value == view.option.default else {"name": name, "value": value}
    if body is None and not asked.base:
        return redirect("/settings", 303)
    change, _ = configuration.change("setting", name, body, asked.base)
    return _outcome(view, asked, configuration.apply([change] if change is not None else [], asked.note))


def read_value(option: Option, text: str) -> tuple[Value | None, str]:
    """What somebody wrote, in the option's own kind; or what is wrong with it."""
    value: Value = text
    try:
        if isinstance(option.default, bool):
            value = {"on": True, "off": False}[text]
        elif isinstance(option.default, int):
            value = int(text)
        elif isinstance(option.default, float):
            value = float(text)
    except (ValueError, KeyError):
        return None, f"This must be {option.range}{' ' + option.unit if option.unit else ''}."
    wrong = option.mistake(value)
    return (None, f"This {wrong}{' ' + option.unit if option.unit and option.least is not None else ''}.") if wrong else (value, "")


def _outcome(view: OptionView, asked: Asked, applied: Applied) -> AnyResponse:
    if applied.ok:
        return redirect(f"/settings?done={applied.version}#{view.option.name}", 303)
    if applied.conflicts:
        # What was written stays; the next try is based on what the answer shows.
        conflict = applied.conflicts[0]
        again = Asked(asked.text, conflict.now, asked.note, conflict=conflict)
        return make_response(_form(_view(view.option.name), again), 409)
    wrong = applied.mistakes[0].what if applied.mistakes else ""
    again = Asked(asked.text, asked.base, asked.note, wrong=wrong, error="" if wrong else applied.error)
    return make_response(_form(view, again), 422 if wrong else 502)


# --- versions -----------------------------------------------------------------------------------------------------


@pages.get("/settings/versions")
@needs("settings.see")
def versions() -> str:
    before = request.args.get("before", "")
    rows = configuration.history(before=int(before) if before.isdecimal() and len(before) < 10 else None, limit=PER_PAGE + 1)
    more = rows[PER_PAGE - 1].version if len(rows) > PER_PAGE else None
    return render_template("settings_versions.html", rows=rows[:PER_PAGE], more=more, done=request.args.get("done", "")[:20])


@pages.get("/settings/versions/<int:number>")
@needs("settings.see")
def version(number: int) -> str:
    return _version_page(number, "")


def _version_page(number: int, error: str) -> str:
    row = configuration.one_version(number)
    if row is None:
        abort(404)
    return render_template(
        "settings_version.html", row=row, differences=configuration.seen_changes(row), error=error,
        active=configuration.reader().version(), may=me().may("config.apply"),
    )  # fmt: skip


@pages.post("/settings/versions/<int:number>/activate")
@needs("config.apply")
def activate(number: int) -> AnyResponse:
    seen = request.form.get("seen", "")
    note = request.form.get("note", "").strip()[:NOTE_MOST]
    applied = configuration.activate(number, note, int(seen) if seen.isdecimal() and len(seen) < 10 else None)
    if applied.ok:
        return redirect(f"/settings/versions?done={applied.version}", 303)
    return make_response(_version_page(number, applied.error), 409)


@pages.get("/settings/versions/<int:number>/files.zip")
@needs("config.export")
def files(number: int) -> Response:
    """A version as its files, as `simrack config export` writes them."""
    entries = configuration.reader().everything(number)
    if not entries:
        abort(404)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in fileset.texts(entries, number).items():
            archive.writestr(f"configuration-{number}/{name}", text)
    name = f"configuration-{number}-{room().clock.utc():%Y%m%d}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(packed.getvalue(), mimetype="application/zip", headers=headers)
