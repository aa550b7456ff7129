"""SIMs as a sheet: many of them changed together, and all of them to read."""

from typing import Literal

from flask import Response, abort
from flask_openapi3.models import RawModel
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.config.changes import Conflict
from simrack.web import sim_sheet
from simrack.web.api.common import NOTHING_CHANGED, as_json, as_problem, part
from simrack.web.app import mask, problem
from simrack.web.needs import needs
from simrack.web.services import imports
from simrack.web.sim_sheet import BadSheet, Outcome

api = part("sims", "configuration")
CSV = "text/csv"
#: Bad lines that an answer names; their number is always whole.
MOST_TOLD = 1000


class CsvBody(RawModel):
    """A file as it is."""

    mimetypes: list[str] = [CSV]  # noqa: RUF012  (the base class has it so, and reads it of the class)


class ImportQuery(BaseModel):
    """How a file is taken."""

    model_config = ConfigDict(extra="forbid")

    plan: str = Field("", max_length=200, description="name or title of the plan of lines that name none")
    dry_run: bool = Field(False, description="only look: what is new, changed, unchanged and wrong")
    without: int | None = Field(None, ge=0, le=sim_sheet.MOST_LINES, description="leave out exactly this many bad lines; else one of them stops all")
    seen: str | None = Field(None, max_length=64, description="`seen` of the look before; another outcome meanwhile is a conflict")
    note: str = Field("", max_length=200, description="why, for the history")


class BadLine(BaseModel):
    """One line that can't be taken."""

    line: int
    column: str
    what: str
    todo: str


class ImportOut(BaseModel):
    """What a file did, or would do; nothing is changed without a `version`."""

    version: int | None = Field(description="in force now; none of a look, or where nothing was to be changed")
    new: int
    changed: int
    unchanged: int
    bad: int = Field(description="lines that can't be taken")
    lines: list[BadLine] = Field(description=f"the first {MOST_TOLD} of them")
    unread: list[str] = Field(description="columns that are not read")
    seen: str = Field(description="a digest of what it would do")


class ImportProblem(ImportOut):
    """Why nothing was changed (RFC 9457), with what the file would have done."""

    status: int
    title: str
    detail: str
    conflicts: list[Conflict] = []


@api.post(
    "/sims/import", responses={"200": ImportOut, "409": ImportProblem, "413": None, "422": ImportProblem, "502": ImportProblem},
    summary="Change SIMs by a CSV file: all of its lines as one version, or none",
)  # fmt: skip
@needs("sims.change")
def import_sims(query: ImportQuery, raw: CsvBody) -> Response:
    if mask().hides("iccid"):
        abort(403)
    try:
        found = imports.look(raw.get_data(), query.plan)
    except BadSheet as error:
        return problem(422, "The file can't be read", f"{error.what}. {error.todo}".strip())
    if query.dry_run:
        return as_json(_told(found, None))
    if why := imports.refused(found, query.without, query.seen):
        stale = not found.mistakes and (not found.wrong or query.without == len(found.wrong))
        return _refused(found, 409 if stale else 422, why)
    if not found.after:
        return as_json(_told(found, None))
    done = imports.apply(found.changes, query.note)
    if done.ok:
        return as_json(_told(found, done.version))
    status: Literal[409, 422, 502] = 409 if done.conflicts else 422 if done.mistakes else 502
    return _refused(found, status, done.error, done.conflicts)


def _told(found: Outcome, version: int | None) -> ImportOut:
    return ImportOut(version=version, seen=found.seen, **_counts(found))


def _counts(found: Outcome) -> dict[str, object]:
    lines = [BadLine(line=one.line, column=one.column, what=one.what, todo=one.todo) for one in found.wrong[:MOST_TOLD]]
    return {
        "new": found.new, "changed": found.changed, "unchanged": found.unchanged, "bad": len(found.wrong), "lines": lines,
        "unread": list(found.unread),
    }  # fmt: skip


def _refused(found: Outcome, status: int, why: str, conflicts: tuple[Conflict, ...] = ()) -> Response:
    return as_problem(ImportProblem(
        status=status, title=NOTHING_CHANGED, detail=why or NOTHING_CHANGED, version=None, seen=found.seen, conflicts=list(conflicts),
        **_counts(found),
    ), status)  # fmt: skip


@api.get("/sims/sheet.csv", responses={"200": {"description": "OK", "content": {CSV: {"schema": {"type": "string"}}}}}, summary="All SIMs in the columns that an import reads")
@needs("sims.see")
def sheet() -> Response:
    if mask().hides("iccid"):
        abort(403)
    return Response(sim_sheet.lines(imports.exported()), mimetype=CSV)
