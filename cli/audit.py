"""`simrack audit`: check the audit log, look into it, hand it out. Reads the database itself; nothing has to run."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_error, say_json, table
from simrack.cli.places import StateOption, database_url
from simrack.wire.errors import UserError
from simrack.wire.ports import SystemClock, iso_ms
from simrack.wire.rights import actor_name

if TYPE_CHECKING:
    from simrack.controller.audit.chain import Entry, Head, Verdict
    from simrack.controller.store.audit import AuditFilter, AuditQueries

app = typer.Typer(no_args_is_help=True, help="The audit log: who did what, chained so that nothing can be taken back.")
UrlOption = Annotated[
    str, typer.Option("--database", envvar="SIMRACK_DATABASE", help="URL of the database; default: the installation's own.")
]
HeadOption = Annotated[str, typer.Option("--head", help="A head that was kept elsewhere (NUMBER:HASH); it must stand in the log.")]
Since = Annotated[datetime | None, typer.Option(help="From this day or moment on (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Before this day or moment (UTC).")]
Who = Annotated[str, typer.Option("--actor", help="Who did it, for instance user:Ada or cli:root.")]
What = Annotated[str, typer.Option("--action", help="Only this action, for instance hang-up.")]
Sim = Annotated[str, typer.Option("--sim", help="An ICCID: only what was about this card.")]
#: Exit status when the chain does not hold.
BROKEN = 1


@app.command()
def verify(
    head: HeadOption = "",
    file: Annotated[Path | None, typer.Option(help="Check a file that `simrack audit export` wrote instead.")] = None,
    state: StateOption = None,
    database: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check every entry; name the first that was changed, removed, reordered or inserted. Ends with 0 or 1."""
    kept = _head(head)
    if file is None:
        with _queries(state, database) as queries:
            verdict = queries.verify_audit(kept)
    else:
        verdict = _check_file(file, kept)
    if as_json:
        say_json(_told(verdict))
    elif verdict.fault is None:
        say(f"{verdict.entries} entries hold. Head, to be kept elsewhere:\n{verdict.head}")
    else:
        say_error(f"the audit log does not hold: {verdict.fault.text}")
        say_error(f"{verdict.entries} entries before it hold")
    if verdict.fault is not None:
        raise typer.Exit(BROKEN)


@app.command("list")
def list_(
    text: Annotated[str, typer.Argument(help="Words anywhere in an entry.")] = "",
    actor: Who = "",
    action: What = "",
    sim: Sim = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    state: StateOption = None,
    database: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show entries, newest first."""
    from simrack.controller.store.audit import AuditFilter

    wanted = AuditFilter(text, actor, action, "", sim, _utc(since), _utc(until), per_page=limit)
    with _queries(state, database) as queries:
        entries = queries.audit_page(wanted).entries
    if as_json:
        say_json({"entries": [_document(entry) for entry in entries]})
        return
    rows = [
        [entry.seq, iso_ms(entry.at), actor_name(entry.actor), entry.action, entry.subject, entry.detail] for entry in entries
    ]
    table("Audit log", ("No.", "At", "Who", "What", "About", "Detail"), rows, "Nothing in the audit log matches.")


@app.command()
def export(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
    actor: Who = "",
    action: What = "",
    sim: Sim = "",
    since: Since = None,
    until: Until = None,
    state: StateOption = None,
    database: UrlOption = "",
) -> None:
    """Write entries as JSON lines with all that their hashes are made of, for an operator or a regulator."""
    from simrack.controller.audit import export as files
    from simrack.controller.store.audit import AuditFilter

    wanted = AuditFilter("", actor, action, "", sim, _utc(since), _utc(until))
    with _queries(state, database) as queries:
        lines = files.lines(queries.audit_all(wanted), queries.audit_head(), SystemClock().utc(), _chosen(wanted))
        if out is None:
            sys.stdout.writelines(lines)
            return
        count = _write(out, lines)
    say_error(f"{count} entries written to {out}")


@app.command()
def head(state: StateOption = None, database: UrlOption = "", as_json: JsonOption = False) -> None:
    """Print the head: number and hash of the last entry. Kept elsewhere it shows a log that was cut or written anew."""
    with _queries(state, database) as queries:
        found = queries.audit_head()
    if found is None:
        raise UserError("there is no audit log yet", "database", "It begins with the controller's first start.")
    if as_json:
        say_json({"seq": found.seq, "hash": found.hash, "head": str(found)})
    else:
        say(str(found))


@contextmanager
def _queries(state: Path | None, database: str) -> Iterator["AuditQueries"]:
    from simrack.controller.store.audit import AuditQueries
    from simrack.controller.store.errors import StoreDown

    queries = AuditQueries(database or database_url(state))
    try:
        yield queries
    except StoreDown as error:
        raise UserError(str(error), "database", "Is it there, and of this release? `simrack doctor` looks further.") from error
    finally:
        queries.close()


def _head(text: str) -> "Head | None":
    from simrack.controller.audit.chain import Head

    try:
        return Head.parse(text) if text else None
    except ValueError as error:
        raise UserError(str(error), "--head", "Copy it whole, as `simrack audit head` prints it.") from None


def _check_file(path: Path, kept: "Head | None") -> "Verdict":
    from simrack.controller.audit import export as files

    try:
        with path.open(encoding="utf-8") as lines:
            return files.check(lines, kept)
    except OSError as error:
        raise UserError(f"the file can't be read: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise UserError(f"this is no export of an audit log: {error}", str(path)) from error


def _write(path: Path, lines: Iterator[str]) -> int:
    """Write a file that its owner alone reads; the number of entries."""
    count = -1
    try:
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8") as out:
            for line in lines:
                out.write(line)
                count += 1
    except OSError as error:
        raise UserError(f"the file can't be written: {error.strerror}", str(path)) from error
    return count


def _chosen(wanted: "AuditFilter") -> dict[str, Any]:
    chosen = {"actor": wanted.actor, "action": wanted.action, "sim": wanted.sim}
    moments = {"since": wanted.since, "until": wanted.until}
    return {name: value for name, value in chosen.items() if value} | {
        name: iso_ms(value) for name, value in moments.items() if value is not None
    }


def _told(verdict: "Verdict") -> dict[str, Any]:
    fault = verdict.fault
    return {
        "ok": verdict.ok, "entries": verdict.entries, "head": str(verdict.head or ""), "installation": verdict.installation,
        "fault": {"seq": fault.seq, "kind": fault.kind, "text": fault.text} if fault else None,
    }  # fmt: skip


def _document(entry: "Entry") -> dict[str, Any]:
    return {
        "seq": entry.seq, "at": iso_ms(entry.at), "actor": entry.actor, "address": entry.address, "action": entry.action,
        "subject": entry.subject, "detail": json.loads(entry.detail), "source": entry.source, "hash": entry.hash,
    }  # fmt: skip


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None else None
