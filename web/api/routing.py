"""Routing beside its entries: explain a call, routing tests, cards as the rack reports them."""

from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.models import Explanation
from simrack.web.api.common import as_json, part
from simrack.web.app import problem, room
from simrack.web.entry import inventory
from simrack.web.errors import BadForm
from simrack.web.needs import needs
from simrack.web.pages_routing import FIELD_MOST, Question, explained
from simrack.web.services import configuration, route_tests
from simrack.web.services.inventory import Inventory, sim_state

api = part("routing", "routing")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ExplainQuery(_Asked):
    """A call that nobody makes."""

    sender: str = Field(min_length=1, max_length=FIELD_MOST)
    called: str = Field(min_length=1, max_length=FIELD_MOST, description="as the sender would write it")
    calling: str = Field("", max_length=FIELD_MOST)


class ExplainOut(BaseModel):
    """Which way it would go."""

    explanation: Explanation


class RouteTestIn(_Asked):
    """A routing test. `expected` is plan:NAME or refused:any."""

    sender: str = Field(max_length=FIELD_MOST)
    called: str = Field(max_length=FIELD_MOST)
    calling: str = Field("", max_length=FIELD_MOST)
    expected: str = Field(max_length=FIELD_MOST)
    name: str = Field("", max_length=route_tests.NAME_MOST)


class RouteTestOut(BaseModel):
    """A routing test with its answer under the configuration in force, asked as if no call were on."""

    id: int
    name: str
    sender: str
    called: str
    calling: str
    expected: str
    verdict: Literal["passes", "fails", "not now"]
    got: str
    why: str


class RouteTestsOut(BaseModel):
    """All routing tests."""

    tests: list[RouteTestOut]


class RouteTestMade(BaseModel):
    """The number of a test that was kept."""

    id: int


class RouteTestPath(BaseModel):
    """A test's number."""

    number: int = Field(ge=1, le=2**31)


@api.get("/routing/explain", responses={"200": ExplainOut, "422": None, "502": None}, summary="Explain which way a call would go now")
@needs("routing.explain")
def explain(query: ExplainQuery) -> Response:
    asked = Question(query.sender, query.called, query.calling)
    wrong = asked.mistakes()
    if wrong:
        return problem(422, "This call can't be explained", "; ".join(f"{name}: {text}" for name, text in wrong.items()))
    told, error = explained(asked)
    return as_json(ExplainOut(explanation=told)) if told is not None else problem(502, "The controller did not explain it", error)


@api.get("/routing/tests", responses={"200": RouteTestsOut}, summary="Routing tests with their answers")
@needs("routing.explain")
def tests() -> Response:
    here = room()
    results = route_tests.run(route_tests.all_tests(), configuration.table(), here.desk.model.snapshot(), here.clock.utc())
    return as_json(RouteTestsOut(tests=[_out(one) for one in results]))


def _out(result: route_tests.Result) -> RouteTestOut:
    test = result.test
    return RouteTestOut(
        id=test.id, name=test.name, sender=test.sender, called=test.called, calling=test.calling, expected=test.expected,
        verdict=result.verdict, got=result.got, why=result.why,
    )  # fmt: skip


@api.post("/routing/tests", responses={"201": RouteTestMade, "422": None}, summary="Keep a routing test")
@needs("routing.change")
def add_test(body: RouteTestIn) -> Response:
    try:
        made = route_tests.add(body.name, body.sender, body.called, body.calling, body.expected, configuration.table())
    except BadForm as error:
        return problem(422, "This test can't be kept", f"{error.field}: {error}")
    return as_json(RouteTestMade(id=made), 201)


@api.delete("/routing/tests/<int:number>", responses={"204": None, "404": None}, summary="Forget a routing test")
@needs("routing.change")
def remove_test(path: RouteTestPath) -> Response:
    if not route_tests.remove(path.number):
        return problem(404, "No such test", f"There is no routing test {path.number}.")
    return Response(status=204)


class CardOut(BaseModel):
    """One SIM with its state, as the SIMs page shows it."""

    iccid: str
    plan: str
    state: str
    box: str
    channel: int | None
    number: str


class CardsOut(BaseModel):
    """All cards that the configuration or the rack knows, as far as the account sees them."""

    sims: list[CardOut]
    next: str = ""


class CardsQuery(_Asked):
    """A page of cards by ICCID."""

    after: str = Field("", max_length=20)
    limit: int = Field(100, ge=1, le=500)


@api.get("/sims", responses={"200": CardsOut}, summary="SIMs with their state and place")
@needs("sims.see")
def cards(query: CardsQuery) -> Response:
    of = inventory()
    if of.mask.hides("iccid"):
        return problem(403, "Forbidden", "SIMs are hidden from this account.")
    names = sorted(name for name in of.cards if name > query.after)
    rows = [_card(of, name) for name in names[: query.limit]]
    return as_json(CardsOut(sims=rows, next=rows[-1].iccid if len(names) > query.limit else ""))


def _card(of: Inventory, name: str) -> CardOut:
    sim, report, plan = of.cards[name]
    number = report.sim.msisdn if report is not None and report.sim is not None else ""
    return CardOut(
        iccid=name, plan=plan.name if plan is not None else "", state=sim_state(sim, report, plan).text,
        box=report.box if report is not None else "", channel=report.channel if report is not None else None,
        number=of.mask.number(number),
    )  # fmt: skip
