"""The journal of attempts: written by calls, read once at the next start (see `attempts.py`)."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from simrack.drivers.modems.base import LeftOver
from simrack.gateway.attempts import Found, OpenAttempt, When, machine_boot, part_of
from simrack.gateway.errors import StoreBroken
from simrack.gateway.outbox import Outbox
from simrack.gateway.ports import Facts
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)

# A module that was killed with its box needs 25 s to its card (EC25), twice that behind a slow hub; whoever is
# not back by then is not waited for, and its record says that it is a guess.
ABSENT_S = 120.0


@dataclass(slots=True)
class Journal:
    """Keeps attempts while they are under way, and closes those that an earlier run left open.

    `channels` are the numbers that this box serves now; `max_call_s` bounds what a lost call can have lasted.
    """

    outbox: Outbox
    facts: Facts
    clock: Clock
    max_call_s: float
    channels: frozenset[int] = frozenset()
    machine: str = field(default_factory=machine_boot)
    _left: dict[str, OpenAttempt] = field(init=False)
    _begun: When = field(init=False)

    def __post_init__(self) -> None:
        self._left = {row.attempt: row for row in self.outbox.left}
        self._begun = self._now()

    # --- calls of this run --------------------------------------------------------------------------------

    async def remember(self, row: OpenAttempt) -> bool:
        """Keep an attempt before it is dialled or answered; False when it was dialled before (24 h).

        Raises:
            StoreBroken: it can't be kept, so it must not be dialled.
        """
        return await self.outbox.remember(row.attempt, row.model_copy(update={"machine": self.machine}))

    async def note(self, row: OpenAttempt) -> None:
        """Keep a new moment. A disk that refuses it disturbs no call: after a kill the part is a guess then."""
        try:
            await self.outbox.note(row.model_copy(update={"machine": self.machine}))
        except StoreBroken as error:
            log.error("moment not kept", call=row.call, attempt=row.attempt, error=str(error))

    async def forget(self, attempt: str) -> None:
        """The attempt was refused before anything was dialled: there will be no part."""
        await self.outbox.forget(attempt)

    # --- calls of an earlier run --------------------------------------------------------------------------

    async def settle(self, channel: int, imei: str, held: LeftOver | None) -> None:
        """A module is in service and on-hook: close what an earlier run left open on its channel."""
        rows = [row for row in self._left.values() if row.channel == channel]
        if not rows:
            return
        now = self._now()
        # Only the newest can be the call that the module held.
        for row in rows[:-1]:
            await self._close(row, Found(now, self.machine))
        await self._close(rows[-1], Found(_back_to(now, held.at) if held else now, self.machine, held, imei))

    async def run(self) -> None:
        """Close what no module will tell of any more: at once where there is no channel, else after a while."""
        await self._give_up(row for row in list(self._left.values()) if row.channel not in self.channels)
        if self._left:
            await asyncio.sleep(ABSENT_S)
            await self._give_up(list(self._left.values()))

    async def _give_up(self, rows: Iterable[OpenAttempt]) -> None:
        for row in rows:
            log.warning("module of a cut-off call does not come back", channel=row.channel, attempt=row.attempt)
            await self._close(row, Found(self._begun, self.machine))

    async def _close(self, row: OpenAttempt, found: Found) -> None:
        # Taken out first: what is awaited below lets the other way to close it run.
        if self._left.pop(row.attempt, None) is None:
            return
        part = part_of(row, found, max_call_s=self.max_call_s)
        log.warning(
            "call of an earlier run closed", call=row.call, attempt=row.attempt, channel=row.channel,
            held=found.held is not None, estimated=part.estimated, talk_ms=part.talk_ms,
        )  # fmt: skip
        await self.facts.put(part)

    def _now(self) -> When:
        return When(mono=self.clock.monotonic(), utc=self.clock.utc())


def _back_to(now: When, mono: float) -> When:
    """The instant `mono` of the monotonic clock, which lies a little back."""
    return When(mono=mono, utc=now.utc - timedelta(seconds=now.mono - mono))
