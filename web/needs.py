"""The one right that a page or an address of the API needs; a view without one is served to nobody."""

from collections.abc import Callable
from typing import Any, TypeVar

from simrack.wire.rights import RIGHTS

View = TypeVar("View", bound=Callable[..., Any])


def needs(right: str) -> Callable[[View], View]:
    """Mark a view; put it below the route, next to the function. KeyError: the table has no such right."""
    row = RIGHTS[right]

    def mark(view: View) -> View:
        view.needs = row.name  # type: ignore[attr-defined]
        return view

    return mark


def right_of(view: Callable[..., Any] | None) -> str | None:
    """What a view needs; None: it was never marked."""
    return getattr(view, "needs", None)
