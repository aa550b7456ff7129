"""A TOML writer for the files that `simrack up` hands to its children.

The standard library reads TOML and does not write it; these files hold strings, numbers, lists of them,
tables and arrays of tables, and nothing else.
"""

import json
from typing import Any


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL and surrogates, which have no place here.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_scalar(item)}" for key, item in value.items()) + "}"
    raise TypeError(f"{type(value).__name__} has no place in a settings file")


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _body(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_scalar(value)}" for key, value in table.items()]


def toml_text(document: dict[str, Any]) -> str:
    """`document` as TOML: plain keys first, then its tables, then its arrays of tables (inner ones inline)."""
    plain = {k: v for k, v in document.items() if not isinstance(v, dict) and not _is_tables(v)}
    lines = _body(plain)
    for key, value in document.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *_body(value)]
        elif _is_tables(value):
            for item in value:
                lines += ["", f"[[{key}]]", *_body(item)]
    return "\n".join(lines) + "\n"
