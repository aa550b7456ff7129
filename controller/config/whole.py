"""Changes carried through the configuration as a whole: checks of all rules, and the table that would be in force."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from simrack.controller.config.catalogue import Values
from simrack.controller.config.changes import (
    Change,
    Conflict,
    Difference,
    Mistake,
    Resolved,
    differences,
    resolve,
)
from simrack.controller.config.checks import RULES
from simrack.controller.config.kinds import Key, Kind, Setting, name_of
from simrack.controller.config.models import (
    Entry,
    Installation,
    Limits,
    Pattern,
    Plan,
    RoutingFile,
    Sim,
)
from simrack.controller.routing.table import RoutingTable

#: More mistakes at once are no help to a reader.
MOST_TOLD = 50
_FIELDS: Mapping[Kind, str] = {
    "site": "sites", "agreement": "agreements", "plan": "plans", "sim": "sims", "sender": "senders",
}  # fmt: skip


def settled(resolved: Resolved, table: RoutingTable) -> Resolved:
    """The changes with what follows from them: a card that stands in its plan's list has an entry of its own."""
    if not any(kind in ("plan", "sim") for kind, _ in resolved.after):
        return resolved
    plans = _changed(table.plans, resolved, "plan")
    own = _changed(_of_their_own(table), resolved, "sim")
    for plan in cast(Iterable[Plan], plans.values()):
        for iccid in plan.sims:
            own.setdefault(iccid, Sim(iccid=iccid, plan=plan.name))
    before, after = dict(resolved.before), {key: e for key, e in resolved.after.items() if key[0] != "sim"}
    for iccid in {*own, *table.sims}:
        if own.get(iccid) != table.sims.get(iccid):
            before[("sim", iccid)], after[("sim", iccid)] = table.sims.get(iccid), own.get(iccid)
    return replace(resolved, before=before, after=after)


def _of_their_own(table: RoutingTable) -> Mapping[str, Sim]:
    """Cards that say more than their plan's list does."""
    listed = {iccid: plan.name for plan in table.plans.values() for iccid in plan.sims}
    return {
        name: sim for name, sim in table.sims.items() if sim != Sim(iccid=sim.iccid, plan=listed.get(name, "none"))
    }


def _changed(entries: Mapping[str, Entry], resolved: Resolved, kind: Kind) -> dict[str, Any]:
    """The entries of a kind after the changes, renamed ones in their old places, new ones behind."""
    mine = {name: entry for (of, name), entry in resolved.after.items() if of == kind}
    new_names = {old: new for (of, new), (_, old) in resolved.renamed.items() if of == kind}
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        name_now = new_names.get(name, name)
        entry_now = mine.pop(name_now, entry) if name_now in mine else entry
        if entry_now is not None:
            found[name_now] = entry_now
    found.update((name, entry) for name, entry in mine.items() if entry is not None)
    return found


def table_after(table: RoutingTable, resolved: Resolved, version: int) -> RoutingTable:
    """The table that the changes make; the same as one compiled from the stored version."""
    kinds = {kind for kind, _ in resolved.after}
    parts: dict[str, Any] = {
        _FIELDS[kind]: _changed(getattr(table, _FIELDS[kind]), resolved, kind) for kind in kinds if kind in _FIELDS
    }
    if "pattern" in kinds:
        parts["patterns"] = {name: _short(pattern) for name, pattern in _changed(table.patterns, resolved, "pattern").items()}
        parts["prefixes"] = _prefixes(table, resolved, parts["patterns"])
    if "setting" in kinds:
        parts["options"] = _options(table.options, resolved)
    for entry in resolved.after.values():
        if isinstance(entry, Installation):
            parts["installation"] = entry
        elif isinstance(entry, Limits):
            parts["limits"] = entry
    return replace(table, version=version, **parts)


def _short(pattern: Pattern) -> Pattern:
    """As the table holds it: its other prefixes are where the table finds it by."""
    return pattern if len(pattern.prefixes) == 1 else pattern.model_copy(update={"prefixes": pattern.prefixes[:1]})


def _prefixes(
    table: RoutingTable, resolved: Resolved, patterns: Mapping[str, Pattern]
) -> Mapping[str, tuple[Pattern, ...]]:
    found = dict(table.prefixes)
    gone = {name for kind, name in resolved.after if kind == "pattern"}
    touched: dict[str, list[str]] = {}  # prefix -> labels that it gets
    for (kind, name), entry in resolved.after.items():
        old = resolved.before.get((kind, name))
        for prefix in old.prefixes if isinstance(old, Pattern) else ():
            touched.setdefault(prefix, [])
        for prefix in entry.prefixes if isinstance(entry, Pattern) else ():
            touched.setdefault(prefix, []).append(name)
    rank = {name: place for place, name in enumerate(patterns)}
    for prefix, new in touched.items():
        labels = {pattern.label for pattern in found.get(prefix, ())} - gone | set(new)
        found[prefix] = tuple(patterns[name] for name in sorted(labels, key=rank.__getitem__))
        if not labels:
            del found[prefix]
    return found


def _options(options: Values, resolved: Resolved) -> Values:
    values = dict(options.set)
    for (kind, name), entry in resolved.after.items():
        if kind != "setting":
            continue
        if isinstance(entry, Setting):
            values[name] = entry.value
        else:
            values.pop(name, None)
    return Values(values)


def file_of(table: RoutingTable) -> RoutingFile:
    """The table as a routing file for the rules; its patterns carry their first prefix only."""
    return RoutingFile.model_construct(
        installation=table.installation, site=tuple(table.sites.values()), agreement=tuple(table.agreements.values()),
        plan=tuple(table.plans.values()), sim=tuple(table.sims.values()), sender=tuple(table.senders.values()),
        pattern=tuple(table.patterns.values()), limits=table.limits, settings={},
    )  # fmt: skip


def new_mistakes(before: RoutingTable, after: RoutingTable) -> tuple[Mistake, ...]:
    """What the rules find in the configuration after a change and did not find before it."""
    found = _mistakes(file_of(after))
    if not found:
        return ()
    # What an earlier release let through is no reason to refuse a change of something else.
    known = set(_mistakes(file_of(before)))
    return tuple(mistake for mistake in found if mistake not in known)[:MOST_TOLD]


def _mistakes(file: RoutingFile) -> list[Mistake]:
    found = []
    for rule in RULES:
        for loc, what, todo in rule(file):
            kind, name, rest = _place(file, loc)
            found.append(Mistake(kind=kind, name=name, field=".".join(str(part) for part in rest), what=what, todo=todo))
    return found


def _place(file: RoutingFile, loc: tuple[int | str, ...]) -> tuple[Kind, str, tuple[int | str, ...]]:
    """(kind, name, field) of a place in the file."""
    area = str(loc[0])
    if area in ("limits", "installation"):
        return ("limit", "limit", loc[1:]) if area == "limits" else ("installation", "installation", loc[1:])
    kind = cast(Kind, area)
    return kind, name_of(kind, getattr(file, area)[loc[1]]), loc[2:]


@dataclass(frozen=True, slots=True)
class Judged:
    """Changes held against the whole: what they do, or why they can't be."""

    resolved: Resolved
    mistakes: tuple[Mistake, ...]
    conflicts: tuple[Conflict, ...]
    differences: tuple[Difference, ...]
    table: RoutingTable  # with the changes; the one before when they can't be

    @property
    def ok(self) -> bool:
        return not (self.mistakes or self.conflicts)


def judge(
    changes: Sequence[Change], before: Mapping[Key, Entry | None], table: RoutingTable, realm: str | None
) -> Judged:
    """Hold changes against the configuration in force; `before` as for `resolve`, of the version of `table`."""
    resolved = resolve(changes, before, realm)
    told = differences(resolved)
    if resolved.mistakes or resolved.conflicts:
        return Judged(resolved, resolved.mistakes, resolved.conflicts, told, table)
    whole = settled(resolved, table)
    after = table_after(table, whole, table.version)
    mistakes = new_mistakes(table, after)
    return Judged(whole, mistakes, (), told, table if mistakes else after)
