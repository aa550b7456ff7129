"""Changes that are prepared together: the pages' drafts."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.config.changes import Change, Conflict, Difference, Mistake
from simrack.web.api.common import as_json, part, wrong_fields
from simrack.web.api.configuration import CHANGES, applied_as_json
from simrack.web.app import problem
from simrack.web.needs import needs
from simrack.web.services import configuration, drafts
from simrack.web.services.drafts import DraftView

api = part("drafts", "routing")
NUMBER_MOST = 2**31 - 1


class DraftIn(BaseModel):
    """Changes for a draft."""

    model_config = ConfigDict(extra="forbid")

    changes: list[Change] = Field(min_length=1, max_length=drafts.MOST_CHANGES)
    note: str = Field("", max_length=200)
    into: int | None = Field(None, ge=1, le=NUMBER_MOST, description="an open draft; else a new one")


class DraftPath(BaseModel):
    """A draft's number."""

    number: int = Field(ge=1, le=NUMBER_MOST)


class DraftChangePath(DraftPath):
    """One change of a draft, by its place from 0."""

    place: int = Field(ge=0, le=drafts.MOST_CHANGES)


class DraftOut(BaseModel):
    """A draft."""

    id: int
    title: str
    author: str
    created: datetime
    changed: datetime
    state: Literal["open", "applied", "dropped"]
    changes: list[Change]


class DraftLooked(DraftOut):
    """A draft, and what it would do now."""

    version: int = Field(description="in force when it was looked at")
    mistakes: list[Mistake]
    conflicts: list[Conflict]
    differences: list[Difference]


class DraftsOut(BaseModel):
    """Drafts, the open ones first."""

    drafts: list[DraftOut]


class DraftMade(BaseModel):
    """The number of the draft."""

    id: int


def _missing() -> Response:
    return problem(404, "No such draft", "There is no draft of this number.")


def _fields(view: DraftView) -> dict[str, object]:
    return {
        "id": view.id, "title": view.title, "author": view.author, "created": view.created, "changed": view.changed,
        "state": view.state, "changes": list(view.changes),
    }  # fmt: skip


@api.get("/drafts", responses={"200": DraftsOut}, summary="Drafts, the open ones first")
@needs("routing.see")
def listed() -> Response:
    return as_json(DraftsOut(drafts=[DraftOut.model_validate(_fields(one)) for one in drafts.all_drafts()]))


@api.get("/drafts/<int:number>", responses={"200": DraftLooked, "404": None}, summary="One draft, and what it would do now")
@needs("routing.see")
def one(path: DraftPath) -> Response:
    view = drafts.one(path.number)
    if view is None:
        return _missing()
    looked = configuration.look(view.changes if view.state == drafts.OPEN else ())
    return as_json(DraftLooked.model_validate({
        **_fields(view), "version": looked.version, "mistakes": looked.mistakes, "conflicts": looked.conflicts,
        "differences": looked.differences,
    }))  # fmt: skip


@api.post("/drafts", responses={"201": DraftMade, "409": None, "422": None}, summary="Keep changes as a draft, or in one")
@needs("routing.change")
def keep(body: DraftIn) -> Response:
    lacking = configuration.lacking(body.changes)
    if lacking:
        return problem(403, "No right to this", f"These changes need: {', '.join(lacking)}.")
    if any(isinstance(secret := change.body.get("digest"), dict) and set(secret) - {"user", "algorithms"} for change in body.changes):
        return wrong_fields({"changes": "A draft keeps no password."})
    made = drafts.keep(body.changes, body.note, body.into)
    if made is None:
        return problem(409, "Not kept", f"That draft is not open, or would have more than {drafts.MOST_CHANGES} changes.")
    return as_json(DraftMade(id=made), 201)


@api.delete("/drafts/<int:number>", responses={"204": None, "404": None, "409": None}, summary="Drop a draft; it stays readable")
@needs("routing.change")
def drop(path: DraftPath) -> Response:
    def act() -> bool:
        drafts.close(path.number, drafts.DROPPED)
        return True

    return _acted(path.number, act)


@api.delete(
    "/drafts/<int:number>/changes/<int:place>", responses={"204": None, "404": None, "409": None}, summary="Take a change out of a draft",
)  # fmt: skip
@needs("routing.change")
def without(path: DraftChangePath) -> Response:
    return _acted(path.number, lambda: drafts.without(path.number, path.place))


@api.post("/drafts/<int:number>/rebase", responses={"204": None, "404": None, "409": None}, summary="Go on with a draft in spite of others' changes")
@needs("routing.change")
def rebase(path: DraftPath) -> Response:
    return _acted(path.number, lambda: drafts.rebase(path.number))


def _acted(number: int, act: Callable[[], bool]) -> Response:
    view = drafts.one(number)
    if view is None:
        return _missing()
    if view.state != drafts.OPEN:
        return problem(409, "Not open", "This draft is closed.")
    return Response(status=204) if act() else problem(404, "No such change", "The draft has no change at this place.")


@api.post("/drafts/<int:number>/apply", responses={**CHANGES, "404": None}, summary="Put a draft in force: all of its changes or none")
@needs("routing.change")
def apply(path: DraftPath) -> Response:
    view = drafts.one(path.number)
    if view is None:
        return _missing()
    if view.state != drafts.OPEN or not view.changes:
        return problem(409, "Not open", "This draft is closed, or has no change.")
    lacking = configuration.lacking(view.changes)
    if lacking:
        return problem(403, "No right to this", f"These changes need: {', '.join(lacking)}.")
    done = configuration.apply(view.changes, view.note)
    if done.ok:
        drafts.close(view.id, drafts.APPLIED)
    return applied_as_json(done)
