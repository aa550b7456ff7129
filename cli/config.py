"""`simrack config`: the configuration as files, its history, and the way back."""

import asyncio
import getpass
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simrack.cli.output import JsonOption, fail, say, say_json, table
from simrack.cli.places import StateOption, read_state
from simrack.cli.route import ask_controller, hand_of
from simrack.controller.config import fileset
from simrack.controller.config.catalogue import CATALOGUE, Values
from simrack.controller.config.changes import CHANGES, Change, Difference, changes_between
from simrack.controller.config.impact import Impact
from simrack.controller.config.reading import VersionRow
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store.queries import Queries
from simrack.wire.errors import UserError

if TYPE_CHECKING:
    from simrack.web.services.drafts import DraftView
    from simrack.web.sim_sheet import Outcome

app = typer.Typer(help="The configuration as files; its versions.", no_args_is_help=True)
PathArgument = Annotated[Path, typer.Argument(help="Folder of an export, or one routing file.")]
NoteOption = Annotated[str, typer.Option(help="Why, for the history.")]
#: Values longer than this are told by their beginning.
MOST_SHOWN = 80
#: A version of 100,000 prefixes takes seconds.
APPLY_S = 60.0
#: What each SIM of a sheet adds, on a slow disk (docs/configured.md).
PER_CARD_S = 0.1


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

    def table(self) -> RoutingTable:
        """The version in force, compiled."""
        queries = self.reader()
        try:
            return queries.config.table()
        finally:
            queries.close()

    def ask(self, action: str, wait_s: float = APPLY_S, /, **args: Any) -> dict[str, Any]:
        """The controller's result. Raises `UserError`."""
        actor = f"cli:{getpass.getuser()}"
        return asyncio.run(ask_controller(self._mqtt, action, args, actor, timeout_s=wait_s))

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


@app.command("export-sims")
def export_sims(
    file: Annotated[Path | None, typer.Argument(help="Where the sheet goes; default: standard output.")] = None, state: StateOption = None,
) -> None:  # fmt: skip
    """Write all SIMs as a sheet (CSV) in the columns that `import-sims` reads."""
    from simrack.web import sim_sheet

    text = "".join(sim_sheet.lines(_Rack(state).table().sims.values()))
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, newline="")
    except OSError as error:
        raise UserError(f"the sheet can't be written ({error.strerror})", str(file), "Name another file.") from error
    say(f"{text.count(chr(10)) - 1} SIMs in {file}.")


@app.command("import-sims")
def import_sims(
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8; its first line names the columns, of which iccid must be there.")],
    plan: Annotated[str, typer.Option(help="Plan of lines that name none.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    without_bad: Annotated[int, typer.Option(min=0, help="Leave out exactly this many bad lines; else one of them stops all.")] = 0,
    note: NoteOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change SIMs by a sheet (CSV): all of its lines as one new version, or none. Exit status 1: bad lines."""
    from simrack.web import sim_sheet

    rack = _Rack(state)
    try:
        found = sim_sheet.outcome(sim_sheet.read(file.read_bytes()), sim_sheet.Against(rack.table(), plan))
    except OSError as error:
        raise UserError(f"the file can't be read ({error.strerror})", str(file), "Name another file.") from error
    except sim_sheet.BadSheet as error:
        raise UserError(error.what, str(file), error.todo) from error
    told = {
        "new": found.new, "changed": found.changed, "unchanged": found.unchanged, "bad": len(found.wrong),
        "lines": [asdict(one) for one in found.wrong], "unread": list(found.unread), "version": None,
    }  # fmt: skip
    if not as_json:
        _say_sheet(found)
    stopped = bool(found.mistakes) or len(found.wrong) != without_bad
    if not stopped and not dry_run and found.after and (yes or as_json or typer.confirm(f"Put {len(found.after)} SIMs in force now?")):
        wait_s = APPLY_S + PER_CARD_S * len(found.after)
        told["version"] = rack.ask("entry-apply", wait_s, changes=_dumped(found.changes), note=note)["version"]
    if as_json:
        say_json(told)
    elif told["version"] is not None:
        say(f"Version {told['version']} is in force.")
    else:
        say("Nothing was changed.")
    if stopped:
        raise SystemExit(1)


def _say_sheet(found: "Outcome") -> None:
    for one in found.wrong:
        say(f"! line {one.line}{', ' + one.column if one.column else ''}: {one.what}. {one.todo}".rstrip())
    for mistake in found.mistakes:
        say(f"! {mistake.kind} {mistake.name}: {mistake.what}. {mistake.todo}".rstrip())
    if found.unread:
        say(f"Columns that are not read: {', '.join(found.unread)}.")
    say(f"{found.new} new, {found.changed} changed, {found.unchanged} as they are, {len(found.wrong)} bad lines.")


# --- drafts -----------------------------------------------------------------------------------------------------

draft = typer.Typer(help="Changes that were prepared together in the control room.", no_args_is_help=True)
app.add_typer(draft, name="draft")
NumberArgument = Annotated[int, typer.Argument(help="Number of the draft.")]


@draft.command("list")
def list_drafts(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show drafts, the open ones first."""
    from simrack.web.services import drafts

    with hand_of(state) as by:
        found = drafts.all_drafts(by)
    if as_json:
        say_json({"drafts": [{"id": one.id, "title": one.title, "state": one.state, "author": one.author, "changed": one.changed, "changes": len(one.changes)} for one in found]})
        return
    rows = [[one.id, one.state, one.title, len(one.changes), one.author, f"{one.changed.astimezone(UTC):%Y-%m-%d %H:%M}"] for one in found]
    table("Drafts", ("Number", "State", "Draft", "Changes", "Of", "Changed (UTC)"), rows, "There are none. In the control room a review can be kept as a draft.")


def _draft(number: int, state: Path | None, *, open_only: bool = False) -> "DraftView":
    from simrack.web.services import drafts

    with hand_of(state) as by:
        found = drafts.one(number, by)
    if found is None or (open_only and found.state != drafts.OPEN):
        raise UserError(f"there is no {'open ' if open_only else ''}draft {number}", todo="`simrack config draft list` shows them.")
    return found


@draft.command("show")
def show_draft(number: NumberArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what a draft would change now, and which recent calls would go elsewhere. Changes nothing."""
    found = _draft(number, state)
    told = _Rack(state).ask("config-check", changes=_dumped(found.changes)) if found.changes else {}
    if as_json:
        say_json({"id": found.id, "state": found.state, "changes": _dumped(found.changes), **told})
        return
    _say_differences(told)
    _say_trouble(told)
    if told.get("impact"):
        _say_impact(Impact.model_validate(told["impact"]))


@draft.command("apply")
def apply_draft(
    number: NumberArgument, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False, state: StateOption = None,
) -> None:  # fmt: skip
    """Put a draft in force: all of its changes or none."""
    from simrack.web.services import drafts

    found = _draft(number, state, open_only=True)
    if not yes and not typer.confirm(f"Put {len(found.changes)} changes of “{found.title}” in force now?"):
        say("Nothing was changed.")
        return
    version = _Rack(state).ask("entry-apply", changes=_dumped(found.changes), note=found.note)["version"]
    with hand_of(state) as by:
        drafts.close(number, drafts.APPLIED, by)
    say(f"Version {version} is in force.")


@draft.command("drop")
def drop_draft(number: NumberArgument, state: StateOption = None) -> None:
    """Drop a draft; it stays readable."""
    from simrack.web.services import drafts

    _draft(number, state, open_only=True)
    with hand_of(state) as by:
        drafts.close(number, drafts.DROPPED, by)
    say(f"Draft {number} is dropped.")


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
