"""Boxes of one's own beside `simrack up`: a broker user that stays the same, and a settings file to begin with.

The embedded broker knows its users by passwords that are new at each start, which suits children. A box that
a person starts keeps its password and the broker's address in its own file, so both are remembered here.
"""

import ipaddress
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simrack.cli.places import write_private
from simrack.wire.errors import UserError

FOLDER = "boxes"
BROKER = "127.0.0.1:1883"  # the registered MQTT port; a box's file needs one that stays
RESERVED = ("controller", "web", "cli")  # users of the centre itself
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")  # as in wire.messages


@dataclass(slots=True)
class OwnBoxes:
    """Who may connect from outside `simrack up`, and where the broker was last."""

    folder: Path
    listen: str = ""
    passwords: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, data: Path) -> "OwnBoxes":
        """What earlier starts on this data folder know.

        Raises:
            UserError: the file can't be read.
        """
        folder = data / FOLDER
        path = folder / "broker.json"
        try:
            document = json.loads(path.read_text())
            return cls(folder, str(document["listen"]), {str(k): str(v) for k, v in document["passwords"].items()})
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the list of boxes can't be read ({error})", str(path),
                "Mend it, or remove it and name each box again with --box; its file then needs the new [mqtt] url.",
            ) from error  # fmt: skip

    def save(self) -> None:
        """Remember; nothing is written where nobody has a box of his own."""
        if self.passwords:
            document = {"listen": self.listen, "passwords": self.passwords}
            write_private(self.folder / "broker.json", json.dumps(document, indent=2) + "\n")

    def file(self, name: str) -> Path:
        """The settings file of a box, as `simrack up` writes it."""
        return self.folder / f"{name}.toml"

    def files(self) -> dict[str, str]:
        """The settings files by box, for the state file."""
        return {name: str(self.file(name)) for name in sorted(self.passwords)}


def check_name(name: str) -> str:
    """A box name that can be a broker user.

    Raises:
        UserError: it can't.
    """
    if name in RESERVED or name.startswith("lab-"):
        raise UserError(f"the name {name!r} is taken by simrack itself", "--box", "Choose another, such as office-01.")
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no box name", "--box", "Write small letters, digits and -, at most 40, such as office-01.")
    return name


def check_broker(address: tuple[str, int]) -> tuple[str, int]:
    """The embedded broker serves this machine only.

    Raises:
        UserError: the address is another machine's business.
    """
    if not _is_loopback(address[0]):
        raise UserError(
            f"the embedded broker listens on loopback only, not on {address[0]}", "--mqtt",
            "Write 127.0.0.1:PORT, and use Mosquitto for boxes on other machines.",
        )  # fmt: skip
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def site_of(routing: Path | None) -> str:
    """The site of a routing file that has just one, else "" (whoever writes the box's file fills it in)."""
    try:
        sites = tomllib.loads(routing.read_text())["site"] if routing else []
        return str(sites[0]["name"]) if len(sites) == 1 else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # the controller names the mistake with its line


def plugged_in() -> list[str]:
    """USB sockets with a module of a known family, as udev sees them now."""
    try:
        from simrack.gateway.discovery import pick, present

        ttys = present()
    except (ImportError, OSError):
        return []
    return sorted({tty.socket for tty in ttys if pick(ttys, tty.socket)})


def box_file(name: str, *, site: str, data: Path, mqtt: str, sip: str, rtp_first: int, rtp_last: int, sockets: Sequence[str]) -> str:
    """A box's settings, complete but for modules that nobody could see.

    Voice goes directly between senders and box, so it is offered at the address where senders find the controller.
    """
    quoted, host = json.dumps, sip.rpartition(":")[0]
    lines = [
        "# Written once by `simrack up --box`; yours from now on. Keys: docs/gateway.md.",
        f"box = {quoted(name)}",
        f"site = {quoted(site)}" + ("" if site else "   # the name of a [[site]] in the routing file"),
        f"data = {quoted(str(data))}",
        *([] if _is_loopback(host) else ['link = "plain"   # calls cross this network unencrypted: it must be yours alone']),
        "", "[mqtt]", f"url = {quoted(mqtt)}",
        "", "[sip]", f"listen = {quoted(host + ':0')}", f"controller = {quoted(sip)}",
        "", "[rtp]", f"host = {quoted(host)}   # senders reach the voice here", f"first = {rtp_first}", f"last = {rtp_last}",
    ]  # fmt: skip
    for channel, socket in enumerate(sockets, 1):
        lines += ["", "[[module]]", f"channel = {channel}", f"usb = {quoted(socket)}   # the USB socket; its ports are found by themselves"]
    if not sockets:
        lines += ["", *NO_MODULE]
    return "\n".join(lines) + "\n"


NO_MODULE = (
    "# No module was found. Name each one by its USB socket, or by its ports:",
    "# [[module]]",
    "# channel = 1",
    '# at = "/dev/serial/by-path/...-if02-port0"',
    '# audio = "/dev/serial/by-path/...-if01-port0"',
)
