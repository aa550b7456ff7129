"""Hearing a call in the browser: the page, the browser's offer, the end. Each listener is written down by name."""

import threading
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
#: Asked again so long before that: several tries that nobody answers fit in.
RENEW_S = MOST_S - 120
AGAIN_S = 20


class Unanswered(NotHeard):
    """Nobody said yes or no."""


class Standing:
    """A listener's standing with the box: asked for anew before it lapses, taken back when they have gone."""

    def __init__(self, on: Room, whose: Who) -> None:
        self._room, self._whose, self._due = on, whose, 0.0
        # An order to go on that is sent while somebody leaves must not come behind the one to stop.
        self._one = threading.Lock()
        self._gone = False

    def begin(self, session: Session) -> dict[str, Any]:
        """Have the box copy the call's voice, or go on with it. Raises `NotHeard`."""
        said, heard = session.addresses
        wanted = {"call": session.subject, "said": said, "heard": heard, "seconds": MOST_S}
        told = order(self._room, LISTEN, wanted, self._whose.actor)
        self._due = self._room.clock.monotonic() + RENEW_S
        return told

    def keep(self, session: Session) -> str:
        """Why it can't go on; "" when it can. Right and legal basis are looked at again with each order."""
        if not self._room.desk.model.has_call(session.subject):
            return "The call is over."
        with self._one:
            return "" if self._gone or self._room.clock.monotonic() < self._due else self._renew(session)

    def _renew(self, session: Session) -> str:
        try:
            self.begin(session)
        except Unanswered as why:
            log.warning("listening could not be renewed yet", call=session.subject, reason=str(why))
            self._due = self._room.clock.monotonic() + AGAIN_S
        except NotHeard as why:
            return f"It ended: {why}."
        return ""

    def over(self, session: Session) -> None:
        """The box stops sending, and how long it was is written down."""
        seconds = round(self._room.clock.monotonic() - session.begun)
        if any(session.packets):
            self._room.accounts.note(self._whose, "listen-end", session.subject, seconds=seconds, session=session.id)
        try:
            with self._one:
                self._gone = True
                order(self._room, LISTEN, {"call": session.subject, "seconds": 0}, self._whose.actor)
        except NotHeard as why:
            # The call is over, or the box has stopped by itself; it would after its time in any case.
            log.info("listening ended", call=session.subject, controller=str(why))


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
        raise Unanswered(str(error)) from error
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
    view, other = call_view(_open_call(call), visible(), names()), ears().listener(call)
    return render_template("listen.html", view=view, other=other, mine=other is not None and other.owner == me().user_id)


@pages.post("/calls/<call>/listen")
@needs("calls.listen")
def listen(call: str) -> Response:
    """Take the browser's offer, have the box send the voice here, answer the offer."""
    offer, live = read_offer(), _open_call(call)
    if not offer:
        return answer(400, error="Your browser sent no offer.")
    standing = Standing(room(), who())
    try:
        session = ears().open(me().user_id, me().user, live.call, 2, standing.over, standing.keep)
    except NotHeard as why:
        return refused(why)
    try:
        told = standing.begin(session)
        sdp = ears().connect(session, offer, source=str(told.get("source") or ""))
    except NotHeard as why:
        ears().close(session)
        return refused(why)
    room().accounts.note(who(), "listen", call, basis=told.get("basis", ""), session=session.id)
    return answer(200, session=session.id, sdp=sdp, basis=told.get("basis", ""))


@pages.get("/listening/<id_>")
@needs("calls.listen")
def state(id_: str) -> Response:
    """Whether voice comes; a page that does not ask any more is taken for gone."""
    session = ears().find(id_, me().user_id)
    if session is not None:
        return answer(200, packets=list(session.packets))
    why = ears().ended(id_, me().user_id)
    return answer(200, over=why) if why else answer(404, error="over")


@pages.post("/listening/<id_>/end")
@needs("calls.listen")
def end(id_: str) -> Response:
    session = ears().find(id_, me().user_id)
    if session is not None:
        ears().close(session)
    return Response(status=204)
