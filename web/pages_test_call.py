"""A test call: a person calls as a sender for tests, hears it in the browser, and sees what became of it."""

from flask import Blueprint, Response, abort, current_app, g, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.models import Explanation
from simrack.controller.routing.decision import Over, read_over
from simrack.web.app import mask, me, names, own, room
from simrack.web.errors import BadForm
from simrack.web.needs import needs
from simrack.web.phone import NotPlaced, PhoneCall
from simrack.web.services import configuration, over, test_calls
from simrack.web.services.test_calls import Wish

pages = Blueprint("test_call", __name__)

#: Keys of a telephone (RFC 4733); more at a time than anybody presses.
KEYS, MOST_KEYS = frozenset("0123456789*#"), 20
SHOWN = 10


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
    chosen, wrong = _asked_over()
    return render_template(
        "test_call.html", callers=test_calls.callers(table), missing=test_calls.missing(table), voices=test_calls.VOICES,
        limits=test_calls.limits(), number=request.args.get("number", "")[:100], sender=request.args.get("sender", ""),
        running=next((call for call in mine if not call.is_over), None), calls=[call for call in mine if call.is_over][:SHOWN],
        states=test_calls.STATES, configured=bool(table.version), wrong_over=wrong,
        choice=over.choice(chosen, request.args.get("box", ""), names()), may_choose=not mask().hides("box"),
    )  # fmt: skip


def _asked_over() -> tuple[Over | None, str]:
    """What the address says that the call is to go over, or what is wrong with that."""
    given = request.args
    try:
        if "part" in given:
            return over.read_chosen(given.get("box", ""), given["part"]), ""
        return over.read(given.get("box", ""), given.get("channel", ""), given.get("iccid", "")), ""
    except BadForm as wrong:
        return None, str(wrong)


@pages.get("/test-call/way")
@needs("calls.test")
def way() -> str:
    """Which way the call would go, before anybody places it."""
    error, number = "", ""
    try:
        number = test_calls.read_number(request.args.get("number", ""))
    except BadForm as wrong:
        error = str(wrong) if request.args.get("number", "").strip() else ""
    bound, wrong_over = _asked_over()
    error = error or wrong_over
    caller = next((one for one in test_calls.callers(configuration.table()) if one.name == request.args.get("sender", "")), None)
    if error or not number or caller is None:
        return render_template("test_call_way.html", told=None, error=error, names=names(), caller=caller)
    told, failed = test_calls.way_of(number, caller, bound)
    return render_template(
        "test_call_way.html", told=told, error="", failed=failed, names=names(), caller=caller, bound=bound,
        refused=_refused(told, bound) if told is not None else "",
    )  # fmt: skip


def _refused(told: Explanation, bound: Over | None) -> str:
    """Why a call is refused, in people's words."""
    if told.refusal is None:
        return ""
    return over.missing_words(bound) if bound is not None and told.refusal.reason == over.NOT_THERE else told.refusal.text


@pages.post("/test-call")
@needs("calls.test")
def place() -> Response:
    """Take the browser's offer, answer it, dial once the browser hears."""
    given = request.get_json(silent=True)
    body = given if isinstance(given, dict) else {}
    number, sender, voice, offer, box, part = (str(body.get(name) or "") for name in ("number", "sender", "voice", "sdp", "box", "part"))
    if not offer:
        return answer(400, error="Your browser sent no offer.")
    try:
        call, sdp = test_calls.place(Wish(number, sender, voice, offer=offer, over=over.read_chosen(box, part)))
    except BadForm as wrong:
        return answer(200, error=str(wrong), field=wrong.field.partition(".")[0])
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
    why = _refused(story.explanation, read_over(call.order.over)) if story is not None and story.explanation is not None else ""
    return render_template("test_call_result.html", call=call, found=found, pdd=test_calls.pdd_ms(call), story=story, names=names(), refused=why)


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
