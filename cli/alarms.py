"""`simrack alarms`: what needs a hand, taking it in hand, the history, the catalogue, and who is told."""

import asyncio
import getpass
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json, table
from simrack.cli.places import StateOption, database_url, read_state
from simrack.cli.route import ask_controller
from simrack.wire.errors import UserError

app = typer.Typer(help="Alarms: what needs a hand, and what to do about it.")
Alarm = Annotated[int, typer.Argument(help="Number of the alarm, as the list shows it.", min=1)]


def _ask(state: StateOption, action: str, **args: Any) -> dict[str, Any]:
    actor = f"cli:{getpass.getuser()}"
    return asyncio.run(ask_controller(str(read_state(state)["mqtt"]), action, args, actor))


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    state: StateOption = None,
    as_json: JsonOption = False,
    history: Annotated[bool, typer.Option("--history", help="Closed ones too, newest first.")] = False,
    kind: Annotated[str, typer.Option(help="With --history: only this kind, for instance box-unreachable.")] = "",
    text: Annotated[str, typer.Option(help="With --history: part of the title, the note or a name.")] = "",
    limit: Annotated[int, typer.Option(help="With --history: rows at most.", min=1, max=200)] = 50,
) -> None:
    """Show open alarms, worst first, each with what to do."""
    if context.invoked_subcommand is not None:
        return
    from simrack.controller.models import AlarmFilter
    from simrack.controller.store.queries import Queries

    queries = Queries(database_url(state))
    try:
        if history:
            rows = queries.alarm_page(AlarmFilter(kind=kind, text=text, per_page=limit)).rows
        else:
            rows = queries.alarms()
    finally:
        queries.close()
    if as_json:
        say_json({"alarms": [{name: getattr(row, name) for name in row.__dataclass_fields__} for row in rows]})
        return
    shown = [
        (
            row.id, row.severity, row.title, f"{row.opened:%Y-%m-%d %H:%M} UTC", f"{row.closed:%Y-%m-%d %H:%M}" if row.closed else "",
            f"{row.acknowledged_by}: {row.note}".rstrip(": ") if row.acknowledged else "", row.advice,
        )
        for row in rows
    ]  # fmt: skip
    table(
        f"Alarms: {len(rows)}", ("No", "Severity", "Alarm", "Opened", "Closed", "In the hand of", "What to do"), shown,
        "No alarm." if history else "Nothing needs a hand.",
    )  # fmt: skip


@app.command()
def acknowledge(
    alarm: Alarm, note: Annotated[str, typer.Option(help="What you are doing about it.")] = "", state: StateOption = None
) -> None:
    """Take an alarm in hand: it turns quiet until it closes."""
    say(f"{_ask(state, 'acknowledge-alarm', alarm=alarm, note=note)['cause']} is in your hand.")


@app.command()
def release(alarm: Alarm, state: StateOption = None) -> None:
    """Take an alarm out of hand: it is loud again."""
    say(f"{_ask(state, 'acknowledge-alarm', alarm=alarm, release=True)['cause']} is in nobody's hand.")


@app.command()
def kinds(as_json: JsonOption = False) -> None:
    """List every kind of alarm with its severity and what to do."""
    from simrack.controller.alarms.catalogue import CATALOGUE

    if as_json:
        found = [{name: getattr(kind, name) for name in kind.__dataclass_fields__} for kind in CATALOGUE.values()]
        say_json({"kinds": found})
        return
    rows = [(kind.kind, kind.severity, kind.title.format(subject="..."), kind.advice) for kind in CATALOGUE.values()]
    table(f"Kinds: {len(rows)}", ("Kind", "Severity", "Alarm", "What to do"), rows, "None.")


@app.command()
def notices(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show who is told of alarms, and how delivery goes."""
    told = _ask(state, "notices")
    if as_json:
        say_json(told)
        return
    columns = ("name", "addresses", "least", "sent", "failed", "waiting", "last_error")
    rows = [[", ".join(target[name]) if name == "addresses" else target[name] for name in columns] for target in told["targets"]]
    table(
        "Notices", ("Target", "Where", "From severity", "Sent", "Failed", "Waiting", "Last trouble"), rows,
        "Nobody is told. Set notices.webhook or notices.mail_to with `simrack config`.",
    )  # fmt: skip


@app.command("test")
def send_test(
    target: Annotated[str, typer.Argument(help="webhook, mail or escalation.")], state: StateOption = None
) -> None:
    """Send a test notice now, and say whether it arrived."""
    try:
        _ask(state, "test-notice", target=target)
    except UserError as error:
        raise UserError(error.what, target, "Look at `simrack alarms notices`.") from error
    say("It arrived.")
