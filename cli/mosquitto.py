"""`simrack mosquitto`: the files that Mosquitto needs to serve a centre and its boxes (`docs/production.md`).

Each identity has a user of its own with a random password. Who may use which topics is plain for now: every
known user all of ours, nobody else anything.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from simrack.cli.places import parse_address, write_private
from simrack.wire.errors import UserError
from simrack.wire.mqtt import MOST_TOPICS
from simrack.wire.ports import Ids, SystemIds

CENTRE = ("controller", "web", "cli")
CONFIG, USERS, RIGHTS, PASSWORDS = "simrack.conf", "simrack-users", "simrack-rights", "passwords.toml"
# As mosquitto_passwd does it: enough for words of 128 random bits, and quick at each connect.
ROUNDS = 101
SALT_OCTETS = 12


def password_line(user: str, password: str, salt: bytes) -> str:
    """One line of a password file: PBKDF2 with SHA-512, type 7 of Mosquitto's formats."""
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    return f"{user}:$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}"


def rights(users: Iterable[str]) -> str:
    """The file of rights: topics outside of ours are nobody's."""
    return "\n".join(f"user {user}\ntopic readwrite simrack/v1/#\n" for user in users)


def settings(listen: tuple[str, int], folder: Path) -> str:
    """Mosquitto's own settings. Its memory is never needed, so it keeps nothing on disk."""
    return (
        f"listener {listen[1]} {listen[0]}\n"
        "allow_anonymous false\n"
        f"password_file {folder / USERS}\n"
        f"acl_file {folder / RIGHTS}\n"
        "persistence false\n"
        # Who connects gets every channel's state at once, and messages beyond this are dropped: with 10,000 a control
        # room saw 10,200 channels of 16,000.
        f"max_queued_messages {MOST_TOPICS}\n"
        "max_inflight_messages 200\n"
    )


def write_files(folder: Path, listen: tuple[str, int], boxes: Iterable[str], ids: Ids) -> dict[str, str]:
    """Write or renew all files; a user that is known keeps the password. Returns the URL of each user."""
    known = read_passwords(folder / PASSWORDS) if (folder / PASSWORDS).exists() else {}
    users = [*CENTRE, *sorted({*known, *boxes} - {*CENTRE})]
    words = {user: known.get(user) or ids.token(16) for user in users}
    lines = [password_line(user, word, bytes.fromhex(ids.token(SALT_OCTETS))) for user, word in words.items()]
    write_private(folder / PASSWORDS, "".join(f'{user} = "{word}"\n' for user, word in words.items()))
    write_private(folder / USERS, "\n".join(lines) + "\n")
    write_private(folder / RIGHTS, rights(users))
    write_private(folder / CONFIG, settings(listen, folder))
    return {user: f"mqtt://{user}:{word}@{listen[0]}:{listen[1]}" for user, word in words.items()}


def read_passwords(path: Path) -> Mapping[str, str]:
    """Users and their passwords.

    Raises:
        UserError: the file can't be read.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"the passwords can't be read ({error})", str(path), "Make them with `simrack mosquitto`.") from error
    return {str(user): str(word) for user, word in document.items()}


def mosquitto(
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path("/etc/mosquitto/simrack"),
    listen: Annotated[str, typer.Option(help="Address and port of the broker.")] = "127.0.0.1:1883",
    box: Annotated[list[str] | None, typer.Option(help="A box that may connect (repeatable; remembered).")] = None,
) -> None:
    """Write the files that Mosquitto needs: settings, users, rights."""
    from simrack.cli.boxes import check_name

    names = [check_name(name) for name in box or []]
    folder = folder.absolute()
    try:
        write_files(folder, parse_address(listen, "--listen"), names, SystemIds())
    except OSError as error:
        raise UserError(f"the files can't be written ({error.strerror})", str(folder), "Name another --folder.") from error
    typer.echo(f"Settings  {folder / CONFIG}")
    typer.echo(f"Passwords {folder / PASSWORDS}   (one for each user: controller, web, cli and each box)")
