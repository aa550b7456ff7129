"""The `simrack` command: finds its sub-commands by the entry-point group `simrack.commands`."""

import ctypes
import os
import signal
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer

from simrack.cli.output import guarded

GROUP = "simrack.commands"
DIE_WITH_PARENT = "SIMRACK_DIE_WITH_PARENT"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def _add(app: typer.Typer, point: EntryPoint) -> None:
    command = point.load()
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=point.name)
    else:
        app.command(point.name)(command)


def build(wanted: str | None = None) -> typer.Typer:
    """The command tree; with `wanted` only that sub-command is imported, which keeps starts fast."""
    app = typer.Typer(
        name="simrack",
        help="GSM gateway and SIM bank: boxes, controller, control room.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    chosen = [point for point in points if point.name == wanted] or points
    for point in chosen:
        _add(app, point)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"simrack {version('simrack')}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """GSM gateway and SIM bank: boxes, controller, control room."""
    from simrack.wire import logs

    # Commands that look at things speak by their output alone; processes set their own level after this.
    logs.configure("simrack", level="error")


def _follow_parent() -> None:
    """End when the process that started us ends, even by kill -9 (`simrack up` sets the variable)."""
    parent = os.environ.pop(DIE_WITH_PARENT, "")
    if not parent:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        raise SystemExit("the parent process ended before this one began")


def main() -> None:
    """Entry point of the `simrack` script."""
    _follow_parent()
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    completing = any(name.startswith("_SIMRACK_COMPLETE") for name in os.environ)
    app = build(None if completing else wanted)
    guarded(app)
