"""Accounts, roles, sessions and tokens; one's own account."""

from datetime import datetime
from typing import Annotated

from flask import Response
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import Forbidden

from simrack.web.accounts import Person, PersonForm, rules
from simrack.web.accounts.sessions import SessionRow
from simrack.web.api.common import Empty, as_json, part, wrong_field
from simrack.web.app import me, problem, room, who
from simrack.web.errors import BadForm, Gone, Stale
from simrack.web.needs import needs
from simrack.web.pages_accounts import known_scope
from simrack.wire import rights

api = part("accounts", "accounts")

Names = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=rules.SCOPE_MOST)]


class MeOut(BaseModel):
    """Who asks, and what they may."""

    user: str
    role: str
    rights: list[str]
    scope: list[str] = Field(description="senders or owners of plans whose rows are seen; empty where the role sees all")
    hidden: list[str] = Field(description="groups of fields that are left out")
    looks_as: str = Field(description="the partner through whose eyes this session looks, or empty")


class AccountOut(BaseModel):
    """One account; no secret is in it."""

    id: int
    name: str
    role: str
    email: str
    scope: list[str]
    hidden: list[str]
    disabled: bool
    created: datetime
    last_login: datetime | None
    second_factor: datetime | None = Field(description="since when codes are asked for")
    must_change: bool
    sessions: int
    tokens: int
    version: str = Field(description="send it back with a change, which is refused when somebody changed it meanwhile")


class AccountsOut(BaseModel):
    """All accounts by name."""

    accounts: list[AccountOut]


class AccountIn(BaseModel):
    """What is decided about an account."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(max_length=40)
    email: str = Field("", max_length=rules.EMAIL_MOST)
    scope: Names = []
    hidden: Names = []

    @property
    def form(self) -> PersonForm:
        return PersonForm(self.role, self.email, frozenset(self.scope), frozenset(self.hidden))


class NewAccountIn(AccountIn):
    """A new account."""

    name: str = Field(max_length=200)


class ChangeIn(AccountIn):
    """A change of an account: all fields as they shall be."""

    version: str = Field(max_length=40)
    disabled: bool = False


class PasswordOut(BaseModel):
    """A first password; it is shown this once and must be changed at the first sign-in."""

    name: str
    password: str


class AccountPath(BaseModel):
    """An account."""

    id: int


class SessionOut(BaseModel):
    """A browser session or an API token."""

    session: str
    user: str
    kind: str
    name: str
    created: datetime
    last_seen: datetime
    expires: datetime
    address: str
    agent: str
    rights: list[str] | None = Field(description="of a token; null: all that its owner may, but accounts")


class SessionsOut(BaseModel):
    """Sessions in force, last used first."""

    sessions: list[SessionOut]


class SessionPath(BaseModel):
    """A session's public name."""

    session: str


class TokenIn(BaseModel):
    """A new token of one's own."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    days: int = Field(90, ge=1, le=rules.DAYS_MOST)
    rights: Names | None = Field(None, description="some of your own; null: all but accounts")


class TokenOut(BaseModel):
    """The token; it is shown this once."""

    name: str
    token: str


class RightOut(BaseModel):
    """One right and the roles that have it."""

    name: str
    title: str
    roles: list[str]


class RolesOut(BaseModel):
    """The table of rights."""

    roles: dict[str, str]
    rights: list[RightOut]
    commands: dict[str, str] = Field(description="commands to the controller and the right that each needs")


class LockOut(BaseModel):
    """A name or an address that has to wait after wrong tries."""

    kind: str
    key: str
    tries: int
    until: datetime


class LocksOut(BaseModel):
    """Who has to wait, longest first."""

    locks: list[LockOut]


class LockIn(BaseModel):
    """A lock to be taken away."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=20)
    key: str = Field(max_length=200)


@api.get("/account", responses={"200": MeOut}, summary="Who asks, and what they may")
@needs("own.account")
def account() -> Response:
    session = me()
    may = [name for name in rights.RIGHTS if session.may(name)]
    return as_json(
        MeOut(user=session.user, role=session.role, rights=may, scope=sorted(session.scope),
              hidden=sorted(session.hidden), looks_as=session.eyes)
    )  # fmt: skip


@api.get("/roles", responses={"200": RolesOut}, summary="The table of rights")
@needs("accounts.see")
def roles() -> Response:
    table = [RightOut(name=r.name, title=r.title, roles=[n for n in rights.ROLES if n in r.roles]) for r in rights.RIGHTS.values()]
    return as_json(RolesOut(roles=dict(rights.ROLES), rights=table, commands=dict(rights.COMMANDS)))


@api.get("/accounts", responses={"200": AccountsOut}, summary="All accounts")
@needs("accounts.see")
def accounts() -> Response:
    return as_json(AccountsOut(accounts=[_out(person) for person in room().accounts.people.listed()]))


@api.post("/accounts", responses={"201": PasswordOut, "422": None}, summary="Make an account")
@needs("accounts.change")
def make(body: NewAccountIn) -> Response:
    try:
        password = room().accounts.people.make(who(), body.name, body.form, known_scope(body.role))
    except BadForm as error:
        return wrong_field(error)
    return as_json(PasswordOut(name=body.name, password=password), 201)


@api.get("/accounts/<int:id>", responses={"200": AccountOut, "404": None}, summary="One account")
@needs("accounts.see")
def one(path: AccountPath) -> Response:
    person = _person(path.id)
    return as_json(_out(person)) if person is not None else _gone()


@api.put("/accounts/<int:id>", responses={"200": AccountOut, "404": None, "409": None, "422": None}, summary="Change an account")
@needs("accounts.change")
def change(path: AccountPath, body: ChangeIn) -> Response:
    person, people = _person(path.id), room().accounts.people
    if person is None:
        return _gone()
    try:
        changed = people.change(who(), person.name, body.form, body.version, known_scope(body.role))
        if body.disabled != changed.disabled:
            people.disable(who(), person.name, body.disabled)
    except BadForm as error:
        return wrong_field(error)
    except Stale as error:
        return problem(409, "Changed meanwhile", f"{error} Read it again, and send its version.")
    return as_json(_out(people.by_id(path.id)))


@api.post("/accounts/<int:id>/password", responses={"200": PasswordOut, "404": None}, summary="Give an account a new first password")
@needs("accounts.change")
def password(path: AccountPath) -> Response:
    person = _person(path.id)
    if person is None:
        return _gone()
    return as_json(PasswordOut(name=person.name, password=room().accounts.people.reset_password(who(), person.name)))


@api.delete("/accounts/<int:id>/second-factor", responses={"200": Empty, "404": None}, summary="Take a second factor away")
@needs("accounts.change")
def second_factor(path: AccountPath) -> Response:
    if _person(path.id) is None:
        return _gone()
    room().accounts.second.turn_off(who(), path.id)
    return as_json(Empty())


@api.get("/sessions", responses={"200": SessionsOut}, summary="Sessions and tokens of all")
@needs("accounts.see")
def sessions() -> Response:
    return as_json(SessionsOut(sessions=[_session(row) for row in room().accounts.sessions.listed()]))


@api.delete("/sessions/<session>", responses={"200": Empty, "404": None}, summary="End anybody's session or token")
@needs("accounts.change")
def revoke(path: SessionPath) -> Response:
    return as_json(Empty()) if room().accounts.sessions.revoke(who(), path.session) else _gone()


@api.get("/account/sessions", responses={"200": SessionsOut}, summary="One's own sessions and tokens")
@needs("own.account")
def own_sessions() -> Response:
    return as_json(SessionsOut(sessions=[_session(row) for row in room().accounts.sessions.listed(me().user_id)]))


@api.delete("/account/sessions/<session>", responses={"200": Empty, "404": None}, summary="End one's own session or token")
@needs("own.account")
def own_revoke(path: SessionPath) -> Response:
    ended = room().accounts.sessions.revoke(who(), path.session, me().user_id)
    return as_json(Empty()) if ended else _gone()


@api.post("/account/tokens", responses={"201": TokenOut, "422": None}, summary="Make a token of one's own")
@needs("own.account")
def new_token(body: TokenIn) -> Response:
    if me().api:
        raise Forbidden("A token can't make tokens.")
    try:
        token = room().accounts.sessions.new_token(who(), me().user_id, body.name, body.rights, body.days)
    except BadForm as error:
        return wrong_field(error)
    return as_json(TokenOut(name=body.name, token=token), 201)


@api.get("/locks", responses={"200": LocksOut}, summary="Who has to wait after wrong tries")
@needs("accounts.see")
def locks() -> Response:
    found = room().accounts.people.locks()
    return as_json(LocksOut(locks=[LockOut(kind=one.kind, key=one.key, tries=one.tries, until=one.until) for one in found]))


@api.post("/locks/free", responses={"200": Empty, "404": None}, summary="Let a name or an address try again")
@needs("accounts.change")
def free(body: LockIn) -> Response:
    return as_json(Empty()) if room().accounts.people.free(who(), body.kind, body.key) else _gone()


def _person(user_id: int) -> Person | None:
    # A number that no row can have must not reach the database.
    try:
        return room().accounts.people.by_id(user_id) if user_id < 2**63 else None
    except Gone:
        return None


def _gone() -> Response:
    return problem(404, "No such thing", "There is none, or it is over.")


def _out(p: Person) -> AccountOut:
    return AccountOut(
        id=p.id, name=p.name, role=p.role, email=p.email, scope=list(p.scope), hidden=list(p.hidden), disabled=p.disabled,
        created=p.created, last_login=p.last_login, second_factor=p.second_since, must_change=p.must_change,
        sessions=p.sessions, tokens=p.tokens, version=p.version,
    )  # fmt: skip


def _session(row: SessionRow) -> SessionOut:
    return SessionOut(
        session=row.public, user=row.user, kind=row.kind, name=row.name, created=row.created, last_seen=row.last_seen,
        expires=row.expires, address=row.address, agent=row.agent,
        rights=list(row.rights) if row.rights is not None else None,
    )  # fmt: skip
