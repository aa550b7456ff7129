"""The accounts themselves: who there is, made, changed, disabled, given new passwords; what they did."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from simrack.controller.store import tables as t
from simrack.controller.store.errors import StoreRefused
from simrack.web.accounts import rules, totp, tries
from simrack.web.accounts.base import Base, Who
from simrack.web.accounts.sessions import TOKEN, Sessions
from simrack.web.errors import BadForm, Gone, Stale
from simrack.wire import rights

# 80 bits: good until it is changed at the first sign-in.
FIRST_PASSWORD_OCTETS = 10
MOST_ACTS = 50
TAKEN = "There is an account of this name. A disabled one can be enabled again."


@dataclass(frozen=True, slots=True)
class PersonForm:
    """What an administrator decides about an account."""

    role: str
    email: str = ""
    scope: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()

    def checked(self, known_scope: frozenset[str] | None) -> "PersonForm":
        """The same with what fits its role. Raises `BadForm`, which names the field."""
        rules.check_role(self.role)
        rules.check_email(self.email)
        return PersonForm(
            self.role, self.email, rules.check_scope(self.role, self.scope, known_scope), rules.check_hidden(self.hidden)
        )


@dataclass(frozen=True, slots=True)
class Person:
    """One account as lists show it: no secret."""

    id: int
    name: str
    role: str
    email: str
    scope: tuple[str, ...]
    hidden: tuple[str, ...]
    disabled: bool
    created: datetime
    last_login: datetime | None
    second_since: datetime | None
    must_change: bool
    sessions: int
    tokens: int

    @property
    def version(self) -> str:
        """Digest of what an administrator may change: a form that began from another one is stale."""
        facts = (self.role, self.email, self.scope, self.hidden, self.disabled)
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @property
    def form(self) -> PersonForm:
        return PersonForm(self.role, self.email, frozenset(self.scope), frozenset(self.hidden))


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that somebody did."""

    at: datetime
    actor: str
    address: str
    action: str
    subject: str
    detail: dict[str, Any]


class People:
    """The accounts. Every change is written down as an act in its own transaction."""

    def __init__(self, base: Base, sessions: Sessions) -> None:
        self._base, self._sessions = base, sessions

    def listed(self, text: str = "", role: str = "", sort: str = "name") -> tuple[Person, ...]:
        """Accounts whose name, address or scope holds `text`, in the order of a field (`-` for the other way)."""
        with self._base.begin() as connection:
            people = [_person(row) for row in connection.execute(_people(self._base.clock.utc()))]
        wanted = text.casefold()
        found = [
            person for person in people
            if (not role or person.role == role)
            and any(wanted in value.casefold() for value in (person.name, person.email, *person.scope))
        ]  # fmt: skip
        key = _SORTS.get(sort.removeprefix("-"), _SORTS["name"])
        return tuple(sorted(found, key=key, reverse=sort.startswith("-")))

    def get(self, name: str) -> Person:
        """One account. Raises `Gone`."""
        with self._base.begin() as connection:
            return self._get(connection, name)

    def by_id(self, user_id: int) -> Person:
        """One account. Raises `Gone`."""
        with self._base.begin() as connection:
            row = connection.execute(_people(self._base.clock.utc()).where(t.web_user.c.id == user_id)).first()
        if row is None:
            raise Gone("There is no such account.")
        return _person(row)

    def make(self, who: Who, name: str, form: PersonForm, known_scope: frozenset[str] | None = None) -> str:
        """A new account; returns its first password, which is shown once and must be changed at the first sign-in.

        Raises:
            BadForm: a field can't be taken.
        """
        rules.check_name(name)
        form = form.checked(known_scope)
        password = totp.grouped(self._base.ids.token(FIRST_PASSWORD_OCTETS))
        hashed = self._base.hash(password)
        try:
            with self._base.begin() as connection:
                _check_free(connection, name)
                connection.execute(
                    insert(t.web_user).values(
                        name=name, password_hash=hashed, created=self._base.clock.utc(), must_change=True, **_values(form)
                    )
                )
                self._base.act(connection, who, "account-made", name, **_told(form))
        except StoreRefused:
            raise BadForm("name", TAKEN) from None
        return password

    def change(
        self, who: Who, name: str, form: PersonForm, version: str, known_scope: frozenset[str] | None = None
    ) -> Person:
        """Change role, scope and the rest; open sessions have the new rights at once.

        Raises:
            BadForm: a field can't be taken.
            Stale: somebody changed the account since `version` was read.
            Gone: there is no such account.
        """
        form = form.checked(known_scope)
        with self._base.begin() as connection:
            person = self._get(connection, name)
            if version != person.version:
                raise Stale(f"{name} was changed meanwhile.")
            if person.role == rights.ADMIN != form.role:
                self._keep_an_administrator(connection, who, person)
            connection.execute(update(t.web_user).where(t.web_user.c.id == person.id).values(**_values(form)))
            before, after = _told(person.form), _told(form)
            changed = {key: [before[key], after[key]] for key in after if before[key] != after[key]}
            self._base.act(connection, who, "account-changed", name, **changed)
            result = self._get(connection, name)
        self._base.forget(person.id)
        return result

    def disable(self, who: Who, name: str, disabled: bool = True) -> int:
        """Close an account, which ends its sessions and tokens, or open it again; how many sessions ended.

        Raises:
            BadForm: it is the last administrator's, or one's own.
            Gone: there is no such account.
        """
        with self._base.begin() as connection:
            person = self._get(connection, name)
            if disabled and person.role == rights.ADMIN:
                self._keep_an_administrator(connection, who, person)
            if disabled and who.actor == f"{rights.PERSON}:{name}":
                raise BadForm("name", "You can't disable yourself: another administrator can.")
            connection.execute(update(t.web_user).where(t.web_user.c.id == person.id).values(disabled=disabled))
            ended = self._sessions.end_all(connection, person.id, tokens=True) if disabled else 0
            self._base.act(connection, who, "account-disabled" if disabled else "account-enabled", name)
        return ended

    def reset_password(self, who: Who, name: str) -> str:
        """A new first password; the person's browser sessions end. Raises `Gone`."""
        password = totp.grouped(self._base.ids.token(FIRST_PASSWORD_OCTETS))
        hashed = self._base.hash(password)
        with self._base.begin() as connection:
            person = self._get(connection, name)
            self._set_password(connection, person.id, hashed, must_change=True)
            self._sessions.end_all(connection, person.id)
            tries.free(connection, tries.NAME, name.casefold())
            self._base.act(connection, who, "password-reset", name)
        return password

    def set_password(self, who: Who, user_id: int, password: str, keep: str) -> int:
        """A person's own new password; their other browser sessions end (how many). Raises `BadForm`."""
        with self._base.begin() as connection:
            user = connection.execute(select(t.web_user).where(t.web_user.c.id == user_id)).one()
        rules.check_password(password, user.name, "new")
        if self._base.fits(user.password_hash, password):
            raise BadForm("new", "This is the password that you have.")
        hashed = self._base.hash(password)
        with self._base.begin() as connection:
            self._set_password(connection, user_id, hashed, must_change=False)
            ended = self._sessions.end_all(connection, user_id, but=keep)
            self._base.act(connection, who, "password-changed", user.name)
        return ended

    def acts(self, name: str, most: int = MOST_ACTS) -> tuple[Act, ...]:
        """What was done by this person and with this account, newest first."""
        columns = t.web_act.c
        statement = (
            select(t.web_act)
            .where(or_(columns.subject == name, columns.actor == f"{rights.PERSON}:{name}"))
            .order_by(columns.id.desc())
            .limit(most)
        )
        with self._base.begin() as connection:
            return tuple(
                Act(row.at, row.actor, row.address, row.action, row.subject, json.loads(row.detail or "{}"))
                for row in connection.execute(statement)
            )

    def locks(self) -> tuple[tries.Lock, ...]:
        """Names and addresses that have to wait after wrong tries."""
        with self._base.begin() as connection:
            return tries.locks(connection, self._base.clock.utc())

    def free(self, who: Who, kind: str, key: str) -> bool:
        """Let a name or an address try again now; False: nothing was counted."""
        with self._base.begin() as connection:
            count = tries.free(connection, kind, key)
            if count:
                self._base.act(connection, who, "lock-freed", key, kind=kind, tries=count)
        return count > 0

    def _get(self, connection: Connection, name: str) -> Person:
        row = connection.execute(_people(self._base.clock.utc()).where(t.web_user.c.name == name)).first()
        if row is None:
            raise Gone(f"There is no account {name[:rules.NAME_MOST]!r}.")
        return _person(row)

    def _keep_an_administrator(self, connection: Connection, who: Who, person: Person) -> None:
        columns = t.web_user.c
        others = connection.execute(
            select(func.count())
            .select_from(t.web_user)
            .where(columns.role == rights.ADMIN, columns.disabled.is_(False), columns.id != person.id)
        ).scalar_one()
        if not others:
            raise BadForm("role", f"{person.name} is the last administrator; name another first.")
        if who.actor == f"{rights.PERSON}:{person.name}":
            raise BadForm("role", "You can't take your own role away: another administrator can.")

    def _set_password(self, connection: Connection, user_id: int, hashed: str, *, must_change: bool) -> None:
        connection.execute(
            update(t.web_user).where(t.web_user.c.id == user_id).values(password_hash=hashed, must_change=must_change)
        )


def _values(form: PersonForm) -> dict[str, Any]:
    return {"role": form.role, "email": form.email, "scope": sorted(form.scope), "hidden": sorted(form.hidden)}


def _told(form: PersonForm) -> dict[str, Any]:
    return {**asdict(form), "scope": sorted(form.scope), "hidden": sorted(form.hidden)}


def _check_free(connection: Connection, name: str) -> None:
    # "ada" beside "Ada" would share its lock-outs and be taken for her in every list.
    taken = {str(other).casefold() for other in connection.execute(select(t.web_user.c.name)).scalars()}
    if name.casefold() in taken:
        raise BadForm("name", TAKEN)


def _people(now: datetime) -> Select[Any]:
    columns, sessions = t.web_user.c, t.web_session.c

    def count(token: bool) -> Any:
        kind = sessions.kind == TOKEN if token else sessions.kind != TOKEN
        mine = (sessions.user_id == columns.id) & (sessions.expires > now) & sessions.half.is_(False) & kind
        return select(func.count()).select_from(t.web_session).where(mine).correlate(t.web_user).scalar_subquery()

    return select(t.web_user, count(False).label("sessions"), count(True).label("tokens"))


def _person(row: Row[Any]) -> Person:
    return Person(
        row.id, row.name, row.role, row.email, tuple(sorted(row.scope or ())), tuple(sorted(row.hidden or ())),
        row.disabled, row.created, row.last_login, row.totp_since, row.must_change, row.sessions, row.tokens,
    )  # fmt: skip


def _late(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


_SORTS: dict[str, Any] = {
    "name": lambda p: p.name.casefold(), "role": lambda p: (p.role, p.name.casefold()),
    "last_login": lambda p: _late(p.last_login), "created": lambda p: p.created.timestamp(),
}  # fmt: skip
SORTS = tuple(_SORTS)
