"""Where an installation keeps its data, and the state file by which the commands find a running one."""

import json
import os
from pathlib import Path
from typing import Any

from simrack.wire.errors import UserError


def data_folder(given: Path | None = None) -> Path:
    """`--data`, else $SIMRACK_DATA, else /var/lib/simrack for root, else the user's own place (XDG)."""
    if given is None and os.environ.get("SIMRACK_DATA"):
        given = Path(os.environ["SIMRACK_DATA"])
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
