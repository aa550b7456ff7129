"""Wrong tries at the door, in the database: a restart of the control room frees no guesser.

A try is counted before it is looked at, so that many at the same time are not one.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import Connection

from simrack.controller.store import tables as t
from simrack.web.errors import TooManyTries
from simrack.web.guard import ACCOUNT_TRIES, ADDRESS_TRIES, WINDOW_S

NAME, ADDRESS = "name", "address"
_MOST = {NAME: ACCOUNT_TRIES, ADDRESS: ADDRESS_TRIES}
_WINDOW = timedelta(seconds=WINDOW_S)
# The owner of an IPv6 network has 2^64 addresses to try from.
_IPV6_NETWORK = 64


@dataclass(frozen=True, slots=True)
class Lock:
    """A name or an address that has to wait."""

    kind: str
    key: str
    tries: int
    until: datetime


def keys(name: str, address: str) -> tuple[str, str]:
    """What a try is counted under."""
    return f"{NAME}:{name.casefold()[:60]}", f"{ADDRESS}:{_network(address)}"


def take(connection: Connection, now: datetime, wanted: Sequence[str]) -> tuple[int, ...]:
    """Count a try; returns its rows. Raises `TooManyTries` when one of the keys has to wait."""
    connection.execute(delete(t.web_try).where(t.web_try.c.at <= now - _WINDOW))
    wait = max(_wait_s(connection, now, key) for key in wanted)
    if wait:
        raise TooManyTries(wait)
    made = [connection.execute(insert(t.web_try).values(key=key, at=now)).inserted_primary_key for key in wanted]
    return tuple(int(row[0]) for row in made if row)


def give_back(connection: Connection, rows: Sequence[int], name_key: str = "") -> None:
    """The try was right: take its rows back, and with `name_key` all of that name's."""
    connection.execute(delete(t.web_try).where(t.web_try.c.id.in_(rows)))
    if name_key:
        connection.execute(delete(t.web_try).where(t.web_try.c.key == name_key))


def locks(connection: Connection, now: datetime) -> tuple[Lock, ...]:
    """Who has to wait now, longest first."""
    columns = t.web_try.c
    rows = connection.execute(
        select(columns.key, func.count().label("tries")).where(columns.at > now - _WINDOW).group_by(columns.key)
    ).all()
    found = []
    for row in rows:
        kind, _, key = row.key.partition(":")
        wait = _wait_s(connection, now, row.key)
        if wait:
            found.append(Lock(kind, key, row.tries, now + timedelta(seconds=wait)))
    return tuple(sorted(found, key=lambda lock: lock.until, reverse=True))


def free(connection: Connection, kind: str, key: str) -> int:
    """Forget the tries of a name or address; how many there were."""
    return connection.execute(delete(t.web_try).where(t.web_try.c.key == f"{kind}:{key}")).rowcount


def _wait_s(connection: Connection, now: datetime, key: str) -> int:
    most = _MOST[key.partition(":")[0]]
    columns = t.web_try.c
    times = connection.execute(
        select(columns.at).where(columns.key == key, columns.at > now - _WINDOW).order_by(columns.at.desc()).limit(most)
    ).scalars()
    newest = list(times)
    if len(newest) < most:
        return 0
    left: timedelta = newest[-1] + _WINDOW - now
    return max(1, round(left.total_seconds()))


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False)) if found.version == 6 else address
