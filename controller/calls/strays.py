"""Calls at a box that no call of this controller claims: their boxes are told to end them.

A box that answered, or missed our BYE, goes on with a call of which nobody knows any more: the controller died
between the box's 200 and the disk, or the way to the box was cut for longer than BYE is repeated. Without an
order such a call would cost money until its far end or the longest duration ends it.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from simrack.wire import topics
from simrack.wire.errors import CommandFailed
from simrack.wire.mqtt import Commander

log = structlog.get_logger(__name__)
#: Two looks in a row make a stray, so that it is ended within 5 s (quality.md, invariant 1).
LOOK_EVERY_S = 2.0
#: A box answers at once; one that does not is asked again at the next look.
ANSWER_S = 1.5

#: (box, channel, attempt) of the calls that boxes report.
Carried = tuple[str, int, str]


class Strays:
    """Looks at what the boxes carry and ends what `claimed` does not know."""

    def __init__(
        self, carried: Callable[[], Iterable[Carried]], claimed: Callable[[], set[str]], commander: Commander
    ) -> None:
        self._carried, self._claimed, self._commander = carried, claimed, commander
        self._suspects: frozenset[Carried] = frozenset()

    async def run(self) -> None:
        """Look until cancelled; begin only when the calls of earlier runs are claimed again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for stray in self.look():
                await self._end(*stray)

    def look(self) -> list[Carried]:
        """Calls that nobody has claimed at this look and the one before."""
        carried = tuple(self._carried())
        if not carried:
            self._suspects = frozenset()
            return []
        claimed = self._claimed()
        now = frozenset(item for item in carried if item[2] not in claimed)
        strays, self._suspects = sorted(now & self._suspects), now
        return strays

    async def _end(self, box: str, channel: int, attempt: str) -> None:
        log.warning("a box carries a call that nobody claims", box=box, channel=channel, attempt=attempt)
        args = {"channel": channel, "attempt": attempt, "reason": "no call of the controller"}
        try:
            reply = await self._commander.send(
                topics.box_command(box), "hang-up", args, actor="controller", timeout_s=ANSWER_S
            )
        except CommandFailed as error:
            log.info("stray call not ended yet", box=box, channel=channel, error=str(error))
            return
        if not reply.ok:
            log.info("stray call not ended", box=box, channel=channel, error=reply.error)
