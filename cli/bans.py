"""`simrack bans`: addresses whose packets the controller does not look at; add, free, hand to the firewall."""

import asyncio
import getpass
import ipaddress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json, table
from simrack.cli.places import StateOption, read_state
from simrack.cli.route import ask_controller
from simrack.wire.ports import SystemClock

app = typer.Typer(help="Addresses that the controller does not answer.")
#: Table and sets of docs/overload.md.
NFT_TABLE = "inet simrack"
_SETS = {4: "banned4", 6: "banned6"}


def _ask(state: StateOption, action: str, **args: Any) -> dict[str, Any]:
    actor = f"cli:{getpass.getuser()}"
    return asyncio.run(ask_controller(str(read_state(state)["mqtt"]), action, args, actor))


def nft_script(bans: list[dict[str, Any]], now: datetime) -> str:
    """What `nft -f -` needs to hold exactly these bans, each until its own end.

    ValueError: an address is none, so that nothing but addresses can reach the firewall.
    """
    lines = [f"flush set {NFT_TABLE} {name}" for name in _SETS.values()]
    for ban in bans:
        address = ipaddress.ip_address(ban["address"])
        left = int((datetime.fromisoformat(ban["until"]) - now).total_seconds())
        if left > 0:
            lines.append(f"add element {NFT_TABLE} {_SETS[address.version]} {{ {address} timeout {left}s }}")
    return "\n".join([*lines, ""])


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    state: StateOption = None,
    as_json: JsonOption = False,
    nft: Annotated[bool, typer.Option("--nft", help="Commands for `nft -f -` instead of a table.")] = False,
) -> None:
    """Show who is banned, why, since when and until when, and how many packets came meanwhile."""
    if context.invoked_subcommand is not None:
        return
    bans = _ask(state, "banned")["bans"]
    if nft:
        typer.echo(nft_script(bans, SystemClock().utc().astimezone(UTC)), nl=False)
        return
    if as_json:
        say_json({"bans": bans})
        return
    columns = ("address", "reason", "since", "until", "count")
    rows = [[ban[name] for name in columns] for ban in bans]
    table(f"Banned: {len(bans)}", ("Address", "Reason", "Since", "Until", "Packets"), rows, "Nobody is banned.")


@app.command()
def free(
    address: Annotated[str, typer.Argument(help="Address to answer again.")], state: StateOption = None
) -> None:
    """End a ban now."""
    say(f"{_ask(state, 'free', address=address)['address']} is answered again.")


@app.command()
def add(
    address: Annotated[str, typer.Argument(help="Address to answer no more.")],
    hours: Annotated[float | None, typer.Option(help="How long; as the settings say unless given.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads the list.")] = "",
    state: StateOption = None,
) -> None:
    """Ban an address by hand; a sender's or a box's is refused."""
    say(f"{_ask(state, 'ban', address=address, hours=hours, reason=reason)['address']} is not answered any more.")
