"""What stands between who is signed in and what they asked for: the right, what must be done first, looking only."""

from flask import Response, current_app, g, redirect, request
from werkzeug.exceptions import Forbidden
from werkzeug.routing import IntegerConverter, Map
from werkzeug.wrappers import Response as AnyResponse

from simrack.web.accounts import Session
from simrack.web.needs import right_of


class Number(IntegerConverter):
    """A number in an address, as large as one of a row can be; what is larger names nothing, and no database is asked for it."""

    regex = r"\d{1,10}"

    def __init__(self, map: Map) -> None:  # noqa: A002 - the base class's name
        super().__init__(map, max=2**31 - 1)


SAFE = ("GET", "HEAD", "OPTIONS")
#: What is open to somebody who has to do something first, and to an administrator who looks with a partner's eyes.
_FIRST = {
    "password": frozenset({"own.password_form", "own.password", "access.sign_out"}),
    "second-factor": frozenset({
        "own.second_form", "own.second_begin", "own.second_confirm", "own.second_qr", "access.sign_out",
    }),
}  # fmt: skip
_FIRST_PAGE = {"password": "/account/password", "second-factor": "/account/second-factor"}
_FIRST_WORDS = {
    "password": "Change the password that you were given before anything else.",
    "second-factor": "This installation's class asks administrators for a second factor. Set it up before anything else.",
}
_LOOKING = frozenset({"accounts.eyes_end", "access.sign_out"})


def check_right() -> None:
    """Nobody gets further than their rights; a view that names none is a mistake of ours and is closed."""
    right = right_of(current_app.view_functions.get(request.endpoint or ""))
    session: Session = g.session
    if right is None or not session.may(right):
        raise Forbidden
    if session.eyes and request.method not in SAFE and request.endpoint not in _LOOKING:
        raise Forbidden(f"You look with the eyes of {session.eyes}, and nothing can be done that way. Look as yourself again first.")


def check_first() -> AnyResponse | None:
    """A password given by somebody else is changed, a demanded second factor set up, before anything else opens."""
    session: Session = g.session
    if not session.must or request.endpoint in _FIRST[session.must]:
        return None
    if request.path.startswith("/api/"):
        raise Forbidden(_FIRST_WORDS[session.must])
    if "HX-Request" in request.headers:
        return Response(status=401, headers={"HX-Redirect": _FIRST_PAGE[session.must]})
    return redirect(_FIRST_PAGE[session.must])
