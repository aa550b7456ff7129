"""Versions of the configuration made from each other, as functions over one connection inside a transaction.

Rows are copied by the database itself, a range of positions at a time, so that a transaction stays short and no row
goes through this process. Entries that change are left out of the copy and put in their places; what stands behind
them moves up or down.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import Table, delete, func, insert, literal, select, update
from sqlalchemy.engine import Connection

from simrack.controller.store import jobs
from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreRefused

#: Rows copied in one transaction: mostly under 30 ms, so that it stays under the 50 ms of group commit.
COPY_BATCH = 2000
#: Databases bound the values of one statement.
NAMES_AT_ONCE = 500
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Edit:
    """One entry of a table: `old` is the name of its rows, None of a new entry; without `rows` it goes."""

    old: str | None
    rows: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be made from `parent`. `edits` by table; `changes` is the JSON that its history keeps."""

    parent: int
    actor: str
    note: str
    changes: str
    edits: Mapping[Table, Sequence[Edit]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copy:
    """Rows of these positions, moved by `shift`."""

    start: int
    stop: int
    shift: int


Piece = Copy | Sequence[Row]
Part = Copy | list[Row]


def new_version(connection: Connection, new: NewVersion, now: datetime) -> int:
    """The row of a version that is not in force yet."""
    values = {
        "digest": "", "source": "", "actor": new.actor, "created": now, "parent": new.parent, "note": new.note,
        "changes": new.changes,
    }  # fmt: skip
    done = connection.execute(insert(t.config_version).values(**values))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def places(connection: Connection, table: Table, version: int, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """First and last position of entries, by name."""
    columns, found = table.c, dict[str, tuple[int, int]]()
    for start in range(0, len(names), NAMES_AT_ONCE):
        some = select(columns.name, func.min(columns.position), func.max(columns.position)).where(
            columns.version == version, columns.name.in_(names[start : start + NAMES_AT_ONCE])
        )
        found |= {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(some.group_by(columns.name))}
    return found


def extent(connection: Connection, table: Table, version: int) -> int:
    """The position behind the last row."""
    last = connection.execute(select(func.max(table.c.position)).where(table.c.version == version)).scalar()
    return 0 if last is None else int(last) + 1


def pieces(edits: Sequence[Edit], at: Mapping[str, tuple[int, int]], end: int) -> Iterator[Piece]:
    """What a table of the new version is made of, in its order: copied ranges and rows put in.

    StoreRefused: an entry that is to be changed is not there.
    """
    known = [(at[edit.old], edit.rows) for edit in edits if edit.old is not None and edit.old in at]
    if len(known) < sum(1 for edit in edits if edit.old is not None):
        raise StoreRefused("the version that the change was made from has no such entry")
    behind = [((end, end - 1), edit.rows) for edit in edits if edit.old is None]
    start, shift = 0, 0
    for (first, last), rows in (*sorted(known, key=lambda item: item[0]), *behind):
        if first > start:
            yield Copy(start, first, shift)
        if rows:
            yield [{**row, "position": first + shift + place} for place, row in enumerate(rows)]
        shift += len(rows) - (last + 1 - first)
        start = last + 1
    if end > start:
        yield Copy(start, end, shift)


def portions(found: Iterable[Piece], most: int) -> Iterator[list[Part]]:
    """Pieces in portions of up to `most` rows, one for each transaction; rows that follow each other become one part."""
    portion: list[Part] = []
    room = most
    for piece in found:
        for part in _parts(piece, most):
            size = part.stop - part.start if isinstance(part, Copy) else len(part)
            if size > room:
                yield portion
                portion, room = [], most
            room -= size
            last = portion[-1] if portion else None
            if isinstance(part, list) and isinstance(last, list):
                last.extend(part)
            else:
                portion.append(part)
    if portion:
        yield portion


def _parts(piece: Piece, most: int) -> Iterator[Part]:
    if isinstance(piece, Copy):
        for start in range(piece.start, piece.stop, most):
            yield Copy(start, min(start + most, piece.stop), piece.shift)
    else:
        for start in range(0, len(piece), most):
            yield list(piece[start : start + most])


def write_portion(connection: Connection, table: Table, parent: int, version: int, portion: Iterable[Part]) -> None:
    """Copy ranges and put rows in; one statement for all ranges that move alike, one for all rows."""
    ranges: dict[int, list[Copy]] = {}
    rows: list[Row] = []
    for part in portion:
        if isinstance(part, Copy):
            ranges.setdefault(part.shift, []).append(part)
        else:
            rows.extend(part)
    for shift, parts in ranges.items():
        holes = [place for left, right in pairwise(parts) for place in range(left.stop, right.start)]
        whole = Copy(parts[0].start, parts[-1].stop, shift)
        copy_rows(connection, table, parent, version, whole, holes)
    if rows:
        jobs.config_rows(connection, table, [{**row, "version": version} for row in rows])


def copy_rows(
    connection: Connection, table: Table, parent: int, version: int, part: Copy, holes: Sequence[int] = ()
) -> None:
    """Copy one range inside the database, but for the positions in `holes`."""
    kept = [column for column in table.c if column.name not in ("version", "position")]
    rows = select(literal(version), table.c.position + part.shift, *kept).where(
        table.c.version == parent, table.c.position >= part.start, table.c.position < part.stop
    )
    if holes:
        rows = rows.where(table.c.position.not_in(holes))
    connection.execute(insert(table).from_select(["version", "position", *(column.name for column in kept)], rows))


def activate_after(connection: Connection, version: int, parent: int | None, now: datetime) -> None:
    """Put a version in force in place of the one that it was made from.

    StoreRefused: another one is in force meanwhile.
    """
    active = connection.execute(select(t.config_active.c.version).where(t.config_active.c.id == 1)).scalar()
    if active != parent:
        raise StoreRefused(f"version {active} is in force, not {parent}: look at the change again")
    jobs.activate(connection, version, now)


def finish_version(connection: Connection, version: int, now: datetime) -> None:
    """Note that a version is whole without putting it in force."""
    connection.execute(update(t.config_version).where(t.config_version.c.version == version).values(activated=now))


def old_versions(connection: Connection, keep: int) -> list[int]:
    """Whole versions beyond the newest `keep`; never the one in force, its parent, or the last file's."""
    columns = t.config_version.c
    whole = select(columns.version).where(columns.activated.is_not(None)).order_by(columns.version.desc())
    active = select(t.config_active.c.version).scalar_subquery()
    spared = set(connection.execute(select(columns.version).where(columns.version == active)).scalars())
    spared |= set(connection.execute(select(columns.parent).where(columns.version == active)).scalars())
    spared.add(connection.execute(select(func.max(columns.version)).where(columns.source != "", columns.activated.is_not(None))).scalar())
    return [version for version in connection.execute(whole.offset(keep)).scalars() if version not in spared]


def retire(connection: Connection, version: int) -> None:
    """Say that a version can't be put in force any more, before its rows go."""
    connection.execute(update(t.config_version).where(t.config_version.c.version == version).values(activated=None))


def remove_rows(connection: Connection, version: int, most: int) -> bool:
    """Remove some rows of a retired version; False when none are left."""
    for table in t.CONFIG_TABLES.values():
        first = select(func.min(table.c.position)).where(table.c.version == version)
        start = connection.execute(first).scalar()
        if start is not None:
            gone = (table.c.version == version) & (table.c.position < start + most)
            connection.execute(delete(table).where(gone))
            return True
    return False
