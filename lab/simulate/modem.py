"""The twin of a module driver, and of the sound beside it: one incarnation of a box at one emulated module."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from simrack.drivers.modems.base import (
    AtTrace,
    AudioFormat,
    CallProgress,
    CardChanged,
    CardState,
    LeftOver,
    ModemDriver,
    ModemEvent,
    ModemRefused,
    ModemSilent,
    NetworkChanged,
    PortLost,
    Progress,
    Sheet,
    Unresponsive,
)
from simrack.gateway.ports import Audio, Opened, Rtp
from simrack.gateway.settings import ModuleSettings
from simrack.lab.simulate.loop import Incarnation
from simrack.lab.simulate.network import SimModule
from simrack.sip.sdp import Chosen
from simrack.wire.causes import Cause
from simrack.wire.messages import MediaFigures, ModuleInfo, NetworkInfo, SimInfo
from simrack.wire.ports import Clock

#: A command's way through the port and the firmware.
ANSWER_S = (0.01, 0.08)
#: A command that is not answered for this long is given up, and the module with it (the driver's own limit).
SILENT_S = 8.0
SHEET = Sheet(
    "simulated", "A module of the simulation", (), (), {"at": 2, "audio": 1}, "simulated", AudioFormat(), (), Path()
)  # fmt: skip


class SimDriver(ModemDriver):
    """See the module."""

    sheet = SHEET

    def __init__(self, module: SimModule, owner: Incarnation, clock: Clock, rng: random.Random) -> None:
        self.events: asyncio.Queue[ModemEvent] = asyncio.Queue()
        self.trace: Callable[[AtTrace], None] = lambda _line: None
        self.left_over: LeftOver | None = None
        self._module, self._owner, self._clock, self._rng = module, owner, clock, rng
        self._timeouts = 0
        self._open = True
        self._port = asyncio.Lock()
        module.hears = self._hears
        owner.ports.append(self._detach)

    @property
    def timeouts(self) -> int:
        return self._timeouts

    # --- from the module ----------------------------------------------------------------------------------

    def _hears(self, what: str, cause: int) -> None:
        self._owner.soon(self._said, what, cause)

    def _said(self, what: str, cause: int) -> None:
        if not self._open:
            return
        now = self._clock.monotonic()
        match what:
            case "lost":
                self.events.put_nowait(PortLost("unplugged"))
            case "ring":
                self.events.put_nowait(CallProgress(Progress.INCOMING, number="+88210999", at=now))
            case "alerting":
                self.events.put_nowait(CallProgress(Progress.ALERTING, at=now))
            case "answered":
                self.events.put_nowait(CallProgress(Progress.ACTIVE, at=now))
            case "released":
                self.events.put_nowait(CallProgress(Progress.RELEASED, cause=cause, at=now))

    def _detach(self) -> None:
        self._open = False
        # Bound methods are made anew each time, so they are compared, not taken for the same object.
        if self._module.hears == self._hears:
            self._module.hears = None

    async def _ask(self, text: str) -> SimModule:
        """One command's round trip, one at a time; the module acts when it is over."""
        async with self._port:
            return await self._exchange(text)

    async def _exchange(self, text: str) -> SimModule:
        if not self._open:
            raise ModemSilent("the port is closed")
        self.trace(AtTrace(self._clock.monotonic(), ">", text))
        await asyncio.sleep(self._rng.uniform(*ANSWER_S) + self._module.late_s)
        if self._module.hung or not self._module.present or not self._open:
            await asyncio.sleep(SILENT_S)
            self._timeouts += 1
            if self._open:
                self.events.put_nowait(Unresponsive(f"no answer to {text}"))
            raise ModemSilent(f"no answer to {text}")
        return self._module

    # --- the contract -------------------------------------------------------------------------------------

    async def start(self) -> ModuleInfo:
        module = await self._ask("AT+CLCC")
        if module.row is not None:
            state = Progress.ACTIVE if module.row.answered is not None else Progress.ALERTING
            module.hang_up()
            self.left_over = LeftOver(outgoing=True, state=state, at=self._clock.monotonic())
        await self._ask("AT+CGMM")
        sim = SimInfo(iccid=module.iccid, imsi=module.imsi)
        self.events.put_nowait(CardChanged(CardState.READY, sim))
        self.events.put_nowait(NetworkChanged(NetworkInfo(stat=1, operator="Lab", technology="LTE", signal_dbm=-71)))
        return ModuleInfo(imei=module.imei, manufacturer="lab", model="SIM-1", firmware="1")

    async def dial(self, number: str, *, hide: bool | None = None) -> None:
        del hide
        module = await self._ask(f"ATD{number};")
        if module.ringing is not None:
            raise ModemRefused("RING", int(Cause.CHANNEL_UNAVAILABLE))
        module.dial(number)
        self.events.put_nowait(CallProgress(Progress.DIALLING, at=self._clock.monotonic()))

    async def answer(self) -> None:
        await self._ask("ATA")
        raise ModemRefused("nobody takes incoming calls here")

    async def hang_up(self, cause: int = 16) -> float:
        (await self._ask("AT+CHUP")).hang_up(cause)
        return self._clock.monotonic()

    async def send_dtmf(self, digit: str) -> None:
        await self._ask(f"AT+VTS={digit}")

    async def audio_on(self) -> AudioFormat:
        return AudioFormat()

    async def audio_off(self) -> None:
        """Nothing flows here."""

    async def release_cause(self) -> tuple[int, str]:
        return int(Cause.NORMAL), ""

    async def in_call(self, *, ringing: bool = True) -> bool:
        module = await self._ask("AT+CLCC")
        return module.row is not None or (ringing and module.ringing is not None)

    async def refresh(self) -> NetworkInfo:
        return NetworkInfo(stat=1, operator="Lab", technology="LTE", signal_dbm=-71)

    async def command(self, text: str) -> tuple[str, ...]:
        await self._ask(text)
        return ()

    async def reset(self) -> None:
        """A module that hangs is restarted by its power, which this stands for too."""
        await asyncio.sleep(self._rng.uniform(*ANSWER_S))
        if self._open:
            self._module.restart()

    async def close(self) -> None:
        self._detach()


class SimPlugs:
    """Opens and locates the modules of one incarnation of a box."""

    def __init__(
        self, modules: dict[int, SimModule], owner: Incarnation, clock: Clock, rng: random.Random
    ) -> None:
        self._modules, self._owner, self._clock, self._rng = modules, owner, clock, rng

    async def locate(self, row: ModuleSettings) -> ModuleSettings | None:
        """The row, while its module is plugged."""
        await asyncio.sleep(0.001)
        return row if self._modules[row.channel].present else None

    async def open(self, row: ModuleSettings, trace: Callable[[AtTrace], None]) -> Opened:
        """A driver at the module. Raises OSError."""
        await asyncio.sleep(0.001)
        module = self._modules[row.channel]
        if not module.present:
            raise OSError(2, "No such file or directory")
        driver = SimDriver(module, self._owner, self._clock, self._rng)
        driver.trace = trace
        return Opened(driver, SHEET)


class NoPlugs:
    """Tells of no plugging: ports are looked for."""

    def __init__(self, _plugged: Callable[[], None]) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


# --- sound ------------------------------------------------------------------------------------------------


@dataclass
class SimRtp:
    """A port that only has a number."""

    address: tuple[str, int]

    def close(self) -> None: ...


@dataclass
class SimAudio:
    """An audio port without voice."""

    lost: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class SimBridge:
    """A call's voice, of which only the codec is known."""

    chosen: Chosen
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    digits: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    no_media: asyncio.Event = field(default_factory=asyncio.Event)
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    def speak(self, digit: str) -> None: ...

    def answered(self) -> None: ...

    def update(self, chosen: Chosen) -> None:
        self.chosen = chosen

    def figures(self) -> MediaFigures:
        return MediaFigures(codec=self.chosen.codec)

    def close(self) -> None: ...


class SimSound:
    """Ports by number and bridges without voice."""

    codecs: tuple[str, ...] = ("PCMA", "PCMU")

    def __init__(self, host: str) -> None:
        self._host, self._port = host, 20000

    def bind(self) -> Rtp:
        self._port = 20000 + (self._port - 19998) % 1000
        return SimRtp((self._host, self._port))

    def open_audio(self, path: Path, fmt: AudioFormat) -> Audio:
        del path, fmt
        return SimAudio()

    def bridge(self, chosen: Chosen, rtp: Rtp, audio: Audio, gain_db: float) -> SimBridge:
        del rtp, audio, gain_db
        return SimBridge(chosen)
