"""The audit log in the database: entries are added under the writer's transaction, read by everybody else."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection, Row

from simrack.controller.audit.chain import (
    TROUBLE,
    Entry,
    Fact,
    Head,
    Verdict,
    follow,
    genesis,
    head_of,
    verify,
)
from simrack.controller.store import prepared
from simrack.controller.store import tables as t
from simrack.controller.store.reader import Reader

#: Acts of the control room that one transaction takes over: it has to stay under 50 ms.
MOST_ACTS = 50
ACT = "act:"
MOST_PER_PAGE = 1000
#: Entries that are read at once while the chain is checked.
BLOCK = 2000
_NEVER = datetime(1, 1, 1, tzinfo=UTC)

_HEAD = select(t.audit_head.c.seq, t.audit_head.c.hash).where(t.audit_head.c.id == 1)
_LAST = select(t.audit.c.seq, t.audit.c.hash).order_by(t.audit.c.seq.desc()).limit(1)
_KNOWN = select(t.audit.c.seq).where(t.audit.c.source == bindparam("of"))
_ADD = insert(t.audit)
_BEGIN = insert(t.audit_head)
_MOVE = update(t.audit_head).where(t.audit_head.c.id == 1).values(seq=bindparam("to"), hash=bindparam("by"))


def append(connection: Connection, facts: Iterable[Fact], installation: str, now: datetime | None = None) -> Head:
    """Chain facts, in their order, in the caller's transaction; the first call of all makes the genesis entry.

    A fact whose source stands already is passed over: the caller may repeat what it does not know to be done.
    """
    stored = _head(connection, _HEAD)
    facts = tuple(facts)
    head = _begin(connection, installation, now or facts[0].at, stored)
    for fact in facts:
        if fact.source is None or prepared.run(connection, _KNOWN, {"of": fact.source}).first() is None:
            head = _add(connection, follow(head, fact))
    if stored is None:
        prepared.run(connection, _BEGIN, {"id": 1, "seq": head.seq, "hash": head.hash})
    elif head != stored:
        prepared.run(connection, _MOVE, {"to": head.seq, "by": head.hash})
    return head


def _begin(connection: Connection, installation: str, at: datetime, stored: Head | None) -> Head:
    """Where the next entry goes. What somebody did to the log behind our back is written into it."""
    last = _head(connection, _LAST)
    if stored == last and stored is not None:
        return stored
    if stored is not None and (last is None or last.seq < stored.seq):
        return stored  # cut off at the end: the gap stays, and shows
    if last is None:
        return _add(connection, genesis(installation, at))
    found = "the head record was gone" if stored is None else f"the head record named {stored}, not the last entry"
    return _add(connection, follow(last, Fact(at, "controller", TROUBLE, detail={"found": found})))


def _add(connection: Connection, entry: Entry) -> Head:
    prepared.run(connection, _ADD, {name: getattr(entry, name) for name in Entry.__dataclass_fields__})
    return head_of(entry)


def _head(connection: Connection, statement: Select[Any]) -> Head | None:
    row = prepared.run(connection, statement, {}).first()
    return Head(int(row.seq), row.hash) if row is not None else None


def take_acts(connection: Connection, installation: str, since: int) -> int:
    """Chain acts of the control room from number `since` on that are not in the log yet; how many were taken."""
    waiting = select(t.web_act).where(t.web_act.c.id >= since, ~_taken()).order_by(t.web_act.c.id).limit(MOST_ACTS)
    rows = connection.execute(waiting).all()
    if rows:
        append(connection, [_act(row) for row in rows], installation)
    return len(rows)


def _taken() -> ColumnElement[bool]:
    """Whether an act is in the log."""
    source = literal(ACT) + cast(t.web_act.c.id, String)
    return select(t.audit.c.seq).where(t.audit.c.source == source).exists()


def _act(row: Row[Any]) -> Fact:
    try:
        detail = json.loads(row.detail) if row.detail else {}
    except ValueError:
        detail = {"text": row.detail}
    told = detail if isinstance(detail, dict) else {"value": detail}
    return Fact(row.at, row.actor, row.action, row.subject, told, row.address, f"{ACT}{row.id}")


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """What the controller may know of an account: no password, no second factor."""

    name: str
    role: str
    disabled: bool
    scope: frozenset[str]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries. `sim`: an ICCID, wherever it stands; `after`: only entries with a lower number (the next page)."""

    text: str = ""
    actor: str = ""
    action: str = ""
    subject: str = ""
    sim: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: int = 0
    per_page: int = 50


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; `next` is the `after` of the page that follows, 0 when there is none."""

    entries: tuple[Entry, ...]
    next: int


class AuditQueries(Reader):
    """Questions about the audit log, and about who may act."""

    def account(self, name: str) -> Account | None:
        """The account of a person; None when there is none."""
        with self._read() as connection:
            row = connection.execute(_ACCOUNT, {"of": name}).first()
        if row is None:
            return None
        scope = json.loads(row.scope) if isinstance(row.scope, str) else row.scope
        return Account(row.name, row.role, bool(row.disabled), frozenset(scope or ()))

    def first_waiting_act(self, since: int) -> int:
        """The lowest number, from `since` on, of an act that is not in the log; 0: all are."""
        with self._read() as connection:
            found = connection.execute(select(func.min(t.web_act.c.id)).where(t.web_act.c.id >= since, ~_taken()))
            return int(found.scalar() or 0)

    def last_act(self) -> int:
        """The highest number of an act of the control room; 0: there is none."""
        with self._read() as connection:
            return int(connection.execute(select(func.max(t.web_act.c.id))).scalar() or 0)

    def audit_page(self, wanted: AuditFilter) -> AuditPage:
        """One page of the log."""
        per_page = max(1, min(wanted.per_page, MOST_PER_PAGE))
        statement = select(t.audit).where(_conditions(wanted)).order_by(t.audit.c.seq.desc()).limit(per_page + 1)
        with self._read() as connection:
            rows = connection.execute(statement).all()
        entries = tuple(_entry(row) for row in rows[:per_page])
        return AuditPage(entries, entries[-1].seq if len(rows) > per_page else 0)

    def audit_entry(self, seq: int) -> Entry | None:
        """One entry by its number; None when there is none."""
        with self._read() as connection:
            row = connection.execute(select(t.audit).where(t.audit.c.seq == seq)).first()
        return _entry(row) if row is not None else None

    def audit_all(self, wanted: AuditFilter) -> Iterator[Entry]:
        """Every entry that matches, oldest first, read block by block."""
        last = 0
        while True:
            condition = and_(_conditions(wanted), t.audit.c.seq > last)
            with self._read() as connection:
                rows = connection.execute(select(t.audit).where(condition).order_by(t.audit.c.seq).limit(BLOCK)).all()
            yield from map(_entry, rows)
            if len(rows) < BLOCK:
                return
            last = rows[-1].seq

    def audit_head(self) -> Head | None:
        """The head record; None: nothing was ever written."""
        with self._read() as connection:
            row = connection.execute(_HEAD).first()
        return Head(int(row.seq), row.hash) if row is not None else None

    def audit_actions(self) -> tuple[str, ...]:
        """Every action that stands in the log."""
        with self._read() as connection:
            return tuple(connection.execute(select(t.audit.c.action).distinct().order_by(t.audit.c.action)).scalars())

    def verify_audit(self, kept: Head | None = None) -> Verdict:
        """Check the whole chain, also while the controller writes on; `kept` is a head that was kept elsewhere."""
        with self._read() as connection:
            chain = _Chain(connection)
            # The head is read last, when the entries have come to their end.
            return verify(chain, lambda: chain.head, kept)


_ACCOUNT = text("SELECT name, role, disabled, scope FROM account WHERE name = :of")


def _conditions(wanted: AuditFilter) -> ColumnElement[bool]:
    columns = t.audit.c
    parts: list[ColumnElement[bool]] = [
        columns[name] == value for name in ("actor", "action", "subject") if (value := getattr(wanted, name))
    ]
    if wanted.sim:
        parts.append(or_(columns.subject == wanted.sim, columns.detail.contains(wanted.sim, autoescape=True)))
    if wanted.text:
        searched = (columns.actor, columns.action, columns.subject, columns.address, columns.detail)
        parts.append(or_(*(column.icontains(wanted.text, autoescape=True) for column in searched)))
    if wanted.since is not None:
        parts.append(columns.at >= wanted.since)
    if wanted.until is not None:
        parts.append(columns.at < wanted.until)
    if wanted.after:
        parts.append(columns.seq < wanted.after)
    return and_(True, *parts)


def _entry(row: Any) -> Entry:
    values: dict[str, Any] = {name: row._mapping[name] for name in Entry.__dataclass_fields__}
    # SQLite takes octets where text belongs; they then make no hash that fits.
    values |= {name: str(value) for name, value in values.items() if isinstance(value, bytes)}
    return Entry(**values)


class _Chain:
    """All entries in the order of their numbers, and the head record as it was when they ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.head: Head | None = None

    def __iter__(self) -> Iterator[Entry]:
        last: int | None = None
        while True:
            entries = self._block(last)
            yield from entries
            if entries:
                last = entries[-1].seq
                continue
            row = self._connection.execute(_HEAD).first()
            self.head = Head(int(row.seq), row.hash) if row is not None else None
            # The controller may have written on between the last block and the head.
            if self.head is None or self.head.seq <= (last or 0) or not self._block(last):
                return

    def _block(self, last: int | None) -> list[Entry]:
        columns = t.audit.c
        statement = select(t.audit).order_by(columns.seq).limit(BLOCK)
        if last is not None:
            statement = statement.where(columns.seq > last)
        try:
            return [_entry(row) for row in self._connection.execute(statement)]
        except (ValueError, TypeError):
            # Somebody wrote a time that is none: every other entry is still to be read.
            return [self._damaged(seq) for seq in self._connection.execute(statement.with_only_columns(columns.seq)).scalars()]

    def _damaged(self, seq: int) -> Entry:
        one = t.audit.c.seq == seq
        try:
            return _entry(self._connection.execute(select(t.audit).where(one)).one())
        except (ValueError, TypeError):
            rest = [column for column in t.audit.c if column.name != "at"]
            row = self._connection.execute(select(*rest, literal(None).label("at")).where(one)).one()
            return replace(_entry(row), at=_NEVER)
