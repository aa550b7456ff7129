"""Set-up link and sign-in: name and password, then the second factor of whoever has one."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from simrack.controller.store import tables as t
from simrack.web.accounts import rules, tries
from simrack.web.accounts.base import TOKEN_OCTETS, Base, Who
from simrack.web.accounts.second import SecondFactor
from simrack.web.accounts.sessions import Sessions
from simrack.web.errors import LinkSpent, SignInRefused
from simrack.web.guard import digest
from simrack.wire import rights
from simrack.wire.errors import UserError


class Door:
    """How people get in."""

    def __init__(self, base: Base, sessions: Sessions, second: SecondFactor, link_hours: int) -> None:
        self._base, self._sessions, self._second = base, sessions, second
        self._link_life = timedelta(hours=link_hours)

    def empty(self) -> bool:
        """True while no account exists."""
        with self._base.begin() as connection:
            return _empty(connection)

    def new_link(self) -> str:
        """Make a set-up link's secret; older links end. Raises `UserError` once an account exists."""
        token = self._base.ids.token(TOKEN_OCTETS)
        now = self._base.clock.utc()
        with self._base.begin() as connection:
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
        with self._base.begin() as connection:
            self._check_link(connection, token)

    def set_up(self, token: str, name: str, password: str, address: str, agent: str) -> str:
        """Name the first administrator and sign them in; returns the session's cookie.

        Raises:
            BadForm: the name or the password can't be taken.
            LinkSpent: the link doesn't work (any more); of two at the same time one wins.
        """
        rules.check_name(name)
        rules.check_password(password, name)
        self.check_link(token)
        hashed = self._base.hash(password)
        now = self._base.clock.utc()
        with self._base.begin() as connection:
            self._check_link(connection, token)
            connection.execute(
                update(t.setup_link).where(t.setup_link.c.token_hash == digest("setup", token)).values(used=now)
            )
            user = connection.execute(
                insert(t.web_user).values(
                    name=name, password_hash=hashed, role=rights.ADMIN, created=now, last_login=now
                )
            ).inserted_primary_key
            self._base.act(connection, Who(f"{rights.PERSON}:{name}", address), "first-account", name)
            return self._sessions.open(connection, int(user[0]) if user else 0, address, agent)

    def sign_in(self, name: str, password: str, address: str, agent: str) -> str:
        """Check name and password; returns the cookie of a session that is always a new one.

        It is a half one, with which nothing opens but `prove`, where the account has a second factor.

        Raises:
            TooManyTries: the account or the address has to wait.
            SignInRefused: they do not belong together.
        """
        keys = tries.keys(name, address)
        user, taken = self._try(name, keys)
        if not self._base.fits(user.password_hash if user else self._base.nobody, password) or user is None or user.disabled:
            self._refused(name if user is not None else "", address, "password")
            raise SignInRefused
        with self._base.begin() as connection:
            half = user.totp_since is not None
            # A password alone frees nobody of the codes that were guessed for the account.
            tries.give_back(connection, taken, "" if half else keys[0])
            if not half:
                self._in(connection, user, address)
            return self._sessions.open(connection, user.id, address, agent, half=half)

    def prove(self, cookie: str, code: str, address: str, agent: str) -> str:
        """The second step: a code of the app or a recovery code; returns the cookie of the whole session.

        Raises:
            TooManyTries: the account or the address has to wait.
            SignInRefused: the code is wrong, was used, or the first step is too long ago.
        """
        session = self._sessions.by_cookie(cookie)
        if session is None or not session.half:
            raise SignInRefused
        keys = tries.keys(session.user, address)
        user, taken = self._try(session.user, keys)
        with self._base.begin() as connection:
            how = self._second.prove(connection, user, code) if user is not None and not user.disabled else ""
            if user is not None and how:
                tries.give_back(connection, taken, keys[0])
                self._in(connection, user, address, second=how)
                connection.execute(delete(t.web_session).where(t.web_session.c.token_hash == digest("session", cookie)))
                whole = self._sessions.open(connection, user.id, address, agent)
        if not how:
            self._refused(session.user, address, "second-factor")
            raise SignInRefused
        self._base.cache.pop(digest("session", cookie), None)
        return whole

    def check_again(self, user_id: int, password: str, address: str) -> bool:
        """Whether this is the person's password, asked again before something weighty; wrong ones count.

        Raises:
            TooManyTries: the account or the address has to wait.
        """
        with self._base.begin() as connection:
            user = connection.execute(select(t.web_user).where(t.web_user.c.id == user_id)).one()
        keys = tries.keys(user.name, address)
        with self._base.begin() as connection:
            taken = tries.take(connection, self._base.clock.utc(), keys)
        if not self._base.fits(user.password_hash, password):
            self._refused(user.name, address, "password asked again")
            return False
        with self._base.begin() as connection:
            tries.give_back(connection, taken)
        return True

    def _try(self, name: str, keys: tuple[str, str]) -> tuple[Row[Any] | None, tuple[int, ...]]:
        with self._base.begin() as connection:
            taken = tries.take(connection, self._base.clock.utc(), keys)
            return connection.execute(select(t.web_user).where(t.web_user.c.name == name)).first(), taken

    def _in(self, connection: Connection, user: Row[Any], address: str, **detail: object) -> None:
        connection.execute(update(t.web_user).where(t.web_user.c.id == user.id).values(last_login=self._base.clock.utc()))
        self._base.act(connection, Who(f"{rights.PERSON}:{user.name}", address), "sign-in", user.name, **detail)

    def _refused(self, name: str, address: str, what: str) -> None:
        # A name that is nobody's is not written down: people type their password into that field.
        who = Who(f"{rights.PERSON}:{name}", address)
        with self._base.begin() as connection:
            self._base.act(connection, who, "sign-in-refused", name, wrong=what)

    def _check_link(self, connection: Connection, token: str) -> None:
        links = t.setup_link.c
        link = connection.execute(
            select(links.expires, links.used).where(links.token_hash == digest("setup", token))
        ).first()
        late = link is not None and link.expires is not None and link.expires <= self._base.clock.utc()
        if link is None or link.used is not None or late or not _empty(connection):
            raise LinkSpent


def _empty(connection: Connection) -> bool:
    return connection.execute(select(func.count()).select_from(t.web_user)).scalar_one() == 0
