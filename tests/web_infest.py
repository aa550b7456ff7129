"""Writes a script and a formula into every word that anybody outside could have a hand in: names, notes, numbers, networks."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import web_demo
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, String, select, update
from web_helpers import Stand

from simrack.controller.config.kinds import MODELS
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine

#: Shown as it is, this would run; a spreadsheet would take it for a formula.
TAG = "=<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
#: What joins rows and messages with each other, and words that only the program itself writes.
OURS = frozenset({
    "boot", "box", "call", "attempt", "site", "plan", "sender", "iccid", "imsi", "state", "run", "direction", "outcome", "side", "refusal",
    "severity", "kind", "role", "action", "hash", "previous", "digest", "changes", "at_log", "media", "explanation", "ladder", "body", "kept", "source",
    "cause", "detail", "password_hash", "totp_secret", "key", "public", "csrf", "request", "box_boot", "name", "expected", "check", "target",
    "way", "decided_by", "sip_call_id", "from_tag",
})  # fmt: skip
TABLES = (t.cdr, t.attempt, t.alarm, t.audit, t.web_act, t.config_version, t.open_call, t.web_session)
JSON = ((t.call_story, "explanation"), (t.call_story, "ladder"), (t.attempt, "at_log"), (t.audit, "detail"))


def infest_database(url: str) -> None:
    """Every free word of every record, alarm, entry of the audit log, version and configured thing."""
    engine = write_engine(url)
    with engine.begin() as connection:
        for table in TABLES:
            free = [column.name for column in table.columns if isinstance(column.type, String) and column.name not in OURS and not column.primary_key]
            connection.execute(update(table).values(dict.fromkeys(free, TAG)))
        for table, column in JSON:
            _rewrite(connection, table, column, lambda value: _leaves(value, lambda _: True))
        for kind, model in MODELS.items():
            of = t.metadata.tables.get(f"config_{kind}")
            if of is not None:
                _rewrite(connection, of, "body", partial(_accepted, model))
    engine.dispose()


def infested(stand: Stand) -> None:
    """The same for what comes over the bus."""
    stand.feed(*(type(message).model_validate(_accepted(type(message), message.model_dump(mode="json"))) for message in web_demo.messages(stand.clock.utc())))


def _rewrite(connection: Connection, table: Any, column: str, change: Callable[[Any], Any]) -> None:
    of = table.columns[column]
    keys = list(table.primary_key.columns)
    for row in connection.execute(select(*keys, of).where(of.is_not(None))).all():
        value = json.loads(row[-1]) if isinstance(row[-1], str) and row[-1] else None
        if isinstance(value, dict | list):
            here = [key == part for key, part in zip(keys, row[:-1], strict=True)]
            connection.execute(update(table).where(*here).values({column: json.dumps(change(value))}))


def _leaves(value: Any, free: Callable[[str], bool], name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _leaves(inner, free, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_leaves(inner, free, name) for inner in value]
    return TAG if isinstance(value, str) and value and name not in OURS and free(name) else value


def _accepted(model: type[BaseModel], value: dict[str, Any]) -> dict[str, Any]:
    """With the tag in each field that takes it."""
    for name in sorted(_names(value) - OURS):
        changed = _leaves(value, name.__eq__)
        try:
            model.model_validate(changed)
        except ValidationError:
            continue
        value = changed
    return value


def _names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_names(inner) for inner in value.values()))
    return set().union(*(_names(inner) for inner in value)) if isinstance(value, list) else set()
