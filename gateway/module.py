"""One module in service: opened, started, listened to, and opened again when it fails.

A module's troubles stay its own: whatever it does, this task notes it, backs off and tries again, and no other
channel notices. Every failure is a fact for the controller (its cause, and that it is over).
"""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from simrack.drivers.modems.base import (
    AtTrace,
    AudioFlow,
    CallProgress,
    CardChanged,
    DtmfHeard,
    LeftOver,
    ModemDriver,
    ModemError,
    NetworkChanged,
    PortLost,
    Progress,
    Unresponsive,
)
from simrack.gateway import calls_logic as logic
from simrack.gateway.call import LiveCall, Moments, Ticket, moment
from simrack.gateway.channel import Channel
from simrack.gateway.ports import Audio, Opened, Tools
from simrack.gateway.settings import ModuleSettings
from simrack.sip import sdp
from simrack.sip.errors import SipError
from simrack.sip.legs import Dial
from simrack.wire.channel import IN_CALL, ChannelState
from simrack.wire.messages import FaultPart, SimInfo

log = structlog.get_logger(__name__)
S = ChannelState

# Start-up lists take seconds; a module that boots meanwhile (EC25: 13 s to AT, 25 s to its card) may need more.
START_S = 60.0
# A replugged stick is back in about 3 s; a dead one must not fill the log.
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
# A port that isn't there yet is looked for at this pace, where udev doesn't tell: looking costs one stat().
LOOK_S = 1.0
# Served this long, a module has proved itself and the next failure starts the back-off anew.
PROVEN_S = 60.0
# From this failure on, the module is told to restart itself before its port is opened again.
RESET_FROM = 3
CLOSE_S = 5.0
# An incoming caller gives up sooner than this; the network does too (24.008 T303/T301).
INCOMING_RING_S = 120.0


class Lost(Exception):
    """The module is out of service: it vanished (`state` ABSENT) or it doesn't work (FAULT)."""

    def __init__(self, state: ChannelState, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


@dataclass(slots=True)
class Module:
    """See the module docstring. `current` is the call that its channel carries."""

    row: ModuleSettings
    channel: Channel
    tools: Tools
    audio: Audio | None = None
    current: LiveCall | None = None
    failures: int = 0
    #: What was done to bring the module back: "reopen", "reset".
    steps: Counter[str] = field(default_factory=Counter)
    _timeouts: int = 0
    _opened: Opened | None = None
    _ringing: CallProgress | None = None
    _trouble: str = ""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _ear: asyncio.Task[None] | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _group: asyncio.TaskGroup | None = None

    def __post_init__(self) -> None:
        self._idle.set()

    @property
    def driver(self) -> ModemDriver:
        """The driver in service. Raises `ModemError` while there is none."""
        if self._opened is None:
            raise ModemError("the module is not in service")
        return self._opened.driver

    @property
    def at_timeouts(self) -> int:
        """AT commands that were not answered in time, of all the drivers it had."""
        return self._timeouts + (self._opened.driver.timeouts if self._opened is not None else 0)

    @property
    def gain_db(self) -> float:
        return self.row.gain_db

    # --- service ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the module in service until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    reason = await self._serve_once()
                    await self._back_off(reason)
            finally:
                await self._close(reset=False)

    async def _serve_once(self) -> str:
        begun = self.tools.clock.monotonic()
        try:
            await self._serve()
        except Lost as lost:
            state, reason = lost.state, lost.reason
        except (ModemError, OSError, TimeoutError) as error:
            state, reason = S.FAULT, str(error) or "no answer in time"
        except Exception as error:
            log.exception("module task broke", box=self.channel.box, channel=self.channel.number)
            state, reason = S.FAULT, f"internal: {type(error).__name__}"
        if self.tools.clock.monotonic() - begun > PROVEN_S:
            self.failures = 0
        await self._out_of_service(state, reason)
        return reason

    async def _serve(self) -> None:
        row = await self.tools.locate(self.row)
        if row is None:
            raise Lost(S.ABSENT, f"no module at {self.row.at or self.row.usb}")
        self.channel.begin()
        self.steps["reopen"] += self.failures > 0
        async with asyncio.timeout(START_S):
            self._opened = await self.tools.opener(row, self._trace)
            info = await self.driver.start()
            held = await self._hang_up_left_over()
        await self.tools.attempts.settle(self.channel.number, info.imei, held)
        safe = bool(self._opened.sheet.answer_signal)
        self.channel.module = info.model_copy(update={"driver": self._opened.sheet.name, "answer_safe": safe})
        if row.audio:
            self.audio = self.tools.sound.open_audio(Path(row.audio), self._opened.sheet.audio)
            if self._group is not None:
                self._ear = self._group.create_task(self._watch_audio(self.audio))
        log.info("module in service", box=self.channel.box, channel=self.channel.number, model=info.model)
        await self._came_back()
        while True:
            self._take(await self.driver.events.get())

    async def _hang_up_left_over(self) -> LeftOver | None:
        """A box that was killed left its call to the module; the journal's record ends with it."""
        held = self.driver.left_over
        if await self.driver.in_call():
            # The driver's start left it because it only rings: the caller gets the next call through.
            await self.driver.hang_up()
            held = held or LeftOver(False, Progress.INCOMING, self.tools.clock.monotonic())
        if held is not None:
            log.warning("call left from before", box=self.channel.box, channel=self.channel.number)
        return held

    async def _out_of_service(self, state: ChannelState, reason: str) -> None:
        if self.current is not None:
            self.current.feed(logic.ModuleLost(reason))
        self.channel.gone(state, reason)
        await self._close(reset=state is S.FAULT and self.failures + 1 >= RESET_FROM)
        await self._idle.wait()
        self._ringing = None
        self.failures += 1
        # One fact per trouble, not one per try.
        if reason != self._trouble:
            self._trouble = reason
            log.warning("module lost", box=self.channel.box, channel=self.channel.number, reason=reason)
            await self.tools.facts.put(FaultPart(channel=self.channel.number, reason=reason))

    async def _came_back(self) -> None:
        if self._trouble:
            reason, self._trouble = self._trouble, ""
            await self.tools.facts.put(FaultPart(channel=self.channel.number, reason=reason, cleared=True))

    async def _close(self, *, reset: bool) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            self._timeouts += opened.driver.timeouts
            self.steps["reset"] += reset
            try:
                async with asyncio.timeout(CLOSE_S):
                    if reset:
                        await opened.driver.reset()
            except (ModemError, TimeoutError) as error:
                log.info("no reset", box=self.channel.box, channel=self.channel.number, error=str(error))
            with contextlib.suppress(TimeoutError, ModemError, OSError):
                async with asyncio.timeout(CLOSE_S):
                    await opened.driver.close()
        if self._ear is not None:
            self._ear.cancel()
            self._ear = None
        if self.audio is not None:
            self.audio.close()
            self.audio = None

    async def _watch_audio(self, audio: Audio) -> None:
        await audio.lost.wait()
        self.distrust(f"audio port lost: {audio.reason}")

    async def _back_off(self, reason: str) -> None:
        if await self.tools.locate(self.row) is None:
            while await self.tools.locate(self.row) is None:
                await self._doze(LOOK_S)
            return
        pause = BACKOFF_S[min(self.failures - 1, len(BACKOFF_S) - 1)]
        log.info("module rests", box=self.channel.box, channel=self.channel.number, s=pause, reason=reason)
        await self._doze(pause)

    async def _doze(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def idle(self) -> None:
        """Wait until no call is on."""
        await self._idle.wait()

    def wake(self) -> None:
        """Something was plugged: try again now."""
        self._wake.set()

    def distrust(self, reason: str) -> None:
        """Start the module anew: it doesn't do what it is told."""
        if self._opened is not None:
            self._opened.driver.events.put_nowait(Unresponsive(reason))

    def _trace(self, line: AtTrace) -> None:
        if self.current is not None:
            self.current.trace(line)

    # --- events -------------------------------------------------------------------------------------------

    def _take(self, event: object) -> None:
        match event:
            case PortLost(reason=reason):
                raise Lost(S.ABSENT, reason)
            case Unresponsive(reason=reason):
                raise Lost(S.FAULT, reason)
            case CardChanged(state=state, sim=sim):
                self.channel.card_is(state, sim)
            case NetworkChanged(network=network):
                self.channel.network_is(network)
            case AudioFlow(go=go) if self.audio is not None:
                (self.audio.resume if go else self.audio.pause)()
            case DtmfHeard() if self.current is not None:
                self.current.module_says(event)
            case CallProgress():
                self._progress(event)

    def _progress(self, event: CallProgress) -> None:
        if event.state is Progress.INCOMING and (self.current is None or self.current.state.direction == "out"):
            self._ringing = event
        elif event.state is Progress.RELEASED:
            self._ringing = None
        if self.current is not None:
            self.current.module_says(event)
        elif event.state is Progress.INCOMING:
            self._start_incoming()

    # --- calls --------------------------------------------------------------------------------------------

    async def carry(self, call: LiveCall, state: ChannelState) -> None:
        """Carry one call from its first state to rest; an incoming call that it ran into comes next."""
        self.current, self.channel.reserved = call, True
        self._idle.clear()
        try:
            self.channel.call = call.info
            self.channel.set_state(state, "call")
            await call.run()
        finally:
            self.current, self.channel.reserved = None, False
            self.channel.call = None
            self._idle.set()
        self._rest()
        if self._ringing is not None and await self._still_rings():
            self._start_incoming()

    def _rest(self) -> None:
        if self.channel.state in IN_CALL:
            self.channel.rest("call ended")
        else:
            self.channel.changed(self.channel)

    async def _still_rings(self) -> bool:
        try:
            return await self.driver.in_call()
        except ModemError as error:
            log.info("can't tell whether it rings", channel=self.channel.number, error=str(error))
            return False

    def _start_incoming(self) -> None:
        event, self._ringing = self._ringing, None
        if event is None or self._group is None:
            return
        call = self._incoming(event)
        self._group.create_task(self.carry(call, S.INCOMING) if call else self._reject())

    async def _reject(self) -> None:
        try:
            await self.driver.hang_up(21)
        except ModemError as error:
            self.distrust(str(error))

    def _incoming(self, event: CallProgress) -> LiveCall | None:
        """The call offered to the controller; None when it can't be."""
        channel = self.channel
        if channel.state is not S.READY or channel.marks or channel.sim is None:
            log.info("incoming call turned away", box=channel.box, channel=channel.number, state=channel.state.value)
            return None
        try:
            return self._offer(event, channel.sim)
        except (SipError, OSError, ValueError) as error:
            log.error("incoming call can't be offered", channel=channel.number, error=str(error))
            return None

    def _offer(self, event: CallProgress, sim: SimInfo) -> LiveCall:
        tools = self.tools
        attempt = tools.ids.token()
        invited = moment(tools.clock, event.at)
        rtp = tools.sound.bind()
        session = int(tools.ids.token(4), 16)
        headers = {
            "X-Simrack-Box": self.channel.box,
            "X-Simrack-Channel": str(self.channel.number),
            "X-Simrack-ICCID": sim.iccid,
            "X-Simrack-Attempt": attempt,
        }
        leg = tools.dial(
            Dial(
                address=tools.controller,
                called=sim.msisdn or sim.imsi,
                calling=event.number or "anonymous",
                sdp=sdp.offer(tools.sound.codecs, rtp.address, session),
                headers=headers,
                ring_s=INCOMING_RING_S,
            )
        )
        ticket = Ticket(attempt, attempt, event.number, None, INCOMING_RING_S, tools.settings.calls.max_call_s)
        state = logic.Call(direction="in")
        return LiveCall(
            tools, self, leg, ticket, state, rtp, None, Moments(invited), session, offered=tools.sound.codecs
        )

    # --- commands -----------------------------------------------------------------------------------------

    async def restart(self, reason: str) -> None:
        """End the call, reset the module and open it again."""
        if self.current is not None:
            self.current.feed(logic.Ordered(41, reason))
            await self._idle.wait()
        self.steps["reset"] += 1
        with contextlib.suppress(ModemError):
            await self.driver.reset()
        self.distrust(reason)

