"""What pages and API share of the live side: the rack as far as somebody sees it, and having something done."""

from collections.abc import Mapping
from typing import Any

from simrack.controller.models import Explanation
from simrack.web.app import mask, me, own, room
from simrack.web.rack import Rack
from simrack.wire import topics
from simrack.wire.errors import CommandFailed


def visible() -> Rack:
    """The rack as far as whoever is signed in may see it."""
    desk = room().desk
    return desk.model.snapshot().within(own(), mask(), desk.names())


def ask(action: str, args: dict[str, Any]) -> Mapping[str, Any]:
    """Have the controller do it, as whoever is signed in. Raises `CommandFailed` with the reason."""
    reply = room().live.command(topics.controller_command(), action, args, actor=me().actor)
    if not reply.ok:
        raise CommandFailed(reply.error or "the controller refused it")
    return reply.result


def which_way(asked: dict[str, Any]) -> tuple[Explanation | None, str]:
    """The controller's explanation of which way a call would go, or why there is none."""
    try:
        told = ask("explain", asked).get("explanation")
    except CommandFailed as failed:
        return None, str(failed)
    # A controller of another release may answer otherwise.
    return (Explanation.model_validate(told), "") if told is not None else (None, "the controller explained nothing")
