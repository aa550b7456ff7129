"""All of the accounts behind one object: the door, sessions, people, second factors, personal settings."""

from contextlib import AbstractContextManager
from datetime import datetime

from argon2 import PasswordHasher
from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from simrack.controller.store import tables as t
from simrack.web.accounts.answers import Answers
from simrack.web.accounts.base import Base, Who
from simrack.web.accounts.door import Door
from simrack.web.accounts.keybox import KeyBox
from simrack.web.accounts.people import People
from simrack.web.accounts.second import SecondFactor
from simrack.web.accounts.session import Session
from simrack.web.accounts.sessions import Sessions
from simrack.wire.ports import Clock, Ids

CLI = Who("cli")


class Accounts:
    """Everything about accounts. Methods raise `StoreDown` when the database can't be used now."""

    def __init__(
        self, url: str, clock: Clock, ids: Ids, *, keys: KeyBox, session_hours: int = 12, link_hours: int = 24,
        hasher: PasswordHasher | None = None,
    ) -> None:  # fmt: skip
        self._base = Base(url, clock, ids, keys, hasher)
        self.sessions = Sessions(self._base, session_hours)
        self.second = SecondFactor(self._base)
        self.door = Door(self._base, self.sessions, self.second, link_hours)
        self.people = People(self._base, self.sessions)
        self.answers = Answers(self._base)
        self.empty, self.new_link, self.check_link = self.door.empty, self.door.new_link, self.door.check_link
        self.set_up, self.sign_in = self.door.set_up, self.door.sign_in

    def close(self) -> None:
        self._base.close()

    def begin(self) -> AbstractContextManager[Connection]:
        """A transaction over the control room's own tables, for what is kept beside accounts (drafts, routing tests)."""
        return self._base.begin()

    def session(self, cookie: str) -> Session | None:
        """Who holds this cookie; None for nobody (any more)."""
        return self.sessions.by_cookie(cookie)

    def bearer(self, token: str) -> Session | None:
        """Who holds this API token."""
        return self.sessions.by_token(token)

    def new_token(self, name: str) -> str:
        """An API token of the first account, good for a year; shown once, kept as a digest."""
        return self.sessions.first_token(CLI, name)

    def note(self, who: Who, action: str, subject: str = "", **detail: object) -> None:
        """Write down an act that changes nothing in the accounts, such as listening to a call."""
        with self._base.begin() as connection:
            self._base.act(connection, who, action, subject, **detail)

    def acts_since(self, action: str, since: datetime) -> int:
        """How often all people together did this."""
        statement = select(func.count()).select_from(t.web_act).where(t.web_act.c.at >= since, t.web_act.c.action == action)
        with self._base.begin() as connection:
            return int(connection.execute(statement).scalar_one())

    def settings(self, user_id: int) -> dict[str, object]:
        """What this person chose: columns and the like."""
        with self._base.begin() as connection:
            row = connection.execute(select(t.web_user.c.settings).where(t.web_user.c.id == user_id)).first()
        return dict(row.settings or {}) if row else {}

    def keep_setting(self, user_id: int, name: str, value: object) -> None:
        settings = {**self.settings(user_id), name: value}
        with self._base.begin() as connection:
            connection.execute(update(t.web_user).where(t.web_user.c.id == user_id).values(settings=settings))
