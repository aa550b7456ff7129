"""A test call: a person calls as a sender for tests, hears it in the browser, and sees what became of it."""

from flask import Blueprint, Response, abort, current_app, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.web.app import mask, me, names, own, room
from simrack.web.errors import BadForm
from simrack.web.needs import needs
from simrack.web.phone import NotPlaced, PhoneCall
from simrack.web.services import configuration, test_calls
from simrack.web.services.live import visible
from simrack.web.services.test_calls import Wish

pages = Blueprint("test_call", __name__)

#: Keys of a telephone (RFC 4733); more at a time than anybody presses.
KEYS, MOST_KEYS = frozenset("0123456789*#"), 20
SHOWN = 10
#: Offered while somebody types; any other can be written.
MOST_BOXES = 200


@pages.app_context_processor
def words() -> dict[str, object]:
    """What every page marks the calls of senders for tests with."""
    return {"is_test": is_test}


def is_test(sender: str) -> bool:
    """Whether calls of this sender are tests."""
    if "test_senders" not in g:
        g.test_senders = test_calls.marked()
    return sender in g.test_senders


def answer(status: int, **said: object) -> Response:
    """JSON for the page's script."""
    return Response(current_app.json.dumps(said), status, mimetype="application/json")


@pages.get("/test-call")
@needs("calls.test")
def page() -> str:
    g.microphone = True
    table = configuration.table()
    mine = test_calls.phone().of(me().user_id)
    return render_template(
        "test_call.html", callers=test_calls.callers(table), missing=test_calls.missing(table), voices=test_calls.VOICES,
        limits=test_calls.limits(), number=request.args.get("number", "")[:100], sender=request.args.get("sender", ""),
        running=next((call for call in mine if not call.is_over), None), calls=[call for call in mine if call.is_over][:SHOWN],
        states=test_calls.STATES, over=request.args.get("over", "")[:100], boxes=sorted(visible().boxes)[:MOST_BOXES], configured=bool(table.version),
    )  # fmt: skip


@pages.get("/test-call/way")
@needs("calls.test")
def way() -> str:
    """Which way the call would go, before anybody places it."""
    error, number, over = "", "", ""
    try:
        number = test_calls.read_number(request.args.get("number", ""))
    except BadForm as wrong:
        error = str(wrong) if request.args.get("number", "").strip() else ""
    try:
        over = test_calls.read_over(request.args.get("over", ""))
    except BadForm as wrong:
        error = error or str(wrong)
    caller = next((one for one in test_calls.callers(configuration.table()) if one.name == request.args.get("sender", "")), None)
    if error or not number or caller is None:
        return render_template("test_call_way.html", told=None, error=error, names=names(), caller=caller)
    told, failed = test_calls.way_of(number, caller, over)
    return render_template("test_call_way.html", told=told, error="", failed=failed, names=names(), caller=caller)


@pages.post("/test-call")
@needs("calls.test")
def place() -> Response:
    """Take the browser's offer, answer it, dial once the browser hears."""
    given = request.get_json(silent=True)
    body = given if isinstance(given, dict) else {}
    number, sender, voice, offer, over = (str(body.get(name) or "") for name in ("number", "sender", "voice", "sdp", "over"))
    wish = Wish(number, sender, voice, offer=offer, over=over)
    if not wish.offer:
        return answer(400, error="Your browser sent no offer.")
    try:
        call, sdp = test_calls.place(wish)
    except BadForm as wrong:
        return answer(200, error=str(wrong), field=wrong.field)
    except NotPlaced as why:
        return answer(200, error=f"Not placed: {why}.")
    return answer(200, sdp=sdp, **test_calls.told(call))


def _mine(id_: str) -> PhoneCall:
    found = test_calls.phone().find(id_, me().user_id)
    if found is None:
        abort(404)
    return found


@pages.get("/test-call/<id_>")
@needs("calls.test")
def state(id_: str) -> Response:
    """How it goes."""
    return answer(200, **test_calls.told(_mine(id_)))


@pages.get("/test-call/<id_>/result")
@needs("calls.test")
def result(id_: str) -> str:
    """What became of it; the record comes some moments after the end."""
    call = _mine(id_)
    found = test_calls.outcome_of(call) if call.is_over else test_calls.Outcome()
    story = mask().story(found.story, own(), room().desk.names()) if found.story is not None else None
    return render_template("test_call_result.html", call=call, found=found, pdd=test_calls.pdd_ms(call), story=story, names=names())


@pages.post("/test-call/<id_>/hang-up")
@needs("calls.test")
def hang_up(id_: str) -> AnyResponse:
    found = test_calls.phone().find(id_, me().user_id)
    if found is not None:
        test_calls.phone().hang_up(found)
    if request.form.get("back"):
        return redirect("/test-call", 303)
    return Response(status=204)


@pages.post("/test-call/<id_>/press")
@needs("calls.test")
def press(id_: str) -> Response:
    """A key of the telephone."""
    call = _mine(id_)
    given = request.get_json(silent=True)
    keys = str(given.get("keys") or "") if isinstance(given, dict) else ""
    if not keys or len(keys) > MOST_KEYS or not KEYS.issuperset(keys):
        return answer(400, error="Keys are 0 to 9, * and #.")
    try:
        test_calls.phone().press(call, keys)
    except NotPlaced as why:
        return answer(200, error=f"Not sent: {why}.")
    return answer(200)
