"""Where things are: the data folder, and the state file that says how to reach a running installation."""

import json
import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from simrack.wire.errors import UserError

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state", envvar="SIMRACK_STATE", help="State file of the installation; default: state.json in its data folder."
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="SIMRACK_DATA", help="Data folder; default: see `simrack doctor`.")
]


def data_folder(given: Path | None = None) -> Path:
    """`--data`, else /var/lib/simrack for root, else the user's own place (XDG base directories)."""
    if given is not None:
        return given.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/simrack")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(base) / "simrack"


def read_state(given: Path | None) -> dict[str, Any]:
    """The state file of a running installation.

    Raises:
        UserError: there is none, or it is from another version.
    """
    path = given or data_folder() / "state.json"
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            "no installation runs here", str(path), "Start one with `simrack up`, or name its file with --state."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"the state file can't be read ({error})", str(path), "Start `simrack up` again.") from error
    version = document.get("version") if isinstance(document, dict) else None
    if version != 1:
        raise UserError(
            f"the state file has version {version}, this release reads 1", str(path), "Start `simrack up` again."
        )
    return dict(document)


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
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UserError(f"{text!r} is no address", name, "Write host:port, for instance 127.0.0.1:5060.")
    return host.strip("[]"), int(port)


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
