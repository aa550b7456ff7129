"""`simrack cdr`: records from the database, one line each, or one call's story."""

import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json, table
from simrack.cli.places import StateOption, database_url
from simrack.wire.errors import UserError
from simrack.wire.ports import iso_ms

WIDE = 110  # columns that the table needs


def console_width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size().columns


def seconds(ms: int) -> str:
    """Talk time as people read it: `3:42.3`."""
    minutes, rest = divmod(ms, 60_000)
    return f"{minutes}:{rest / 1000:04.1f}"


def _moment(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text!r} is no time", name, "Write 2026-11-21 or 2026-11-21T14:30:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def cdr(
    call: Annotated[str, typer.Argument(help="A call's id: show its whole story.")] = "",
    number: Annotated[str, typer.Option(help="Part of the called or calling number.")] = "",
    sender: Annotated[str, typer.Option(help="A traffic sender's name.")] = "",
    box: Annotated[str, typer.Option(help="A box's name.")] = "",
    outcome: Annotated[str, typer.Option(help="Only these: answered, failed, refused or cancelled.")] = "",
    since: Annotated[str, typer.Option(help="Started at or after: 2026-11-21 or 2026-11-21T14:30 (UTC, or with +01:00).")] = "",
    until: Annotated[str, typer.Option(help="Started before, in the same form.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List records, or show one call's story.

    A story holds the ladder, the route and who fell out where, the attempts and the module's AT log.
    """
    from simrack.controller.models import RecordFilter
    from simrack.controller.store.queries import Queries

    queries = Queries(database_url(state))
    if call:
        _story(queries, call, as_json)
        return
    if outcome not in ("", "answered", "failed", "refused", "cancelled"):
        raise UserError(f"{outcome!r} is no outcome", "--outcome", "Write answered, failed, refused or cancelled.")
    page = queries.records(
        RecordFilter(
            text=number, sender=sender, box=box, outcome=outcome, since=_moment(since, "--since"),
            until=_moment(until, "--until"), per_page=limit,
        )
    )  # fmt: skip
    if as_json:
        say_json({"total": page.total, "records": [asdict(row) for row in page.rows]})
        return
    if console_width() < WIDE and sys.stdout.isatty():
        say(narrow(page))
        return
    rows = [
        (
            iso_ms(r.started)[:19].replace("T", " "), r.sender, r.called or r.called_received, r.outcome, seconds(r.talk_network_ms),
            f"{r.cause} {r.cause_original}".strip(), f"{r.box} / {r.channel}" if r.box else "", r.call,
        )
        for r in page.rows
    ]  # fmt: skip
    table(
        f"{len(page.rows)} of {page.total} records",
        ("Started (UTC)", "Sender", "Called", "Outcome", "Talk", "Cause", "Channel", "Call"),
        rows,
        _nothing(queries, sender, box),
    )


def _nothing(queries: Any, sender: str, box: str) -> str:
    known = queries.names().senders
    if sender and sender not in known:
        return f"No record fits, and no sender {sender!r} is configured. Known: {', '.join(sorted(known)) or 'none'}."
    if box:
        return f"No record of box {box!r} fits. `simrack rack` lists the boxes."
    return "No record fits. Place a call with `simrack call NUMBER`, or widen the filter."


def narrow(page: Any) -> str:
    """Two lines a record, for terminals that are too narrow for the table."""
    lines = []
    for r in page.rows:
        place = f"{r.box} / {r.channel}" if r.box else "no channel"
        lines.append(f"{iso_ms(r.started)[:19].replace('T', ' ')}  {r.sender} -> {r.called or r.called_received}")
        lines.append(f"  {r.outcome}, {seconds(r.talk_network_ms)}, cause {r.cause}, {place}, {r.call}")
    return "\n".join(lines) or "No record fits."


def _story(queries: Any, call: str, as_json: bool) -> None:
    from simrack.controller.routing.explain_text import explain_text

    story = queries.story(call)
    if story is None:
        raise UserError(f"no record of call {call!r}", todo="List them with `simrack cdr`; a call in progress has none yet.")
    if as_json:
        say_json(story_json(story))
        return
    say(story_text(story, explain_text(story.explanation) if story.explanation else ""))


def story_json(story: Any) -> dict[str, Any]:
    """A story as one JSON document."""
    return {
        "record": asdict(story.record),
        "explanation": story.explanation.model_dump(mode="json") if story.explanation else None,
        "ladder": [line.model_dump(mode="json") for line in story.ladder],
        "attempts": [attempt.model_dump(mode="json") for attempt in story.attempts],
    }


def story_text(story: Any, explanation: str) -> str:
    """A story as text: the record, the ladder, why it went this way, and the module's own lines."""
    record = story.record
    lines = [
        (f"{record.sender} -> {record.called or record.called_received}: {record.outcome}, cause {record.cause}"
        f" ({record.cause_original}), released by {record.side}"),
        f"talk {seconds(record.talk_network_ms)} at the network, {seconds(record.talk_sender_ms)} at the sender"
        + (", estimated" if record.estimated else ""),
        "",
        "What happened",
    ]
    lines += [f"  {line.ms / 1000:9.3f} s  {line.source:>10} -> {line.target:<10} {line.label}" for line in story.ladder]
    if explanation:
        lines += ["", "Why it went this way", *(f"  {line}" for line in explanation.splitlines())]
    for attempt in story.attempts:
        lines += ["", f"Attempt {attempt.number}: {attempt.box} / {attempt.channel}, {attempt.outcome or attempt.cause_text}"]
        lines += [f"  {line.ms:8d} ms {line.way} {line.text}" for line in attempt.at_log]
    return "\n".join(lines)
