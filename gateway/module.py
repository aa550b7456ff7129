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

from simrack.drivers.board.base import BoardError
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
from simrack.gateway.attempts import opening, turned_away
from simrack.gateway.call import LiveCall, Moments, Ticket, moment
from simrack.gateway.channel import Channel
from simrack.gateway.ladder import Rung, next_step
from simrack.gateway.ports import Audio, Opened, Tools
from simrack.gateway.settings import ModuleSettings
from simrack.sip import sdp
from simrack.sip.errors import SipError
from simrack.sip.legs import Dial
from simrack.wire.causes import Cause
from simrack.wire.channel import IN_CALL, ChannelState
from simrack.wire.messages import FaultPart, RecoveryInfo, RungFigures, SimInfo

log = structlog.get_logger(__name__)
S = ChannelState

# Start-up lists take seconds; a module that boots meanwhile (EC25: 13 s to AT, 25 s to its card) may need more.
START_S = 60.0
# A port that isn't there yet is looked for at this pace, where udev doesn't tell: looking costs one stat().
LOOK_S = 1.0
# Served this long, a module has proved itself and the next failure starts the back-off anew.
PROVEN_S = 60.0
# After a reset: until the port must be gone, if it goes at all, and until it must be back (EC25: 13 s).
GONE_S = 5.0
RETURN_S = 45.0
# A module that is away this long may hang in its boot loader (EC25 after a warm boot): switched power brings it
# back. Sooner it was somebody's hand.
ABSENT_S = 120.0
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
    #: The ladder's rungs since the box started: how often tried, and what it led to.
    tries: Counter[str] = field(default_factory=Counter)
    cured: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    #: In this trouble: the rungs so far, those that did not help, and the one whose effect is awaited.
    _tried: list[Rung] = field(default_factory=list)
    _in_vain: list[Rung] = field(default_factory=list)
    _rung: Rung | None = None
    _timeouts: int = 0
    _resyncs: tuple[int, int] = (0, 0)
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
    def resyncs(self) -> tuple[int, int]:
        """Resynchronisings of all the drivers it had, and those in vain."""
        now = self._opened.driver.resyncs if self._opened is not None else (0, 0)
        return self._resyncs[0] + now[0], self._resyncs[1] + now[1]

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
                    await self._serve_once()
                    await self._recover()
            finally:
                await self._close()

    async def _serve_once(self) -> None:
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
        if self._rung is None and self.tools.clock.monotonic() - begun > PROVEN_S:
            self._tried.clear()
        await self._out_of_service(state, reason)

    async def _serve(self) -> None:
        row = await self.tools.locate(self.row)
        if row is None:
            raise Lost(S.ABSENT, f"no module at {self.row.at or self.row.usb}")
        self.channel.begin()
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
        await self._close()
        await self._idle.wait()
        self._ringing = None
        if self._rung is not None:
            await self._did_not_help(self._rung, reason)
        # One fact per trouble, not one per try.
        if reason != self._trouble:
            self._trouble = reason
            log.warning("module lost", box=self.channel.box, channel=self.channel.number, reason=reason)
            await self.tools.facts.put(FaultPart(channel=self.channel.number, reason=reason))

    async def _did_not_help(self, rung: Rung, reason: str) -> None:
        self._rung = None
        self.failed[rung] += 1
        if rung not in self._in_vain:
            self._in_vain.append(rung)
            await self.tools.facts.put(FaultPart(channel=self.channel.number, reason=reason, rung=rung))
        self._show_recovery()

    async def _came_back(self) -> None:
        if self._rung is not None:
            self.cured[self._rung] += 1
            log.info("module brought back", box=self.channel.box, channel=self.channel.number, rung=self._rung.value)
        self._rung = None
        self._in_vain.clear()
        self._show_recovery()
        if self._trouble:
            reason, self._trouble = self._trouble, ""
            await self.tools.facts.put(FaultPart(channel=self.channel.number, reason=reason, cleared=True))

    async def _close(self) -> None:
        self._resyncs = self.resyncs
        opened, self._opened = self._opened, None
        if opened is not None:
            self._timeouts += opened.driver.timeouts
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

    # --- recovery -----------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        """Wait, and do what the ladder says, once; whether it helped shows at the next start of the module."""
        able = self.tools.hands.able(self.row)
        if await self._port() is None:
            if self.channel.state is S.FAULT:
                # Its audio port was missed first, and that may have been all.
                self.channel.gone(S.ABSENT, f"no module at {self.row.at or self.row.usb}")
            await self._await_return(able & {Rung.POWER})
            return
        step = next_step(self._tried, able)
        await self._doze(step.pause_s)
        await self._climb(step.rung)

    async def _await_return(self, able: frozenset[Rung]) -> None:
        """The port is gone: wait for it, and switch the power where that can be done and nothing else helped."""
        while True:
            step = next_step(self._tried, able)
            patience_s = ABSENT_S if not self._tried else step.pause_s
            if await self._appears(None if step.rung is Rung.OUT else patience_s):
                return
            await self._climb(step.rung)
            if await self._port() is not None:
                return
            await self._did_not_help(step.rung, "the module does not come back")

    async def _climb(self, rung: Rung) -> None:
        log.info("module is being brought back", box=self.channel.box, channel=self.channel.number, rung=rung.value)
        self._tried.append(rung)
        self.tries[rung] += 1
        self._rung = rung
        self._show_recovery()
        if rung in (Rung.REOPEN, Rung.OUT):
            return
        row = await self._port() or self.row
        async with self.tools.hands.turn(self.row):
            try:
                await self.tools.hands.climb(rung, row)
            except BoardError as error:
                log.warning("rung can't be climbed", channel=self.channel.number, rung=rung.value, error=str(error))
                self.channel.fault = str(error)
                return
            if await self._vanishes(GONE_S):
                await self._appears(RETURN_S)

    async def _port(self) -> ModuleSettings | None:
        return await self.tools.locate(self.row)

    async def _vanishes(self, limit_s: float) -> bool:
        return await self._until(limit_s, there=False)

    async def _appears(self, limit_s: float | None) -> bool:
        return await self._until(limit_s, there=True)

    async def _until(self, limit_s: float | None, *, there: bool) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while (await self._port() is not None) is not there:
                    await self._doze(LOOK_S)
                return True
        return False

    def _show_recovery(self) -> None:
        figures = tuple(
            RungFigures(rung=rung, tries=self.tries[rung], cured=self.cured[rung], failed=self.failed[rung])
            for rung in Rung
            if self.tries[rung]
        )
        self.channel.recovery = RecoveryInfo(
            rung=self._rung or "",
            failed=tuple(self._in_vain),
            out=self._rung is Rung.OUT or Rung.OUT in self._in_vain,
            figures=figures,
        )
        self.channel.changed(self.channel)

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
        self.tools.overhear(self.channel.number, line)
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
        self._group.create_task(self.carry(call, S.INCOMING) if call else self._turn_away(event))

    async def _turn_away(self, event: CallProgress) -> None:
        """Refuse a call that the controller never hears of, and leave a record of it."""
        channel, attempt = self.channel, self.tools.ids.token()
        marks = ", ".join(sorted(channel.marks))
        invited = moment(self.tools.clock, event.at)
        row = opening(
            call=attempt, attempt=attempt, number=event.number, direction="in", number_of_channel=channel.number,
            channel=channel, invited=invited.when,
        )  # fmt: skip
        try:
            await self.driver.hang_up(Cause.REJECTED)
        except ModemError as error:
            self.distrust(str(error))
        why = f"the channel is {marks}" if marks else f"the channel was {channel.state}"
        await self.tools.facts.put(turned_away(row, self.tools.clock.utc(), why))

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
        self._tried.clear()
        self.tries[Rung.RESET] += 1
        with contextlib.suppress(ModemError):
            await self.driver.reset()
        self.distrust(reason)
        self.wake()

