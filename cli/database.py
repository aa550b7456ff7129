"""`simrack database`: making and checking the database on a PostgreSQL server (`docs/production.md`)."""

from pathlib import Path
from typing import Annotated

import typer

from simrack.cli.output import say, say_error
from simrack.cli.places import write_private
from simrack.wire.ports import SystemClock, SystemIds

app = typer.Typer(no_args_is_help=True, help="The database on a PostgreSQL server: make it, migrate it, check its rights.")
Admin = Annotated[
    str,
    typer.Option("--admin", envvar="SIMRACK_DATABASE_ADMIN", help="URL of a role that may make databases and roles, for instance postgres."),
]
Owned = Annotated[
    str,
    typer.Option("--url", envvar="SIMRACK_DATABASE_OWNER", help="URL of the database for simrack_owner or an administrator."),
]


@app.command()
def create(
    admin: Admin,
    name: Annotated[str, typer.Option(help="Name of the database.")] = "simrack",
    urls: Annotated[Path, typer.Option(help="Where to write the URLs of the roles, readable by the owner only.")] = Path("database-urls.toml"),
    renew: Annotated[bool, typer.Option("--renew", help="Give the roles new passwords.")] = False,
) -> None:
    """Make roles, database and tables, or bring those that are there to this release."""
    from simrack.controller.store import server
    from simrack.controller.store.rights import ROLES

    ids = SystemIds()
    missing = ROLES if renew else server.missing_roles(admin)
    made = server.create(admin, name, {role: ids.token(16) for role in missing}, SystemClock())
    if made:
        write_private(urls.absolute(), "".join(f'{role} = "{url}"\n' for role, url in made.items()))
        say(f"URLs      {urls}")
    say(f"Database  {name}, tables and rights of this release")


@app.command()
def migrate(
    url: Owned,
    copy_to: Annotated[Path, typer.Option("--copy-to", help="Folder for the dump of the database as it was before.")] = Path(),
    copy: Annotated[bool, typer.Option("--copy/--no-copy", help="Dump the database first when there is something to change.")] = True,
) -> None:
    """Dump the database as it is, bring the tables to this release and renew the rights. The controller's role may not."""
    from simrack.controller.keeping import dump
    from simrack.controller.store import server

    kept = dump.keep_before(url, copy_to, SystemClock()) if copy else None
    if kept is not None:
        say(f"Copy    {kept}: the way back is pg_restore of it into a new database, by the release before")
    done = server.migrate_as_owner(url, SystemClock())
    say(f"Version {done.after}" + ("" if done.before == done.after else f", before {done.before or 'none'}"))


@app.command()
def grant(url: Owned) -> None:
    """Give both roles exactly their rights again."""
    from simrack.controller.store import server

    server.regrant(url)
    say("Rights renewed.")


@app.command()
def check(url: Owned) -> None:
    """Compare the roles' rights with those of this release; ends with 1 when they differ."""
    from simrack.controller.store import server

    found = server.check(url)
    for line in found:
        say_error(line)
    if found:
        raise typer.Exit(1)
    say("The rights are those of this release.")
