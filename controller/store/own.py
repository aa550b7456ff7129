"""The bound of a query to somebody's own rows, in one place for every table that names a sender and a plan."""

from typing import Any

from sqlalchemy import ColumnElement, and_, false, literal

from simrack.controller.models import Own


def within(own: Own, sender: ColumnElement[Any] | None, plan: ColumnElement[Any] | None) -> ColumnElement[bool]:
    """The condition that lets only rows through that are theirs.

    A table without one of the columns passes None for it: whoever is bound on that side gets nothing of it.
    """
    parts = [_side(names, column) for names, column in ((own.senders, sender), (own.plans, plan)) if names is not None]
    return and_(*parts) if parts else literal(True)


def _side(names: frozenset[str], column: ColumnElement[Any] | None) -> ColumnElement[bool]:
    return false() if column is None or not names else column.in_(sorted(names))
