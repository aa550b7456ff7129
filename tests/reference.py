"""Writes docs/api.md and docs/command-reference.md: every operation of the HTTP API and every command, as they are.

    python -P tests/reference.py
"""

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from flask import Flask
from typer.main import get_command

sys.path.insert(0, str(Path(__file__).parent))

from simrack.cli.main import build
from simrack.web.api.common import described
from simrack.web.needs import right_of
from simrack.wire import rights

DOCS = Path(__file__).parents[1] / "docs"
API, COMMANDS = DOCS / "api.md", DOCS / "command-reference.md"
API_HEAD = """# HTTP API

Made by `make docs` from the application's own document, which a control room serves at `/openapi.json` (OpenAPI 3.1);
a test compares. All addresses begin with `/api/v1`. Send a session cookie, or `Authorization: Bearer TOKEN` with a
token of [your account](accounts.md); each operation names the right that it needs ([roles](rights.md)), and rows of
others are not there (404).

- **Errors** are problem details (RFC 9457, `application/problem+json`): `status`, `title`, `detail`, and `errors` with
  the fields when it is about what was sent. 401: not signed in. 403: no right. 503: the database can't be read now.
- **Lists** are paged by key: send what an answer called `next` as `after` (or `before`) of the next request.
- **Repeating**: a request that changes something may carry an `Idempotency-Key`; with the same key it acts once and
  gets the first answer for a day. With a session cookie it needs `X-CSRF-Token` as well.
- **Events**: `GET /events` tells what changes as server-sent events; go on with `Last-Event-ID` after a break, and
  send `short=true` behind a proxy that gathers what it passes on.
"""
COMMANDS_HEAD = """# Command reference

Made by `make docs` from the commands themselves; a test compares. How a command finds the installation, its output
and exit codes: [the command](command.md). Each takes `--help`.
"""
VERBS = ("get", "post", "put", "patch", "delete")


# --- the API ----------------------------------------------------------------------------------------------------


def api_page(app: Any) -> str:
    """The API's page."""
    with app.app_context():
        document = described(app.api_doc)
    needed = _rights(app)
    tags: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for verb in (verb for verb in VERBS if verb in item):
            told = _operation(path, verb, item[verb], needed[verb.upper(), path])
            tags.setdefault(item[verb]["tags"][0], []).extend(told)
    parts = [line for tag, lines in tags.items() for line in ("", f"## {tag.capitalize()}", *lines)]
    schemas = document["components"]["schemas"]
    bodies = [line for name in sorted(schemas) for line in _schema(name, schemas[name])]
    return "\n".join([API_HEAD, *parts[1:], "", "## Bodies", *bodies, ""])


def _rights(app: Flask) -> Mapping[tuple[str, str], str]:
    found = {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[a-z]+:)?([^>]+)>", r"{\1}", rule.rule)
        for verb in rule.methods or ():
            found[verb, path] = right_of(app.view_functions[rule.endpoint]) or ""
    return found


def _operation(path: str, verb: str, told: Mapping[str, Any], right: str) -> Iterator[str]:
    yield from ("", f"### `{verb.upper()} {path.removeprefix('/api/v1')}`", f"{_dot(told.get('summary', ''))} {_right(right)}")
    if told.get("description"):
        yield from ("", _words(told["description"]))
    rows = [one for one in told.get("parameters", ()) if one["name"] != "Idempotency-Key"]
    if rows:
        yield from ("", "| parameter | in | type | meaning |", "| --- | --- | --- | --- |")
        yield from (f"| `{one['name']}` | {one['in']} | {_type(one['schema'])}{', needed' if one['required'] else ''} | {_meaning(one)} |" for one in rows)
    body = told.get("requestBody", {}).get("content", {})
    if body:
        yield from ("", f"Body: {_contents(body)}.")
    yield from ("", f"Answers: {'; '.join(_answers(told['responses']))}.")


def _right(right: str) -> str:
    by_token = ", never by a token" if right in rights.NEVER_BY_TOKEN else ""
    return f"Needs `{right}`{by_token}."


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, answer in sorted(responses.items()):
        if status in ("401", "403", "405", "503"):
            continue  # of every operation: told once above
        said = {kind: of for kind, of in answer.get("content", {}).items() if status < "400" or kind != "application/problem+json" or "anyOf" in of["schema"]}
        yield f"{status} {_contents(said)}".strip() if said else f"{status} {'problem' if status >= '400' else 'nothing'}"


def _contents(content: Mapping[str, Any]) -> str:
    return " or ".join(_type(of.get("schema", {})) if kind.endswith("json") else f"`{kind}`" for kind, of in content.items())


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"### {name}", _dot(_words(schema.get("description", ""))))
    fields = schema.get("properties", {})
    if fields:
        yield from ("", "| field | type | meaning |", "| --- | --- | --- |")
        needed = schema.get("required", ())
        yield from (f"| `{field}` | {_type(of)}{', needed' if field in needed else ''} | {_meaning(of)} |" for field, of in fields.items())
    elif schema.get("enum"):
        yield from ("", f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.")


def _meaning(of: Mapping[str, Any]) -> str:
    said = _words(str(of.get("description") or of.get("schema", {}).get("description") or ""))
    default = of.get("default", of.get("schema", {}).get("default"))
    return f"{said}{'; ' if said else ''}default `{default}`" if default not in (None, "", [], {}) else said


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[key]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _plain(schema)


def _plain(schema: Mapping[str, Any]) -> str:
    word = {"null": "nothing", "object": "object", "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    told = word.get(str(schema.get("type", "")), "anything")
    told = {"date-time": "time (UTC)", "date": "day"}.get(str(schema.get("format", "")), told)
    low, high, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum", schema.get("exclusiveMaximum")), schema.get("maxLength")
    if low is not None and high is not None:
        return f"{told}, {low} to {high}"
    if low is not None:
        return f"{told}, from {low}"
    return f"{told}, up to {most} characters" if most is not None else told


# --- the command ------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """The page of commands."""
    return "\n".join([COMMANDS_HEAD, *_tree(get_command(build()), "simrack"), ""])


def _tree(command: Any, name: str) -> Iterator[str]:
    depth = name.count(" ")
    if depth:
        yield from ("", f"{'##' if depth == 1 else '###'} {name}", "", _paragraphs(command.help or ""))
        rows = list(_rows(command.params))
        if rows:
            yield from ("", "| argument or option | value | meaning |", "| --- | --- | --- |", *rows)
    found: Mapping[str, Any] = getattr(command, "commands", {})
    for word in sorted(found):
        yield from _tree(found[word], f"{name} {word}")


def _rows(params: Iterable[Any]) -> Iterator[str]:
    for one in params:
        if "--help" in one.opts or one.hidden:
            continue
        option = one.opts[0].startswith("-")
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts)) if option else f"`{(one.metavar or one.name).upper()}`"
        yield f"| {names} | {_value(one)} | {_words(one.help or '')}{_default(one)} |"


def _value(one: Any) -> str:
    if getattr(one, "is_flag", False):
        return ""
    kind = one.type_descriptor.annotation
    told = next((words for of, words in _KINDS.items() if of in (kind, *get_args(kind))), "text")
    if one.min is not None:
        told += f", {one.min} to {one.max}" if one.max is not None else f", from {one.min}"
    return told + (", needed" if one.required else "") + (", several" if one.multiple or one.nargs == -1 else "")


_KINDS = {int: "whole number", float: "number", Path: "path", bool: "yes or no"}


def _default(one: Any) -> str:
    variable = f" Also `${one.envvar}`." if isinstance(one.envvar, str) else ""
    plain = one.default if isinstance(one.default, str | int | float | Path) and not isinstance(one.default, bool) else ""
    return f"{f' Default: `{plain}`.' if plain != '' else ''}{variable}"


# --- words ------------------------------------------------------------------------------------------------------


def _paragraphs(text: str) -> str:
    return "\n\n".join(_words(part) for part in text.split("\n\n"))


def _words(text: str) -> str:
    """Text within a table or a line: no line ends, no bars, nothing that is taken for HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _dot(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


def main() -> None:
    import web_helpers as helpers

    from simrack.controller.store.migrate import migrate

    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/web.db"
        migrate(url, helpers.Hands())
        stand = helpers.stand(url)
        API.write_text(api_page(stand.app))
        COMMANDS.write_text(commands_page())
        stand.close()


if __name__ == "__main__":
    main()
