"""How the command talks: tables for people, JSON for scripts, errors that say what to do."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simrack.wire.errors import UserError
from simrack.wire.ports import iso_ms

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
EXIT_USER_ERROR = 2
PIPE_COLUMNS = 400  # a pipe has no width; programs and grep want whole lines


def _plain(value: Any) -> Any:
    return iso_ms(value) if isinstance(value, datetime) else str(value)


def say(text: str = "") -> None:
    """A line for people on standard output."""
    typer.echo(text)


def say_error(text: str) -> None:
    """A line for people that must not stand in a program's output."""
    typer.echo(f"simrack: {text}", err=True)


def say_json(document: Any, *, indent: int | None = 2) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, default=_plain, ensure_ascii=False, indent=indent))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """A table, or the sentence `empty` that says what to do next."""
    if not rows:
        say(empty)
        return
    shown = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # Folded, never cut: an id with an ellipsis can't be copied.
        shown.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: rich would take "[rtp]" for markup.
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False).print(shown)


def fail(error: UserError, *, as_json: bool = False) -> NoReturn:
    """Print what is wrong, where, and what to do; end with status 2."""
    if as_json:
        say_json({"error": {"what": error.what, "where": error.where, "todo": error.todo}})
    else:
        typer.echo(f"simrack: {error}", err=True)
    raise SystemExit(EXIT_USER_ERROR)


def guarded(run: Callable[[], None]) -> None:
    """Run the command; a user's mistake becomes a sentence instead of a traceback."""
    try:
        run()
    except UserError as error:
        fail(error, as_json="--json" in sys.argv)
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough.
        sys.stderr.close()
