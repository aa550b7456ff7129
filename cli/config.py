"""`simrack config`: the configuration as files, its history, and the way back."""

import asyncio
import getpass
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, fail, say, say_json, table
from simrack.cli.places import StateOption, read_state
from simrack.cli.route import ask_controller
from simrack.controller.config import fileset
from simrack.controller.config.catalogue import CATALOGUE, Values
from simrack.controller.config.changes import CHANGES, Change, Difference, changes_between
from simrack.controller.config.impact import Impact
from simrack.controller.config.reading import VersionRow
from simrack.controller.store.queries import Queries
from simrack.wire.errors import UserError

app = typer.Typer(help="The configuration as files; its versions.", no_args_is_help=True)
PathArgument = Annotated[Path, typer.Argument(help="Folder of an export, or one routing file.")]
NoteOption = Annotated[str, typer.Option(help="Why, for the history.")]
#: Values longer than this are told by their beginning.
MOST_SHOWN = 80
#: A version of 100,000 prefixes takes seconds.
APPLY_S = 60.0


@app.callback()
def _root() -> None:
    """The configuration as files; its versions."""


class _Rack:
    """The centre that the state file names: its database to read, its controller to ask."""

    def __init__(self, state: StateOption) -> None:
        facts = read_state(state)
        self._url, self._mqtt = str(facts["database"]), str(facts["mqtt"])

    def reader(self) -> Queries:
        return Queries(self._url)

    def ask(self, action: str, **args: Any) -> dict[str, Any]:
        """The controller's result. Raises `UserError`."""
        actor = f"cli:{getpass.getuser()}"
        return asyncio.run(ask_controller(self._mqtt, action, args, actor, timeout_s=APPLY_S))

    def changes(self, path: Path) -> tuple[Change, ...]:
        """What makes the files of the version that they came from, or else of the one in force."""
        file, exported = fileset.read(path)
        wanted = fileset.entries_of_files(file)
        queries = self.reader()
        try:
            version = exported if exported is not None else queries.config.version()
            base = queries.config.everything(version) if version is not None else {}
        finally:
            queries.close()
        if exported is not None and not base:
            raise UserError(
                f"version {exported}, from which these files were made, is not kept any more", fileset.VERSION_FILE,
                "Export anew and carry your changes over, or remove version.toml to replace what is in force.",
            )  # fmt: skip
        return changes_between(base, wanted)


def _dumped(changes: Sequence[Change]) -> list[dict[str, Any]]:
    dumped: list[dict[str, Any]] = CHANGES.dump_python(tuple(changes), mode="json")
    return dumped


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made when it is not there.")],
    version: Annotated[int | None, typer.Option(help="An earlier version instead of the one in force.")] = None,
    state: StateOption = None,
) -> None:
    """Write the configuration as readable files, fit for version control. Passwords leave as hashes."""
    queries = _Rack(state).reader()
    try:
        wanted = queries.config.version() if version is None else version
        entries = queries.config.everything(wanted) if wanted is not None else {}
    finally:
        queries.close()
    if wanted is None or not entries:
        raise UserError("there is no such version", todo="`simrack config history` lists them.")
    fileset.write(folder, fileset.texts(entries, wanted))
    say(f"Version {wanted}: {len(entries)} entries in {folder}.")


@app.command()
def diff(path: PathArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what `apply` would change, and which recent calls would go elsewhere. Changes nothing."""
    rack = _Rack(state)
    changes = rack.changes(path)
    told = rack.ask("config-check", changes=_dumped(changes)) if changes else {}
    if as_json:
        say_json(told)
        return
    _say_differences(told)
    _say_trouble(told)
    if told.get("impact"):
        _say_impact(Impact.model_validate(told["impact"]))


@app.command()
def apply(
    path: PathArgument,
    note: NoteOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    state: StateOption = None,
) -> None:
    """Put the files in force as a new version: all of it or nothing. What others have changed since is never undone."""
    rack = _Rack(state)
    changes = _dumped(rack.changes(path))
    told = rack.ask("config-check", changes=changes) if changes else {}
    _say_differences(told)
    if told and not told["ok"]:
        _say_trouble(told)
        fail(UserError("nothing was changed", str(path)))
    if not told or not told["differences"]:
        return
    if not yes and not typer.confirm(f"Put {len(told['differences'])} changes in force now?"):
        say("Nothing was changed.")
        return
    say(f"Version {rack.ask('config-apply', changes=changes, note=note)['version']} is in force.")


@app.command()
def history(
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=500)] = 20, state: StateOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Show the newest versions: who made them, when, what of."""
    queries = _Rack(state).reader()
    try:
        rows = queries.config.history(limit=limit)
    finally:
        queries.close()
    if as_json:
        say_json({"versions": [{name: getattr(row, name) for name in _HISTORY} for row in rows]})
        return
    columns = ("Version", "", "Made (UTC)", "By", "From", "Changes", "Note")
    shown = [
        [row.version, _state(row), f"{row.created.astimezone(UTC):%Y-%m-%d %H:%M:%S}", row.actor, row.source or row.parent, len(row.changes) or "", row.note]
        for row in rows
    ]
    table("Versions", columns, shown, "Nothing is configured yet. Open the control room, or start with `import` in the controller's settings.")


_HISTORY = ("version", "created", "actor", "source", "note", "parent", "in_force")


def _state(row: VersionRow) -> str:
    return "in force" if row.in_force else "" if row.activated else "not kept"


@app.command()
def activate(
    version: Annotated[int, typer.Argument(help="The version to put in force again.")],
    note: NoteOption = "", state: StateOption = None,
) -> None:  # fmt: skip
    """Put an earlier version in force again. Later changes stay in the history."""
    told = _Rack(state).ask("config-activate", version=version, note=note)
    say(f"Version {told['version']} is in force{'' if told['changed'] else ' already'}.")


@app.command()
def options(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show every global option: what it is set to, its default and range, and what it does."""
    queries = _Rack(state).reader()
    try:
        values: Values = queries.config.table().options
    finally:
        queries.close()
    rows = [
        {"name": name, "value": values.get(name), "default": one.default, "unit": one.unit, "range": one.range, "meaning": one.meaning, "effect": one.effect}
        for name, one in CATALOGUE.items()
    ]
    if as_json:
        say_json({"options": rows})
        return
    shown = [[row["name"], f"{row['value']} {row['unit']}".strip(), row["default"], row["range"], row["meaning"]] for row in rows]
    table("Options", ("Option", "Value", "Default", "Range", "Meaning"), shown, "There are none.")


def _say_differences(told: dict[str, Any]) -> None:
    found = [Difference.model_validate(one) for one in told.get("differences", ())]
    signs = {"added": "+", "removed": "-", "changed": "~"}
    for one in found:
        say(f"{signs[one.op]} {one.kind} {one.name}")
        if one.op == "changed":
            for field in one.fields:
                say(f"    {field.field}: {_short(field.before)} -> {_short(field.after)}")
    if not found:
        say("No difference.")


def _short(value: Any) -> str:
    text = "(default)" if value is None else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


def _say_trouble(told: dict[str, Any]) -> None:
    for one in told.get("mistakes", ()):
        say(f"! {one['kind']} {one['name']}{': ' + one['field'] if one['field'] else ''}: {one['what']} {one['todo']}".rstrip())
    for one in told.get("conflicts", ()):
        say(f"! {one['kind']} {one['name']} was changed by somebody else since these files were exported:")
        yours, theirs = one["yours"] or {}, one["theirs"] or {}
        for name in dict.fromkeys((*theirs, *yours)):
            if theirs.get(name) != yours.get(name):
                say(f"    {name}: {_short(theirs.get(name))} there, {_short(yours.get(name))} in the files")


def _say_impact(impact: Impact) -> None:
    if not impact.asked:
        say("There are no recent calls to try it on.")
        return
    say(f"Of {impact.asked} recent calls {impact.moved} would go elsewhere; {impact.refused} would be refused, {impact.freed} no more.")
    for one in impact.examples[:5]:
        before, after = (way.refusal or f"{way.plan} ({way.pattern})" for way in (one.before, one.after))
        say(f"    {one.sender} to {one.called}: {before} -> {after}")
