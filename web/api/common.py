"""What all parts of the HTTP API share: their blueprint, answers, errors, pages of a list, idempotency keys.

A list is paged by key: `after` is what the last answer called `next`, so that rows which come meanwhile are neither
skipped nor shown twice. Errors are problem details (RFC 9457). A request that changes something may carry an
`Idempotency-Key`: repeated with the same key within a day it gets the first answer and acts once.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import structlog
from flask import Response, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simrack.controller.store.errors import StoreDown
from simrack.web.accounts.answers import KeyInUse, request_digest
from simrack.web.app import is_api, me, problem, room
from simrack.web.errors import BadForm

PREFIX = "/api/v1"
KEY_HEADER, REPLAYED = "Idempotency-Key", "Idempotency-Replayed"
KEY_MOST = 128
PROBLEM_TYPE = "application/problem+json"
NOTHING_CHANGED = "Nothing was changed"
SAFE = ("GET", "HEAD", "OPTIONS")
PER_PAGE_MOST = 1000

log = structlog.get_logger(__name__)


class FieldMistake(BaseModel):
    """One field that can't be taken."""

    field: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457); `errors` names the fields when it is about what was sent."""

    status: int
    title: str
    detail: str = ""
    errors: list[FieldMistake] = []


class ListQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    after: str = Field("", max_length=500, description="`next` of the answer before; empty for the beginning")
    limit: int = Field(100, ge=1, le=PER_PAGE_MOST, description="rows at most")


class Empty(BaseModel):
    """Done; there is nothing to say."""


def part(name: str, tag: str) -> APIBlueprint:
    """The blueprint of one part of the API; every view in it carries `needs(right)`."""
    return APIBlueprint(
        f"api_{name}", __name__, url_prefix=PREFIX, abp_tags=[Tag(name=tag)],
        abp_security=[{"bearer": []}], abp_responses={"401": None, "403": None, "413": None, "503": None},
    )  # fmt: skip


def as_json(model: BaseModel, status: int = 200) -> Response:
    """An answer."""
    response = Response(model.model_dump_json(), status, mimetype="application/json")
    # A name in the path may hold anything, a line feed too.
    response.headers["Content-Location"] = quote(request.path)
    return response


def as_problem(model: BaseModel, status: int) -> Response:
    """An error that tells more than others do; the model has the fields of a `Problem` as well."""
    return Response(model.model_dump_json(), status, mimetype=PROBLEM_TYPE)


def wrong_field(error: BadForm) -> Response:
    """422 that names the field, from the rules that the pages have as well."""
    return wrong_fields({error.field: str(error)})


def wrong_fields(wrong: Mapping[str, str]) -> Response:
    """422 that names each field with what is wrong with it."""
    return _problem(422, "What was sent can't be taken", [FieldMistake(field=f, detail=d) for f, d in wrong.items()])


def invalid(error: ValidationError) -> Response:
    """422 for what does not fit the document."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return _problem(
        422, "What was sent can't be taken",
        [FieldMistake(field=".".join(map(str, one["loc"])) or "body", detail=one["msg"]) for one in found],
    )  # fmt: skip


def _problem(status: int, title: str, errors: Sequence[FieldMistake]) -> Response:
    told = Problem(
        status=status, title=title, detail="; ".join(f"{e.field}: {e.detail}" for e in errors), errors=list(errors)
    )
    return as_problem(told, status)


def after_key(*values: object) -> str:
    """The text of `next`: where a list goes on, from the sort key of its last row."""
    return base64.urlsafe_b64encode(json.dumps(values, default=str).encode()).decode().rstrip("=")


def read_after(after: str, kinds: Sequence[type]) -> tuple[Any, ...] | None:
    """The sort key in `after`; None for the beginning. Raises `BadForm`: it is no key of this list."""
    if not after:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    except (ValueError, binascii.Error) as error:
        raise BadForm("after", "Send what the answer before called next.") from error
    fits = isinstance(values, list) and len(values) == len(kinds)
    if not fits or any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
        raise BadForm("after", "Send what the answer before called next.")
    return tuple(values)


def answered_before() -> Response | None:
    """Before a view: the answer of before to a request that is repeated with its key."""
    key = request.headers.get(KEY_HEADER, "")
    if not key or not is_api() or request.method in SAFE or g.session is None:
        return None
    if len(key) > KEY_MOST or not key.isascii() or not key.isprintable():
        return problem(400, "Bad idempotency key", f"{KEY_HEADER}: 1 to {KEY_MOST} printable ASCII characters.")
    asked = request_digest(request.method, request.full_path, request.get_data())
    try:
        kept = room().accounts.answers.begin(me().user_id, key, asked)
    except KeyInUse as error:
        if error.other:
            return problem(422, "Idempotency key used", "Another request was sent with this key; take a new key for it.")
        return problem(409, "Still at work", "The first request with this key is not done yet; repeat it in a moment.")
    if kept is None:
        g.idempotency_key = key
        return None
    mimetype = "application/json" if kept.status < 400 else PROBLEM_TYPE
    return Response(kept.body, kept.status, {REPLAYED: "true"}, mimetype=mimetype)


def keep_answer(response: Response) -> Response:
    """After a view: keep its answer under the key; an error of ours frees the key for another try."""
    key = g.pop("idempotency_key", "")
    if not key:
        return response
    answers = room().accounts.answers
    try:
        if response.status_code >= 500:
            answers.drop(me().user_id, key)
        else:
            answers.keep(me().user_id, key, response.status_code, response.get_data(as_text=True))
    except StoreDown as error:
        # The act is done and its answer goes out; the key is free again after a while.
        log.warning("an answer could not be kept for its key", error=str(error))
    return response


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with what all operations share: errors as problem details, idempotency keys."""
    error = {"content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if "{" in path:
                # What can't be a number or name of such a thing is another address, or none.
                operation["responses"].setdefault("404", {"description": "Not Found"})
                operation["responses"].setdefault("405", {"description": "Method Not Allowed"})
            for status, answer in operation["responses"].items():
                if status >= "400":
                    answer["content"] = {PROBLEM_TYPE: {"schema": _problem_of(answer)}}
            if method.upper() not in SAFE:
                operation["responses"].setdefault("400", {"description": "Bad Request", **error})
                operation["responses"].setdefault("409", {"description": "Conflict", **error})
                operation["parameters"] = [*_not_key(operation.get("parameters", ())), _KEY_PARAMETER]
    return document


def _problem_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a problem; beside a longer one of the operation stands the common one, of what all requests pass."""
    known = [said.get("schema", {}) for said in answer.get("content", {}).values()]
    if any("anyOf" in schema for schema in known):
        return next(schema for schema in known if "anyOf" in schema)  # the document is asked for again and again
    plain = {"$ref": "#/components/schemas/Problem"}
    longer = [{"$ref": schema["$ref"]} for schema in known if schema.get("$ref", plain["$ref"]) != plain["$ref"]]
    return {"anyOf": [*longer, plain]} if longer else plain


def _not_key(parameters: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [parameter for parameter in parameters if parameter["name"] != KEY_HEADER]


_KEY_PARAMETER = {
    "in": "header", "name": KEY_HEADER, "required": False,
    "description": "repeated with the same key within a day, this request acts once and gets the same answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MOST},
}  # fmt: skip
