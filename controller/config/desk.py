"""The controller's desk for the configuration: changes, files and earlier versions, one after the other.

Whatever is asked for is held against the version in force, written as a new one, and put in force whole; calls go on
under the snapshot before until then. The right of each entry's kind is checked here, the command's own before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from simrack.controller.audit.actors import Actor
from simrack.controller.calls.commands import Action, Args, CommandRefused
from simrack.controller.config.changes import (
    CHANGES,
    MOST_CHANGES,
    Change,
    Difference,
    Mistake,
    Resolved,
    keys_of,
)
from simrack.controller.config.impact import Impact, Sample, impact, router
from simrack.controller.config.kinds import Kind, body_of, digest_of
from simrack.controller.config.models import Limits
from simrack.controller.config.reading import ConfigReader
from simrack.controller.config.rows import EMPTY, rows_of_entry
from simrack.controller.config.whole import Judged, judge
from simrack.controller.fleet.view import FleetView
from simrack.controller.models import Own
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store.configs import Edit, NewVersion
from simrack.controller.store.errors import StoreError, StoreRefused
from simrack.controller.store.tables import CONFIG_TABLES
from simrack.controller.store.writer import Writer
from simrack.wire.ports import Clock
from simrack.wire.rights import ENTRY_RIGHTS, RIGHTS, SCOPED

log = structlog.get_logger(__name__)
MOST_NOTE = 500
#: What somebody with rights over their own SIMs alone may change of one.
OWNERS_FIELDS = frozenset({"enabled", "title", "note"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the desk needs of a running controller."""

    store: Writer
    reader: ConfigReader
    clock: Clock
    realm: str  # passwords are hashed with it
    find: Callable[[str], Awaitable[Actor]]  # who asks
    current: Callable[[], RoutingTable]  # in force
    force: Callable[[RoutingTable], Awaitable[None]]  # put a table in force in the call path
    fleet: Callable[[datetime], FleetView]
    sample: Callable[[], Sequence[Sample]]  # recent calls; blocks


class ConfigDesk:
    """Takes the commands that change the configuration."""

    def __init__(self, around: Surroundings) -> None:
        self._on = around
        #: One change at a time: each is held against what the one before has left.
        self.lock = asyncio.Lock()

    def actions(self) -> dict[str, Action]:
        """Commands by name."""
        return {
            "config-check": self._check,
            "entry-apply": self._apply_entries,
            "config-apply": self._apply_all,
            "config-activate": self._activate,
        }

    async def _check(self, args: Args, actor: str) -> dict[str, Any]:
        """What changes would do to the configuration and to calls; writes nothing."""
        changes = await asyncio.to_thread(changes_of, args)
        who = await self._on.find(actor)
        await self._may(who, changes, looking=True)
        table = self._on.current()
        judged = await self._judged(changes, table)
        told = await self._impact(table, judged.table) if judged.ok and judged.resolved.after else None
        return {**await asyncio.to_thread(_answer, judged), "ok": judged.ok, "impact": told.model_dump(mode="json") if told else None}

    async def _impact(self, before: RoutingTable, after: RoutingTable) -> Impact:
        now = self._on.clock.utc()
        fleet = self._on.fleet(now)

        def work() -> Impact:
            return impact(self._on.sample(), router(before, fleet), router(after, fleet), now)

        return await asyncio.to_thread(work)

    async def _apply_entries(self, args: Args, actor: str) -> dict[str, Any]:
        """Changes of entries, each with the right that its kind needs."""
        changes = await asyncio.to_thread(changes_of, args)
        await self._may(await self._on.find(actor), changes)
        return await self._apply(changes, actor, note_of(args))

    async def _apply_all(self, args: Args, actor: str) -> dict[str, Any]:
        """Changes that come from files; the command's right covers every kind."""
        return await self._apply(await asyncio.to_thread(changes_of, args), actor, note_of(args))

    async def _apply(self, changes: Sequence[Change], actor: str, note: str) -> dict[str, Any]:
        async with self.lock:
            judged, version = await self.put(changes, actor, note)
        # Fifty thousand SIMs of one file are seconds of work, in which calls go on.
        answer = await asyncio.to_thread(_answer, judged)
        if version is None:
            raise CommandRefused(_why(judged), answer)
        return {"version": version, "changed": bool(judged.differences), **answer}

    async def put(self, changes: Sequence[Change], actor: str, note: str) -> tuple[Judged, int | None]:
        """Put changes in force, under the lock; the version, or None when they can't be.

        Raises:
            CommandRefused: the database can't be written now.
        """
        table = self._on.current()
        judged = await self._judged(changes, table)
        if not judged.ok:
            return judged, None
        if not judged.resolved.after:
            return judged, table.version
        try:
            version = await self._write(judged, table, actor, note)
        except StoreRefused as refused:
            raise CommandRefused(str(refused)) from refused
        except StoreError as error:
            raise CommandRefused(f"nothing was changed: {error}") from error
        await self._on.force(replace(judged.table, version=version))
        log.info("configuration changed", version=version, parent=table.version, actor=actor, entries=len(judged.differences))
        return judged, version

    async def _judged(self, changes: Sequence[Change], table: RoutingTable) -> Judged:
        def work() -> Judged:
            version = table.version if table is not EMPTY else None
            before = self._on.reader.entries(keys_of(changes), version)
            return judge(changes, before, table, self._on.realm)

        try:
            judged = await asyncio.to_thread(work)
        except StoreError as error:
            raise CommandRefused(str(error)) from error
        if table is EMPTY and judged.ok and ("installation", "installation") not in judged.resolved.after:
            first = Mistake(kind="installation", name="installation", what="is not declared yet", todo="Begin with it.")
            return replace(judged, mistakes=(first,))
        return judged

    async def _write(self, judged: Judged, table: RoutingTable, actor: str, note: str) -> int:
        resolved = judged.resolved
        if table is EMPTY:
            return await self._on.store.import_config("", "", actor, first_rows(resolved))

        def work() -> NewVersion:
            told = CHANGES.dump_json(history_of(resolved)).decode()
            edits = {CONFIG_TABLES[kind]: listed for kind, listed in edits_of(resolved).items()}
            return NewVersion(table.version, actor, note, told, edits)

        return await self._on.store.change_config(await asyncio.to_thread(work))

    async def _activate(self, args: Args, actor: str) -> dict[str, Any]:
        """Put an earlier version in force again, if `seen` is the one that it replaces."""
        wanted, seen = args.get("version"), args.get("seen")
        if not isinstance(wanted, int) or isinstance(wanted, bool):
            raise CommandRefused("the command needs version, a number")
        async with self.lock:
            now = self._on.current().version
            if seen is not None and seen != now:
                raise CommandRefused(f"version {now} is in force meanwhile, not {seen}: look at the history again")
            table = await self._stored(wanted)
            try:
                await self._on.store.activate_config(wanted)
            except StoreError as error:
                raise CommandRefused(f"nothing was changed: {error}") from error
            await self._on.force(table)
        log.info("earlier version in force", version=wanted, before=now, actor=actor, note=note_of(args))
        return {"version": wanted, "changed": wanted != now}

    async def _stored(self, version: int) -> RoutingTable:
        try:
            row = await asyncio.to_thread(self._on.reader.one_version, version)
            if row is None or row.activated is None:
                raise CommandRefused(f"there is no version {version} that can be put in force")
            return await asyncio.to_thread(self._on.reader.table, version)
        except StoreError as error:
            raise CommandRefused(str(error)) from error
        except ValidationError as error:
            raise CommandRefused(f"this release does not understand version {version} any more") from error

    async def _may(self, who: Actor, changes: Sequence[Change], *, looking: bool = False) -> None:
        """Raises `CommandRefused` unless the actor may change each of these entries."""
        for right in sorted({ENTRY_RIGHTS[change.kind] for change in changes}):
            if not looking and not who.may(right):
                raise CommandRefused(f"no right to this ({RIGHTS[right].title}): {who.why_not}")
        if who.role in SCOPED:
            table = self._on.current()
            own = Own.of(who.role, who.scope, {name: plan.owner for name, plan in table.plans.items()})
            for change in changes:
                _own_sim(change, table, own)


def _own_sim(change: Change, table: RoutingTable, own: Own) -> None:
    """Somebody's own SIM, and of it only what is theirs to change."""
    sim = table.sims.get(change.name) if change.kind == "sim" else None
    if sim is None or not own.sees_plan(sim.plan):
        raise CommandRefused(f"there is no SIM {change.name} of yours")
    body = body_of(sim)
    changed = {name for name in {*body, *change.body} if body.get(name) != change.body.get(name)}
    if change.op == "remove" or changed - OWNERS_FIELDS:
        raise CommandRefused("of a SIM you may change whether it is enabled, its title and its note")


def changes_of(args: Args) -> tuple[Change, ...]:
    """The changes of a command. Raises `CommandRefused` when they can't be read."""
    given = args.get("changes")
    if not isinstance(given, list) or len(given) > MOST_CHANGES:
        raise CommandRefused(f"the command needs changes, a list of up to {MOST_CHANGES}")
    try:
        return CHANGES.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CommandRefused(f"changes.{place}: {first['msg']}"[:300]) from error


def note_of(args: Args) -> str:
    """Why it is done, in the author's words. Raises `CommandRefused` when it is too long."""
    note = args.get("note") or ""
    if not isinstance(note, str) or len(note) > MOST_NOTE:
        raise CommandRefused(f"the note is text of up to {MOST_NOTE} characters")
    return note.strip()


def _answer(judged: Judged) -> dict[str, Any]:
    listed: Mapping[str, Sequence[Mistake | Difference | Any]] = {
        "mistakes": judged.mistakes, "conflicts": judged.conflicts, "differences": judged.differences,
    }  # fmt: skip
    return {name: [one.model_dump(mode="json") for one in some] for name, some in listed.items()}


def _why(judged: Judged) -> str:
    if judged.conflicts:
        names = ", ".join(f"{one.kind} {one.name}" for one in judged.conflicts[:5])
        return f"changed by somebody else meanwhile: {names}"
    first = judged.mistakes[0]
    more = f" (and {len(judged.mistakes) - 1} more)" if len(judged.mistakes) > 1 else ""
    place = f"{first.kind} {first.name}{': ' + first.field if first.field else ''}"
    return f"{place}: {first.what}. {first.todo}".strip() + more


def history_of(resolved: Resolved) -> tuple[Change, ...]:
    """What a version's history keeps: the entries as they became, passwords as their hashes."""
    old_names = set(resolved.renamed.values())
    told = []
    for key, entry in resolved.after.items():
        if key in old_names:
            continue
        kind, name = resolved.renamed.get(key, key)
        base = digest_of(resolved.before.get((kind, name)))
        told.append(
            Change(kind=kind, name=name, op="remove", base=base)
            if entry is None
            else Change(kind=kind, name=name, body=_short(kind, body_of(entry)), base=base)
        )
    return tuple(told)


def _short(kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    """A body for the history: a long list of prefixes is in the version's rows already."""
    return {**body, "prefixes": body["prefixes"][:1]} if kind == "pattern" else body


def edits_of(resolved: Resolved) -> dict[Kind, list[Edit]]:
    """Rows to be put in, taken out or put in place of others, by kind."""
    edits: dict[Kind, list[Edit]] = {}
    old_names = set(resolved.renamed.values())
    for key, entry in resolved.after.items():
        if key in old_names:
            continue
        before = resolved.before.get(resolved.renamed.get(key, key))
        old = str(rows_of_entry(key[0], before)[0]["name"]) if before is not None else None
        edits.setdefault(key[0], []).append(Edit(old, rows_of_entry(key[0], entry) if entry is not None else ()))
    return edits


def first_rows(resolved: Resolved) -> list[tuple[Any, list[Mapping[str, Any]]]]:
    """The rows of a first version."""
    found: dict[Kind, list[Mapping[str, Any]]] = {"limit": []}
    for (kind, _), entry in resolved.after.items():
        if entry is not None:
            found.setdefault(kind, []).extend(rows_of_entry(kind, entry))
    found["limit"] = found["limit"] or list(rows_of_entry("limit", Limits()))
    return [
        (CONFIG_TABLES[kind], [{**row, "position": place} for place, row in enumerate(rows)])
        for kind, rows in found.items()
    ]
