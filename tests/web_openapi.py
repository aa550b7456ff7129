"""Requests made of the OpenAPI document: every operation, with what fits the document and with what does not.

One walk sends generated requests to a control room in this process and names every answer that breaks the promise:
an error of ours (500), a status or a body that the document does not tell of. Names and ids of things that exist are
mixed in, because a generator would hit none of them.
"""

import re
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Err
from schemathesis.openapi.checks import JsonSchemaError, UndefinedContentType, UndefinedStatusCode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import select, update
from web_controller import Controller
from web_demo import TELLING_CALL
from web_helpers import Stand
from web_ops import TARGETS

from simrack.controller.models import RecordFilter
from simrack.controller.store import tables as t
from simrack.web.app import COOKIE
from simrack.web.guard import form_token
from simrack.web.needs import right_of
from simrack.wire import rights
from simrack.wire.messages import CommandReply

MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
CHECKS = (status_code_conformance, content_type_conformance, response_schema_conformance)
BROKEN_PROMISES = (JsonSchemaError, UndefinedContentType, UndefinedStatusCode)
OUR_FAULT, CLOSED = 500, (401, 403)
ACCOUNT = 1
STEP = 29
#: The one stream: as it is for proxies that gather, or it would not end.
STREAM = "/api/v1/events"
#: Of a request that is found, as much as a person needs to make the unit test.
SHOWN = 600
# What orders tell that are not only done.
_RESULTS: dict[str, dict[str, Any]] = {
    "notices": {"targets": TARGETS, "held": 2}, "send-trace": {"messages": 9, "collector": "192.0.2.9:9060"},
}  # fmt: skip


@dataclass
class Walk:
    """What was sent, and what was wrong (each kind of fault of an operation once)."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)

    def found(self, what: str, request: str) -> None:
        self.wrong.setdefault(what, f"{what}: {request[:SHOWN]}")


class Orders:
    """A controller that edits the configuration, and that grants or refuses every other order in turn."""

    def __init__(self, controller: Controller) -> None:
        self._configuration, self._turn = controller.command, 0
        self._known = {*controller.bench.desk.actions(), "explain"}

    def command(self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0) -> CommandReply:
        """As `Live.command`."""
        if action in self._known:
            return self._configuration(topic, action, args, actor=actor, timeout_s=timeout_s)
        self._turn += 1
        granted = bool(self._turn % 2)
        return CommandReply(id="1", ok=granted, error="" if granted else "the box does not answer", result=_RESULTS.get(action, {}))


def things(stand: Stand) -> dict[str, Sequence[object]]:
    """Values that exist, by the names of the document's path parameters."""
    rows = stand.room.desk.queries.records(RecordFilter(per_page=5)).rows
    rack = stand.model.snapshot()
    return {
        "call": [TELLING_CALL, *(row.call for row in rows), *sorted(rack.calls)[:5]],
        "box": sorted(rack.boxes), "id": [1, 2], "alarm": [1, 2, 3], "version": [41, 42], "number": [1, 2],
        "kind": ["sender", "plan", "sim", "setting"], "process": ["controller", "web"], "target": ["mail"],
    }  # fmt: skip


class Caller:
    """Who asks: a token, and for what no token may a session with its cookie; a request that ended them is put right."""

    def __init__(self, stand: Stand) -> None:
        self._stand, self._made = stand, 0
        self._never = {
            (verb, re.sub(r"<(?:[a-z]+:)?([^>]+)>", r"{\1}", rule.rule))
            for rule in stand.app.url_map.iter_rules() if right_of(stand.app.view_functions[rule.endpoint]) in rights.NEVER_BY_TOKEN
            for verb in rule.methods or ()
        }  # fmt: skip
        with stand.room.accounts.begin() as connection:
            self._account = connection.execute(select(t.web_user).where(t.web_user.c.id == ACCOUNT)).one()._asdict()
        self.renew()

    def renew(self) -> None:
        accounts, self._made = self._stand.room.accounts, self._made + 1
        token = accounts.new_token(f"walk {self._made}")
        with accounts.begin() as connection:
            connection.execute(update(t.web_user).where(t.web_user.c.id == ACCOUNT).values(**self._account))
            cookie = accounts.sessions.open(connection, ACCOUNT, "192.0.2.1", "walk")
        self._token: dict[str, dict[str, str]] = {"headers": {"Authorization": f"Bearer {token}"}}
        self._session = {"headers": {"X-CSRF-Token": form_token(cookie)}, "cookies": {COOKIE: cookie}}

    def proof(self, operation: Any) -> dict[str, dict[str, str]]:
        """Headers and cookies that open this operation."""
        chosen = self._session if (operation.method.upper(), operation.path) in self._never else self._token
        return {where: dict(values) for where, values in chosen.items()}


def walk(
    stand: Stand, *, examples: int, begin: int = 0, modes: Sequence[Any] = MODES, more: Callable[[], bool] = lambda: True,
    only: str = "",
) -> Walk:  # fmt: skip
    """Send `examples` requests of either kind to each operation (with `only` in its path); ends early when `more` says so."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", stand.app)
    # Requests without the token would all be 401, which other tests try.
    schema.config.generation.with_security_parameters = False
    known, made, caller = things(stand), Walk(), Caller(stand)
    operations = list(schema.get_all_operations())
    # A walk that ends early has come to others each time.
    first = begin * STEP % len(operations)
    for result in operations[first:] + operations[:first]:
        if isinstance(result, Err):
            raise result.err()
        for mode in modes:
            if more() and only in result.ok().path:
                _operation(result.ok(), mode, known, caller, made, examples, begin)
    return made


def _operation(
    operation: Any, mode: Any, known: Mapping[str, Sequence[object]], caller: Caller, made: Walk, examples: int, begin: int,
) -> None:  # fmt: skip
    @seed(begin)
    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), pick=st.integers(0, 99))
    def one(case: Any, pick: int) -> None:
        _put(case, known, pick)
        made.counts["requests"] += 1
        try:
            answer = case.call(**caller.proof(operation))
        except Exception as error:  # noqa: BLE001  (whatever the application raises; a browser would get it as a 500)
            made.found(f"{operation.label}: {error!r} at {_place(error)}", case.as_curl_command())
            return
        made.counts[f"status_{answer.status_code}"] += 1
        _judge(operation.label, case, answer, made)
        if answer.status_code in CLOSED:
            caller.renew()

    try:
        one()
    except Unsatisfiable:
        # It takes nothing that could be wrong.
        made.counts["nothing_to_break"] += 1


def _put(case: Any, known: Mapping[str, Sequence[object]], pick: int) -> None:
    """Two of three requests are about things that exist."""
    if case.operation.path == STREAM:
        case.query = {**(case.query or {}), "short": "true", "since": ""}
    if pick % 3:
        for name in case.path_parameters or {}:
            if values := known.get(name):
                case.path_parameters[name] = values[pick % len(values)]


def _place(error: BaseException) -> str:
    """Where in our own code it happened."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/simrack/" in frame.filename]
    return f"{ours[-1].filename.rpartition('/simrack/')[2]}:{ours[-1].lineno}" if ours else "the framework"


def _judge(label: str, case: Any, answer: Any, made: Walk) -> None:
    if answer.status_code == OUR_FAULT:
        made.found(f"{label}: {OUR_FAULT}", case.as_curl_command())
        return
    for check in CHECKS:
        try:
            case.validate_response(answer, checks=[check])
        except* BROKEN_PROMISES as broken:
            made.found(f"{label}: {answer.status_code}: {broken.exceptions[0]!r}"[:300], case.as_curl_command())
