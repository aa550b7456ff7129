"""Set-up link, sign in, sign out."""

from typing import cast
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.store.errors import StoreDown
from simrack.web.accounts import Session
from simrack.web.app import COOKIE, room, set_cookie, who
from simrack.web.errors import BadForm, LinkSpent, SignInRefused, TooManyTries
from simrack.web.nav import start_page
from simrack.web.needs import needs
from simrack.web.pages_setting_up import known_now
from simrack.web.services import setting_up

pages = Blueprint("access", __name__)

# Where people begin who did not ask for a page; whoever may not see it begins at the first that is open to them.
START = "/rack"


@pages.get("/setup/<token>")
def set_up_form(token: str) -> tuple[str, int] | str:
    try:
        room().accounts.check_link(token)
    except LinkSpent:
        return _spent()
    return render_template("setup.html", token=token, name="", field="", error="")


@pages.post("/setup/<token>")
def set_up(token: str) -> tuple[str, int] | AnyResponse:
    name, password = request.form.get("name", ""), request.form.get("password", "")
    try:
        if password != request.form.get("again", ""):
            raise BadForm("again", "The two passwords differ.")
        cookie = room().accounts.set_up(token, name, password, *_browser())
    except LinkSpent:
        return _spent()
    except BadForm as error:
        return render_template("setup.html", token=token, name=name, field=error.field, error=str(error)), 422
    return _signed_in(cookie, _first_page())


def _first_page() -> str:
    """Where the first administrator begins: at the next step of set-up while one is open."""
    try:
        return "/set-up" if setting_up.next_step(setting_up.steps(known_now())) else START
    except StoreDown:
        return START


@pages.get("/sign-in")
def sign_in_form() -> str | AnyResponse:
    wanted = local_path(request.args.get("next", ""))
    if g.session is not None:
        return redirect(wanted)
    return render_template("sign_in.html", wanted=wanted, name="", error="", empty=room().accounts.empty())


@pages.post("/sign-in")
def sign_in() -> tuple[str, int] | AnyResponse:
    name, wanted = request.form.get("name", ""), local_path(request.form.get("next", ""))
    try:
        cookie = room().accounts.sign_in(name, request.form.get("password", ""), *_browser())
    except SignInRefused:
        return _again(name, wanted, "Name and password do not belong together."), 403
    except TooManyTries as error:
        return _again(name, wanted, _wait(error)), 429
    session = room().accounts.session(cookie)
    if session is not None and session.half:
        return _signed_in(cookie, "/sign-in/code?" + urlencode({"next": wanted}))
    return _signed_in(cookie, wanted)


@pages.get("/sign-in/code")
def code_form() -> str | AnyResponse:
    """The second step, for whoever has done the first."""
    wanted = local_path(request.args.get("next", ""))
    if g.session is not None:
        return redirect(wanted)
    half = _half()
    if half is None:
        return redirect("/sign-in")
    return render_template("sign_in_code.html", wanted=wanted, name=half.user, error="")


@pages.post("/sign-in/code")
def code() -> tuple[str, int] | AnyResponse:
    wanted, half = local_path(request.form.get("next", "")), _half()
    if half is None:
        return redirect("/sign-in", 303)
    try:
        cookie = room().accounts.door.prove(g.cookie, request.form.get("code", ""), *_browser())
    except SignInRefused:
        error = "This is neither the code that the app shows now nor an unused recovery code. Each serves once."
        return render_template("sign_in_code.html", wanted=wanted, name=half.user, error=error), 403
    except TooManyTries as late:
        return render_template("sign_in_code.html", wanted=wanted, name=half.user, error=_wait(late)), 429
    return _signed_in(cookie, wanted)


def _half() -> Session | None:
    return cast(Session | None, getattr(g, "half", None))


@pages.post("/sign-out")
@needs("own.account")
def sign_out() -> AnyResponse:
    room().accounts.sessions.end(who(), g.cookie)
    response = redirect("/sign-in")
    response.delete_cookie(COOKIE, path="/")
    return response


def _wait(error: TooManyTries) -> str:
    return f"Too many wrong tries. Try again in {-(-error.wait_s // 60)} min."


def _again(name: str, wanted: str, error: str) -> str:
    return render_template("sign_in.html", wanted=wanted, name=name, error=error, empty=False)


def _spent() -> tuple[str, int]:
    return render_template("setup_spent.html", empty=room().accounts.empty()), 410


def _signed_in(cookie: str, wanted: str) -> AnyResponse:
    # Always a fresh cookie: one that was planted before sign-in is worth nothing (session fixation).
    session = room().accounts.session(cookie)
    if wanted == START and session is not None and not session.half:
        wanted = start_page(session.may)
    response = redirect(wanted, 303)
    g.new_cookie = ""
    set_cookie(response, cookie)
    return response


def _browser() -> tuple[str, str]:
    return request.remote_addr or "", request.headers.get("User-Agent", "")


def local_path(path: str) -> str:
    """Only a path of our own: a sign-in page that sends people elsewhere helps phishing."""
    parts = urlsplit(path)
    mine = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc and path.isprintable()
    return path if mine else START
