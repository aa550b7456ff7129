"""One configured thing's form: what was sent, judged, compared with what runs, and put in force (services' work)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import request

from simrack.controller.config.changes import Change, Conflict, Mistake
from simrack.controller.config.impact import Impact
from simrack.controller.config.kinds import MODELS, Kind
from simrack.controller.config.models import Entry
from simrack.controller.config.reading import Stored, VersionRow
from simrack.web import forms
from simrack.web.app import mask, own, room
from simrack.web.sections import Section
from simrack.web.services import configuration
from simrack.web.services.inventory import Inventory

#: Versions that an entry's page names.
HISTORY_SHOWN = 8
#: Kinds whose entries are called by a short name that is made of the title when nobody types one.
NAMED = ("site", "agreement", "plan", "sender")
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A form as it came in, with the entry that it is about."""

    section: Section
    name: str  # "" of a new entry
    stored: Stored | None
    base: str
    read: forms.Read

    @property
    def model(self) -> type[Entry]:
        return MODELS[self.section.kind]

    @property
    def wanted(self) -> str:
        """What the entry will be called."""
        return wanted_name(self.section.kind, self.name, self.read.body)


@dataclass(frozen=True, slots=True)
class Review:
    """What a change does, before it does it."""

    changes: tuple[Change, ...] = ()
    wrong: Mapping[str, str] = field(default_factory=dict)  # by field of this form
    elsewhere: tuple[Mistake, ...] = ()  # what the change would break in other entries
    conflict: Conflict | None = None
    differences: tuple[forms.Difference, ...] = ()
    since: tuple[forms.Difference, ...] = ()  # what somebody else changed meanwhile
    impact: Impact | None = None
    removes: bool = False
    seen: str = ""

    @property
    def ok(self) -> bool:
        return not (self.wrong or self.elsewhere or self.conflict)


def inventory() -> Inventory:
    """Configuration and rack as who is signed in may see them."""
    here = room()
    return Inventory(configuration.table(), here.desk.model.snapshot(), here.clock.utc(), own(), mask())


def wanted_name(kind: Kind, name: str, body: Mapping[str, Any]) -> str:
    """What an entry of this body is called."""
    if kind == "pattern":
        return str(body.get("name") or next(iter(body.get("prefixes") or ()), "") or name)[:LONGEST_NAME]
    return name or str(body.get("iccid" if kind == "sim" else "name", ""))[:LONGEST_NAME]


def asked(section: Section, stored: Stored | None, name: str) -> Asked:
    """Read the sent form; a new entry without a name gets one of its title."""
    model, kind = MODELS[section.kind], section.kind
    fixed: dict[str, object] = {}
    if name and kind != "pattern" and not section.single:
        fixed = {"iccid" if kind == "sim" else "name": name}
    found = forms.read(model, request.form, fixed)
    if kind in NAMED and not name and not found.body.get("name"):
        told = next((str(found.body[key]) for key in ("title", "legal_name", "operator") if found.body.get(key)), "")
        if told:
            found.body["name"] = forms.slug(told, inventory().choices()[kind])
    base = request.form.get("_base", "")[:64]
    return Asked(section, name, stored, base, found)


def judge(of: Asked) -> dict[str, str]:
    """What is wrong with the fields, while somebody types."""
    wrong = dict(of.read.wrong)
    told = configuration.validate(of.section.kind, of.read.body, of.name)
    for name, text in forms.beside(of.model, _places(told)).items():
        wrong.setdefault(name, text)
    return wrong


def _places(mistakes: Iterable[Mistake]) -> list[tuple[str, str, str]]:
    return [(one.field, one.what, one.todo) for one in mistakes]


def review(of: Asked, *, with_impact: bool = True) -> Review:
    """What the sent form would do."""
    wrong = judge(of)
    if of.wanted == "" and not wrong:
        wrong["name"] = "Give it a name or a title."
    if wrong:
        return Review(wrong=wrong)
    change, bad = configuration.change(of.section.kind, of.name or of.wanted, of.read.body, of.base)
    if change is None:
        return Review(wrong=forms.beside(of.model, _places(bad)))
    found = _reviewed(of, change)
    return _with_impact(found) if found.ok and with_impact else found


def removal(of: Asked) -> Review:
    """What taking the entry away would do."""
    change, _ = configuration.change(of.section.kind, of.name, None, of.base)
    assert change is not None, "an entry that is there has a name that may be named"
    found = _reviewed(of, change)
    return _with_impact(found) if found.ok else found


def _reviewed(of: Asked, change: Change) -> Review:
    told = configuration.look([change])
    removes = change.op == "remove"
    titles = inventory().choices()
    now = of.stored.body if of.stored is not None else None
    conflict = next(iter(told.conflicts), None)
    # A removed entry's mistakes are all in those that still name it.
    mine = [one for one in told.mistakes if (one.kind, one.name) == (change.kind, of.wanted) and not removes]
    others = tuple(one for one in told.mistakes if one not in mine)
    return Review(
        changes=(change,), wrong=forms.beside(of.model, _places(mine)), elsewhere=others, conflict=conflict, removes=removes,
        differences=forms.differences(of.model, now, None if removes else change.body, titles),
        since=forms.differences(of.model, change.body, conflict.theirs, titles) if conflict is not None and not removes else (),
        seen=forms.sent_digest({"op": change.op, "body": change.body, "base": change.base}),
    )  # fmt: skip


def _with_impact(found: Review) -> Review:
    from dataclasses import replace

    return replace(found, impact=configuration.impact(found.changes))


def applied_words(error: configuration.Applied) -> str:
    """Why changes are not in force."""
    if error.error:
        return error.error
    if error.conflicts:
        return f"somebody changed {error.conflicts[0].name} meanwhile"
    first = next(iter(error.mistakes), None)
    return f"{first.kind} {first.name}: {first.what}" if first is not None else "the controller did not say why"


def history(kind: Kind, name: str) -> Sequence[VersionRow]:
    """The newest versions that changed this entry."""
    rows = configuration.history(limit=200)
    return [row for row in rows if any(one.key == (kind, name) for one in row.changes)][:HISTORY_SHOWN]
