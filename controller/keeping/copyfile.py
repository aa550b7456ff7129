"""The file of a backup: a tar of gzipped JSON lines by table, and a manifest that says what must be in it.

It holds values, not a server's pages, so that a copy of SQLite restores into PostgreSQL and the other way round.
Members are `tables/NAME/000001.jsonl.gz` with at most `ROWS` rows each; `manifest.json` comes last, so that a copy
that was cut short has none and is no copy.
"""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, LargeBinary, String, Table
from sqlalchemy.types import TypeEngine

from simrack.controller.store.types import UtcTime
from simrack.wire.errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"
ROWS = 20_000
#: A manifest names tables and columns; more than this is not one of ours.
MANIFEST_MOST = 4 * 1024 * 1024
Kind = Literal["time", "json", "bytes", "flag", "float", "number", "text"]
TYPES: dict[Kind, TypeEngine[Any]] = {
    "time": UtcTime(), "json": JSON(), "bytes": LargeBinary(), "flag": Boolean(), "float": Float(),
    "number": BigInteger(), "text": String(),
}  # fmt: skip


class TableCopy(BaseModel):
    """One table in a copy: columns with their kinds, rows, and a digest over all of them in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    columns: tuple[tuple[str, Kind], ...]
    rows: int
    digest: str


class Manifest(BaseModel):
    """What a copy says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    at: datetime
    revision: str  # of the tables
    software: str
    tables: tuple[TableCopy, ...]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def kind_of(column: Column[Any]) -> Kind:
    """How a column's values are written."""
    types: tuple[tuple[type[TypeEngine[Any] | UtcTime], Kind], ...] = (
        (UtcTime, "time"), (JSON, "json"), (LargeBinary, "bytes"), (Boolean, "flag"), (Float, "float"),
        (Integer, "number"), (BigInteger, "number"),
    )  # fmt: skip
    for type_, kind in types:
        if isinstance(column.type, type_):
            return kind
    return "text"


def columns_of(table: Table) -> tuple[tuple[str, Kind], ...]:
    return tuple((column.name, kind_of(column)) for column in table.columns)


def plain(kind: Kind, value: Any) -> Any:
    """A value as JSON has it."""
    if value is None:
        return None
    if kind == "time":
        moment: datetime = value
        return moment.astimezone(UTC).isoformat()
    return base64.b64encode(value).decode() if kind == "bytes" else value


def value_of(kind: Kind, written: Any) -> Any:
    """The value of what JSON has. Raises ValueError."""
    if written is None:
        return None
    if kind == "time":
        return datetime.fromisoformat(written)
    return base64.b64decode(written, validate=True) if kind == "bytes" else written


@dataclass(slots=True)
class _Running:
    rows: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, line: bytes) -> None:
        self.rows += 1
        self.digest.update(line)


class CopyWriter:
    """Writes a copy into an open file; `close` writes the manifest that makes it one."""

    def __init__(self, handle: io.BufferedIOBase, at: datetime, revision: str, software: str) -> None:
        self._tar = tarfile.TarFile(fileobj=handle, mode="w")
        self._at, self._revision, self._software = at, revision, software
        self._tables: list[TableCopy] = []

    def table(self, table: Table, rows: Iterable[Sequence[Any]]) -> TableCopy:
        """Write one table."""
        columns, running, number, lines = columns_of(table), _Running(), 0, list[bytes]()
        for row in rows:
            line = _line(columns, row)
            running.add(line)
            lines.append(line)
            if len(lines) == ROWS:
                number, lines = self._chunk(table.name, number, lines), []
        if lines:
            self._chunk(table.name, number, lines)
        done = TableCopy(name=table.name, columns=columns, rows=running.rows, digest=running.digest.hexdigest())
        self._tables.append(done)
        return done

    def close(self) -> Manifest:
        manifest = Manifest(
            format=FORMAT, at=self._at, revision=self._revision, software=self._software, tables=tuple(self._tables)
        )
        self._member(MANIFEST, manifest.model_dump_json(indent=1).encode())
        self._tar.close()
        return manifest

    def _chunk(self, name: str, number: int, lines: list[bytes]) -> int:
        # Level 1: most of the time goes into JSON anyway, and a faster copy holds the database's snapshot for less time.
        self._member(f"tables/{name}/{number + 1:06}.jsonl.gz", gzip.compress(b"".join(lines), 1, mtime=0))
        return number + 1

    def _member(self, name: str, octets: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(octets), int(self._at.timestamp()), 0o600
        self._tar.addfile(info, io.BytesIO(octets))


def _line(columns: tuple[tuple[str, Kind], ...], row: Sequence[Any]) -> bytes:
    values = [plain(kind, value) for (_, kind), value in zip(columns, row, strict=True)]
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def digest_of(table: TableCopy, rows: Iterable[Sequence[Any]]) -> tuple[int, str]:
    """(rows, digest) of a table as a copy would have it: how a restored one is compared."""
    running = _Running()
    for row in rows:
        running.add(_line(table.columns, row))
    return running.rows, running.digest.hexdigest()


class CopyReader:
    """Reads a copy. Use as a context manager; raises `UserError` for a file that is none, or not whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tar = tarfile.TarFile(path)
        except (OSError, tarfile.TarError) as error:
            raise self._bad(f"can't be read: {error}") from error
        try:
            self.manifest = self._manifest()
        except BaseException:
            self._tar.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tar.close()

    def rows(self, table: TableCopy) -> Iterator[tuple[Any, ...]]:
        """All rows of a table as database values. Raises `UserError` when they are not those that were written."""
        running = _Running()
        names = sorted(name for name in self._names if name.startswith(f"tables/{table.name}/"))
        for name in names:
            for line in self._lines(name):
                running.add(line)
                yield self._values(table, line)
        if (running.rows, running.digest.hexdigest()) != (table.rows, table.digest):
            raise self._bad(f"table {table.name} is not as it was written ({running.rows} of {table.rows} rows)")

    def _values(self, table: TableCopy, line: bytes) -> tuple[Any, ...]:
        try:
            written = json.loads(line)
            return tuple(value_of(kind, value) for (_, kind), value in zip(table.columns, written, strict=True))
        except (ValueError, TypeError) as error:
            raise self._bad(f"table {table.name} has a row that can't be read: {error}") from error

    def _lines(self, name: str) -> list[bytes]:
        handle = self._tar.extractfile(name)
        assert handle is not None
        try:
            return gzip.decompress(handle.read()).splitlines(keepends=True)
        except (OSError, EOFError) as error:
            raise self._bad(f"{name} can't be read: {error}") from error

    def _manifest(self) -> Manifest:
        try:
            self._names = self._tar.getnames()
            handle = self._tar.extractfile(MANIFEST)
            text = handle.read(MANIFEST_MOST) if handle is not None else b""
            manifest = Manifest.model_validate_json(text)
        except (KeyError, OSError, tarfile.TarError, ValidationError) as error:
            raise self._bad("it has no manifest: it was cut short, or is no copy of simrack") from error
        if manifest.format != FORMAT:
            raise self._bad(f"it has format {manifest.format}, and this release reads {FORMAT}")
        return manifest

    def _bad(self, what: str) -> UserError:
        return UserError(f"this backup can't be used: {what}", str(self._path), "Take another copy.")
