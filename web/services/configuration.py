"""The configuration for pages and the API: read it, check a change, put it in force, look back.

Looking is done here, against the version in force; whatever acts is a command to the controller, which checks rights,
rules and conflicts once more. Rows are bounded by who is signed in.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from flask import current_app
from pydantic import ValidationError

from simrack.controller.config.catalogue import CATALOGUE, Option, Value, Values
from simrack.controller.config.changes import (
    CHANGES,
    Change,
    Conflict,
    Difference,
    Mistake,
    difference,
    keys_of,
    parse,
)
from simrack.controller.config.impact import Impact
from simrack.controller.config.kinds import Kind, with_kept_secret
from simrack.controller.config.models import Sender
from simrack.controller.config.reading import ConfigReader, Stored, StoredPage, VersionRow
from simrack.controller.config.whole import Judged, judge
from simrack.controller.routing.table import RoutingTable
from simrack.web.app import mask, me, own, room
from simrack.wire import topics
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import CommandReply
from simrack.wire.rights import ENTRY_RIGHTS

#: A version of 100,000 prefixes is copied in batches between the calls' own writes.
APPLY_TIMEOUT_S = 30.0
#: Two hundred recent calls are routed twice.
IMPACT_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Look:
    """What changes would do. Nothing is written."""

    mistakes: tuple[Mistake, ...]
    conflicts: tuple[Conflict, ...]
    differences: tuple[Difference, ...]
    version: int  # in force when it was looked at

    @property
    def ok(self) -> bool:
        return not (self.mistakes or self.conflicts)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of changes: in force as `version`, or why not. `error` is a sentence of the controller or the link."""

    version: int | None = None
    mistakes: tuple[Mistake, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.version is not None


@dataclass(frozen=True, slots=True)
class OptionView:
    """One global option with what it is set to."""

    option: Option
    value: Value
    is_set: bool  # False: at its default
    base: str  # for a change of it


@dataclass
class _Tables:
    """The compiled table of the version in force, made once for all requests."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    table: RoutingTable | None = None


def reader() -> ConfigReader:
    """The configuration in the database, unbounded: pass `own()` where partners may look."""
    return room().desk.queries.config


def table() -> RoutingTable:
    """The version in force, compiled."""
    kept = cast(_Tables, current_app.extensions.setdefault("simrack.tables", _Tables()))
    version = reader().version()
    with kept.lock:
        if kept.table is None or kept.table.version != (version or 0):
            kept.table = reader().table(version)
        return kept.table


# --- reading ----------------------------------------------------------------------------------------------------


def entries(kind: Kind, *, text: str = "", after: int | None = None, limit: int = 50) -> StoredPage:
    """A page of one kind, of what who is signed in may see; `after` is the last page's `next`."""
    return reader().page(kind, text=text, after=after, limit=limit, own=own())


def entry(kind: Kind, name: str, version: int | None = None) -> Stored | None:
    """One entry with its digest, which a change of it names as its base. None: there is none, or it is another's."""
    found = reader().entry(kind, name, version)
    return found if found is not None and _theirs(found) else None


def _theirs(found: Stored) -> bool:
    bounds = own()
    if found.kind in ("plan", "sim"):
        return bounds.sees_plan(found.name if found.kind == "plan" else str(found.body["plan"]))
    return bounds.sees_sender(found.name) if found.kind == "sender" else bounds.everything


# --- changing ---------------------------------------------------------------------------------------------------


def change(
    kind: Kind, name: str, body: Mapping[str, Any] | None, base: str
) -> tuple[Change | None, tuple[Mistake, ...]]:
    """A change of one entry, or what is wrong with its name; `body` None removes it."""
    try:
        op = "remove" if body is None else "set"
        return Change.model_validate({"kind": kind, "name": name, "op": op, "body": dict(body or {}), "base": base}), ()
    except ValidationError as error:
        return None, tuple(
            Mistake(kind=kind, name=name[:200], field="name", what=detail["msg"]) for detail in error.errors()
        )


def validate(kind: Kind, body: Mapping[str, Any], name: str = "") -> tuple[Mistake, ...]:
    """What is wrong with the fields of one entry, while somebody types; rules between entries are `look`'s."""
    kept = None
    if kind == "sender" and name:
        known = reader().entries([(kind, name)])[(kind, name)]
        kept = known.digest if isinstance(known, Sender) else None
    return tuple(parse(kind, with_kept_secret(body, kept), name)[1])


def lacking(changes: Sequence[Change]) -> tuple[str, ...]:
    """Rights that who is signed in lacks for these changes."""
    return tuple(sorted({ENTRY_RIGHTS[one.kind] for one in changes if not me().may(ENTRY_RIGHTS[one.kind])}))


def look(changes: Sequence[Change]) -> Look:
    """Hold changes against the version in force: mistakes of fields and rules, conflicts, differences."""
    judged, version = _judged(changes)
    return Look(judged.mistakes, _signed(judged.conflicts), judged.differences, version)


def _judged(changes: Sequence[Change]) -> tuple[Judged, int]:
    now = table()
    before = reader().entries(keys_of(changes), now.version)
    return judge(changes, before, now, realm=None), now.version


def _signed(conflicts: Sequence[Conflict]) -> tuple[Conflict, ...]:
    """Conflicts with the name of who changed the entry meanwhile."""
    by = reader().last_changes((one.kind, one.name) for one in conflicts) if conflicts else {}
    return tuple(
        one.model_copy(update={"by": row.actor, "at": row.created, "version": row.version})
        if (row := by.get((one.kind, one.name))) is not None
        else one
        for one in conflicts
    )


def impact(changes: Sequence[Change]) -> Impact | None:
    """Which senders, prefixes and recent calls would go elsewhere; None when the controller can't say now."""
    answer = _ask("config-check", {"changes": CHANGES.dump_python(tuple(changes), mode="json")}, IMPACT_TIMEOUT_S)
    found = answer.result.get("impact")
    return Impact.model_validate(found) if found is not None else None


def apply(changes: Sequence[Change], note: str = "", timeout_s: float = APPLY_TIMEOUT_S) -> Applied:
    """Put changes in force as a new version: all of them or none."""
    args = {"changes": CHANGES.dump_python(tuple(changes), mode="json"), "note": note}
    return _applied(_ask("entry-apply", args, timeout_s))


def activate(version: int, note: str = "", seen: int | None = None) -> Applied:
    """Put an earlier version in force again, in place of `seen` and of no other."""
    return _applied(_ask("config-activate", {"version": version, "note": note, "seen": seen}, APPLY_TIMEOUT_S))


def _ask(action: str, args: dict[str, Any], timeout_s: float) -> CommandReply:
    """The controller's answer, also when there is none."""
    try:
        return room().live.command(topics.controller_command(), action, args, actor=me().actor, timeout_s=timeout_s)
    except CommandFailed as failed:
        return CommandReply(id="", ok=False, error=str(failed))


def _applied(answer: CommandReply) -> Applied:
    told = answer.result
    if answer.ok:
        room().desk.renamed()
    return Applied(
        version=told.get("version") if answer.ok else None,
        mistakes=tuple(Mistake.model_validate(one) for one in told.get("mistakes", ())),
        conflicts=_signed([Conflict.model_validate(one) for one in told.get("conflicts", ())]),
        error="" if answer.ok else answer.error or "the controller refused it",
    )


# --- looking back -----------------------------------------------------------------------------------------------


def history(*, before: int | None = None, limit: int = 50) -> tuple[VersionRow, ...]:
    """Versions, newest first; `before` is the last one of the page before."""
    return reader().history(before=before, limit=limit)


def one_version(version: int) -> VersionRow | None:
    """One version of the history."""
    return reader().one_version(version)


def version_changes(row: VersionRow) -> tuple[Difference, ...]:
    """What a version changed in the one it was made from; nothing is known of a file's."""
    if row.parent is None or not row.changes:
        return ()
    keys = keys_of(row.changes)
    before, after = reader().entries(keys, row.parent), reader().entries(keys, row.version)
    return tuple(difference(key, before[key], after[key]) for key in sorted(keys) if before[key] != after[key])


def seen_changes(row: VersionRow) -> tuple[Difference, ...]:
    """What a version changed, without kinds whose fields are kept from who is signed in."""
    groups = {"sim": "iccid", "sender": "sender"}
    return tuple(one for one in version_changes(row) if not mask().hides(groups.get(one.kind, "")))


def options() -> tuple[OptionView, ...]:
    """Every global option with its value."""
    stored = {one.name: one for one in reader().page("setting", limit=500).rows}
    values = Values({name: one.body["value"] for name, one in stored.items()})
    return tuple(
        OptionView(option, values.get(name), name in stored, stored[name].digest if name in stored else "")
        for name, option in CATALOGUE.items()
    )
