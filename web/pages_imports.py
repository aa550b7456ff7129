"""SIMs from a file and into one: send it, see what each line would do, put all of it in force or nothing."""

from collections.abc import Iterable
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.config.kinds import MODELS
from simrack.web import forms, sim_sheet
from simrack.web.app import mask, room
from simrack.web.entry import applied_words, inventory
from simrack.web.needs import needs
from simrack.web.services import imports
from simrack.web.services.imports import Upload
from simrack.web.sim_sheet import BadSheet, Outcome

pages = Blueprint("imports", __name__)
#: What a page shows of many; all bad lines are in a file.
WRONG_SHOWN, CARDS_SHOWN = 100, 20


@pages.before_request
def _hidden() -> None:
    """SIMs that are kept from an account have no sheet."""
    if mask().hides("iccid"):
        abort(403)


@pages.get("/sims/import")
@needs("sims.change")
def form() -> str:
    return _form()


def _form(wrong: str = "", todo: str = "", plan: str = "") -> str:
    of = inventory()
    return render_template(
        "sims_import.html", wrong=wrong, todo=todo, plan=plan, plans=of.choices()["plan"], columns=sim_sheet.COLUMNS,
        most_lines=sim_sheet.MOST_LINES, most_mb=sim_sheet.MOST_OCTETS // 2**20,
    )  # fmt: skip


@pages.post("/sims/import")
@needs("sims.change")
def upload() -> AnyResponse:
    plan, file = request.form.get("plan", "")[:64], request.files.get("file")
    data = file.read() if file is not None else b""
    if file is None or not file.filename:
        return make_response(_form("No file was chosen.", "", plan), 422)
    try:
        imports.look(data, plan)
    except BadSheet as error:
        return make_response(_form(_sentence(error.what), error.todo, plan), 422)
    return redirect(f"/sims/import/{imports.keep(file.filename, data, plan).key}", 303)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _known(key: str) -> Upload:
    found = imports.kept(key)
    if found is None:
        abort(404, description="This file is not kept any more. Send it again.")
    return found


@pages.get("/sims/import/<key>")
@needs("sims.change")
def review(key: str) -> AnyResponse:
    of = _known(key)
    if of.running:
        return make_response(_running(of))
    if of.result is not None and of.result.ok:
        return _done(of)
    return make_response(_review(of, _failed(of)))


def _failed(of: Upload) -> str:
    return f"Nothing was changed: {applied_words(of.result)}." if of.result is not None and not of.result.ok else ""


def _running(of: Upload) -> str:
    seconds = room().clock.monotonic() - (of.begun or 0.0)
    part = request.headers.get("HX-Target") == "running"
    return render_template("sims_import_running_part.html" if part else "sims_import_running.html", upload=of, seconds=seconds)


def _done(of: Upload) -> AnyResponse:
    address = f"/sims?{urlencode({'done': of.result.version})}" if of.result is not None else "/sims"
    return Response(status=204, headers={"HX-Redirect": address}) if "HX-Request" in request.headers else redirect(address, 303)


def _review(of: Upload, failed: str = "") -> str:
    try:
        found = imports.look(of.data, of.plan)
    except BadSheet as error:
        return _form(_sentence(error.what), error.todo, of.plan)
    return render_template(
        "sims_import_review.html", upload=of, found=found, failed=failed, wrong=found.wrong[:WRONG_SHOWN], words=WORDS,
        rows=_rows(found, list(found.after)[:CARDS_SHOWN]), impact=imports.impact(found), asked=len(found.after) <= imports.MOST_ASKED,
        note=request.form.get("note", "")[:200],
    )  # fmt: skip


#: What people call the columns.
WORDS = {one.name: one.title for one in forms.fields_of(MODELS["sim"])}


def _rows(found: Outcome, names: Iterable[str]) -> list[tuple[str, bool, tuple[forms.Difference, ...]]]:
    """(card, whether it is new, its fields before and after)."""
    titles, rows = inventory().choices(), []
    for name in names:
        before, after = found.before.get(name), found.after[name]
        bodies = [one.model_dump(mode="json", exclude_defaults=True) if one is not None else None for one in (before, after)]
        rows.append((name, before is None, forms.differences(MODELS["sim"], bodies[0], bodies[1], titles)))
    return rows


@pages.post("/sims/import/<key>")
@needs("sims.change")
def apply(key: str) -> AnyResponse:
    of = _known(key)
    if of.running:
        return redirect(f"/sims/import/{key}", 303)
    if request.form.get("act") != "apply":
        abort(400, description="There is no such button.")
    found = imports.look(of.data, of.plan)
    without = request.form.get("without", "")
    why = imports.refused(found, int(without) if without.isdecimal() and len(without) < 9 else None, request.form.get("seen", ""))
    if why or not found.after:
        return make_response(_review(of, f"Nothing was changed: {why}" if why else ""), 409 if why else 200)
    imports.begin(of, found, request.form.get("note", "")[:200])
    return redirect(f"/sims/import/{key}", 303)


@pages.get("/sims/import/<key>/wrong.csv")
@needs("sims.change")
def wrong(key: str) -> Response:
    found = imports.look(_known(key).data, _known(key).plan)
    return _csv("wrong-lines", sim_sheet.wrong_lines(found.wrong))


@pages.get("/sims/sheet.csv")
@needs("sims.see")
def sheet() -> Response:
    """The configured cards in the columns that an import reads."""
    return _csv("sims-sheet", sim_sheet.lines(imports.exported()))


def _csv(name: str, lines: Iterable[str]) -> Response:
    file = f"{name}-{room().clock.utc():%Y%m%d-%H%M%S}.csv"
    return Response(lines, mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{file}"'})
