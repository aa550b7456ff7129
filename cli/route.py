"""`simrack route`: which way a call would go now, and why; routing tests."""

import asyncio
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json, table
from simrack.cli.places import StateOption, database_url, read_state
from simrack.cli.session import session
from simrack.wire import topics
from simrack.wire.errors import CommandFailed, UserError
from simrack.wire.mqtt import Commander, MqttBus
from simrack.wire.ports import SystemClock, SystemIds

if TYPE_CHECKING:
    from simrack.web.services.hands import Hand
    from simrack.web.services.route_tests import Result, RouteTest

ANSWER_S = 5.0  # most commands are answered at once
CONNECT_S = 5.0  # the broker is on this machine or one link away
app = typer.Typer(help="Look into routing.", no_args_is_help=True)


async def ask_controller(
    url: str, action: str, args: dict[str, Any], actor: str, timeout_s: float = ANSWER_S
) -> dict[str, Any]:
    """Have the controller do `action` and return its result.

    Raises:
        UserError: the broker or the controller does not answer, or the controller refuses.
    """
    ids = SystemIds()
    name = f"cli-{ids.token(4)}"
    bus = MqttBus(url, name)
    commander = Commander(bus, name, SystemClock(), ids)
    try:
        async with session(bus, url, CONNECT_S):
            reply = await commander.send(topics.controller_command(), action, args, actor=actor, timeout_s=timeout_s)
    except CommandFailed as error:
        raise UserError(str(error).rstrip("."), todo="Is the controller running? `simrack doctor` looks further.") from error
    if not reply.ok:
        raise UserError(reply.error, action)
    return reply.result


@app.callback()
def _root() -> None:
    """Look into routing."""


@app.command()
def explain(
    number: Annotated[str, typer.Argument(help="Called number, as the sender would write it.")],
    sender: Annotated[str, typer.Option(help="Traffic sender's name.")],
    caller: Annotated[str, typer.Option(help="Calling number.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain which way a call would go now. Places no call.

    Shows which checks it would pass, which channels fall out where, and the order of the rest.
    """
    from simrack.controller.models import Explanation
    from simrack.controller.routing.explain_text import explain_text
    from simrack.controller.store.queries import Queries

    facts = read_state(state)
    known = Queries(str(facts["database"])).names().senders
    if sender not in known:
        raise UserError(
            f"no sender {sender!r}; calls of an unknown sender get SIP 403", "--sender", f"Known senders: {', '.join(sorted(known)) or 'none'}."
        )
    args = {"called": number, "calling": caller, "sender": sender}
    result = asyncio.run(ask_controller(str(facts["mqtt"]), "explain", args, "cli"))
    if as_json:
        say_json(result)
        return
    say(explain_text(Explanation.model_validate(result["explanation"])))


# --- routing tests ----------------------------------------------------------------------------------------------

tests = typer.Typer(help="Routing tests: calls with the way that people count on.", no_args_is_help=True)
app.add_typer(tests, name="test")


@contextmanager
def hand_of(state: Path | None) -> Iterator["Hand"]:
    """The control room's own tables, as whoever sits at the centre's machine."""
    from simrack.controller.store.engine import write_engine
    from simrack.web.services.hands import Hand

    engine = write_engine(database_url(state))
    try:
        yield Hand(engine.begin, f"cli:{getpass.getuser()}", SystemClock().utc())
    finally:
        engine.dispose()


def _tests(state: Path | None) -> "tuple[RouteTest, ...]":
    from simrack.web.services import route_tests

    with hand_of(state) as by:
        return route_tests.all_tests(by)


@tests.command("list")
def list_tests(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the tests that are kept."""
    kept = _tests(state)
    if as_json:
        say_json({"tests": [{name: getattr(one, name) for name in _TEST} for one in kept]})
        return
    table("Routing tests", ("Number", "Name", "Sender", "Called", "Calling", "Expected"), [[getattr(one, name) for name in _TEST] for one in kept], _NO_TESTS)


_TEST = ("id", "name", "sender", "called", "calling", "expected")
_NO_TESTS = "There are none. `simrack route test add` keeps one."


@tests.command("add")
def add_test(
    number: Annotated[str, typer.Argument(help="Called number, as the sender would write it.")],
    sender: Annotated[str, typer.Option(help="Traffic sender's name.")],
    expected: Annotated[str, typer.Option(help="plan:NAME, or refused:any.")],
    caller: Annotated[str, typer.Option(help="Calling number.")] = "",
    name: Annotated[str, typer.Option(help="What it is called; default: of sender and number.")] = "",
    state: StateOption = None,
) -> None:
    """Keep a routing test."""
    from simrack.controller.store.queries import Queries
    from simrack.web.errors import BadForm
    from simrack.web.services import route_tests

    queries = Queries(database_url(state))
    try:
        with hand_of(state) as by:
            made = route_tests.add(name, sender, number, caller, expected, queries.config.table(), by)
    except BadForm as error:
        raise UserError(str(error).rstrip("."), f"--{error.field}") from error
    finally:
        queries.close()
    say(f"Routing test {made} is kept.")


@tests.command("remove")
def remove_test(number: Annotated[int, typer.Argument(help="Number of the test.")], state: StateOption = None) -> None:
    """Forget a routing test."""
    from simrack.web.services import route_tests

    with hand_of(state) as by:
        if not route_tests.remove(number, by):
            raise UserError(f"there is no routing test {number}", todo="`simrack route test list` shows them.")
    say(f"Routing test {number} is forgotten.")


@tests.command("run")
def run_tests(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Ask the controller for the way of every test. Places no call. Exit status 1: one of them fails.

    "not now" means that a module, box or SIM is missing or busy, which says nothing of patterns.
    """
    kept = _tests(state)
    results = asyncio.run(_asked(str(read_state(state)["mqtt"]), kept)) if kept else []
    if as_json:
        say_json({"tests": [{"id": one.test.id, "name": one.test.name, "expected": one.test.expected, "verdict": one.verdict, "got": one.got, "why": one.why} for one in results]})
    else:
        rows = [[one.test.id, one.test.name, one.verdict, one.test.expected, one.got, one.why] for one in results]
        table("Routing tests", ("Number", "Name", "", "Expected", "Got", "Why"), rows, _NO_TESTS)
    if any(one.verdict == "fails" for one in results):
        raise SystemExit(1)


async def _asked(url: str, kept: "tuple[RouteTest, ...]") -> "list[Result]":
    from simrack.controller.models import Explanation
    from simrack.web.services.route_tests import judged

    found = []
    for one in kept:
        args = {"called": one.called, "calling": one.calling, "sender": one.sender}
        told = await ask_controller(url, "explain", args, f"cli:{getpass.getuser()}")
        found.append(judged(one, Explanation.model_validate(told["explanation"])))
    return found
