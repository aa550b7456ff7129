"""What is open, and the alarms' history: filtered, newest first, paged by key."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, or_, select

from simrack.controller.models import AlarmFilter, AlarmPage, AlarmRow
from simrack.controller.store import tables as t
from simrack.controller.store.reader import Reader

#: More on one page helps nobody.
MOST_PER_PAGE = 200
_COLUMNS = [t.alarm.c[name] for name in AlarmRow.__dataclass_fields__]


class AlarmQueries(Reader):
    """Questions about alarms."""

    def alarms(self, open_only: bool = True) -> tuple[AlarmRow, ...]:
        """Alarms, the open ones first and the worst of them first, then the newest."""
        columns = t.alarm.c
        worst = case({"critical": 0, "major": 1}, value=columns.severity, else_=2)
        statement = select(*_COLUMNS).order_by(columns.closed.is_not(None), worst, columns.opened.desc(), columns.id.desc())
        if open_only:
            statement = statement.where(columns.closed.is_(None))
        with self._read() as connection:
            return tuple(AlarmRow(**row._mapping) for row in connection.execute(statement))

    def alarm_page(self, wanted: AlarmFilter) -> AlarmPage:
        """One page of the history."""
        per_page = max(1, min(wanted.per_page, MOST_PER_PAGE))
        with self._read() as connection:
            # One more than is shown, to know whether another page follows.
            rows = connection.execute(_selected(wanted).limit(per_page + 1)).all()
        found = tuple(AlarmRow(**row._mapping) for row in rows[:per_page])
        return AlarmPage(found, found[-1].id if len(rows) > per_page else 0)

    def alarm(self, alarm: int) -> AlarmRow | None:
        """One alarm by its number; None when there is none."""
        with self._read() as connection:
            row = connection.execute(select(*_COLUMNS).where(t.alarm.c.id == alarm)).first()
        return AlarmRow(**row._mapping) if row is not None else None


def _selected(wanted: AlarmFilter) -> Select[Any]:
    columns = t.alarm.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.state:
        conditions.append(_STATES[wanted.state])
    if wanted.severity:
        conditions.append(columns.severity == wanted.severity)
    if wanted.kind:
        conditions.append(or_(columns.cause == wanted.kind, columns.cause.startswith(f"{wanted.kind}:", autoescape=True)))
    if wanted.text:
        searched = (columns.title, columns.cause, columns.note, columns.acknowledged_by)
        conditions.append(or_(*(column.icontains(wanted.text, autoescape=True) for column in searched)))
    if wanted.since is not None:
        conditions.append(or_(columns.closed.is_(None), columns.closed >= wanted.since))
    if wanted.until is not None:
        conditions.append(columns.opened < wanted.until)
    if wanted.after:
        conditions.append(columns.id < wanted.after)
    return select(*_COLUMNS).where(and_(True, *conditions)).order_by(columns.id.desc())


_STATES = {
    "open": and_(t.alarm.c.closed.is_(None), t.alarm.c.acknowledged.is_(None)),
    "acknowledged": and_(t.alarm.c.closed.is_(None), t.alarm.c.acknowledged.is_not(None)),
    "closed": t.alarm.c.closed.is_not(None),
}
