"""Browser sessions and API tokens: made, found by their secret, listed, revoked."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreDown
from simrack.web.accounts import rules
from simrack.web.accounts.base import MOST_CACHED, TOKEN_OCTETS, Base, Who
from simrack.web.accounts.session import Must, Session
from simrack.web.errors import BadForm
from simrack.web.guard import digest
from simrack.wire import rights
from simrack.wire.errors import UserError

TOKEN_DAYS = 365
# A session's last use is written at most this often: reading pages must not write all the time.
SEEN_EVERY = timedelta(minutes=1)
# With the database gone people must still see the rack, but a revoked session must not live on for long.
SESSION_CACHE_S, SESSION_CACHE_DOWN_S = 5.0, 900.0
# Between password and second factor.
HALF_LIFE = timedelta(minutes=10)
PUBLIC_OCTETS = 6
BROWSER, TOKEN = "browser", "token"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session or token as lists show it."""

    public: str
    user: str
    kind: str  # browser | token
    name: str
    created: datetime
    last_seen: datetime
    expires: datetime
    address: str
    agent: str
    rights: tuple[str, ...] | None
    eyes: bool = False


class Sessions:
    """Everything that has a row in `web_session`."""

    def __init__(self, base: Base, hours: int) -> None:
        self._base, self._life = base, timedelta(hours=hours)

    def by_cookie(self, cookie: str) -> Session | None:
        """Who holds this cookie; None for nobody (any more)."""
        return self._find(digest("session", cookie), BROWSER) if cookie else None

    def by_token(self, token: str) -> Session | None:
        """Who holds this API token."""
        return self._find(digest("api", token), TOKEN) if token else None

    def open(self, connection: Connection, user_id: int, address: str, agent: str, *, half: bool = False) -> str:
        """A new browser session's cookie."""
        cookie = self._base.ids.token(TOKEN_OCTETS)
        connection.execute(delete(t.web_session).where(t.web_session.c.expires <= self._base.clock.utc()))
        life = HALF_LIFE if half else self._life
        self._insert(
            connection, digest("session", cookie), user_id, life, address=address, agent=agent[:200], half=half
        )
        return cookie

    def end(self, who: Who, cookie: str) -> None:
        """Sign out."""
        key = digest("session", cookie)
        session = self._find(key, BROWSER)
        with self._base.begin() as connection:
            connection.execute(delete(t.web_session).where(t.web_session.c.token_hash == key))
            if session is not None and not session.half:
                self._base.act(connection, who, "sign-out", session.user)
        self._base.cache.pop(key, None)

    def listed(self, user_id: int | None = None, kind: str = "") -> tuple[SessionRow, ...]:
        """Sessions that live, last used first; of one person or of all."""
        columns, now = t.web_session.c, self._base.clock.utc()
        statement = (
            select(t.web_session, t.web_user.c.name.label("user"))
            .join_from(t.web_session, t.web_user)
            .where(columns.expires > now, columns.half.is_(False))
            .order_by(columns.last_seen.desc(), columns.public)
        )
        if user_id is not None:
            statement = statement.where(columns.user_id == user_id)
        if kind:
            statement = statement.where(columns.kind == kind)
        with self._base.begin() as connection:
            return tuple(map(_row, connection.execute(statement)))

    def revoke(self, who: Who, public: str, user_id: int | None = None) -> bool:
        """End a session or token by its public name; with `user_id` only that person's. False: there is none."""
        columns = t.web_session.c
        with self._base.begin() as connection:
            found = connection.execute(
                select(t.web_session, t.web_user.c.name.label("user"))
                .join_from(t.web_session, t.web_user)
                .where(columns.public == public, columns.half.is_(False))
            ).first()
            if not public or found is None or user_id not in (None, found.user_id):
                return False
            connection.execute(delete(t.web_session).where(columns.token_hash == found.token_hash))
            act = "token-revoked" if found.kind == TOKEN else "session-revoked"
            self._base.act(connection, who, act, found.user, name=found.name, session=public)
        self._base.cache.pop(found.token_hash, None)
        return True

    def end_all(self, connection: Connection, user_id: int, *, but: str = "", tokens: bool = False) -> int:
        """End a person's browser sessions (all but the one called `but`), with `tokens` their tokens too."""
        columns = t.web_session.c
        condition = (columns.user_id == user_id) & (columns.public != but)
        if not tokens:
            condition &= columns.kind == BROWSER
        count = connection.execute(delete(t.web_session).where(condition)).rowcount
        self._base.forget(user_id)
        return count

    def revoke_others(self, who: Who, user_id: int, but: str) -> int:
        """End all browser sessions of a person but one; how many there were."""
        with self._base.begin() as connection:
            count = self.end_all(connection, user_id, but=but)
            name = connection.execute(select(t.web_user.c.name).where(t.web_user.c.id == user_id)).scalar_one()
            self._base.act(connection, who, "sessions-revoked", name, count=count)
        return count

    def new_token(
        self, who: Who, user_id: int, name: str, wanted: Collection[str] | None = None, days: int = TOKEN_DAYS
    ) -> str:
        """An API token with some of its owner's rights (None: all it may have); shown once, kept as a digest.

        Raises:
            BadForm: name, rights or days can't be taken.
        """
        rules.check_name(name)
        rules.check_days(days)
        token = self._base.ids.token(TOKEN_OCTETS)
        with self._base.begin() as connection:
            user = connection.execute(select(t.web_user).where(t.web_user.c.id == user_id)).one()
            given = rules.check_rights(wanted, user.role)
            taken = select(t.web_session.c.name).where(
                t.web_session.c.user_id == user_id, t.web_session.c.kind == TOKEN, t.web_session.c.name == name,
                t.web_session.c.expires > self._base.clock.utc(),
            )  # fmt: skip
            if connection.execute(taken).first() is not None:
                raise BadForm("name", "Another token has this name.")
            self._insert(
                connection, digest("api", token), user_id, timedelta(days=days),
                kind=TOKEN, name=name, rights=given, address=who.address,
            )  # fmt: skip
            self._base.act(connection, who, "token-made", user.name, name=name, rights=given or "all", days=days)
        return token

    def first_token(self, who: Who, name: str) -> str:
        """A token of the first account, for whoever may read the settings file of the control room."""
        with self._base.begin() as connection:
            user = connection.execute(select(func.min(t.web_user.c.id))).scalar_one()
        if user is None:
            raise UserError("no account exists yet", todo="Open the set-up link first.")
        return self.new_token(who, user, name)

    def look_as(self, who: Who, session: Session, partner: str | None) -> None:
        """Look with a partner's eyes from now on in this session; None: with one's own again.

        Raises:
            BadForm: there is no such partner.
        """
        with self._base.begin() as connection:
            found = connection.execute(select(t.web_user).where(t.web_user.c.name == (partner or ""))).first()
            if partner is not None and (found is None or found.disabled or found.role not in rights.SCOPED):
                raise BadForm("name", "Only the eyes of an owner, reseller, sales or sender account can be borrowed.")
            columns = t.web_session.c
            connection.execute(
                update(t.web_session)
                .where(columns.public == session.public, columns.user_id == session.user_id)
                .values(eyes=found.id if found is not None else None)
            )
            self._base.act(connection, who, "eyes-begun" if partner else "eyes-ended", partner or session.eyes)
        self._base.forget(session.user_id)

    def _insert(self, connection: Connection, key: str, user_id: int, life: timedelta, **values: object) -> None:
        now = self._base.clock.utc()
        connection.execute(
            insert(t.web_session).values(
                token_hash=key, user_id=user_id, created=now, last_seen=now, expires=now + life,
                public=self._base.ids.token(PUBLIC_OCTETS), **values,
            )
        )  # fmt: skip

    def _find(self, key: str, kind: str) -> Session | None:
        base = self._base
        now = base.clock.monotonic()
        cached = base.cache.get(key)
        if cached is not None and now - cached[0] < SESSION_CACHE_S:
            return cached[1]
        try:
            session = self._read(key, kind)
        except StoreDown:
            if cached is not None and now - cached[0] < SESSION_CACHE_DOWN_S:
                return cached[1]
            raise
        base.cache.pop(key, None)
        if session is not None:
            base.cache[key] = (now, session)
            while len(base.cache) > MOST_CACHED:
                base.cache.pop(next(iter(base.cache)), None)
        return session

    def _read(self, key: str, kind: str) -> Session | None:
        now = self._base.clock.utc()
        with self._base.begin() as connection:
            row = connection.execute(_SESSION.where(t.web_session.c.token_hash == key, t.web_session.c.expires > now)).first()
            if row is None or row.kind != kind:
                return None
            self._seen(connection, row, now)
            return _session(connection, row)

    def _seen(self, connection: Connection, row: Row[Any], now: datetime) -> None:
        if row.half or now - row.last_seen <= SEEN_EVERY:
            return
        # A browser session lives on while it is used; a token ends when it was said to.
        values = {"last_seen": now} if row.kind == TOKEN else {"last_seen": now, "expires": now + self._life}
        connection.execute(update(t.web_session).where(t.web_session.c.token_hash == row.token_hash).values(**values))


_PARTNER = t.web_user.alias("partner")
_SESSION = (
    select(
        t.web_session, t.web_user.c.name.label("user"), t.web_user.c.role, t.web_user.c.scope, t.web_user.c.hidden,
        t.web_user.c.totp_since, t.web_user.c.must_change,
        _PARTNER.c.name.label("eyes_name"), _PARTNER.c.role.label("eyes_role"), _PARTNER.c.scope.label("eyes_scope"),
        _PARTNER.c.hidden.label("eyes_hidden"), _PARTNER.c.disabled.label("eyes_disabled"),
    )
    .select_from(t.web_session.join(t.web_user).outerjoin(_PARTNER, _PARTNER.c.id == t.web_session.c.eyes))
    .where(t.web_user.c.disabled.is_(False))
)  # fmt: skip


def _session(connection: Connection, row: Row[Any]) -> Session:
    api = row.kind == TOKEN
    only = frozenset(row.rights) if row.rights is not None else None
    if api:
        only = (rules.token_rights(row.role) if only is None else only) - rights.NEVER_BY_TOKEN
    session = Session(
        row.user_id, row.user, row.role, api, only, frozenset(row.scope or ()), frozenset(row.hidden or ()),
        row.public, row.half, _must(connection, row),
    )  # fmt: skip
    return session if row.eyes is None or not rights.may(row.role, "accounts.eyes") else _looking(session, row)


def _looking(session: Session, row: Row[Any]) -> Session:
    """Never more than the partner sees, and nothing is done: a partner who is gone shows nothing."""
    gone = row.eyes_role is None or row.eyes_disabled
    return Session(
        session.user_id, session.user, row.eyes_role or rights.SENDER, False, rights.LOOKING,
        frozenset() if gone else frozenset(row.eyes_scope or ()), frozenset(row.eyes_hidden or ()),
        session.public, session.half, session.must, row.eyes_name or "nobody",
    )  # fmt: skip


def _must(connection: Connection, row: Row[Any]) -> Must:
    if row.must_change:
        return "password"
    if row.role == rights.ADMIN and row.totp_since is None and needs_second(connection):
        return "second-factor"
    return ""


def needs_second(connection: Connection) -> bool:
    """Whether administrators of this installation must have a second factor."""
    version = select(t.config_active.c.version).where(t.config_active.c.id == 1).scalar_subquery()
    body = connection.execute(select(t.config_installation.c.body).where(t.config_installation.c.version == version)).scalar()
    return body is not None and json.loads(body).get("class") in rules.STRICT_CLASSES


def _row(row: Row[Any]) -> SessionRow:
    given = tuple(cast(list[str], row.rights)) if row.rights is not None else None
    return SessionRow(
        row.public, row.user, row.kind, row.name, row.created, row.last_seen, row.expires, row.address, row.agent,
        given, row.eyes is not None,
    )  # fmt: skip
