"""What calls and modules need from around them, as protocols: so that twins can stand in for ports and sound."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from simrack.drivers.modems.base import AtTrace, AudioFormat, LeftOver, ModemDriver, Sheet
from simrack.gateway.attempts import OpenAttempt
from simrack.gateway.ladder import Rung
from simrack.gateway.settings import BoxSettings, ModuleSettings
from simrack.sip.legs import Dial, OutgoingLeg
from simrack.sip.sdp import Chosen
from simrack.wire.messages import CallPart, FaultPart, MediaFigures
from simrack.wire.ports import Clock, Ids


class Facts(Protocol):
    """Where a call's part and a fault go."""

    async def put(self, body: CallPart | FaultPart) -> None:
        """Keep a fact for the controller."""


class Attempts(Protocol):
    """The memory of attempts: their ids for a day, and their state while they are under way."""

    async def remember(self, row: OpenAttempt) -> bool:
        """Keep one before it is dialled or answered; False when it was dialled before. Raises `StoreBroken`."""

    async def note(self, row: OpenAttempt) -> None:
        """Keep a new moment of one that is under way."""

    async def forget(self, attempt: str) -> None:
        """It was refused before anything was dialled."""

    async def settle(self, channel: int, imei: str, held: LeftOver | None) -> None:
        """A module came into service, on-hook: close what an earlier run left open on its channel."""


class Audio(Protocol):
    """A module's audio port; drains by itself while no call uses it. `lost` is set when it is gone."""

    lost: asyncio.Event
    reason: str

    def pause(self) -> None:
        """Hold back voice to the module: its buffer is full."""

    def resume(self) -> None:
        """Its buffer has room again."""

    def close(self) -> None:
        """Give the port back."""


class Rtp(Protocol):
    """A bound RTP socket; `address` is where the other side sends its voice."""

    address: tuple[str, int]

    def close(self) -> None:
        """Give the port back."""


class Bridge(Protocol):
    """Voice of one call between an RTP socket and an audio port; `failed` when a fault of ours has ended it."""

    heard: asyncio.Event
    digits: asyncio.Queue[str]
    no_media: asyncio.Event
    failed: asyncio.Event

    def speak(self, digit: str) -> None:
        """Send one digit to the SIP side (RFC 4733)."""

    def answered(self) -> None:
        """Empty the buffers: what was queued before the answer is stale."""

    def update(self, chosen: Chosen) -> None:
        """Go on with another negotiated session."""

    def figures(self) -> MediaFigures:
        """What was measured so far."""

    def close(self) -> None:
        """End the voice; the sockets stay open."""


class Sound(Protocol):
    """Makes sockets, audio ports and bridges; `codecs` are names, the preferred first."""

    codecs: tuple[str, ...]

    def bind(self) -> Rtp:
        """A free RTP port of the box's range. Raises OSError when there is none."""

    def open_audio(self, path: Path, fmt: AudioFormat) -> Audio:
        """A module's audio port. Raises OSError."""

    def bridge(self, chosen: Chosen, rtp: Rtp, audio: Audio, gain_db: float) -> Bridge:
        """Let the voice flow."""


class Pace(Protocol):
    """How the voice ticker keeps its time: steps done, done late, left out."""

    ticks: int
    late: int
    skipped: int

    def stalled(self, at: float) -> bool:
        """Whether what was noted at `at` (monotonic) may have happened well before, while the process stood still."""


@dataclass(slots=True)
class NoPace:
    """Of a box whose voice nobody moves."""

    ticks: int = 0
    late: int = 0
    skipped: int = 0

    def stalled(self, at: float) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Opened:
    """A module's driver with its family's sheet; nothing has been sent yet."""

    driver: ModemDriver
    sheet: Sheet


class Locator(Protocol):
    """Finds a module's ports."""

    async def __call__(self, row: ModuleSettings) -> ModuleSettings | None:
        """The row with its ports as they are now; None while the module is not there."""


class Opener(Protocol):
    """Finds the driver for a port."""

    async def __call__(self, row: ModuleSettings, trace: Callable[[AtTrace], None]) -> Opened:
        """Open the AT port. Raises OSError or `ModemError`."""


class Hands(Protocol):
    """What can be done to a module from outside; `hands.SiteHands`, or a twin of it."""

    def able(self, row: ModuleSettings) -> frozenset[Rung]:
        """The rungs that can be climbed for this module."""

    def turn(self, row: ModuleSettings) -> AbstractAsyncContextManager[None]:
        """Wait until no other module of its hub is being reset or switched."""

    async def climb(self, rung: Rung, row: ModuleSettings) -> None:
        """Do it. Raises `BoardError`."""


class NoHands:
    """Of a box that can do nothing but open ports."""

    def able(self, row: ModuleSettings) -> frozenset[Rung]:
        return frozenset({Rung.REOPEN})

    def turn(self, row: ModuleSettings) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def climb(self, rung: Rung, row: ModuleSettings) -> None:
        """There is nothing to do."""


def nobody_hears(_channel: int, _line: AtTrace) -> None:
    """Where no console is."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything that calls and modules share."""

    settings: BoxSettings
    clock: Clock
    ids: Ids
    facts: Facts
    attempts: Attempts
    sound: Sound
    locate: Locator
    opener: Opener
    dial: Callable[[Dial], OutgoingLeg]
    controller: tuple[str, int]
    hands: Hands = field(default_factory=NoHands)
    pace: Pace = field(default_factory=NoPace)
    overhear: Callable[[int, AtTrace], None] = nobody_hears
