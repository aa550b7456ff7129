"""What is configured: entries, changes, versions, global options; the same service as the pages."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from flask import Response, abort
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.config.catalogue import Value
from simrack.controller.config.changes import Change, Conflict, Difference, Mistake
from simrack.controller.config.impact import Impact
from simrack.controller.config.kinds import Kind
from simrack.controller.config.reading import Stored, VersionRow
from simrack.web.api.common import NOTHING_CHANGED, as_json, as_problem, part
from simrack.web.app import mask, me, problem
from simrack.web.needs import needs
from simrack.web.services import configuration
from simrack.web.services.configuration import Applied

api = part("configuration", "configuration")

#: Who may look at the entries of a kind.
SEE: dict[Kind, str] = {
    "sim": "sims.see", "plan": "sims.see", "sender": "senders.see", "agreement": "agreements.see",
    "site": "agreements.see", "installation": "agreements.see", "pattern": "routing.see", "limit": "routing.see",
    "setting": "settings.see",
}  # fmt: skip
#: Changes of one request; more are a file's (`simrack config apply`).
MOST_CHANGES = 1000
_GROUPS = {"sim": "iccid", "sender": "sender"}


class EntriesQuery(BaseModel):
    """Which entries of a kind."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=100, description="part of a name, a title or a prefix")
    after: int | None = Field(None, ge=0, le=2**31 - 1, description="`next` of the answer before")
    limit: int = Field(50, ge=1, le=500)


class KindPath(BaseModel):
    """A kind of configured thing."""

    kind: Kind


class EntryQuery(BaseModel):
    """Which entry."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)


class EntryOut(BaseModel):
    """One entry; `digest` is the `base` of a change of it (empty in a list of patterns with several prefixes)."""

    kind: Kind
    name: str
    body: dict[str, Any]
    digest: str
    prefixes: int = Field(description="of a pattern; a list's body has the first one only")


class EntriesOut(BaseModel):
    """A page of entries, in the order in which they stand."""

    version: int
    total: int
    next: int | None
    entries: list[EntryOut]


class ChangesIn(BaseModel):
    """Changes that go into force together, or not at all."""

    model_config = ConfigDict(extra="forbid")

    changes: list[Change] = Field(min_length=1, max_length=MOST_CHANGES)
    note: str = Field("", max_length=200, description="why, for the history")
    check: bool = Field(False, description="only look: mistakes, conflicts, differences, and what it would do to recent calls")


class ChangesOut(BaseModel):
    """What changes did, or would do."""

    version: int | None = Field(description="in force now; of a check: looked at")
    differences: list[Difference] = Field(default=[], description="of a check only")
    impact: Impact | None = Field(None, description="of a check only")


class ChangesProblem(ChangesOut):
    """Why nothing was changed (RFC 9457). 409: conflicts, with both versions; 422: mistakes; 502: the controller did not do it."""

    status: int
    title: str
    detail: str
    mistakes: list[Mistake] = []
    conflicts: list[Conflict] = []


#: What changes are answered with, beside what all operations answer.
CHANGES: dict[str | int | HTTPStatus, type[BaseModel] | dict[Any, Any] | None] = {
    "200": ChangesOut, "409": ChangesProblem, "422": ChangesProblem, "502": ChangesProblem,
}  # fmt: skip


class VersionPath(BaseModel):
    """A version."""

    version: int = Field(ge=0, le=2**31 - 1)


class VersionsQuery(BaseModel):
    """Which part of the history."""

    model_config = ConfigDict(extra="forbid")

    before: int | None = Field(None, ge=0, le=2**31 - 1, description="`next` of the answer before")
    limit: int = Field(50, ge=1, le=500)


class VersionOut(BaseModel):
    """One version of the configuration."""

    version: int
    created: datetime
    actor: str
    source: str = Field(description="name of the file that it was imported from; empty of changes")
    note: str
    parent: int | None
    kept: bool = Field(description="whether it can be put in force")
    in_force: bool
    differences: list[Difference] = Field(default=[], description="of one version only")


class VersionsOut(BaseModel):
    """Versions, newest first."""

    versions: list[VersionOut]
    next: int | None


class ActivateIn(BaseModel):
    """Putting an earlier version in force."""

    model_config = ConfigDict(extra="forbid")

    seen: int | None = Field(None, description="the version in force when it was decided; another one is a conflict")
    note: str = Field("", max_length=200)


class OptionOut(BaseModel):
    """One global option."""

    name: str
    title: str
    meaning: str
    value: Value
    default: Value
    is_set: bool
    base: str = Field(description="for a change of kind `setting`")
    unit: str
    range: str
    effect: str
    reader: str


class OptionsOut(BaseModel):
    """All global options."""

    options: list[OptionOut]


def _may_see(kind: Kind) -> None:
    if not me().may(SEE[kind]) or mask().hides(_GROUPS.get(kind, "")):
        abort(403)


def _entry(stored: Stored) -> EntryOut:
    return EntryOut(
        kind=stored.kind, name=stored.name, body=dict(stored.body), digest=stored.digest, prefixes=stored.prefixes
    )


@api.get("/config/<kind>", responses={"200": EntriesOut}, summary="Entries of a kind, searched and paged")
@needs("config.see")
def entries(path: KindPath, query: EntriesQuery) -> Response:
    _may_see(path.kind)
    page = configuration.entries(path.kind, text=query.text, after=query.after, limit=query.limit)
    return as_json(EntriesOut(version=page.version, total=page.total, next=page.next, entries=[_entry(row) for row in page.rows]))


@api.get("/config/<kind>/entry", responses={"200": EntryOut, "404": None}, summary="One entry with the digest to base a change on")
@needs("config.see")
def entry(path: KindPath, query: EntryQuery) -> Response:
    _may_see(path.kind)
    stored = configuration.entry(path.kind, query.name)
    if stored is None:
        return problem(404, "No such entry", f"There is no {path.kind} of this name.")
    return as_json(_entry(stored))


@api.post("/config/changes", responses=CHANGES, summary="Change entries, together or not at all")
@needs("config.see")
def changes(body: ChangesIn) -> Response:
    if configuration.lacking(body.changes):
        return problem(403, "No right to this", f"These changes need: {', '.join(configuration.lacking(body.changes))}.")
    return _checked(body) if body.check else applied_as_json(configuration.apply(body.changes, body.note))


def _checked(body: ChangesIn) -> Response:
    looked = configuration.look(body.changes)
    impact = configuration.impact(body.changes) if looked.ok and me().may("routing.explain") else None
    if impact is not None:
        examples = tuple(one.model_copy(update={"called": mask().number(one.called)}) for one in impact.examples)
        impact = impact.model_copy(update={"examples": examples})
    told = ChangesOut(version=looked.version, differences=list(looked.differences), impact=impact)
    return as_json(told) if looked.ok else _refused(told, looked.mistakes, looked.conflicts, "")


def applied_as_json(applied: Applied) -> Response:
    """What became of changes."""
    told = ChangesOut(version=applied.version)
    return as_json(told) if applied.ok else _refused(told, applied.mistakes, applied.conflicts, applied.error)


def _refused(told: ChangesOut, mistakes: Sequence[Mistake], conflicts: Sequence[Conflict], why: str) -> Response:
    """Problem details: a repeated request gets them as the first one did, and each error of the API reads alike."""
    said = [*(f"{one.kind} {one.name}: {one.what}" for one in mistakes), *(f"{one.kind} {one.name}: changed meanwhile" for one in conflicts)]
    status = 409 if conflicts else 422 if mistakes else 502
    return as_problem(ChangesProblem(
        **dict(told), status=status, title=NOTHING_CHANGED, detail=why or "; ".join(said), mistakes=list(mistakes), conflicts=list(conflicts),
    ), status)  # fmt: skip


def _version(row: VersionRow, differences: tuple[Difference, ...] = ()) -> VersionOut:
    return VersionOut(
        version=row.version, created=row.created, actor=row.actor, source=row.source, note=row.note, parent=row.parent,
        kept=row.activated is not None, in_force=row.in_force, differences=list(differences),
    )  # fmt: skip


@api.get("/config-versions", responses={"200": VersionsOut}, summary="Versions of the configuration, newest first")
@needs("settings.see")
def versions(query: VersionsQuery) -> Response:
    rows = configuration.history(before=query.before, limit=query.limit + 1)
    more = rows[query.limit - 1].version if len(rows) > query.limit else None
    return as_json(VersionsOut(versions=[_version(row) for row in rows[: query.limit]], next=more))


@api.get("/config-versions/<int:version>", responses={"200": VersionOut, "404": None}, summary="One version and what it changed")
@needs("settings.see")
def version(path: VersionPath) -> Response:
    row = configuration.one_version(path.version)
    if row is None:
        return problem(404, "No such version", f"There is no version {path.version}.")
    return as_json(_version(row, configuration.seen_changes(row)))


@api.post("/config-versions/<int:version>/activate", responses={"200": ChangesOut, "409": None}, summary="Put an earlier version in force again")
@needs("config.apply")
def activate(path: VersionPath, body: ActivateIn) -> Response:
    applied = configuration.activate(path.version, body.note, body.seen)
    return as_json(ChangesOut(version=applied.version)) if applied.ok else problem(409, NOTHING_CHANGED, applied.error)


@api.get("/config-options", responses={"200": OptionsOut}, summary="Global options with meaning, range and value")
@needs("settings.see")
def options() -> Response:
    return as_json(OptionsOut(options=[
        OptionOut(
            name=one.option.name, title=one.option.title, meaning=one.option.meaning, value=one.value,
            default=one.option.default, is_set=one.is_set, base=one.base, unit=one.option.unit, range=one.option.range,
            effect=one.option.effect, reader=one.option.reader,
        )
        for one in configuration.options()
    ]))  # fmt: skip
