"""Changes that somebody prepares and nothing uses yet: kept, looked at together, put in force or dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from simrack.controller.config.changes import CHANGES, Change, keys_of
from simrack.controller.config.whole import judge
from simrack.controller.routing.table import RoutingTable
from simrack.controller.store import tables as t
from simrack.web.app import me
from simrack.web.services import configuration
from simrack.web.services.hands import Hand, hand
from simrack.wire.rights import actor_name

OPEN, APPLIED, DROPPED = "open", "applied", "dropped"
#: A draft is looked at as a whole; more changes than this are a file.
MOST_CHANGES = 200
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class DraftView:
    """One draft."""

    id: int
    author: str
    created: datetime
    changed: datetime
    note: str
    state: str
    changes: tuple[Change, ...]

    @property
    def title(self) -> str:
        """What lists call it."""
        return self.note or f"Draft {self.id}"


def _view(row: Row[Any]) -> DraftView:
    return DraftView(
        row.id, actor_name(row.author), row.created, row.changed, row.note, row.state, CHANGES.validate_json(row.changes)
    )


def all_drafts(by: Hand | None = None) -> tuple[DraftView, ...]:
    """Drafts, the open ones first, then the newest."""
    columns = t.web_draft.c
    wanted = select(t.web_draft).order_by(columns.state != OPEN, columns.changed.desc(), columns.id.desc()).limit(MOST_LISTED)
    with (by or hand()).begin() as connection:
        return tuple(_view(row) for row in connection.execute(wanted))


def open_ones() -> tuple[DraftView, ...]:
    """Drafts that a change can be put into."""
    if not me().may("routing.change"):
        return ()
    return tuple(one for one in all_drafts() if one.state == OPEN)


def one(number: int, by: Hand | None = None) -> DraftView | None:
    """A draft; None when there is none of this number."""
    with (by or hand()).begin() as connection:
        row = connection.execute(select(t.web_draft).where(t.web_draft.c.id == number)).first()
    return _view(row) if row is not None else None


def keep(changes: Sequence[Change], note: str, into: int | None) -> int | None:
    """Put changes into a draft, or a new one; its number, None when that draft is not open."""
    by = hand()
    now = by.now
    if into is None:
        values = {"author": by.actor, "created": now, "changed": now, "note": note, "changes": _json(changes)}
        with by.begin() as connection:
            made = connection.execute(insert(t.web_draft).values(**values)).inserted_primary_key
        return int(made[0]) if made else None
    found = one(into)
    if found is None or found.state != OPEN:
        return None
    # A later change of the same entry takes the place of the one before: both hold the whole entry.
    merged = {change.key: change for change in (*found.changes, *changes)}
    if len(merged) > MOST_CHANGES:
        return None
    _write(into, by, changes=_json(tuple(merged.values())), changed=now, **({"note": note} if note else {}))
    return into


def without(number: int, place: int) -> bool:
    """Take one change out of an open draft."""
    found = one(number)
    if found is None or found.state != OPEN or not 0 <= place < len(found.changes):
        return False
    left = found.changes[:place] + found.changes[place + 1 :]
    _write(number, (by := hand()), changes=_json(left), changed=by.now)
    return True


def rebase(number: int) -> bool:
    """Base every change on what runs now: their author has seen what others changed."""
    found = one(number)
    if found is None or found.state != OPEN:
        return False
    conflicts = {(one.kind, one.name): one.now for one in configuration.look(found.changes).conflicts}
    renewed = [change.model_copy(update={"base": conflicts.get(change.key, change.base)}) for change in found.changes]
    _write(number, (by := hand()), changes=_json(renewed), changed=by.now)
    return True


def table_with(changes: Sequence[Change]) -> RoutingTable:
    """The configuration as changes that can be made would leave it."""
    now = configuration.table()
    return judge(changes, configuration.reader().entries(keys_of(changes), now.version), now, realm=None).table


def close(number: int, state: str, by: Hand | None = None) -> None:
    """An applied or dropped draft stays readable."""
    by = by or hand()
    _write(number, by, state=state, changed=by.now)


def _json(changes: Sequence[Change]) -> str:
    return CHANGES.dump_json(tuple(changes)).decode()


def _write(number: int, by: Hand, /, **values: object) -> None:
    with by.begin() as connection:
        connection.execute(update(t.web_draft).where(t.web_draft.c.id == number).values(**values))
