"""One's own account: password, second factor, sessions, API tokens."""

import io
from urllib.parse import urlencode

import segno
from flask import Blueprint, Response, abort, redirect, render_template, request
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as AnyResponse

from simrack.web.accounts import rules, totp
from simrack.web.app import me, own, room, who
from simrack.web.errors import BadForm, TooManyTries
from simrack.web.needs import needs
from simrack.wire import rights

pages = Blueprint("own", __name__)

# Of the API's rights: what a script mostly needs, and what it may do at most.
ALL, READING, CHOSEN = "all", "reading", "chosen"
KINDS = {
    READING: "reading only: whatever you may see, nothing that changes anything",
    ALL: "everything that you may do, but accounts",
    CHOSEN: "only the rights ticked below",
}


@pages.get("/account")
@needs("own.account")
def account() -> str:
    return _page()


def _page(**more: object) -> str:
    accounts, session = room().accounts, me()
    values = {
        "sessions": accounts.sessions.listed(session.user_id, "browser"),
        "tokens": accounts.sessions.listed(session.user_id, "token"),
        "second": accounts.second.state(session.user_id), "scope": _scope(),
        "count": sum(session.may(name) for name in rights.RIGHTS), "role_words": rights.ROLES[session.role], "here": session.public, "titles": rights.RIGHTS, **more,
    }  # fmt: skip
    return render_template("account.html", **values)


def _scope() -> list[str]:
    """What a scoped role sees, by title."""
    if own().everything:
        return []
    titles = room().desk.names().senders
    return sorted(titles.get(name, name) for name in me().scope)


@pages.get("/account/password")
@needs("own.account")
def password_form() -> str:
    return render_template("account_password.html", field="", error="")


@pages.post("/account/password")
@needs("own.account")
def password() -> tuple[str, int] | AnyResponse:
    try:
        _ask_password("old")
        new = request.form.get("new", "")
        if new != request.form.get("again", ""):
            raise BadForm("again", "The two passwords differ.")
        ended = room().accounts.people.set_password(who(), me().user_id, new, me().public)
    except BadForm as error:
        return render_template("account_password.html", field=error.field, error=str(error)), 422
    return _done(f"Your password is changed; {ended} other session{'s' if ended != 1 else ''} ended.")


def _ask_password(field: str = "password") -> None:
    """The password again, before something that a walk-by at an open desk must not do."""
    if me().api:
        raise Forbidden("An API token can't change the account that it belongs to.")
    try:
        right = room().accounts.door.check_again(me().user_id, request.form.get(field, ""), request.remote_addr or "")
    except TooManyTries as error:
        raise BadForm(field, f"Too many wrong tries. Try again in {-(-error.wait_s // 60)} min.") from error
    if not right:
        raise BadForm(field, "This is not your password.")


def _done(words: str) -> AnyResponse:
    return redirect("/account?" + urlencode({"done": words}), 303)


@pages.get("/account/second-factor")
@needs("own.account")
def second_form() -> str:
    return _second()


def _second(field: str = "", error: str = "", codes: tuple[str, ...] = ()) -> str:
    second = room().accounts.second
    secret = second.pending(me().user_id)
    return render_template(
        "account_second.html", state=second.state(me().user_id), secret=totp.grouped(secret), field=field, error=error,
        codes=codes,
    )  # fmt: skip


@pages.post("/account/second-factor/begin")
@needs("own.account")
def second_begin() -> tuple[str, int] | AnyResponse:
    try:
        _ask_password()
        room().accounts.second.begin(me().user_id)
    except BadForm as error:
        return _second(error.field, str(error)), 422
    return redirect("/account/second-factor", 303)


@pages.get("/account/second-factor/qr.svg")
@needs("own.account")
def second_qr() -> Response:
    """The secret as a picture that authenticator apps read; only while it waits for its first code."""
    secret = room().accounts.second.pending(me().user_id)
    if not secret:
        abort(404)
    picture = io.BytesIO()
    code = segno.make(totp.uri(secret, me().user), error="m")
    code.save(picture, kind="svg", scale=5, border=4, dark="#000", light="#fff", xmldecl=False, svgns=True)
    return Response(picture.getvalue(), mimetype="image/svg+xml")


@pages.post("/account/second-factor/confirm")
@needs("own.account")
def second_confirm() -> tuple[str, int] | str:
    try:
        codes = room().accounts.second.confirm(who(), me().user_id, request.form.get("code", ""))
    except BadForm as error:
        return _second(error.field, str(error)), 422
    return _second(codes=codes)


@pages.post("/account/second-factor/codes")
@needs("own.account")
def second_codes() -> tuple[str, int] | str:
    try:
        _ask_password()
        codes = room().accounts.second.renew_codes(who(), me().user_id)
    except BadForm as error:
        return _second(error.field, str(error)), 422
    return _second(codes=codes)


@pages.post("/account/second-factor/off")
@needs("own.account")
def second_off() -> tuple[str, int] | AnyResponse:
    try:
        _ask_password()
    except BadForm as error:
        return _second("off", str(error)), 422
    room().accounts.second.turn_off(who(), me().user_id)
    return _done("Your second factor is off.")


@pages.post("/account/sessions/<public>/revoke")
@needs("own.account")
def revoke(public: str) -> AnyResponse:
    """One's own session or token."""
    if not room().accounts.sessions.revoke(who(), public, me().user_id):
        abort(404)
    return _done("It is ended.")


@pages.post("/account/sessions/revoke-others")
@needs("own.account")
def revoke_others() -> AnyResponse:
    ended = room().accounts.sessions.revoke_others(who(), me().user_id, me().public)
    return _done(f"{ended} other session{'s' if ended != 1 else ''} ended.")


@pages.get("/account/tokens/new")
@needs("own.account")
def token_form() -> str:
    return _token_form({})


def _token_form(given: dict[str, str], chosen: frozenset[str] = frozenset(), field: str = "", error: str = "") -> str:
    mine = [rights.RIGHTS[name] for name in rights.RIGHTS if name in rules.token_rights(me().role)]
    return render_template(
        "account_token.html", given=given, chosen=chosen, kinds=KINDS, mine=mine, field=field, error=error
    )


@pages.post("/account/tokens")
@needs("own.account")
def new_token() -> tuple[str, int] | str:
    given, chosen = dict(request.form.items()), frozenset(request.form.getlist("right"))
    name, days = given.get("name", ""), given.get("days", "")
    try:
        _ask_password()
        if not (days.isascii() and days.isdecimal() and len(days) < 5):
            raise BadForm("days", f"A number of days from 1 to {rules.DAYS_MOST}.")
        token = room().accounts.sessions.new_token(
            who(), me().user_id, name, _wanted(given.get("kind", ""), chosen), int(days)
        )
    except BadForm as error:
        return _token_form(given, chosen, error.field, str(error)), 422
    return _page(new_token=token, new_token_name=name)


def _wanted(kind: str, chosen: frozenset[str]) -> frozenset[str] | None:
    if kind not in KINDS:
        raise BadForm("kind", "Choose one of these.")
    if kind == ALL:
        return None
    return chosen if kind == CHOSEN else rules.token_rights(me().role) & rights.LOOKING
