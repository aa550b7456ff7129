"""Accounts: who there is, what each may do, sessions of all, lock-outs, looking with a partner's eyes."""

import csv
import io
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.web.accounts import Person, PersonForm, rules
from simrack.web.accounts.people import SORTS
from simrack.web.app import me, room, wants_part, who
from simrack.web.columns import harmless
from simrack.web.errors import BadForm, Gone, Stale
from simrack.web.needs import needs
from simrack.wire import rights

pages = Blueprint("accounts", __name__)


@pages.get("/accounts")
@needs("accounts.see")
def accounts() -> str:
    asked = _asked()
    return render_template(
        "accounts.html", people=_people(asked), asked=asked, roles=rights.ROLES, locks=room().accounts.people.locks(),
        names=room().desk.names(), link=_link,
    )  # fmt: skip


def _asked() -> dict[str, str]:
    sort = request.args.get("sort", "name")
    role = request.args.get("role", "")
    return {
        "text": request.args.get("text", "").strip()[:100], "role": role if role in rights.ROLES else "",
        "sort": sort if sort.removeprefix("-") in SORTS else "name",
    }  # fmt: skip


def _people(asked: dict[str, str]) -> tuple[Person, ...]:
    return room().accounts.people.listed(asked["text"], asked["role"], asked["sort"])


def _link(path: str = "/accounts", **changed: str) -> str:
    query = urlencode([(key, value) for key, value in {**_asked(), **changed}.items() if value and (key, value) != ("sort", "name")])
    return f"{path}?{query}" if query else path


@pages.get("/accounts.csv")
@needs("accounts.see")
def export() -> Response:
    """The list as it is shown."""
    times = room().times
    lines = [["Name", "Role", "Email", "Sees", "Hidden", "State", "Second factor", f"Last sign-in, {times.name}", "Sessions", "Tokens"]]
    for p in _people(_asked()):
        last = times.stamp(p.last_login) if p.last_login else ""
        state = "disabled" if p.disabled else "open"
        seen, hidden = ", ".join(p.scope), ", ".join(p.hidden)
        second = "yes" if p.second_since else "no"
        lines.append([p.name, p.role, p.email, seen, hidden, state, second, last, str(p.sessions), str(p.tokens)])
    name = f"accounts-{room().clock.utc():%Y%m%d-%H%M%S}.csv"
    text = io.StringIO()
    csv.writer(text).writerows([harmless(value) for value in line] for line in lines)
    return Response(text.getvalue(), mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'})


@pages.get("/accounts/roles")
@needs("accounts.see")
def roles() -> str:
    """The whole table of rights."""
    commands = [(command, rights.RIGHTS[right]) for command, right in rights.COMMANDS.items()]
    return render_template(
        "accounts_roles.html", roles=rights.ROLES, table=rights.RIGHTS.values(), scoped=rights.SCOPED, commands=commands
    )


@pages.get("/accounts/sessions")
@needs("accounts.see")
def sessions() -> str:
    """Everybody's sessions and tokens."""
    return render_template("accounts_sessions.html", rows=room().accounts.sessions.listed(), here=me().public)


@pages.post("/accounts/sessions/<public>/revoke")
@needs("accounts.change")
def revoke(public: str) -> AnyResponse:
    if not room().accounts.sessions.revoke(who(), public):
        abort(404)
    return redirect(_back("/accounts/sessions", "It is ended."), 303)


@pages.post("/accounts/locks/free")
@needs("accounts.change")
def free() -> AnyResponse:
    kind, key = request.form.get("kind", ""), request.form.get("key", "")
    freed = room().accounts.people.free(who(), kind, key)
    return redirect(_back("/accounts", f"{key[:60]} may try again." if freed else "Nothing was counted any more."), 303)


def _back(path: str, words: str) -> str:
    return f"{path}?{urlencode({'done': words})}"


def known_scope(role: str) -> frozenset[str]:
    """The names that exist now for a role's scope."""
    return rules.known_scope(role, room().desk.queries.names())


def _form() -> PersonForm:
    role = request.form.get("role", "")
    kind = rights.SCOPED.get(role, "")
    return PersonForm(
        role, request.form.get("email", "").strip(), frozenset(request.form.getlist(kind)) if kind else frozenset(),
        frozenset(request.form.getlist("hidden")),
    )  # fmt: skip


@pages.get("/accounts/new")
@needs("accounts.change")
def new() -> str:
    return _edit(None, "", PersonForm(rights.NOC))


@pages.post("/accounts/new")
@needs("accounts.change")
def make() -> tuple[str, int] | str:
    name, form = request.form.get("name", ""), _form()
    try:
        password = room().accounts.people.make(who(), name, form, known_scope(form.role))
    except BadForm as error:
        return _edit(None, name, form, error.field, str(error)), 422
    return render_template("accounts_password.html", name=name, password=password, made=True)


@pages.get("/accounts/<int:user_id>")
@needs("accounts.see")
def person(user_id: int) -> str:
    found = _found(user_id)
    return _edit(found, found.name, found.form)


@pages.post("/accounts/<int:user_id>")
@needs("accounts.change")
def change(user_id: int) -> tuple[str, int] | AnyResponse:
    found, form = _found(user_id), _form()
    people = room().accounts.people
    try:
        people.change(who(), found.name, form, request.form.get("version", ""), known_scope(form.role))
    except BadForm as error:
        return _edit(found, found.name, form, error.field, str(error)), 422
    except Stale:
        return _edit(found, found.name, form, stale=True), 409
    return redirect(_back(f"/accounts/{user_id}", "Changed. Open sessions have the new rights."), 303)


def _edit(
    found: Person | None, name: str, form: PersonForm, field: str = "", error: str = "", *, stale: bool = False
) -> str:
    accounts = room().accounts
    return render_template(
        "accounts_person.html", person=found, name=name, form=form, field=field, error=error, stale=stale,
        roles=rights.ROLES, scoped=rights.SCOPED, groups=rights.FIELD_GROUPS, choices=rules.scope_choices(room().desk.queries.names()),
        may_change=me().may("accounts.change"), eyes=me().may("accounts.eyes"),
        sessions=accounts.sessions.listed(found.id) if found else (), acts=accounts.people.acts(found.name) if found else (),
        actor_name=rights.actor_name, partner=found is not None and found.role in rights.SCOPED,
    )  # fmt: skip


def _found(user_id: int) -> Person:
    try:
        # A number that no row can have must not reach the database.
        return room().accounts.people.by_id(min(user_id, 2**63 - 1))
    except Gone:
        abort(404)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an act: title, what it touches, the button's words."""

    title: str
    words: str
    button: str
    danger: bool = True


def _question(what: str, p: Person) -> Question:
    ends = f"{p.sessions} session{'s' if p.sessions != 1 else ''}"
    tokens = f"{p.tokens} API token{'s' if p.tokens != 1 else ''}"
    questions = {
        "disable": Question(f"Disable {p.name}?", f"Nobody signs in as {p.name} any more. Ends {ends} and {tokens} now. It can be enabled again; tokens are gone.", f"Disable {p.name}"),
        "enable": Question(f"Enable {p.name}?", f"{p.name} may sign in again, with the password of before.", f"Enable {p.name}", danger=False),
        "password": Question(f"New password for {p.name}?", f"Makes a password that is shown to you once and must be changed at the next sign-in. Ends {ends} now.", "Make a new password"),
        "second-factor": Question(f"Take {p.name}'s second factor away?", f"For a lost phone: {p.name} signs in by password alone until a new one is set up.", "Take it away"),
        "eyes": Question(f"Look with {p.name}'s eyes?", f"You see what {p.name} ({p.role}) sees, and can do nothing meanwhile. It is written down.", "Look", danger=False),
    }  # fmt: skip
    if what not in questions:
        abort(404)
    return questions[what]


@pages.get("/accounts/<int:user_id>/ask/<what>")
@needs("accounts.change")
def ask(user_id: int, what: str) -> str:
    """Say what an act touches, before it does."""
    return _asked_page(_found(user_id), what)


def _asked_page(found: Person, what: str, error: str = "") -> str:
    part = "accounts_ask_part.html" if wants_part("dialog") else "accounts_ask.html"
    return render_template(part, person=found, what=what, q=_question(what, found), error=error)


@pages.post("/accounts/<int:user_id>/do/<what>")
@needs("accounts.change")
def do(user_id: int, what: str) -> tuple[str, int] | str | AnyResponse:
    found = _found(user_id)
    _question(what, found)
    people, accounts = room().accounts.people, room().accounts
    try:
        if what in ("disable", "enable"):
            people.disable(who(), found.name, what == "disable")
        elif what == "second-factor":
            accounts.second.turn_off(who(), found.id)
        elif what == "eyes":
            if not me().may("accounts.eyes"):
                abort(403)
            accounts.sessions.look_as(who(), me(), found.name)
            return redirect("/", 303)
        else:
            password = people.reset_password(who(), found.name)
            return render_template("accounts_password.html", name=found.name, password=password, made=False)
    except BadForm as error:
        return _asked_page(found, what, str(error)), 422
    return redirect(_back(f"/accounts/{user_id}", "Done."), 303)


@pages.post("/eyes/end")
@needs("own.account")
def eyes_end() -> AnyResponse:
    """Look as oneself again."""
    if not me().eyes:
        abort(404)
    room().accounts.sessions.look_as(who(), me(), None)
    return redirect("/accounts", 303)


