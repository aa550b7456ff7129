"""What every call shares: the ports and the figures."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from simrack.controller.alarms.traffic import Traffic
from simrack.controller.alarms.voice import VoiceTroubles
from simrack.controller.calls.metrics import Metrics
from simrack.controller.calls.ports import CallStore, Dialler, Router
from simrack.controller.fleet.state import Fleet
from simrack.wire import topics
from simrack.wire.messages import LiveCall
from simrack.wire.mqtt import Bus
from simrack.wire.ports import Clock, Ids

#: Live messages that wait for the broker; older ones are worthless to a page by then.
MOST_WAITING = 2000
#: A page is looked at by people: a tenth of a second is at once, and saves half of the messages of a call.
GATHER_S = 0.1


class Alarms(Protocol):
    """The one function that opens and closes alarms."""

    def set(
        self, kind: str, active: bool, subject: str = "", detail: str = "", hold_s: float | None = None
    ) -> None:
        """Open or close an alarm."""


class Tracing(Protocol):
    """What keeps the messages of calls."""

    def hold(self, call_id: str) -> None:
        """A leg of a call has this Call-ID."""

    def over(self, call: str, started: datetime, legs: Sequence[str], *, failed: bool) -> None:
        """A call has its record."""

    def drop(self, legs: Sequence[str]) -> None:
        """A call ended without a record."""


class NoTracing:
    """Keeps nothing: legs that are not SIP have no messages."""

    def hold(self, call_id: str) -> None:
        return

    def over(self, call: str, started: datetime, legs: Sequence[str], *, failed: bool) -> None:
        return

    def drop(self, legs: Sequence[str]) -> None:
        return


class Feed:
    """Publishes the newest state of calls in progress, without ever holding up a call.

    States that follow one another within `GATHER_S` are one message: between INVITE and ringing lie milliseconds,
    and no page shows what nobody can see.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, LiveCall] = {}
        self._told = asyncio.Event()

    def tell(self, live: LiveCall) -> None:
        """Publish soon."""
        # The oldest goes first, and to the end of the row whoever speaks again.
        self._waiting.pop(live.call, None)
        self._waiting[live.call] = live
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._told.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._told.wait()
            await asyncio.sleep(GATHER_S)
            self._told.clear()
            gathered, self._waiting = self._waiting, {}
            for live in gathered.values():
                self._bus.tell(topics.controller_call(live.call), live.encode())


@dataclass(slots=True)
class CallLimits:
    """Times of the call logic, in seconds; each with its reason."""

    #: A box that sends no response to INVITE for this long counts as unreachable (routing).
    no_response_s: float = 1.5
    #: Candidates tried for one call, if routing's own `max_attempts` is higher: no caller waits longer.
    attempts: int = 32
    #: A CANCEL or BYE is answered within SIP's timer B or F (32 s); then the leg is given up.
    release_s: float = 33.0
    #: A box whose new run has just been born answers OPTIONS at once; T1 leaves room for two repeats.
    probe_s: float = 2.0
    #: A relayed re-INVITE is answered within SIP's timer B (32 s), which a 100 stretches; nobody waits longer.
    offer_s: float = 34.0
    #: The box's part comes within this after the end, or the record is `estimated` (architecture).
    part_s: float = 2.0
    #: A full or locked database is asked again this often until the record is stored.
    store_retry_s: float = 1.0


@dataclass(slots=True)
class Services:
    """Ports that a call acts through."""

    clock: Clock
    ids: Ids
    store: CallStore
    router: Router
    dialler: Dialler
    fleet: Fleet
    alarms: Alarms
    feed: Feed
    metrics: Metrics
    stamp_boot: str
    limits: CallLimits = field(default_factory=CallLimits)
    voice: VoiceTroubles = field(default_factory=VoiceTroubles)
    traffic: Traffic = field(default_factory=Traffic)
    tracing: Tracing = field(default_factory=NoTracing)
    _seq: int = 0

    def stamp(self) -> tuple[str, int]:
        """(boot, sequence) of the next state message about a call."""
        self._seq += 1
        return self.stamp_boot, self._seq
