"""The gate of the command desk: the right is checked again, the act is written down before it is done.

An entry without a failure behind it is an act that was begun; what became of it is told by a second entry only when it
failed. Looks that change nothing and show nothing of a subscriber are written when they are refused, not when they are done:
a page that explains while somebody types would fill the log.
"""

from simrack.controller.audit.actors import Actor, Actors
from simrack.controller.audit.chain import Fact
from simrack.controller.audit.keeper import Keeper
from simrack.controller.audit.words import cut, subject_of, told
from simrack.controller.store.errors import StoreError
from simrack.wire.messages import Command
from simrack.wire.ports import Clock
from simrack.wire.rights import COMMANDS, RIGHTS

#: Commands that only look.
LOOKS = frozenset({"explain", "banned", "config-check", "notices"})
#: Never done without a trace: they let somebody hear or read what is a subscriber's.
STRICT = frozenset({"listen", "console"})


class Denied(Exception):
    """The actor may not; the text goes to whoever asked."""


class Gate:
    """Admits commands."""

    def __init__(self, actors: Actors, keeper: Keeper, clock: Clock) -> None:
        self._actors, self._keeper, self._clock = actors, keeper, clock

    async def admit(self, command: Command) -> Actor:
        """Check the right and write the act down.

        Raises:
            Denied: the actor may not, or it can't be found out.
        """
        right = COMMANDS.get(command.action)
        if right is None:
            raise Denied(f"nobody may {command.action}: it has no row in the table of rights")
        try:
            actor = await self._actors.find(command.actor)
        except StoreError as error:
            raise Denied("the database can't be asked whether you may; try again when it is back") from error
        if not actor.may(right):
            raise Denied(f"no right to this ({RIGHTS[right].title}): {actor.why_not}")
        if command.action not in LOOKS:
            await self._write_down(command)
        return actor

    async def _write_down(self, command: Command) -> None:
        fact = self._fact(command, told(command.args))
        try:
            await self._keeper.write(fact, must=command.action in STRICT)
        except StoreError as error:
            raise Denied("it can't be written into the audit log now, and is not done without") from error

    async def denied(self, command: Command, why: str) -> None:
        """Write down that somebody was refused."""
        await self._keeper.write(self._fact(command, {**told(command.args), "refused": cut(why)}))

    async def failed(self, command: Command, why: str) -> None:
        """Write down that an act which was begun could not be done."""
        if command.action not in LOOKS:
            await self._keeper.write(self._fact(command, {"failed": cut(why), "command": cut(command.id, 80)}))

    def _fact(self, command: Command, detail: dict[str, object]) -> Fact:
        detail.setdefault("command", cut(command.id, 80))
        return Fact(
            self._clock.utc(), cut(command.actor, 120), cut(command.action, 60), subject_of(command.args), detail,
            source=self._keeper.source(),
        )  # fmt: skip
