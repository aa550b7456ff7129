"""Hearing a call in the browser: the page, the browser's offer, the end. Each listener is written down by name."""

from collections.abc import Callable
from typing import Any, cast

import structlog
from flask import Blueprint, Response, abort, current_app, render_template, request

from simrack.web.accounts.base import Who
from simrack.web.app import Room, me, names, room, who
from simrack.web.calling import call_view
from simrack.web.listening import Ears, NotHeard, Session
from simrack.web.needs import needs
from simrack.web.services.live import visible
from simrack.wire import topics
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import LiveCall

pages = Blueprint("listen", __name__)
log = structlog.get_logger(__name__)

LISTEN = "listen"
#: As long as a box copies voice without being asked again.
MOST_S = 600


def ears() -> Ears:
    """The listeners of the application that serves this request."""
    return cast(Ears, current_app.extensions["ears"])


def answer(status: int, **said: object) -> Response:
    """JSON for the page's script."""
    return Response(current_app.json.dumps(said), status, mimetype="application/json")


def refused(why: NotHeard) -> Response:
    """No error of the request: the page shows the reason, and the browser's console stays clean."""
    return answer(200, error=str(why))


def read_offer() -> str:
    """The browser's offer in the request's body; "" when there is none."""
    body = request.get_json(silent=True)
    offer = body.get("sdp") if isinstance(body, dict) else None
    return offer if isinstance(offer, str) else ""


def order(on: Room, action: str, args: dict[str, Any], actor: str) -> dict[str, Any]:
    """Have the controller do something. Raises `NotHeard` with its reason."""
    try:
        reply = on.live.command(topics.controller_command(), action, args, actor=actor)
    except CommandFailed as error:
        raise NotHeard(str(error)) from error
    if not reply.ok:
        raise NotHeard(reply.error or "the controller refused it")
    return reply.result


def _open_call(call: str) -> LiveCall:
    found = visible().calls.get(call)
    if found is None:
        abort(404)
    return found


@pages.get("/calls/<call>/listen")
@needs("calls.listen")
def listen_page(call: str) -> str:
    view = call_view(_open_call(call), visible(), names())
    return render_template("listen.html", view=view, most_minutes=MOST_S // 60)


@pages.post("/calls/<call>/listen")
@needs("calls.listen")
def listen(call: str) -> Response:
    """Take the browser's offer, have the box send the voice here, answer the offer."""
    offer, live = read_offer(), _open_call(call)
    if not offer:
        return answer(400, error="Your browser sent no offer.")
    try:
        session = ears().open(me().user_id, live.call, 2, _ended(room(), who()))
    except NotHeard as why:
        return refused(why)
    said, heard = session.addresses
    try:
        told = order(room(), LISTEN, {"call": call, "said": said, "heard": heard, "seconds": MOST_S}, me().actor)
        sdp = ears().connect(session, offer, source=str(told.get("source") or ""))
    except NotHeard as why:
        ears().close(session)
        return refused(why)
    room().accounts.note(who(), "listen", call, basis=told.get("basis", ""), session=session.id)
    return answer(200, session=session.id, sdp=sdp, basis=told.get("basis", ""))


def _ended(on: Room, whose: Who) -> Callable[[Session], None]:
    """What is done when a listener has gone: the box stops sending, and how long it was is written down."""

    def over(session: Session) -> None:
        seconds = round(on.clock.monotonic() - session.begun)
        if any(session.packets):
            on.accounts.note(whose, "listen-end", session.subject, seconds=seconds, session=session.id)
        try:
            order(on, LISTEN, {"call": session.subject, "seconds": 0}, whose.actor)
        except NotHeard as why:
            # The call is over, or the box has stopped by itself; it would after its time in any case.
            log.info("listening ended", call=session.subject, controller=str(why))

    return over


@pages.get("/listening/<id_>")
@needs("calls.listen")
def state(id_: str) -> Response:
    """Whether voice comes."""
    session = ears().find(id_, me().user_id)
    if session is None:
        return answer(404, error="over")
    return answer(200, packets=list(session.packets))


@pages.post("/listening/<id_>/end")
@needs("calls.listen")
def end(id_: str) -> Response:
    session = ears().find(id_, me().user_id)
    if session is not None:
        ears().close(session)
    return Response(status=204)
