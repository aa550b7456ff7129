"""What all parts of the accounts share: the one connection that writes, the act beside each change, passwords."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Row, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.controller.store.errors import StoreDown, StoreRefused
from simrack.web.accounts.keybox import KeyBox
from simrack.web.accounts.rules import PASSWORD_MOST
from simrack.web.accounts.session import Session
from simrack.wire.ports import Clock, Ids

# argon2id takes 64 MiB per try; a flood of tries must not take all the memory.
HASHES_AT_ONCE = 2
MOST_CACHED = 2000
TOKEN_OCTETS = 32


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts, and from which address: "user:Ada", "cli:root"."""

    actor: str
    address: str = ""


class Base:
    """The database of the accounts. Methods raise `StoreDown` when it can't be used now, `StoreRefused` when it takes no such row."""

    def __init__(self, url: str, clock: Clock, ids: Ids, keys: KeyBox, hasher: PasswordHasher | None = None) -> None:
        self._engine = write_engine(url)
        self.clock, self.ids, self.keys = clock, ids, keys
        self._hasher = hasher or PasswordHasher()
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)
        # A wrong name must take as long as a wrong password.
        self.nobody = self._hasher.hash(ids.token())
        #: Digest of a cookie or token, when it was read, what was read.
        self.cache: dict[str, tuple[float, Session]] = {}

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (IntegrityError, DataError) as error:
            raise StoreRefused(f"the database does not take this: {error.orig}") from error
        except DBAPIError as error:
            raise StoreDown(f"the database can't be used: {error.orig}") from error

    def act(self, connection: Connection, who: Who, action: str, subject: str = "", **detail: object) -> None:
        """Write down what somebody does, in the transaction that does it; the controller chains it (docs/audit.md)."""
        body = json.dumps(detail, ensure_ascii=False, sort_keys=True, default=str) if detail else None
        connection.execute(
            insert(t.web_act).values(
                at=self.clock.utc(), actor=who.actor, address=who.address, action=action, subject=subject, detail=body
            )
        )

    def hash(self, password: str) -> str:
        with self._hashing:
            return self._hasher.hash(password)

    def fits(self, hashed: str, password: str) -> bool:
        with self._hashing:
            try:
                return self._hasher.verify(hashed, password[: PASSWORD_MOST + 1])
            except (VerificationError, InvalidHashError):
                return False

    def forget(self, user_id: int) -> None:
        """Read this person's sessions anew at their next request."""
        for key, (_, session) in tuple(self.cache.items()):
            if session.user_id == user_id or session.eyes:
                self.cache.pop(key, None)


def user_by_id(connection: Connection, user_id: int) -> Row[tuple[object, ...]] | None:
    return connection.execute(select(t.web_user).where(t.web_user.c.id == user_id)).first()
