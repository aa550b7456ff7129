"""The command `listen`: a person hears a call in progress, where its sender's record gives the legal basis.

The box copies the voice to the address that the control room names; the call is marked for as long as it is kept.
"""

from collections.abc import Callable
from typing import Any

import structlog

from simrack.controller.calls.commands import BOX_TIMEOUT_S, Args, CommandRefused, text_of
from simrack.controller.calls.conversation import Conversation
from simrack.controller.calls.desk import Desk
from simrack.controller.routing.table import RoutingTable
from simrack.wire import topics
from simrack.wire.mqtt import Commander
from simrack.wire.rights import actor_name

log = structlog.get_logger(__name__)

#: Of one command; who listens on asks again. As the box allows at most (gateway.voice.ear.MOST_S).
MOST_S = 600


class Listening:
    """Lets people hear calls."""

    def __init__(self, desk: Desk, table: Callable[[], RoutingTable], commander: Commander) -> None:
        self._desk, self._table, self._commander = desk, table, commander

    async def listen(self, args: Args, actor: str) -> dict[str, Any]:
        """Have `call` copied to `said` and `heard` ("address:port") for `seconds`; 0 ends it.

        Raises:
            CommandRefused: no such call, no legal basis, or the box can't.
        """
        name, seconds = text_of(args, "call"), args.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MOST_S:
            raise CommandRefused(f"seconds is a whole number from 0 to {MOST_S}")
        call = self._desk.calls.get(name)
        if not isinstance(call, Conversation):
            raise CommandRefused(f"there is no call {name}")
        basis = self._basis(call.sender)
        attempt = call.on_air
        if attempt is None:
            raise CommandRefused("the call has no voice yet")
        candidate = attempt.candidate
        wanted = {"channel": candidate.channel, "attempt": attempt.id, "seconds": seconds}
        if seconds:
            wanted |= {"said": text_of(args, "said"), "heard": text_of(args, "heard")}
            # Before the first octet leaves: whoever is listened to has it in the record even if we die now.
            call.listened(actor_name(actor))
        reply = await self._commander.send(
            topics.box_command(candidate.box), "listen", wanted, actor=actor, timeout_s=BOX_TIMEOUT_S
        )
        if not reply.ok:
            raise CommandRefused(f"{candidate.box}: {reply.error}")
        return {"call": name, "source": reply.result.get("source", ""), "basis": basis, "seconds": seconds}

    def _basis(self, sender: str) -> str:
        known = self._table().senders.get(sender)
        basis = known.listening.strip() if known is not None else ""
        if not basis:
            raise CommandRefused(
                f"the record of sender {sender} names no legal basis for listening (its field `listening`)"
            )
        return basis
