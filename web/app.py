"""The Flask application: who may see what, headers, errors; pages and API hang on it as blueprints."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import structlog
from flask import Flask, Response, abort, current_app, g, redirect, render_template, request
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.models import Names, Own
from simrack.controller.routing.criteria import BY_NAME
from simrack.controller.store.errors import StoreDown, StoreRefused
from simrack.web import cells, gate, sim_sheet, text
from simrack.web.accounts import Accounts, Session, Who
from simrack.web.desk import Desk
from simrack.web.feed import Feed
from simrack.web.guard import HEADERS, HSTS, MICROPHONE, form_token, same
from simrack.web.listening import Ears
from simrack.web.live import Live
from simrack.web.masks import Mask
from simrack.web.nav import Menu, menu
from simrack.web.phone import Phone
from simrack.web.settings import WebSettings
from simrack.wire.causes import name as cause_name
from simrack.wire.channel import LABELS
from simrack.wire.ports import Clock, Ids

COOKIE = "simrack"
FORM_FIELD = "csrf"
# Whoever is not signed in gets no further than these.
OPEN_PAGES = frozenset({
    "static", "access.sign_in_form", "access.sign_in", "access.code_form", "access.code", "access.set_up_form",
    "access.set_up", "health", "openapi_document",
})  # fmt: skip
# The longest form is a list of 5,000 prefixes with 4,000 characters of nonsense in every other field.
BODY_MOST = 512 * 1024
#: Where a whole file comes in; a form of several parts needs a little more than its file.
FILE_BODY_MOST = sim_sheet.MOST_OCTETS + 64 * 1024
FILE_ENDPOINTS = frozenset({"imports.upload", "api_sims.import_sims"})
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """Everything that pages work with."""

    settings: WebSettings
    accounts: Accounts
    desk: Desk
    feed: Feed
    live: Live
    clock: Clock
    ids: Ids
    times: text.Times


def room() -> Room:
    """The room of the application that serves this request."""
    return cast(Room, current_app.extensions["simrack"])


def me() -> Session:
    """Who is signed in; only for pages behind the guard."""
    return cast(Session, g.session)


def who() -> Who:
    """Who acts and from where, for acts that are written down."""
    return Who(me().actor, request.remote_addr or "")


def own() -> Own:
    """Whose rows who is signed in sees; every query of calls, records and figures takes it."""
    return me().own(room().desk.names().plan_owners)


def mask() -> Mask:
    """What of a row they read; every row passes through it before a page, a CSV or the API shows it."""
    return me().mask()


def names() -> Names:
    """Titles of what they may know the name of: for words on pages and for the choices of a filter."""
    whole, bounds = room().desk.names(), own()
    if not bounds.everything:
        senders = {name: title for name, title in whole.senders.items() if bounds.senders is None or name in bounds.senders}
        plans = {name: title for name, title in whole.plans.items() if bounds.sees_plan(name)}
        cards = {card: plan for card, plan in whole.sim_plans.items() if plan in plans}
        ranges = {prefix: plan for prefix, plan in whole.imsi_plans.items() if plan in plans}
        whole = replace(whole, senders=senders, plans=plans, sim_plans=cards, imsi_plans=ranges, plan_owners={})
    return mask().names(whole)


def create_app(the_room: Room) -> OpenAPI:
    from simrack.web import (
        api,
        pages_access,
        pages_account,
        pages_accounts,
        pages_alarms,
        pages_analyse,
        pages_audit,
        pages_calls,
        pages_entries,
        pages_gateways,
        pages_imports,
        pages_listen,
        pages_logs,
        pages_rack,
        pages_records,
        pages_routing,
        pages_setting_up,
        pages_settings,
        pages_statistics,
        pages_test_call,
        pages_trace,
    )
    from simrack.web.api import common

    app = OpenAPI(
        __name__, info=Info(title="simrack", version="1", summary="The control room's HTTP API"), doc_ui=False,
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        validation_error_callback=common.invalid, validation_error_model=common.Problem,
    )  # fmt: skip
    serve_room(app, the_room)
    app.url_map.converters["int"] = gate.Number
    app.config.update(MAX_CONTENT_LENGTH=BODY_MOST, MAX_FORM_MEMORY_SIZE=BODY_MOST)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    _words(app, the_room)
    app.before_request(_check_host)
    app.before_request(_identify)
    app.before_request(_check_address)
    app.before_request(_check_right)
    app.before_request(_admit_file)
    app.before_request(_check_form)
    app.before_request(common.answered_before)
    app.after_request(_protect)
    app.after_request(common.keep_answer)
    app.register_error_handler(StoreDown, _database_gone)
    app.register_error_handler(StoreRefused, _not_taken)
    app.register_error_handler(HTTPException, _http_error)
    app.add_url_rule("/healthz", "health", _health)
    app.add_url_rule("/openapi.json", "openapi_document", lambda: common.described(app.api_doc))
    for module in (pages_access, pages_alarms, pages_analyse, pages_audit, pages_logs, pages_account, pages_accounts, pages_rack, pages_calls, pages_gateways, pages_imports, pages_listen, pages_records, pages_statistics, pages_test_call, pages_trace, pages_entries, pages_routing, pages_setting_up, pages_settings):
        app.register_blueprint(module.pages)
    for part in api.PARTS:
        app.register_api(part.api)
    return app


def serve_room(app: Flask, the_room: Room) -> None:
    """Have the application serve this room, in the time zone that it was made for."""
    # What services keep is of one room; an application may come from another one.
    for kept in [name for name in app.extensions if name.startswith("simrack.")]:
        del app.extensions[kept]
    app.extensions["simrack"] = the_room
    app.extensions["ears"] = Ears(the_room.settings.media_host, the_room.clock, the_room.ids)
    app.extensions["phone"] = Phone(the_room.clock, the_room.ids, the_room.settings.test_calls.at_a_time)


def _words(app: Flask, the_room: Room) -> None:
    """What every template may use; set on the environment, because the live thread draws without a request."""
    times = the_room.times
    app.jinja_env.filters.update(
        clock=text.clock_text, clock_ms=text.clock_ms, seconds=text.seconds_text, offset=text.offset_text,
        percent=text.percent, number=text.number_text, mark=text.mark_text, rung=text.rung_text, iccid=text.iccid_text, at=times.at, day=times.day,
        full=times.full, stamp_ms=times.stamp_ms, utc=times.utc, iso=times.iso, short=times.short, pairs=_pairs, coded=text.coded,
    )  # fmt: skip
    static = Path(cast(str, app.static_folder))
    app.jinja_env.globals.update(
        version=_static_version(static), zone=times.zone.key, zone_name=times.name, legend=cells.LEGEND,
        labels=LABELS, looks=cells.LOOKS, mark_labels=cells.MARK_LABELS, cause_name=cause_name, criterion_title=_criterion_title, DASH=text.DASH, dict=dict,
    )  # fmt: skip
    # The live thread draws with these, and its loop must not wait for a disk.
    app.jinja_env.auto_reload = False
    for template in ("macros.html", "live/cells.html", "live/overview.html", "live/tiles.html", "live/top.html"):
        app.jinja_env.get_template(template)
    app.context_processor(_page_words)


def _criterion_title(name: str) -> str:
    """What an order criterion means; an older record may name one that is gone."""
    found = BY_NAME.get(name)
    return found.title if found is not None else name.replace("-", " ")


def _pairs(values: list[str]) -> list[tuple[str, str]]:
    """Choices whose words are their values."""
    return [(value, value) for value in values]


def _page_words() -> dict[str, Any]:
    cookie = getattr(g, "cookie", "")
    here = room()
    return {
        "session": getattr(g, "session", None),
        "menu": menu(who.may) if (who := getattr(g, "session", None)) is not None else Menu(),
        "csrf": form_token(cookie) if cookie else "",
        "theme": theme if (theme := request.cookies.get("theme")) in ("light", "dark") else "",
        "wall": "wall" in request.args,
        "place": here.feed.place,
        "rack": here.desk.model.snapshot(),
        "now": here.clock.utc(),
    }


def _static_version(static: Path) -> str:
    """Digest of all static files: a browser keeps them until one changes."""
    whole = hashlib.sha256()
    for path in sorted(static.rglob("*")):
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()[:12]


def wants_part(target: str) -> bool:
    """The request is htmx asking for the part of the page with this id."""
    return request.headers.get("HX-Target") == target


def is_api() -> bool:
    return request.path.startswith("/api/")


def _check_host() -> None:
    """A name that is not ours comes from DNS rebinding: a foreign page that reaches into this network."""
    settings = room().settings
    allowed = {urlsplit(settings.public_url).hostname} if settings.public_url else set()
    if not settings.public_url and settings.address[0] in LOOPBACK:
        allowed = {*LOOPBACK}
    host = urlsplit(f"//{request.host}").hostname
    if allowed and host not in allowed:
        raise BadRequest(f"This control room is not known as {host}." if "Host" in request.headers else "The request names no host.")


def _identify() -> AnyResponse | None:
    g.session, g.cookie = None, request.cookies.get(COOKIE, "")
    if request.endpoint == "static":
        return None
    bearer = request.headers.get("Authorization", "")
    if is_api() and bearer.startswith("Bearer "):
        g.session = room().accounts.bearer(bearer.removeprefix("Bearer "))
    elif g.cookie:
        g.session = room().accounts.session(g.cookie)
    if g.session is not None and g.session.half:
        # Known by password alone: the second step is all that is open.
        g.half, g.session = g.session, None
    if g.session is None and request.endpoint not in OPEN_PAGES:
        return _sign_in_first()
    if g.session is None and not g.cookie:
        # Forms before sign-in need something to bind their token to; sign-in replaces it.
        g.cookie = g.new_cookie = room().ids.token(32)
    return None


def _check_address() -> None:
    """Nothing is called by a NUL, and PostgreSQL would not even look."""
    if "\0" in request.path:
        abort(404)


def _check_right() -> AnyResponse | None:
    if request.endpoint is None or request.endpoint in OPEN_PAGES or g.session is None:
        return None
    first = gate.check_first()
    if first is None:
        gate.check_right()
    return first


def _sign_in_first() -> AnyResponse:
    if is_api():
        return problem(401, "Sign in first", "Send a session cookie or Authorization: Bearer TOKEN.")
    if request.endpoint == "rack.stream" and g.cookie:
        # A page of somebody who came back after the session had ended: it leads to the door, and back.
        return Response("event: signed-out\ndata: now\n\n", mimetype="text/event-stream")
    if "HX-Request" in request.headers:
        # What somebody has typed stays on the page; app.js offers to sign in beside it.
        return Response(status=401, headers={"HX-Redirect": "/sign-in"} if request.method == "GET" else {})
    # After a form: the page that it stands on, where app.js puts back what was typed.
    wanted = request.full_path.rstrip("?") if request.method == "GET" else _form_page() or "/"
    return redirect(f"/sign-in?next={_quoted(wanted)}" if wanted != "/" else "/sign-in")


def _form_page() -> str:
    """The page of ours that a form was sent from; "" if it does not say so."""
    came = urlsplit(request.referrer or "")
    if came.netloc != request.host or not came.path.startswith("/") or came.path.startswith(("//", "/sign-in", "/setup")):
        return ""
    return f"{came.path}?{came.query}" if came.query else came.path


def _quoted(path: str) -> str:
    return quote(path, safe="/")


def _admit_file() -> None:
    """Files are longer than forms; whoever may not send one was turned away before."""
    if request.endpoint in FILE_ENDPOINTS:
        request.max_content_length = FILE_BODY_MOST


def _check_form() -> None:
    """A form of a foreign page carries no token; a bearer has no cookie that could be misused."""
    if request.method in ("GET", "HEAD", "OPTIONS") or (g.session is not None and g.session.api):
        return
    sent = request.form.get(FORM_FIELD) or request.headers.get("X-CSRF-Token", "")
    if not g.cookie or not same(sent, form_token(g.cookie)):
        if g.session is not None and "HX-Request" in request.headers:
            # Signed in anew in another tab. A foreign page can neither set this header nor read the answer.
            abort(Response("Signed in anew.", 400, headers={"X-CSRF-Token": form_token(g.cookie)}))
        g.back = _form_page() if g.session is not None else ""
        if g.back:
            raise BadRequest("You have signed in again since this form was opened, so nothing was sent. Go back to it: what you typed comes back.")
        raise BadRequest("This form is too old or came from another page. Load the page again and repeat.")


def _protect(response: Response) -> Response:
    response.headers.update(HEADERS)
    if getattr(g, "microphone", False):
        response.headers["Permissions-Policy"] = MICROPHONE
    if room().settings.secure:
        response.headers["Strict-Transport-Security"] = HSTS
    if request.endpoint == "static":
        response.cache_control.public = True
        response.cache_control.max_age = 31_536_000 if "v" in request.args else 300
        response.cache_control.no_cache = None
    else:
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.update(("HX-Request", "HX-Target", "Cookie"))
    if getattr(g, "new_cookie", ""):
        set_cookie(response, g.new_cookie)
    return response


def set_cookie(response: AnyResponse, cookie: str) -> None:
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax", secure=room().settings.secure, path="/")


def problem(status: int, title: str, detail: str) -> Response:
    """An error of the API (RFC 9457)."""
    body = current_app.json.dumps({"status": status, "title": title, "detail": detail})
    return Response(body, status, mimetype="application/problem+json")


def _http_error(error: HTTPException) -> AnyResponse:
    if error.response is not None or error.code is None or error.code < 400:
        return error.get_response()
    said = isinstance(error, BadRequest) or (isinstance(error, Forbidden) and error.description != Forbidden.description)
    what = error.description if said else None
    return _failure(error.code, error.name, what or _WHAT.get(error.code, "This did not work."))


_WHAT = {
    403: "Your account has no right to this. Ask an administrator, or sign in as somebody else.",
    404: "There is nothing at this address. It may have been mistyped, or the thing is gone.",
    405: "This address can't be used that way.",
    413: f"That is larger than anything that is taken here: a form is up to {BODY_MOST // 1024} KB, a file of SIMs up to {sim_sheet.MOST_OCTETS // 2**20} MB.",
    500: "The control room made a mistake; it is in its log. Trying again may help.",
}


def _database_gone(error: StoreDown) -> AnyResponse:
    log.warning("page without database", path=request.path, error=str(error))
    return _failure(
        503, "The database can't be read now",
        "The rack goes on working and the Rack page stays live. This page comes back by itself with the database.",
    )  # fmt: skip


def _not_taken(error: StoreRefused) -> AnyResponse:
    """Two people did the same at one moment, or something came that no field lets in."""
    log.warning("row not taken", path=request.path, error=str(error))
    return _failure(409, "This can't be kept", "Somebody did the same at this moment, or a sign in it can't be stored. Go back, load the page again and repeat.")


def _failure(status: int, title: str, what: str) -> AnyResponse:
    if is_api():
        return problem(status, title, what)
    if getattr(g, "session", None) is None:
        g.session = None
    page = render_template("error.html", status=status, title=title, what=what, back=getattr(g, "back", ""))
    return Response(page, status=status)


def _health() -> Response:
    rack = room().desk.model.snapshot()
    return Response(current_app.json.dumps({"ok": True, "broker": rack.broker}), mimetype="application/json")
