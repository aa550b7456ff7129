"""Where things are: the data folder, and the state file that says how to reach a running installation."""

import fcntl
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.wire import installation, sections
from simrack.wire.errors import UserError
from simrack.wire.installation import data_folder

__all__ = ["DataOption", "StateOption", "claim", "data_folder", "parse_address", "read_state", "write_private"]
LOCK, DATABASE = "simrack.lock", "simrack.db"

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state", envvar="SIMRACK_STATE", help="State file of the installation; default: state.json in its data folder."
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="SIMRACK_DATA", help="Data folder; default: /var/lib/simrack for root, else ~/.local/share/simrack.")
]


def state_path(given: Path | None) -> Path:
    """`--state`, else the one in the data folder."""
    return (given or data_folder() / "state.json").absolute()


def read_state(given: Path | None) -> dict[str, Any]:
    """The state file of a running installation.

    Raises:
        UserError: there is none, it is from another version or of a lab alone, or its installation has ended.
    """
    path = state_path(given)
    document = installation.read_state(path)
    if "mqtt" not in document:
        raise UserError(
            "this file is of a lab alone, without broker and controller", str(path), "Name the state file of `simrack up`."
        )
    if has_ended(document):
        raise UserError(
            "this installation was killed and no longer runs", str(path),
            f"Start it again, for instance with `simrack up --data {document['data']}`.",
        )  # fmt: skip
    return document


def database_url(given: Path | None) -> str:
    """The database of an installation, running or not: records outlive the process that wrote them.

    Raises:
        UserError: neither a state file nor a database is there.
    """
    path = state_path(given)
    beside = path.parent / DATABASE
    if not path.exists() and beside.exists():
        return f"sqlite:///{beside}"
    document = installation.read_state(path)
    return str(document.get("database") or read_state(path)["database"])


def has_ended(document: dict[str, Any]) -> bool:
    """Whether nobody holds the installation's lock any more, which goes with its process even at kill -9."""
    try:
        with (Path(document["data"]) / LOCK).open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (OSError, KeyError):
        # Held (BlockingIOError), or not ours to look at: then the command itself finds out.
        return False
    return True


def write_private(path: Path, text: str) -> None:
    """Replace `path` at once, readable by its owner only: these files hold passwords."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    draft.write_text(text)
    draft.replace(path)


def parse_address(text: str, name: str) -> tuple[str, int]:
    """`host:port` as a pair."""
    try:
        return sections.parse_address(text)
    except ValueError:
        raise UserError(f"{text!r} is no address", name, "Write host:port, for instance 127.0.0.1:5060.") from None


def claim(address: tuple[str, int], kind: int, name: str) -> tuple[str, int]:
    """Check that a port is free, and choose one when it is 0.

    Raises:
        UserError: somebody else holds it.
    """
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise UserError(
                f"port {address[1]} on {address[0]} can't be used ({error.strerror})",
                name,
                "End the program that holds it, or choose another with the option.",
            ) from error
        host, port = probe.getsockname()[:2]
        return str(host), int(port)


def short(path: Path) -> str:
    """`path` as a person here would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def invoked() -> str:
    """How this command can be typed again: `simrack` where the shell finds it, else its path."""
    if shutil.which("simrack"):
        return "simrack"
    script = Path(sys.argv[0])
    return short(script.absolute()) if script.name == "simrack" else "python -m simrack.cli"
