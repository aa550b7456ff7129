"""`simrack web`: the control room as a process."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simrack.web.accounts import Accounts
    from simrack.web.settings import WebSettings


def web(
    config: Annotated[
        Path | None,
        typer.Option(envvar="SIMRACK_WEB_CONFIG", help="TOML file; default: the running installation's own."),
    ] = None,
    new_link: Annotated[
        bool, typer.Option("--new-link", help="Print another set-up link (while no account exists) and end.")
    ] = False,
    new_token: Annotated[
        str, typer.Option("--new-token", metavar="NAME", help="Print a new API token under this name and end.")
    ] = "",
) -> None:
    """Serve the control room: pages, event streams and the HTTP API."""
    from simrack.web.settings import WebSettings
    from simrack.wire.logs import configure
    from simrack.wire.tomlfile import load

    configure("web")
    settings = load(WebSettings, config or running(), env_prefix="SIMRACK_WEB_")
    if new_link or new_token:
        typer.echo(_made(settings, new_link, new_token))
        return
    from simrack.web.serve import serve

    serve(settings)


def _made(settings: "WebSettings", new_link: bool, new_token: str) -> str:
    from simrack.web.serve import accounts_of, check_database, link_of

    accounts: Accounts = accounts_of(settings)
    try:
        check_database(accounts)
        return link_of(settings, accounts.new_link()) if new_link else accounts.new_token(new_token)
    finally:
        accounts.close()


def running() -> Path:
    """The file that `simrack up` wrote for its control room."""
    from simrack.wire.installation import read_state

    named = os.environ.get("SIMRACK_STATE")
    return Path(str(read_state(Path(named) if named else None)["data"])) / "run/web.toml"
