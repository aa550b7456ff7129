"""`simrack account`: people of the control room from the centre's own machine, also when nobody can sign in any more."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_error, say_json, table
from simrack.web.accounts import Accounts, PersonForm, Who, rules
from simrack.web.accounts.tries import ADDRESS, NAME
from simrack.web.errors import BadForm, Gone, WebError
from simrack.wire import rights
from simrack.wire.errors import UserError

app = typer.Typer(help="Accounts of the control room: roles, passwords, second factors, sessions, tokens.")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar="SIMRACK_WEB_CONFIG", help="Settings of the control room; default: the running installation's own."),
]
NameArgument = Annotated[str, typer.Argument(help="Name of the account.")]
SeesOption = Annotated[list[str] | None, typer.Option("--sees", help="A sender, or an owner of plans, whose rows the role sees; may be repeated.")]
HideOption = Annotated[list[str] | None, typer.Option("--hide", help=f"A group of fields to keep from them: {', '.join(rights.FIELD_GROUPS)}.")]
ROLE_HELP = f"One of {', '.join(rights.ROLES)}."


@contextmanager
def _open(config: Path | None) -> Iterator[tuple[Accounts, Callable[[str], frozenset[str]]]]:
    """The accounts, and what names a role's scope may hold. A mistake becomes a sentence."""
    from simrack.controller.store.errors import StoreDown
    from simrack.controller.store.queries import Queries
    from simrack.web.command import running
    from simrack.web.serve import accounts_of, check_database
    from simrack.web.settings import WebSettings
    from simrack.wire.tomlfile import load

    settings = load(WebSettings, config or running(), env_prefix="SIMRACK_WEB_")
    accounts, queries = accounts_of(settings), Queries(settings.database)
    try:
        check_database(accounts)
        yield accounts, lambda role: rules.known_scope(role, queries.names())
    except Gone as error:
        raise UserError(str(error).rstrip("."), todo="`simrack account list` names them.") from error
    except BadForm as error:
        raise UserError(str(error).rstrip("."), f"--{error.field}") from error
    except (WebError, StoreDown) as error:
        raise UserError(str(error).rstrip(".")) from error
    finally:
        queries.close()
        accounts.close()


def _who() -> Who:
    return Who(f"{rights.LOCAL}:{getpass.getuser()}")


@app.command("list")
def list_(
    text: Annotated[str, typer.Argument(help="Part of a name, address or scope.")] = "",
    role: Annotated[str, typer.Option(help=ROLE_HELP)] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who has an account, as what, and who is signed in."""
    with _open(config) as (accounts, _):
        people = accounts.people.listed(text, role)
    if as_json:
        say_json({"accounts": [asdict(person) for person in people]})
        return
    rows = [
        (p.name, p.role, ", ".join(p.scope) or "all", "disabled" if p.disabled else "open",
         "on" if p.second_since else "off", p.last_login and f"{p.last_login:%Y-%m-%d %H:%M} UTC", p.sessions, p.tokens)
        for p in people
    ]  # fmt: skip
    columns = ("Name", "Role", "Sees", "State", "Second factor", "Last sign-in", "Sessions", "Tokens")
    table(f"Accounts: {len(rows)}", columns, rows, "No account matches. `simrack account add NAME --role ROLE` makes one.")


@app.command()
def add(
    name: NameArgument,
    role: Annotated[str, typer.Option(help=ROLE_HELP)],
    email: Annotated[str, typer.Option(help="Where reports and notices go.")] = "",
    sees: SeesOption = None,
    hide: HideOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account and print its first password, which must be changed at the first sign-in."""
    with _open(config) as (accounts, known):
        form = PersonForm(role, email, frozenset(sees or ()), frozenset(hide or ()))
        password = accounts.people.make(_who(), name, form, known(role))
    _say_password(name, password, as_json)


def _say_password(name: str, password: str, as_json: bool) -> None:
    if as_json:
        say_json({"name": name, "password": password})
    else:
        say(f"{name}: {password}")


@app.command()
def change(
    name: NameArgument,
    role: Annotated[str | None, typer.Option(help=ROLE_HELP)] = None,
    email: Annotated[str | None, typer.Option(help="Where reports and notices go.")] = None,
    sees: SeesOption = None,
    hide: HideOption = None,
    config: ConfigOption = None,
) -> None:
    """Change role, address, scope or hidden fields; what is not named stays."""
    with _open(config) as (accounts, known):
        was = accounts.people.get(name)
        form = PersonForm(
            role or was.role, was.email if email is None else email,
            frozenset(was.scope if sees is None else sees), frozenset(was.hidden if hide is None else hide),
        )  # fmt: skip
        changed = accounts.people.change(_who(), name, form, was.version, known(form.role))
    say(f"{name}: {changed.role}, sees {', '.join(changed.scope) or 'all'}")


@app.command()
def disable(name: NameArgument, config: ConfigOption = None) -> None:
    """Close an account: its sessions and tokens end now."""
    with _open(config) as (accounts, _):
        ended = accounts.people.disable(_who(), name)
    say(f"{name} is disabled; {ended} sessions and tokens ended.")


@app.command()
def enable(name: NameArgument, config: ConfigOption = None) -> None:
    """Open a disabled account again."""
    with _open(config) as (accounts, _):
        accounts.people.disable(_who(), name, disabled=False)
    say(f"{name} is enabled.")


@app.command("reset-password")
def reset_password(name: NameArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print a new first password; browser sessions of the account end."""
    with _open(config) as (accounts, _):
        password = accounts.people.reset_password(_who(), name)
    _say_password(name, password, as_json)


@app.command("reset-second-factor")
def reset_second_factor(name: NameArgument, config: ConfigOption = None) -> None:
    """Take a lost second factor away: the password alone signs in until a new one is set up."""
    with _open(config) as (accounts, _):
        accounts.second.turn_off(_who(), accounts.people.get(name).id)
    say(f"{name} has no second factor any more.")


@app.command()
def sessions(
    name: Annotated[str, typer.Argument(help="Only of this account.")] = "", config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Browser sessions and API tokens in force, last used first."""
    with _open(config) as (accounts, _):
        rows = accounts.sessions.listed(accounts.people.get(name).id if name else None)
    if as_json:
        say_json({"sessions": [asdict(row) for row in rows]})
        return
    shown = [(r.public, r.user, r.kind, r.name or r.agent, r.address, f"{r.last_seen:%Y-%m-%d %H:%M} UTC", f"{r.expires:%Y-%m-%d} UTC") for r in rows]
    table(f"Sessions: {len(rows)}", ("Session", "Account", "Kind", "Name", "Address", "Last used", "Ends"), shown, "Nobody is signed in.")


@app.command()
def revoke(session: Annotated[str, typer.Argument(help="As `simrack account sessions` names it.")], config: ConfigOption = None) -> None:
    """End a session or token; the control room notices within 5 s."""
    with _open(config) as (accounts, _):
        if not accounts.sessions.revoke(_who(), session):
            raise UserError(f"there is no session {session[:40]!r}", todo="`simrack account sessions` lists them.")
    say(f"{session} is ended.")


@app.command()
def token(
    name: NameArgument,
    title: Annotated[str, typer.Argument(help="What the token is for.")],
    right: Annotated[list[str] | None, typer.Option(help="A right to give it; may be repeated. Default: reading only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All rights of the account, but accounts.")] = False,
    days: Annotated[int, typer.Option(min=1, max=rules.DAYS_MOST, help="Days until it ends.")] = 90,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a new API token of an account; it is shown this once."""
    with _open(config) as (accounts, _):
        person = accounts.people.get(name)
        reading = rules.token_rights(person.role) & rights.LOOKING
        wanted = None if everything else frozenset(right) if right else reading
        made = accounts.sessions.new_token(_who(), person.id, title, wanted, days)
    if person.must_change:
        say_error(f"{name} must sign in and change the first password before this token opens anything.")
    if as_json:
        say_json({"account": name, "name": title, "token": made})
    else:
        say(made)


@app.command()
def locks(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Names and addresses that have to wait after wrong tries."""
    with _open(config) as (accounts, _):
        found = accounts.people.locks()
    if as_json:
        say_json({"locks": [asdict(lock) for lock in found]})
        return
    rows = [(lock.kind, lock.key, lock.tries, f"{lock.until:%H:%M:%S} UTC") for lock in found]
    table(f"Waiting: {len(rows)}", ("Kind", "Name or address", "Wrong tries", "Until"), rows, "Nobody has to wait.")


@app.command()
def unlock(key: Annotated[str, typer.Argument(help="Name of the account, or address.")], config: ConfigOption = None) -> None:
    """Let a name or an address try again now."""
    with _open(config) as (accounts, _):
        freed = [accounts.people.free(_who(), kind, text) for kind, text in ((NAME, key.casefold()), (ADDRESS, key))]
    say(f"{key} may try again." if any(freed) else f"Nothing was counted for {key}.")


@app.command()
def roles(as_json: JsonOption = False) -> None:
    """The table of rights: what each role may do."""
    if as_json:
        say_json({"roles": dict(rights.ROLES), "rights": {r.name: sorted(r.roles) for r in rights.RIGHTS.values()}, "commands": dict(rights.COMMANDS)})
        return
    rows: list[list[Any]] = [[r.name, r.title, *("x" if role in r.roles else "" for role in rights.ROLES)] for r in rights.RIGHTS.values()]
    table(f"Rights: {len(rows)}", ("Right", "Meaning", *rights.ROLES), rows, "")
