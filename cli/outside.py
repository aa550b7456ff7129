"""Options of `simrack up` for parts of production that run already (`docs/production.md`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from simrack.cli.mosquitto import read_passwords
from simrack.wire.errors import UserError

DatabaseUrl = Annotated[
    str,
    typer.Option(envvar="SIMRACK_DATABASE", help="URL of the database for the controller; default: SQLite in the data folder."),
]
WebDatabaseUrl = Annotated[
    str, typer.Option(envvar="SIMRACK_WEB_DATABASE", help="The same database for the control room, under its own role.")
]
OutsideBroker = Annotated[
    str, typer.Option("--broker", help="host:port of a broker that runs already, for instance Mosquitto; default: the embedded one.")
]
BrokerPasswords = Annotated[
    Path | None, typer.Option(help="With --broker: the passwords file that `simrack mosquitto` wrote.")
]


@dataclass(frozen=True, slots=True)
class Outside:
    """Parts that run already and are used instead of the embedded ones."""

    database: str = ""
    web_database: str = ""
    broker: bool = False


def passwords_of(broker: str, path: Path | None) -> dict[str, str]:
    """Users of a broker that runs already, and their passwords. Raises `UserError`."""
    if not broker:
        return {}
    if path is None:
        raise UserError(
            "a broker that runs already has users with passwords", "--broker-passwords",
            "Name the file that `simrack mosquitto` wrote.",
        )  # fmt: skip
    return dict(read_passwords(path))


def need_users(passwords: dict[str, str], users: list[str]) -> None:
    """Raises `UserError` when one of the users is unknown to the broker."""
    missing = [user for user in users if user not in passwords]
    if missing:
        raise UserError(
            f"the broker's passwords lack {', '.join(missing)}", "--broker-passwords",
            f"Make them with `simrack mosquitto --box {missing[-1]}` and have Mosquitto read its files again.",
        )  # fmt: skip
