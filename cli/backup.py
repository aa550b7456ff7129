"""`simrack backup` and `simrack restore`: copies of everything the centre keeps (`docs/backup.md`)."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from simrack.cli.output import JsonOption, say, say_error, say_json
from simrack.cli.places import StateOption, database_url
from simrack.controller.keeping import copying, thinning
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock, SystemClock

Url = Annotated[str, typer.Option("--url", envvar="SIMRACK_DATABASE", help="Database URL, instead of the installation's own.")]


def _told(verb: str, quiet: bool) -> Callable[[str, int], None]:
    def tell(table: str, rows: int) -> None:
        if rows and not quiet:
            say_error(f"{verb} {table}: {rows:,} rows")

    return tell


def backup(
    target: Annotated[Path, typer.Argument(help="A folder, which gets a copy named by the time, or a file that is not there yet.")],
    url: Url = "",
    check: Annotated[bool, typer.Option("--check/--no-check", help="Prove the copy by restoring it into an empty database.")] = True,
    hours: Annotated[int, typer.Option(min=0, help="In a folder: keep so many hourly copies.")] = 24,
    days: Annotated[int, typer.Option(min=0, help="... daily ones.")] = 7,
    weeks: Annotated[int, typer.Option(min=0, help="... weekly ones.")] = 5,
    months: Annotated[int, typer.Option(min=0, help="... monthly ones.")] = 12,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the database while it runs: configuration, accounts, records, audit log."""
    clock = SystemClock()
    into = target.is_dir() or not target.suffix
    path = target / thinning.name_of(clock.utc()) if into else target
    if path.exists():
        raise UserError("this file is there already", str(path), "Name another one, or a folder.")
    software = f"simrack {version('simrack')}"
    manifest = copying.copy(url or database_url(state), path, clock, software, _told("copied", as_json))
    proved = _proved(path, clock, as_json) if check else False
    gone = _thin(target, thinning.Keep(hours, days, weeks, months)) if into else ()
    if as_json:
        say_json({"file": str(path), "rows": manifest.rows, "octets": path.stat().st_size, "proved": proved, "removed": list(gone)})
        return
    say(f"Copy     {path} ({path.stat().st_size / 1e6:.1f} MB, {manifest.rows:,} rows)")
    say("Proved   restored into an empty database, all tables equal" if proved else "Proved   no (--check)")
    if gone:
        say(f"Removed  {len(gone)} older copies")


def _proved(path: Path, clock: Clock, quiet: bool) -> bool:
    scratch = path.with_name(f".{path.name}.check")
    try:
        copying.check(path, scratch, clock)
    except UserError:
        # A copy that can't be restored must not look like one.
        path.replace(path.with_name(f"{path.name}.bad"))
        raise
    if not quiet:
        say_error("restored into an empty database: equal")
    return True


def _thin(folder: Path, keep: thinning.Keep) -> tuple[str, ...]:
    gone = thinning.superfluous((each.name for each in folder.iterdir()), keep)
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    return gone


def restore(
    copy: Annotated[Path, typer.Argument(help="The copy.")],
    url: Annotated[str, typer.Option("--url", envvar="SIMRACK_DATABASE", help="The empty database: sqlite:///PATH, or the owner's URL on PostgreSQL.")],
    as_json: JsonOption = False,
) -> None:
    """Bring a copy into an empty database and compare every table with it."""
    done = copying.restore(copy, url, SystemClock(), _told("restored", as_json))
    if as_json:
        say_json({"rows": done.manifest.rows, "made": done.manifest.at, "by": done.manifest.software, "version": done.revision})
        return
    say(f"Restored  {done.manifest.rows:,} rows of {done.manifest.at:%Y-%m-%d %H:%M} UTC, made by {done.manifest.software}")
    say(f"Version   {done.revision}" + ("" if done.revision == done.manifest.revision else f", before {done.manifest.revision}"))
    say("Start the controller on it now: calls that were open in the copy are closed as lost, and SIMs count on from their records.")
