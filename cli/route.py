"""`simrack route explain`: which way a call would go now, and why."""

import asyncio
from typing import Annotated, Any

import typer

from simrack.cli.output import JsonOption, say, say_json
from simrack.cli.places import StateOption, read_state
from simrack.cli.session import session
from simrack.wire import topics
from simrack.wire.errors import CommandFailed, UserError
from simrack.wire.mqtt import Commander, MqttBus
from simrack.wire.ports import SystemClock, SystemIds

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
