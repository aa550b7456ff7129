"""Pages of records by key: where a page begins, and which way it goes (pure).

A page by key costs the same at the first row and at the ten millionth, and rows that come meanwhile are neither
skipped nor shown twice. What a page hands out as `next` or `previous` is opaque to everybody else.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Value = str | int | float | datetime


class BadPlace(ValueError):
    """What was given as `after` is no place in this list."""


@dataclass(frozen=True, slots=True)
class Place:
    """Behind one row of a list that is sorted by `sort`: its value and id.

    `back` reads towards the beginning. `edge` is how far the list was looked through when it began: the window of
    a list that is sorted by something other than time.
    """

    sort: str
    value: Value
    id: int
    back: bool = False
    edge: datetime | None = None


def write(place: Place) -> str:
    """The place as text that fits in an address."""
    value = {"t": place.value.isoformat()} if isinstance(place.value, datetime) else place.value
    edge = place.edge.isoformat() if place.edge else None
    body = json.dumps([place.sort, value, place.id, int(place.back), edge], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def read(text: str, sort: str) -> Place | None:
    """The place again; None of no text.

    Raises:
        BadPlace: it was not made here, or for a list in another order.
    """
    if not text:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        made_for, value, ident, back, edge = json.loads(base64.b64decode(padded, b"-_", validate=True))
        place = Place(made_for, _value(value), int(ident), bool(back), _moment(edge) if edge else None)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, binascii.Error) as error:
        raise BadPlace("this is no page of the list") from error
    if place.sort != sort or not 0 <= place.id < 2**63:
        raise BadPlace("this page belongs to a list in another order")
    return place


def _value(value: Any) -> Value:
    if isinstance(value, dict):
        return _moment(value["t"])
    if isinstance(value, str) and "\0" in value:
        raise BadPlace("this is no page of the list")
    if isinstance(value, bool) or not isinstance(value, str | int | float) or (isinstance(value, int) and abs(value) >= 2**63):
        raise BadPlace("this is no page of the list")
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise BadPlace("this is no page of the list")
    return moment.astimezone(UTC)
