"""Users, sessions, set-up links and API tokens: the only rows that the control room writes.

Secrets are kept as digests only: a copied database signs nobody in.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from simrack.controller.models import Own
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.controller.store.errors import StoreDown
from simrack.web.errors import BadForm, LinkSpent, SignInRefused, TooManyTries
from simrack.web.guard import ACCOUNT_TRIES, ADDRESS_TRIES, Throttle, digest
from simrack.web.masks import Mask
from simrack.wire import rights
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock, Ids

PASSWORD_LEAST, PASSWORD_MOST = 12, 256
NAME_MOST = 60
TOKEN_OCTETS = 32
TOKEN_LIFE = timedelta(days=365)
# A session's last use is written at most this often: reading pages must not write all the time.
SEEN_EVERY = timedelta(minutes=1)
# argon2id takes 64 MiB per try; a flood of tries must not take all the memory.
HASHES_AT_ONCE = 2
# With the database gone people must still see the rack, but a revoked session must not live on for long.
SESSION_CACHE_S, SESSION_CACHE_DOWN_S = 5.0, 900.0
MOST_CACHED = 2000


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, by cookie or by API token."""

    user_id: int
    user: str
    role: str
    api: bool = False
    # An API token may have fewer rights than its owner; None: all of the role's.
    only: frozenset[str] | None = None
    # Of scoped roles: the senders or owners whose rows they see. Hidden: groups of fields that they never see.
    scope: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()

    def may(self, right: str) -> bool:
        """Whether this session has the right (wire.rights)."""
        return rights.may(self.role, right) and (self.only is None or right in self.only)

    @property
    def actor(self) -> str:
        """Who acts, in commands and in the audit log."""
        return f"{rights.PERSON}:{self.user}"

    def own(self, plan_owners: Mapping[str, str]) -> Own:
        """Whose rows this session sees."""
        return Own.of(self.role, self.scope, plan_owners)

    def mask(self) -> Mask:
        """What of a row this session reads."""
        return Mask(
            whole=self.may("numbers.whole"), hidden=self.hidden, way=self.may("records.plan"),
            why=self.may("records.route"), trace=self.may("records.trace"),
        )  # fmt: skip


class Accounts:
    """Everything about signing in. Methods raise `StoreDown` when the database can't be used now."""

    def __init__(
        self, url: str, clock: Clock, ids: Ids, *, session_hours: int = 12, link_hours: int = 24,
        hasher: PasswordHasher | None = None,
    ) -> None:  # fmt: skip
        self._engine = write_engine(url)
        self._clock, self._ids = clock, ids
        self._session_life, self._link_life = timedelta(hours=session_hours), timedelta(hours=link_hours)
        self._hasher = hasher or PasswordHasher()
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)
        # A wrong name must take as long as a wrong password.
        self._nobody = self._hasher.hash(ids.token())
        self._by_name = Throttle(clock, ACCOUNT_TRIES)
        self._by_address = Throttle(clock, ADDRESS_TRIES)
        self._cache: dict[str, tuple[float, Session]] = {}

    def close(self) -> None:
        self._engine.dispose()

    def empty(self) -> bool:
        """True while no account exists."""
        with self._begin() as connection:
            return _empty(connection)

    def new_link(self) -> str:
        """Make a set-up link's secret; older links end. Raises `UserError` once an account exists."""
        token = self._ids.token(TOKEN_OCTETS)
        now = self._clock.utc()
        with self._begin() as connection:
            if not _empty(connection):
                raise UserError("an account exists already", todo="Sign in with it.")
            connection.execute(delete(t.setup_link))
            connection.execute(
                insert(t.setup_link).values(
                    token_hash=digest("setup", token), created=now, expires=now + self._link_life
                )
            )
        return token

    def check_link(self, token: str) -> None:
        """Raise `LinkSpent` unless this link still makes the first administrator."""
        with self._begin() as connection:
            self._check_link(connection, token)

    def set_up(self, token: str, name: str, password: str, address: str, agent: str) -> str:
        """Name the first administrator and sign them in; returns the session's cookie.

        Raises:
            BadForm: the name or the password can't be taken.
            LinkSpent: the link doesn't work (any more); of two at the same time one wins.
        """
        _check_name(name)
        _check_password(password, name)
        self.check_link(token)
        with self._hashing:
            hashed = self._hasher.hash(password)
        now = self._clock.utc()
        with self._begin() as connection:
            self._check_link(connection, token)
            connection.execute(
                update(t.setup_link).where(t.setup_link.c.token_hash == digest("setup", token)).values(used=now)
            )
            user = connection.execute(
                insert(t.web_user).values(
                    name=name, password_hash=hashed, role="administrator", created=now, last_login=now
                )
            ).inserted_primary_key
            return self._open(connection, int(user[0]) if user else 0, address, agent)

    def sign_in(self, name: str, password: str, address: str, agent: str) -> str:
        """Check name and password; returns the cookie of a session that is always a new one.

        Raises:
            TooManyTries: the account or the address has to wait.
            SignInRefused: they do not belong together.
        """
        key = name.casefold()[:NAME_MOST]
        wait = max(self._by_name.wait_s(key), self._by_address.wait_s(address))
        if wait:
            raise TooManyTries(wait)
        with self._begin() as connection:
            user = connection.execute(select(t.web_user).where(t.web_user.c.name == name)).first()
        if not self._fits(user.password_hash if user else self._nobody, password) or user is None or user.disabled:
            self._by_name.wrong(key)
            self._by_address.wrong(address)
            raise SignInRefused
        self._by_name.right(key)
        with self._begin() as connection:
            connection.execute(
                update(t.web_user).where(t.web_user.c.id == user.id).values(last_login=self._clock.utc())
            )
            return self._open(connection, user.id, address, agent)

    def session(self, cookie: str) -> Session | None:
        """Who holds this cookie; None for nobody (any more)."""
        return self._find(digest("session", cookie), api=False) if cookie else None

    def bearer(self, token: str) -> Session | None:
        """Who holds this API token."""
        return self._find(digest("api", token), api=True) if token else None

    def sign_out(self, cookie: str) -> None:
        key = digest("session", cookie)
        self._cache.pop(key, None)
        with self._begin() as connection:
            connection.execute(delete(t.web_session).where(t.web_session.c.token_hash == key))

    def new_token(self, name: str) -> str:
        """An API token of the first administrator, good for a year; shown once, kept as a digest."""
        token = self._ids.token(TOKEN_OCTETS)
        with self._begin() as connection:
            user = connection.execute(select(func.min(t.web_user.c.id))).scalar_one()
            if user is None:
                raise UserError("no account exists yet", todo="Open the set-up link first.")
            self._insert(connection, digest("api", token), user, TOKEN_LIFE, "api", name)
        return token

    def settings(self, user_id: int) -> dict[str, object]:
        """What this person chose: columns and the like."""
        with self._begin() as connection:
            row = connection.execute(select(t.web_user.c.settings).where(t.web_user.c.id == user_id)).first()
        return dict(row.settings or {}) if row else {}

    def keep_setting(self, user_id: int, name: str, value: object) -> None:
        settings = {**self.settings(user_id), name: value}
        with self._begin() as connection:
            connection.execute(update(t.web_user).where(t.web_user.c.id == user_id).values(settings=settings))

    def _check_link(self, connection: Connection, token: str) -> None:
        links = t.setup_link.c
        link = connection.execute(
            select(links.expires, links.used).where(links.token_hash == digest("setup", token))
        ).first()
        late = link is not None and link.expires is not None and link.expires <= self._clock.utc()
        if link is None or link.used is not None or late or not _empty(connection):
            raise LinkSpent

    def _fits(self, hashed: str, password: str) -> bool:
        with self._hashing:
            try:
                return self._hasher.verify(hashed, password[: PASSWORD_MOST + 1])
            except (VerificationError, InvalidHashError):
                return False

    def _open(self, connection: Connection, user: int, address: str, agent: str) -> str:
        cookie = self._ids.token(TOKEN_OCTETS)
        connection.execute(delete(t.web_session).where(t.web_session.c.expires <= self._clock.utc()))
        self._insert(connection, digest("session", cookie), user, self._session_life, address, agent)
        return cookie

    def _insert(
        self, connection: Connection, key: str, user: int, life: timedelta, address: str, agent: str
    ) -> None:
        now = self._clock.utc()
        connection.execute(
            insert(t.web_session).values(
                token_hash=key, user_id=user, created=now, last_seen=now, expires=now + life,
                address=address, agent=agent[:200],
            )
        )  # fmt: skip

    def _find(self, key: str, *, api: bool) -> Session | None:
        now = self._clock.monotonic()
        cached = self._cache.get(key)
        if cached is not None and now - cached[0] < SESSION_CACHE_S:
            return cached[1]
        try:
            session = self._read(key, api=api)
        except StoreDown:
            if cached is not None and now - cached[0] < SESSION_CACHE_DOWN_S:
                return cached[1]
            raise
        self._cache.pop(key, None)
        if session is not None:
            self._cache[key] = (now, session)
            while len(self._cache) > MOST_CACHED:
                self._cache.pop(next(iter(self._cache)), None)
        return session

    def _read(self, key: str, *, api: bool) -> Session | None:
        columns = t.web_session.c
        now = self._clock.utc()
        with self._begin() as connection:
            row = connection.execute(
                select(columns.user_id, columns.last_seen, t.web_user.c.name, t.web_user.c.role)
                .join_from(t.web_session, t.web_user)
                .where(columns.token_hash == key, columns.expires > now, t.web_user.c.disabled.is_(False))
            ).first()
            if row is None:
                return None
            if not api and now - row.last_seen > SEEN_EVERY:
                connection.execute(
                    update(t.web_session)
                    .where(columns.token_hash == key)
                    .values(last_seen=now, expires=now + self._session_life)
                )
        return Session(row.user_id, row.name, row.role, api)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreDown(f"the database can't be used: {error.orig}") from error


def _empty(connection: Connection) -> bool:
    return connection.execute(select(func.count()).select_from(t.web_user)).scalar_one() == 0


def _check_name(name: str) -> None:
    if not name.strip() or name != name.strip() or len(name) > NAME_MOST or not name.isprintable():
        raise BadForm("name", f"Write a name of 1 to {NAME_MOST} characters.")


def _check_password(password: str, name: str) -> None:
    if len(password) < PASSWORD_LEAST:
        raise BadForm("password", f"At least {PASSWORD_LEAST} characters; this has {len(password)}.")
    if len(password) > PASSWORD_MOST:
        raise BadForm("password", f"At most {PASSWORD_MOST} characters.")
    if len(set(password)) < 4 or password.casefold() == name.casefold():
        raise BadForm("password", "Too easy to guess: take a few words that do not belong together.")
