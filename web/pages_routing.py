"""Routing beside its patterns: explain a call, routing tests, drafts; and switching SIMs on and off."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from simrack.controller.config.changes import Change
from simrack.controller.config.kinds import MODELS
from simrack.controller.models import Explanation
from simrack.web import forms
from simrack.web.app import me, names, room
from simrack.web.entry import applied_words, inventory
from simrack.web.errors import BadForm
from simrack.web.explained import bars, criteria_of
from simrack.web.needs import needs
from simrack.web.sections import BY_KIND, ROUTING_TABS
from simrack.web.services import configuration, drafts, route_tests
from simrack.web.services.inventory import href
from simrack.web.services.live import which_way
from simrack.web.text import iccid_text

pages = Blueprint("routing", __name__)

#: A call's fields; longer than any number, shorter than a form that hurts.
FIELD_MOST = 100
MOST_SWITCHED = 500


# --- explain ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """A call that nobody makes."""

    sender: str = ""
    called: str = ""
    calling: str = ""

    @property
    def asked(self) -> bool:
        return bool(self.sender and self.called)

    def mistakes(self) -> dict[str, str]:
        wrong = {}
        for name in ("called", "calling"):
            value = str(getattr(self, name))
            if len(value) > FIELD_MOST or not value.isprintable():
                wrong[name] = f"A number of up to {FIELD_MOST} signs."
        if self.sender and self.sender not in configuration.table().senders:
            wrong["sender"] = "There is no such sender."
        return wrong


def question() -> Question:
    """What the address asks."""
    return Question(**{name: request.args.get(name, "").strip() for name in ("sender", "called", "calling")})


def explained(asked: Question) -> tuple[Explanation | None, str]:
    """The controller's explanation, or why there is none."""
    return which_way({"sender": asked.sender, "called": asked.called, "calling": asked.calling})


@pages.get("/routing/explain")
@needs("routing.explain")
def explain() -> str:
    asked = question()
    wrong = asked.mistakes() if asked.asked else {}
    if "called" in request.args and not asked.called:
        wrong["called"] = "Which number is called?"
    told, error = explained(asked) if asked.asked and not wrong else (None, "")
    criteria, equal = criteria_of(told)
    return render_template(
        "explain.html", asked=asked, wrong=wrong, told=told, error=error, funnel=tuple(bars(told)), criteria=criteria,
        equal=equal, names=names(), senders=inventory().choices()["sender"], tabs_of=ROUTING_TABS,
        numbers=_numbers(asked.sender), expected=_expected(told),
    )  # fmt: skip


def _numbers(sender: str) -> tuple[str, ...]:
    """Numbers that the sender may present, to choose from."""
    known = configuration.table().senders.get(sender)
    return tuple(number for number in known.numbers if number[-1:].isdecimal() and "-" not in number)[:50] if known is not None else ()


def _expected(told: Explanation | None) -> str:
    """What a routing test of this call would expect."""
    if told is None:
        return ""
    return route_tests.ANY_REFUSAL if told.refusal is not None else f"{route_tests.PLAN}{told.order[0].plan}"


# --- routing tests ----------------------------------------------------------------------------------------------


@pages.get("/routing/tests")
@needs("routing.explain")
def tests() -> str:
    return _tests({}, {})


def _tests(values: dict[str, str], wrong: dict[str, str]) -> str:
    of = inventory()
    here = room()
    results = route_tests.run(route_tests.all_tests(), of.table, here.desk.model.snapshot(), here.clock.utc())
    return render_template(
        "route_tests.html", results=results, totals=route_tests.totals(results), values=values, wrong=wrong, tabs_of=ROUTING_TABS,
        senders=of.choices()["sender"], plans=of.choices()["plan"], may_change=me().may("routing.change"), title_of=_outcome,
    )  # fmt: skip


def _outcome(outcome: str) -> str:
    """An expectation or an answer in words."""
    if outcome.startswith(route_tests.PLAN):
        name = outcome.removeprefix(route_tests.PLAN)
        return inventory().title("plan", name)
    return "refused" if outcome == route_tests.ANY_REFUSAL else f"refused: {outcome.removeprefix(route_tests.REFUSED).replace('-', ' ')}"


@pages.post("/routing/tests")
@needs("routing.change")
def add_test() -> AnyResponse:
    values = {name: request.form.get(name, "").strip() for name in ("name", "sender", "called", "calling", "expected")}
    try:
        route_tests.add(
            values["name"], values["sender"], values["called"], values["calling"], values["expected"], configuration.table()
        )
    except BadForm as error:
        return make_response(_tests(values, {error.field: str(error)}), 422)
    return redirect("/routing/tests", 303)


@pages.post("/routing/tests/<int:number>/remove")
@needs("routing.change")
def remove_test(number: int) -> AnyResponse:
    if not route_tests.remove(number):
        abort(404)
    return redirect("/routing/tests", 303)


# --- drafts -----------------------------------------------------------------------------------------------------


@pages.get("/routing/drafts")
@needs("routing.see")
def draft_list() -> str:
    return render_template("drafts.html", drafts=drafts.all_drafts(), tabs_of=ROUTING_TABS, may_change=me().may("routing.change"))


@pages.get("/routing/drafts/<int:number>")
@needs("routing.see")
def draft(number: int) -> str:
    return _draft(_known(number))


def _known(number: int) -> drafts.DraftView:
    found = drafts.one(number)
    if found is None:
        abort(404)
    return found


def _draft(found: drafts.DraftView, error: str = "") -> str:
    open_now = found.state == drafts.OPEN
    look = configuration.look(found.changes) if open_now and found.changes else None
    here = room()
    results: tuple[route_tests.Result, ...] = ()
    if look is not None and look.ok:
        table = drafts.table_with(found.changes)
        results = route_tests.run(route_tests.all_tests(), table, here.desk.model.snapshot(), here.clock.utc())
    return render_template(
        "draft.html", draft=found, look=look, rows=_rows(found), error=error, tabs_of=ROUTING_TABS, results=results,
        totals=route_tests.totals(results), title_of=_outcome, lacking=configuration.lacking(found.changes),
        impact=configuration.impact(found.changes) if look is not None and look.ok else None, may_change=me().may("routing.change"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change of a draft as it is shown."""

    place: int
    change: Change
    title: str
    address: str
    differences: tuple[forms.Difference, ...]


def _rows(found: drafts.DraftView) -> list[ChangeRow]:
    of = inventory()
    rows = []
    for place, change in enumerate(found.changes):
        model = MODELS[change.kind]
        now = configuration.entry(change.kind, change.name)
        differences = forms.differences(model, now.body if now else None, change.body if change.op == "set" else None, of.choices())
        title = str(change.body.get("title") or change.body.get("name") or change.name)
        address = href(change.kind, change.name) if now is not None and change.kind in BY_KIND else ""
        rows.append(ChangeRow(place, change, title, address, differences))
    return rows


@pages.post("/routing/drafts/<int:number>")
@needs("routing.change")
def draft_act(number: int) -> AnyResponse:
    found = _known(number)
    act, _, more = request.form.get("act", "").partition(":")
    if found.state != drafts.OPEN:
        return make_response(_draft(found, "This draft is closed."), 409)
    if act == "apply":
        return _apply(found)
    if act == "drop":
        drafts.close(number, drafts.DROPPED)
        return redirect("/routing/drafts", 303)
    done = drafts.rebase(number) if act == "rebase" else act == "without" and more.isdecimal() and drafts.without(number, int(more[:6]))
    if not done:
        abort(400, description="There is no such button.")
    return redirect(f"/routing/drafts/{number}", 303)


def _apply(found: drafts.DraftView) -> AnyResponse:
    lacking = configuration.lacking(found.changes)
    if lacking:
        return make_response(_draft(found, f"Your account has no right to: {', '.join(lacking)}."), 403)
    done = configuration.apply(found.changes, found.note)
    if not done.ok:
        return make_response(_draft(found, f"Nothing was changed: {applied_words(done)}."), 409)
    drafts.close(found.id, drafts.APPLIED)
    return redirect(f"/routing/drafts/{found.id}?{urlencode({'done': done.version})}", 303)


# --- SIMs on and off --------------------------------------------------------------------------------------------


@pages.post("/sims/switch")
@needs("sims.change")
def switch() -> AnyResponse:
    on = request.form.get("to") == "on"
    asked = list(dict.fromkeys(request.form.getlist("name")))[:MOST_SWITCHED]
    of = inventory()
    if any(name not in of.cards for name in asked):
        abort(404)
    changes = [change for name in asked if (change := _switched(name, on, of.cards[name][2])) is not None]
    if changes and request.form.get("sure"):
        done = configuration.apply(changes, request.form.get("note", "")[:200])
        if done.ok:
            return _back(done.version)
        return _switch_page(on, asked, changes, applied_words(done), 502)
    return _switch_page(on, asked, changes, "", 200)


def _switched(name: str, on: bool, plan: Any) -> Change | None:
    """The change of one card; None where it is so already."""
    stored = configuration.entry("sim", name)
    body = dict(stored.body) if stored is not None else {"iccid": name, "plan": plan.name} if plan is not None else {}
    if not body or bool(body.get("enabled", True)) == on:
        return None
    change, _ = configuration.change("sim", name, {**body, "enabled": on}, stored.digest if stored is not None else "")
    return change


def _switch_page(on: bool, asked: list[str], changes: list[Change], error: str, status: int) -> AnyResponse:
    of = inventory()
    busy = sum(1 for change in changes if (report := of.cards[change.name][1]) is not None and report.call is not None)
    cards = [(change.name, _card_words(of, change.name)) for change in changes]
    part = request.headers.get("HX-Target") == "dialog"
    page = render_template(
        "switch_part.html" if part else "switch.html", on=on, cards=cards, busy=busy, chosen=len(asked), error=error,
        note=request.form.get("note", "")[:200],
    )  # fmt: skip
    return make_response(page, status)


def _card_words(of: Any, iccid: str) -> str:
    _, report, plan = of.cards[iccid]
    place = f", {report.box} / {report.channel}" if report is not None else ""
    return f"{iccid_text(iccid)}{', ' + of.title('plan', plan.name) if plan is not None else ''}{place}"


def _back(version: int | None) -> AnyResponse:
    here = urlsplit(request.headers.get("HX-Current-URL", ""))
    address = f"/sims?{urlencode({'done': version})}"
    if here.path == "/sims" and here.query and "done=" not in here.query:
        address = f"/sims?{here.query}&{urlencode({'done': version})}"
    if request.headers.get("HX-Request") == "true":
        return Response(status=204, headers={"HX-Redirect": address})
    return redirect(address, 303)
