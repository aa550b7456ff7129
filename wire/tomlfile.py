"""Configuration files: TOML into a pydantic model, with mistakes shown by file, line and what is allowed.

Environment variables override single values: with the prefix `SIMRACK_BOX_`, `SIMRACK_BOX_SIP__LISTEN` sets
`listen` in the table `[sip]`. Two underscores go one table down; lists and tables are given as JSON.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from simrack.wire.errors import UserError
from simrack.wire.tomllines import line_of

T = TypeVar("T", bound=BaseModel)
Loc = tuple[int | str, ...]

# More than this many mistakes at once are no help to a reader.
MOST_SHOWN = 8


def load(model: type[T], path: Path, *, env_prefix: str = "", environ: Mapping[str, str] | None = None) -> T:
    """Read `path` into `model`; without `env_prefix` the environment is not looked at.

    Raises:
        UserError: the file can't be read or has mistakes; `where` is "file.toml:LINE" of the first.
    """
    return parse(model, read(path), path.name, env_prefix=env_prefix, environ=environ)


def read(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        UserError: it isn't there, isn't readable or isn't UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError("the file does not exist", str(path), "Check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError("the file is not UTF-8 text", str(path), "Save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"the file can't be read: {error.strerror}", str(path)) from error


def parse(
    model: type[T],
    text: str,
    name: str,
    *,
    env_prefix: str = "",
    environ: Mapping[str, str] | None = None,
) -> T:
    """`load` for text that is already read; `name` is the file's name in error messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(error, text, name) from error
    variables = os.environ if environ is None else environ
    overrides = _override(data, variables, env_prefix) if env_prefix else {}
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _mistakes(model, error, text, name, overrides) from error


def mistake(text: str, name: str, loc: Loc, what: str, todo: str = "") -> UserError:
    """The error for a mistake that a check of meaning found at `loc`, for instance ("plan", 2, "agreement")."""
    return UserError(what, f"{name}:{line_of(text, loc)}", todo)


def nearest(wrong: str, allowed: Sequence[str]) -> str:
    """A hint such as "Did you mean 'listen'?", or "" when nothing allowed is near."""
    near = difflib.get_close_matches(wrong, allowed, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def _syntax_error(error: tomllib.TOMLDecodeError, text: str, name: str) -> UserError:
    found = re.search(r"^(?P<what>.*?) \(at (?:line (?P<line>\d+)|end of document)", str(error), re.DOTALL)
    line = (found["line"] if found else None) or str(text.count("\n") + 1)
    what = found["what"] if found else str(error)
    return UserError(f"this is not TOML: {what}", f"{name}:{line}", "Mend the line; toml.io shows the form.")


def _override(data: dict[str, Any], environ: Mapping[str, str], prefix: str) -> dict[Loc, str]:
    """Put environment values into `data`; returns which variable set which place."""
    places: dict[Loc, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(prefix):
            continue
        loc = tuple(variable.removeprefix(prefix).lower().split("__"))
        table = data
        for key in loc[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise UserError(f"{key!r} is no table", f"environment variable {variable}")
            table = inner
        table[loc[-1]] = _value(environ[variable], variable)
        places[loc] = variable
    return places


def _value(raw: str, variable: str) -> object:
    if not raw.startswith(("[", "{")):
        return raw
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        raise UserError(f"the value is not JSON: {error.msg}", f"environment variable {variable}") from error


def _mistakes(
    model: type[BaseModel], error: ValidationError, text: str, name: str, overrides: Mapping[Loc, str]
) -> UserError:
    shown = sorted(
        (_describe(model, detail, text, name, overrides) for detail in _causes(error)),
        key=lambda item: item[0],
    )
    _line, where, what, todo = shown[0]
    more = [f"{where}: {what}." for _line, where, what, _todo in shown[1:MOST_SHOWN]]
    if len(shown) > MOST_SHOWN:
        more.append(f"... and {len(shown) - MOST_SHOWN} more.")
    also = " Also: " + " ".join(more) if more else ""
    return UserError(what, where, f"{todo}{also}".strip())


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """The errors without those that only follow from another: a list is "too short" when its items are wrong."""
    details = error.errors(include_url=False)
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(_inside(other["loc"], detail["loc"]) for other in details)
    ]


def _inside(inner: Loc, outer: Loc) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _describe(
    model: type[BaseModel], detail: ErrorDetails, text: str, name: str, overrides: Mapping[Loc, str]
) -> tuple[int, str, str, str]:
    """(line, where, what, todo) of one validation error."""
    loc = tuple(detail["loc"])
    key = ".".join(str(part) for part in loc if not isinstance(part, int)) or "the file"
    what, todo = _words(model, detail, loc, key)
    variable = next((v for place, v in overrides.items() if place == loc[: len(place)]), None)
    if variable is not None:
        return 0, f"environment variable {variable}", what, todo
    line = line_of(text, loc)
    return line, f"{name}:{line}", what, todo


def _words(model: type[BaseModel], detail: ErrorDetails, loc: Loc, key: str) -> tuple[str, str]:
    if detail["type"] == "extra_forbidden":
        allowed = _allowed(model, loc[:-1])
        hint = nearest(str(loc[-1]), allowed)
        return f"unknown key {key!r}", f"{hint} Allowed here: {', '.join(allowed)}.".strip()
    if detail["type"] == "missing":
        return f"the key {key!r} is missing", "Add it."
    if detail["type"] == "value_error":
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}", ""
    given = "" if isinstance(detail["input"], dict | list) else f" (it is {detail['input']!r})"
    message = detail["msg"].replace("Input should be", "must be", 1)
    return f"{key} {message[0].lower()}{message[1:]}{given}", ""


def _allowed(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that the table at `loc` may have."""
    found: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or found is None:
            continue
        fields = {field.alias or name: field for name, field in found.model_fields.items()}
        found = _model_in(fields[part].annotation) if part in fields else found
    return [] if found is None else [field.alias or name for name, field in found.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
