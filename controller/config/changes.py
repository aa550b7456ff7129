"""Changes of configured things: what somebody wants, against what there is now.

A change names the entry, what it becomes, and the digest of the entry that its author saw. An entry that changed
since is a conflict: nothing is written, and the author gets both versions. All changes of one request go into force
together, as one version, or none does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from simrack.controller.config.kinds import (
    MODELS,
    SINGLE,
    WORDS,
    Key,
    Kind,
    body_of,
    digest_of,
    name_of,
    shown,
    with_kept_secret,
)
from simrack.controller.config.models import Digest, Entry, Sender
from simrack.controller.config.secrets import hide

#: More changes than this at once are a file's, and files are told apart in the command line.
MOST_CHANGES = 200_000


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Told):
    """One entry as somebody wants it. `body` is the whole entry; a body with another name renames it."""

    kind: Kind
    name: str = Field(min_length=1, max_length=200, description="what it is called now; a new one: what it will be")
    op: Literal["set", "remove"] = "set"
    body: dict[str, Any] = Field(default_factory=dict)
    base: str = Field("", max_length=64, description='digest of the entry that was seen; "" for a new one')

    @property
    def key(self) -> Key:
        return self.kind, self.name


CHANGES = TypeAdapter(tuple[Change, ...])


class Mistake(_Told):
    """What is wrong, and in which field ("targets.0.plan"); "" for the entry as a whole."""

    kind: Kind
    name: str
    field: str = ""
    what: str
    todo: str = ""


class Conflict(_Told):
    """An entry that changed after its author had looked: both versions, and who changed it."""

    kind: Kind
    name: str
    yours: dict[str, Any] | None  # None: to be removed
    theirs: dict[str, Any] | None  # None: removed meanwhile
    now: str  # the digest to base the next try on
    by: str = ""
    at: datetime | None = None
    version: int | None = None


class FieldDifference(_Told):
    """One field before and after; None where it is at its default."""

    field: str
    before: Any = None
    after: Any = None


class Difference(_Told):
    """What becomes of one entry."""

    kind: Kind
    name: str
    op: Literal["added", "changed", "removed"]
    fields: tuple[FieldDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolved:
    """Changes held against what is stored. `after` has only what really changes; None removes."""

    before: Mapping[Key, Entry | None]
    after: Mapping[Key, Entry | None]
    renamed: Mapping[Key, Key] = field(default_factory=dict)  # new -> old: a renamed entry keeps its place
    conflicts: tuple[Conflict, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def keys_of(changes: Iterable[Change]) -> set[Key]:
    """Every entry that changes may touch, under its old and its new name."""
    keys = set()
    for change in changes:
        keys |= {change.key, (change.kind, _wanted_name(change))}
    return keys


def _wanted_name(change: Change) -> str:
    """What the entry will be called, as far as its body tells; a bad body is judged later."""
    if change.op == "remove" or change.kind in SINGLE:
        return change.name
    body = change.body
    if change.kind == "sim":
        name = body.get("iccid")
    elif change.kind == "pattern":
        prefixes = body.get("prefixes")
        first = prefixes[0] if isinstance(prefixes, list | tuple) and prefixes else None
        name = body.get("name") or first
    else:
        name = body.get("name")
    return name if isinstance(name, str) and name else change.name


def resolve(changes: Sequence[Change], before: Mapping[Key, Entry | None], realm: str | None) -> Resolved:
    """Judge changes one by one against the entries as they are now.

    `before` holds all `keys_of(changes)`; without a `realm` passwords stay as they are, which is for looking only.
    """
    after: dict[Key, Entry | None] = {}
    renamed: dict[Key, Key] = {}
    conflicts: list[Conflict] = []
    mistakes: list[Mistake] = []
    for change in changes:
        now = before.get(change.key)
        entry, wrong = _entry_of(change, now, realm)
        mistakes += wrong
        if wrong:
            continue
        if change.base != digest_of(now) and digest_of(entry) != digest_of(now):
            conflicts.append(_conflict(change, entry, now))
            continue
        mistakes += _put(change, entry, before, after, renamed)
    changed = {key: entry for key, entry in after.items() if digest_of(entry) != digest_of(before.get(key))}
    return Resolved(before, changed, renamed, tuple(conflicts), tuple(mistakes))


def _put(
    change: Change, entry: Entry | None, before: Mapping[Key, Entry | None], after: dict[Key, Entry | None],
    renamed: dict[Key, Key],
) -> list[Mistake]:  # fmt: skip
    """Note the outcome of one change; mistakes when it can't be."""
    if entry is None and change.kind in SINGLE:
        return [_about(change, "", f"the {WORDS[change.kind]} can't be removed")]
    key = (change.kind, name_of(change.kind, entry)) if entry is not None else change.key
    if change.key in after or key in after:
        return [_about(change, "", "it is changed twice at once", "Send one change for each entry.")]
    if key != change.key:
        if before.get(key) is not None:
            return [_about(change, _NAME_FIELD.get(change.kind, "name"), f"there is a {WORDS[change.kind]} {key[1]!r} already", "Choose another name.")]
        if before.get(change.key) is not None:
            after[change.key] = None
            renamed[key] = change.key
    after[key] = entry
    return []


_NAME_FIELD: Mapping[Kind, str] = {"sim": "iccid"}


def _about(change: Change, field_name: str, what: str, todo: str = "") -> Mistake:
    return Mistake(kind=change.kind, name=change.name, field=field_name, what=what, todo=todo)


def _entry_of(change: Change, now: Entry | None, realm: str | None) -> tuple[Entry | None, list[Mistake]]:
    """What the entry becomes, with its password hidden."""
    if change.op == "remove":
        return None, []
    kept = now.digest if isinstance(now, Sender) else None
    entry, wrong = parse(change.kind, with_kept_secret(change.body, kept), change.name)
    if isinstance(entry, Sender) and entry.digest is not None:
        lacking = _lacks_hash(entry.digest)
        if lacking:
            return None, [_about(change, "digest.password", lacking, "Give the password again.")]
        return hide(entry, realm) if realm is not None else entry, []
    return entry, wrong


def _lacks_hash(given: Digest) -> str:
    hashes = {"MD5": given.ha1_md5, "SHA-256": given.ha1_sha256}
    missing = [name for name in given.algorithms if not given.password and not hashes[name]]
    return f"there is no {missing[0]} hash of the password that is kept" if missing else ""


def parse(kind: Kind, body: Mapping[str, Any], name: str = "") -> tuple[Entry | None, list[Mistake]]:
    """An entry of a body as JSON, or what is wrong with its fields."""
    try:
        return MODELS[kind].model_validate(dict(body)), []
    except ValidationError as error:
        return None, [_of_field(kind, name, detail) for detail in error.errors(include_url=False, include_context=False)]


def _of_field(kind: Kind, name: str, detail: ErrorDetails) -> Mistake:
    words = {"extra_forbidden": "there is no such field", "missing": "is needed"}
    message = words.get(detail["type"], detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be"))
    place = ".".join(str(part) for part in detail["loc"])
    return Mistake(kind=kind, name=name[:200], field=place[:200], what=message[:1].lower() + message[1:400])


def _conflict(change: Change, entry: Entry | None, now: Entry | None) -> Conflict:
    return Conflict(
        kind=change.kind, name=change.name, now=digest_of(now),
        yours=shown(entry) if entry is not None else None, theirs=shown(now) if now is not None else None,
    )  # fmt: skip


def differences(resolved: Resolved) -> tuple[Difference, ...]:
    """What changes, field by field, for people; a renamed entry is one that changed its name."""
    old_names = set(resolved.renamed.values())
    found = []
    for key, entry in resolved.after.items():
        if key in old_names:
            continue
        found.append(difference(key, resolved.before.get(resolved.renamed.get(key, key)), entry))
    return tuple(found)


def difference(key: Key, before: Entry | None, after: Entry | None) -> Difference:
    """How one entry differs. A new password is said, and neither it nor its hashes are shown."""
    old, new = (body_of(entry) if entry is not None else {} for entry in (before, after))
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    fields = tuple(
        FieldDifference(field=name, before=_told(name, old.get(name), "set"), after=_told(name, new.get(name), "new"))
        for name in names
    )
    op: Literal["added", "changed", "removed"] = (
        "added" if before is None else "removed" if after is None else "changed"
    )
    return Difference(kind=key[0], name=key[1], op=op, fields=fields)


def _told(name: str, value: Any, password: str) -> Any:
    """A value for people: of a password only whether it is the old or a new one."""
    if name != "digest" or not isinstance(value, dict):
        return value
    hidden = {key: value[key] for key in ("user", "algorithms") if key in value}
    return {**hidden, "password": password}


def changes_between(base: Mapping[Key, Entry], wanted: Mapping[Key, Entry]) -> tuple[Change, ...]:
    """What makes `wanted` of `base`, each change based on the entry there; bodies hold stored hashes."""
    gone = [
        Change(kind=key[0], name=key[1], op="remove", base=digest_of(entry))
        for key, entry in base.items()
        if key not in wanted and key[0] not in SINGLE
    ]
    new = [
        Change(kind=key[0], name=key[1], body=body_of(entry), base=digest_of(base.get(key)))
        for key, entry in wanted.items()
        if digest_of(entry) != digest_of(base.get(key))
    ]
    return (*gone, *new)
