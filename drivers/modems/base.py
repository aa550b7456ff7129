"""The contract of a module driver: small, written first, kept by every family.

The box owns the state machine; a driver turns verbs into AT commands and lines into events. A driver owns
its AT port: it is given an open byte stream and one queue for events.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from simrack.wire.messages import ModuleInfo, NetworkInfo, SimInfo


class Progress(StrEnum):
    """Progress of the one voice call of a module, as the network reports it through the module."""

    DIALLING = "dialling"
    ALERTING = "alerting"
    ACTIVE = "active"
    HELD = "held"
    INCOMING = "incoming"
    WAITING = "waiting"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class CallProgress:
    """The call moved. `cause` (Q.850) and `text` are set on RELEASED where the module tells; else 0 and "".

    `at` is Clock.monotonic() when the module said so: the cause is read after that, and must not count as talk.
    """

    state: Progress
    number: str = ""
    cause: int = 0
    text: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class LeftOver:
    """The call that `start` found on the module and ended; `at` is Clock.monotonic() when it was on-hook."""

    outgoing: bool
    state: Progress
    at: float


class CardState(StrEnum):
    """What the module says of its card (+CPIN)."""

    READY = "ready"
    ABSENT = "absent"
    BUSY = "busy"
    PIN = "pin"
    PUK = "puk"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class CardChanged:
    """The card came, went, or changed its state; `sim` is read anew when it is ready."""

    state: CardState
    sim: SimInfo | None = None


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """Registration or signal changed."""

    network: NetworkInfo


@dataclass(frozen=True, slots=True)
class DtmfHeard:
    """The module heard a digit in the voice of the network side."""

    digit: str


@dataclass(frozen=True, slots=True)
class AudioFlow:
    """The module's buffer for voice from the host is full (`go` False), or has room again."""

    go: bool


@dataclass(frozen=True, slots=True)
class PortLost:
    """The AT port is gone (unplugged, or closed by a reset); the driver is dead and must be made anew."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unresponsive:
    """The module did not answer within a command's time and resynchronising failed."""

    reason: str


ModemEvent = CallProgress | CardChanged | NetworkChanged | DtmfHeard | AudioFlow | PortLost | Unresponsive


@dataclass(frozen=True, slots=True)
class AtTrace:
    """One line at the port, for the call's story: `>` sent, `<` received; secrets are already masked."""

    at: float  # Clock.monotonic()
    way: Literal[">", "<"]
    text: str


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """PCM at the module's audio port: signed 16 bit little endian, mono."""

    rate: int = 8000
    frame_ms: int = 20


class ModemError(Exception):
    """A module refused or failed; the text holds its own words."""


class ModemRefused(ModemError):
    """The module answered with an error: trying the same again rarely helps.

    `cause` is the Q.850 cause that fits (41 when the module gave none).
    """

    def __init__(self, text: str, cause: int = 41) -> None:
        super().__init__(text)
        self.cause = cause


class ModemSilent(ModemError):
    """No answer within the command's time, even after resynchronising; the recovery ladder comes next."""


class ModemUnsure(ModemError):
    """A dial command went out and nobody can tell what became of it: the called party may be rung."""


class NotAllowed(ModemError):
    """The command is not on the driver's allow-list; no role passes it."""


class ModemDriver(ABC):
    """One module in service. All coroutines raise `ModemError`."""

    #: Events in the order of the port's lines.
    events: "asyncio.Queue[ModemEvent]"
    #: The family's capability sheet.
    sheet: "Sheet"
    #: Called with each line at the port.
    trace: Callable[[AtTrace], None]
    #: The call of an earlier run of the box, if `start` had to end one.
    left_over: LeftOver | None = None

    @property
    def timeouts(self) -> int:
        """Commands that were not answered in time."""
        return 0

    @property
    def resyncs(self) -> tuple[int, int]:
        """How often port and module were brought into step, and how often in vain: the ladder's lowest rung."""
        return 0, 0

    @abstractmethod
    async def start(self) -> ModuleInfo:
        """Synchronise, read the identity, send the start-up list; then card and network come as events."""

    @abstractmethod
    async def dial(self, number: str, *, hide: bool | None = None) -> None:
        """ATD in the given format; returns when the module has taken the command. `hide` sets CLIR."""

    @abstractmethod
    async def answer(self) -> None:
        """Take the incoming call."""

    @abstractmethod
    async def hang_up(self, cause: int = 16) -> float:
        """End every call; on-hook afterwards whatever the stage. Idempotent.

        Returns when the call was over, on the monotonic clock in s: between the order and the module's OK, not when the
        driver had made sure of it.
        """

    @abstractmethod
    async def send_dtmf(self, digit: str) -> None:
        """Send one digit (0-9, *, #, A-D) to the network."""

    @abstractmethod
    async def audio_on(self) -> AudioFormat:
        """Let the voice of calls flow through the audio port (once after start, or per call, as the family needs)."""

    @abstractmethod
    async def audio_off(self) -> None:
        """Undo `audio_on`."""

    @abstractmethod
    async def release_cause(self) -> tuple[int, str]:
        """The last call's cause as (Q.850, the module's own words), from +CEER or what the family has."""

    @abstractmethod
    async def in_call(self, *, ringing: bool = True) -> bool:
        """Ask the module whether it holds a voice call (+CLCC without data rows); `ringing`: also one that only rings."""

    @abstractmethod
    async def refresh(self) -> NetworkInfo:
        """Read registration and signal now."""

    @abstractmethod
    async def command(self, text: str) -> tuple[str, ...]:
        """A person's own command, checked against the allow-list; returns the information lines."""

    async def reset(self) -> None:
        """Restart the module's firmware (a rung of the recovery ladder); the port is lost or silent afterwards."""
        raise ModemRefused("this family has no reset command")

    @abstractmethod
    async def close(self) -> None:
        """Give the port back."""


@dataclass(frozen=True, slots=True)
class UsbId:
    """A USB identity that belongs to a family."""

    vendor: int
    product: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """A family's capability sheet: `sheet.toml` in its folder, rendered to `docs/modules.md`."""

    name: str
    title: str
    recognise: tuple[str, ...]  # prefixes of the +CGMM answer
    usb: tuple[UsbId, ...]
    ports: dict[str, int]  # role ("at", "audio", "diag", "modem") -> USB interface number
    answer_signal: str  # the family's proven answer signal; "" = answer unsafe
    audio: AudioFormat
    allowed: tuple[str, ...]  # allow-list for free AT commands: exact heads such as "+CSQ"
    folder: Path
