"""What all parts of the HTTP API share: their blueprint, answers, the page of a list.

A list is paged by key: `after` is what the last answer called `next`, so that rows which come meanwhile are neither
skipped nor shown twice. Errors are problem details (RFC 9457).
"""

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

PREFIX = "/api/v1"


def part(name: str, tag: str) -> APIBlueprint:
    """The blueprint of one part of the API; every view in it carries `needs(right)`."""
    return APIBlueprint(
        f"api_{name}", __name__, url_prefix=PREFIX, abp_tags=[Tag(name=tag)],
        abp_security=[{"bearer": []}], abp_responses={"401": None, "403": None, "503": None},
    )  # fmt: skip


def as_json(model: BaseModel, status: int = 200) -> Response:
    """An answer."""
    response = Response(model.model_dump_json(), status, mimetype="application/json")
    response.headers["Content-Location"] = request.path
    return response
