"""Answers kept for idempotency keys: a request that is repeated with its key acts once (ADR 0806)."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from simrack.controller.store import tables as t
from simrack.web.accounts.base import Base
from simrack.web.accounts.keybox import SealBroken

KEPT = timedelta(hours=24)
# A request that began so long ago and has no answer died with its process.
LOST = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer of before."""

    status: int
    body: str


class KeyInUse(Exception):
    """The key belongs to another request (`other`), or the same one is being worked on now."""

    def __init__(self, *, other: bool) -> None:
        super().__init__("another request has this key" if other else "this request is being worked on")
        self.other = other


def request_digest(method: str, address: str, body: bytes) -> str:
    """What two requests must have in common to be one."""
    return hashlib.sha256(f"{method} {address}\0".encode() + body).hexdigest()


class Answers:
    """The table `web_answer`."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def begin(self, user_id: int, key: str, request: str) -> Kept | None:
        """The answer of before; None: nobody asked, go on and `keep` the answer or `drop` the key.

        Raises:
            KeyInUse: with another request, or by one that is not done.
        """
        now = self._base.clock.utc()
        columns = t.web_answer.c
        mine = (columns.user_id == user_id) & (columns.key == key)
        with self._base.begin() as connection:
            lost = columns.status.is_(None) & (columns.at <= now - LOST)
            connection.execute(delete(t.web_answer).where((columns.at <= now - KEPT) | lost))
            found = connection.execute(select(t.web_answer).where(mine)).first()
            if found is None:
                try:
                    connection.execute(insert(t.web_answer).values(user_id=user_id, key=key, request=request, at=now))
                except IntegrityError as error:
                    # On PostgreSQL two of them may pass the look above.
                    raise KeyInUse(other=False) from error
                return None
        if found.request != request:
            raise KeyInUse(other=True)
        if found.status is None:
            raise KeyInUse(other=False)
        return self._opened(user_id, key, found.status, found.body or "")

    def keep(self, user_id: int, key: str, status: int, body: str) -> None:
        """Keep an answer for a day."""
        columns = t.web_answer.c
        sealed = self._base.keys.seal(_purpose(user_id, key), body)
        with self._base.begin() as connection:
            connection.execute(
                update(t.web_answer).where(columns.user_id == user_id, columns.key == key).values(status=status, body=sealed)
            )

    def drop(self, user_id: int, key: str) -> None:
        """Nothing was done: the same key may try again."""
        columns = t.web_answer.c
        with self._base.begin() as connection:
            connection.execute(delete(t.web_answer).where(columns.user_id == user_id, columns.key == key))

    def _opened(self, user_id: int, key: str, status: int, sealed: str) -> Kept:
        try:
            return Kept(status, self._base.keys.open(_purpose(user_id, key), sealed))
        except SealBroken:
            # It was done, and what was answered can't be read any more: a key was changed.
            return Kept(status, "{}")


def _purpose(user_id: int, key: str) -> str:
    return f"answer:{user_id}:{key}"
