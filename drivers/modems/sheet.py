"""Capability sheets: `sheet.toml` of a family -> `Sheet`, and all of them -> `docs/modules.md`."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simrack.drivers.at.allow import checked
from simrack.drivers.modems.base import AudioFormat, ModemError, Sheet, UsbId

ROLES = ("at", "audio", "diag", "modem", "gnss", "net")
_USB = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4})")


class BadSheet(ModemError):
    """A family's `sheet.toml` is not what the contract says; the text names file and field."""


def load_sheet(folder: Path) -> Sheet:
    """Read `sheet.toml` in `folder`; raises BadSheet with the field that is wrong."""
    file = folder / "sheet.toml"
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        return _sheet(raw, folder)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise BadSheet(f"{file}: {type(error).__name__}: {error}") from error


def _sheet(raw: dict[str, Any], folder: Path) -> Sheet:
    ports = {str(role): int(interface) for role, interface in raw.get("ports", {}).items()}
    unknown = set(ports) - set(ROLES)
    if unknown:
        raise ValueError(f"ports: {sorted(unknown)} unknown, allowed are {', '.join(ROLES)}")
    audio = raw.get("audio", {})
    return Sheet(
        name=str(raw["name"]),
        title=str(raw["title"]),
        recognise=tuple(str(prefix) for prefix in raw["recognise"]),
        usb=tuple(_usb(text) for text in raw.get("usb", ())),
        ports=ports,
        answer_signal=str(raw.get("answer_signal", "")),
        audio=AudioFormat(int(audio.get("rate", 8000)), int(audio.get("frame_ms", 20))),
        allowed=checked(str(entry) for entry in raw.get("allowed", ())),
        folder=folder,
    )


def _usb(text: str) -> UsbId:
    found = _USB.fullmatch(text)
    if not found:
        raise ValueError(f"usb: {text!r} is not of the form 2c7c:0125")
    return UsbId(int(found[1], 16), int(found[2], 16))


_HEAD = """# Modules

Rendered from the families' `sheet.toml` by `simrack.drivers.modems.sheet.render`; a test fails when this page is
older than the sheets. How a family is added: [drivers](drivers.md).
"""


def render(sheets: Iterable[Sheet]) -> str:
    """The text of `docs/modules.md`."""
    return _HEAD + "".join(_section(sheet) for sheet in sorted(sheets, key=lambda sheet: sheet.name))


def _section(sheet: Sheet) -> str:
    usb = ", ".join(f"`{usb.vendor:04x}:{usb.product:04x}`" for usb in sheet.usb) or "any"
    models = ", ".join(f"`{prefix}`" for prefix in sheet.recognise) or "whatever no other family knows"
    ports = ", ".join(f"{role} = interface {number}" for role, number in sheet.ports.items()) or "one AT port"
    signal = sheet.answer_signal or "**none: answer unsafe, carries no billed traffic**"
    rows = (
        ("Models (+CGMM begins with)", models),
        ("USB", usb),
        ("Ports", ports),
        ("Proven answer signal", signal),
        ("Audio", f"{sheet.audio.rate} Hz, 16 bit, mono, {sheet.audio.frame_ms} ms frames"),
        ("Free AT commands", ", ".join(f"`{entry}`" for entry in sheet.allowed) or "none"),
    )
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"\n## {sheet.name}: {sheet.title}\n\n| | |\n| --- | --- |\n{table}"
