"""The configuration as a folder of readable files, fit for version control: out of a version and back into entries.

Written in the version's order with nothing that stands at its default, one prefix or card per line, so that a
difference between two exports is the difference between two versions. Passwords leave as the hashes that are kept.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from simrack.controller.config.kinds import Key, Kind, Setting, body_of
from simrack.controller.config.models import Entry, Installation, RoutingFile, Sim, Site
from simrack.controller.config.rows import entries_of
from simrack.wire import tomlfile
from simrack.wire.errors import UserError

#: Which kinds stand in which file.
FILES: Mapping[str, tuple[Kind, ...]] = {
    "installation.toml": ("installation", "limit", "setting", "site"),
    "agreements.toml": ("agreement",),
    "plans.toml": ("plan", "sim"),
    "senders.toml": ("sender",),
    "patterns.toml": ("pattern",),
}
VERSION_FILE = "version.toml"
#: Lists longer than this stand with one value per line.
MOST_IN_LINE = 90
_DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


class Part(RoutingFile):
    """One file of the folder: any part of the whole."""

    installation: Installation | None = None  # type: ignore[assignment]
    site: tuple[Site, ...] = Field(default=())


# --- out ----------------------------------------------------------------------------------------------------------


def texts(entries: Mapping[Key, Entry], version: int) -> dict[str, str]:
    """File name -> text, for all files of an export."""
    found = {
        VERSION_FILE: f"# Written by `simrack config export`: which version these files were made from.\nversion = {version}\n"
    }
    for name, kinds in FILES.items():
        parts = [line for kind in kinds for line in _kind_lines(kind, _of_kind(entries, kind))]
        found[name] = "\n".join(parts).strip() + "\n"
    return found


def _of_kind(entries: Mapping[Key, Entry], kind: Kind) -> list[Entry]:
    listed = {iccid for (of, _), plan in entries.items() if of == "plan" for iccid in getattr(plan, "sims", ())}
    return [entry for (of, name), entry in entries.items() if of == kind and not (name in listed and _bare(entry))]


def _bare(entry: Entry) -> bool:
    """A card that says no more than its plan's list does."""
    return isinstance(entry, Sim) and entry == Sim(iccid=entry.iccid, plan=entry.plan)


def _kind_lines(kind: Kind, entries: Sequence[Entry]) -> Iterator[str]:
    if kind == "setting":
        yield from _setting_lines(entries)
        return
    title = {"installation": "[installation]", "limit": "[limits]"}.get(kind, f"[[{kind}]]")
    for entry in entries:
        body = body_of(entry)
        if body or kind == "installation":
            yield f"{title}\n" + "".join(f"{key} = {_value(value, key)}\n" for key, value in body.items())


def _setting_lines(entries: Iterable[Entry]) -> Iterator[str]:
    areas: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, Setting):
            area, _, name = entry.name.partition(".")
            areas.setdefault(area, []).append(f"{name} = {_value(entry.value)}\n")
    for area, lines in areas.items():
        yield f"[settings.{area}]\n" + "".join(lines)


def _value(value: Any, key: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if _DATE.match(value) and key.endswith(("_from", "_until")):
            return value
        # A JSON string is a TOML basic string but for DEL, which no field takes.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return _list([_value(item) for item in value])
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(item, name)}" for name, item in value.items()) + " }"
    return repr(value)


def _list(items: list[str]) -> str:
    line = f"[{', '.join(items)}]"
    return line if len(line) <= MOST_IN_LINE else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _key(name: str) -> str:
    return name if _BARE.match(name) else json.dumps(name)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write an export. Raises `UserError` when the folder can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = folder / name
            # Hashes of passwords let nobody in, but they can be guessed at.
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"the export can't be written: {error.strerror}", str(folder), "Check the folder and its rights.") from error


# --- in -----------------------------------------------------------------------------------------------------------


def read(path: Path) -> tuple[RoutingFile, int | None]:
    """A folder of files or one routing file, and the version that it was exported from, if it says so.

    Raises:
        UserError: file, line, what is wrong and what is allowed.
    """
    names = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    parts = [
        tomlfile.parse(Part, tomlfile.read(name), name.name)
        for name in names
        if not path.is_dir() or name.name != VERSION_FILE
    ]
    if not parts:
        raise UserError("there are no .toml files", str(path), "Make them with `simrack config export`.")
    return _joined(parts, path), _version(path / VERSION_FILE) if path.is_dir() else None


def _joined(parts: Sequence[Part], path: Path) -> RoutingFile:
    installations = [part.installation for part in parts if part.installation is not None]
    if len(installations) != 1:
        raise UserError(f"[installation] stands {len(installations)} times", str(path), "It is to stand once.")
    lists = {
        kind: tuple(entry for part in parts for entry in getattr(part, kind))
        for kind in ("site", "agreement", "plan", "sim", "sender", "pattern")
    }
    limits = [part.limits for part in parts if "limits" in part.model_fields_set]
    if len(limits) > 1:
        raise UserError("[limits] stands several times", str(path), "It is to stand once.")
    settings = {area: options for part in parts for area, options in part.settings.items()}
    whole: dict[str, Any] = {"installation": installations[0], "settings": settings, **lists}
    return RoutingFile.model_construct(**whole, limits=limits[0] if limits else RoutingFile.model_fields["limits"].default)


def _version(path: Path) -> int | None:
    if not path.exists():
        return None
    try:
        found = tomllib.loads(tomlfile.read(path)).get("version")
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"this is not TOML: {error}", path.name, "Export anew, or remove the file.") from error
    return found if isinstance(found, int) else None


def entries_of_files(file: RoutingFile) -> dict[Key, Entry]:
    """The files' entries, passwords as they are given: the controller hashes them.

    Raises:
        UserError: an option that does not exist or is out of its range.
    """
    try:
        return entries_of(file, None)
    except ValueError as error:
        first = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
        raise UserError(str(first).removeprefix("Value error, "), "[settings]") from error
