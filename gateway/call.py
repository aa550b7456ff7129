"""One live call: the shell around `calls_logic`, with its leg, its module, its voice, its timers.

Everything that happens is fed into one inbox, in order; `calls_logic.step` decides, and the actions are done
here. Work on the module (dial, answer, hang up, audio) runs beside the inbox and is never cancelled: an AT
command that is cut off in the middle leaves the port one answer behind.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from simrack.drivers.modems.base import (
    AtTrace,
    CallProgress,
    DtmfHeard,
    ModemDriver,
    ModemError,
    ModemRefused,
    ModemUnsure,
    Progress,
)
from simrack.gateway import calls_logic as logic
from simrack.gateway.attempts import OpenAttempt, When, opening
from simrack.gateway.channel import Channel
from simrack.gateway.errors import StoreBroken
from simrack.gateway.ports import Audio, Bridge, Rtp, Tools
from simrack.sip import legs, sdp
from simrack.wire.causes import Cause
from simrack.wire.channel import ChannelState
from simrack.wire.messages import AtLine, CallInfo, CallPart, MediaFigures
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)

# +CHUP may take the module 90 s by its manual (at-dialects 1.1); a module that needs a third of it hangs.
HANG_UP_S = 30.0
# "On-hook" is believed when the module itself says that it holds no call; it gets this many chances.
HANG_UP_TRIES = 3
# An ATD that the module never answers; the driver's own limit comes first.
DIAL_S = 60.0
# AT lines kept of one call; what lies between the first and the last half is dropped.
AT_LINES = 400


class Line(Protocol):
    """What a call needs of the module that carries it."""

    channel: Channel
    audio: Audio | None

    @property
    def driver(self) -> ModemDriver:
        """The driver in service. Raises `ModemError` while there is none."""

    @property
    def gain_db(self) -> float:
        """Towards the SIP side."""

    def distrust(self, reason: str) -> None:
        """The module does not do what it is told: start it anew."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks."""

    mono: float
    utc: datetime

    @property
    def when(self) -> When:
        """As the journal keeps it."""
        return When(mono=self.mono, utc=self.utc)


@dataclass(slots=True)
class Moments:
    """When things happened at the module."""

    invited: Moment
    dialled: Moment | None = None
    alerting: Moment | None = None
    connected: Moment | None = None
    released: Moment | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the call is, for records and pages."""

    call: str
    attempt: str
    number: str
    hide: bool | None = None
    max_ring_s: float = 120.0
    max_call_s: float = 7200.0
    run: str = ""  # the boot id of the controller that placed it, where it says so


@dataclass(slots=True)
class LiveCall:
    """See the module. `chosen` is None on an incoming call until the controller answers."""

    tools: Tools
    line: Line
    leg: legs.Leg
    ticket: Ticket
    state: logic.Call
    rtp: Rtp
    chosen: sdp.Chosen | None
    moments: Moments
    session: int
    #: The same leg when the controller placed the call; only such a leg can be answered.
    caller: legs.IncomingLeg | None = None
    offered: tuple[str, ...] = ()
    bridge: Bridge | None = None
    lost: bool = False
    _inbox: asyncio.Queue[logic.Event] = field(default_factory=asyncio.Queue)
    _digits: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _at_log: list[AtLine] = field(default_factory=list)
    _group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _watchers: list[asyncio.Task[None]] = field(default_factory=list)
    _timers: dict[logic.Timer, asyncio.TimerHandle] = field(default_factory=dict)
    _dialling: asyncio.Task[None] | None = None
    _taken: bool = False
    _kept: asyncio.Task[None] | None = None
    _unkept: bool = False
    _bodies: int = 0
    #: The journal's row; module and card as they were when the call began.
    _row: OpenAttempt = field(init=False)
    _log: Any = None

    def __post_init__(self) -> None:
        self._log = log.bind(**self._ids)
        channel, ticket = self.line.channel, self.ticket
        self._row = opening(
            call=ticket.call,
            attempt=ticket.attempt,
            number=ticket.number,
            direction=self.state.direction,
            number_of_channel=channel.number,
            channel=channel,
            invited=self.moments.invited.when,
        )

    @property
    def _ids(self) -> dict[str, Any]:
        channel, ticket = self.line.channel, self.ticket
        return {"box": channel.box, "channel": channel.number, "call": ticket.call, "attempt": ticket.attempt}

    # --- life ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the call to its end; afterwards the module is on-hook and the part is in the outbox."""
        async with self._group:
            if self.state.direction == "in":
                # One that was placed by the controller is in the journal since its INVITE was taken.
                self._kept = self._do(self._keep())
            try:
                await self._drive()
            except Exception as error:
                log.exception("call broke", **self._ids)
                await self._emergency(f"internal: {type(error).__name__}")
            finally:
                self._stop_watching()
            await self._report()
        # The group has waited for whatever the module was still told.
        await self._silence()

    def _stop_watching(self) -> None:
        for task in self._watchers:
            task.cancel()
        for timer in self._timers.values():
            timer.cancel()

    def feed(self, event: logic.Event) -> None:
        """Something happened."""
        if isinstance(event, logic.ModuleLost):
            self.lost = True
            event = replace(event, dialled=self.state.direction == "out" and self.moments.dialled is not None)
            self._note("released")
        self._inbox.put_nowait(event)

    def module_says(self, event: CallProgress | DtmfHeard) -> None:
        """The driver's events while this call is on."""
        if isinstance(event, DtmfHeard):
            self._speak(event.digit)
            return
        match event.state:
            case Progress.ALERTING:
                self._note("alerting", event.at)
                self.feed(logic.Alerting())
            case Progress.ACTIVE if self.moments.connected is None:
                self._note("connected", event.at)
                self._journal()
                self.feed(logic.Answered())
            case Progress.ACTIVE | Progress.HELD:
                self.feed(logic.Held(event.state is Progress.HELD))
            case Progress.RELEASED:
                self._note("released", event.at)
                self.feed(logic.Released(event.cause, event.text))
            case Progress.INCOMING if self.state.direction == "out":
                self.feed(logic.RingIn())
            case _:
                self._log.info("progress without effect", state=event.state.value)

    def trace(self, line: AtTrace) -> None:
        """One line at the AT port."""
        ms = round((line.at - self.moments.invited.mono) * 1000)
        if self.moments.dialled is None and line.way == ">" and line.text.upper().startswith("ATD"):
            self._note("dialled", line.at)
            self._journal()
        self._at_log.append(AtLine(ms=max(ms, 0), way=line.way, text=line.text))
        if len(self._at_log) > AT_LINES:
            del self._at_log[AT_LINES // 2]

    def invited_before(self, mono: float) -> bool:
        """Whether the call had begun at `mono` of the monotonic clock."""
        return self.moments.invited.mono <= mono

    def answered_before(self, mono: float | None) -> bool:
        """Whether the call was answered, and that (where `mono` is given) before it: somebody took our 200."""
        connected = self.moments.connected
        return connected is not None and (mono is None or connected.mono < mono)

    @property
    def info(self) -> CallInfo:
        """The call as the channel's report shows it."""
        connected = self.moments.connected
        return CallInfo(
            call=self.ticket.call,
            attempt=self.ticket.attempt,
            direction=self.state.direction,
            number=self.ticket.number,
            since=self.moments.invited.utc,
            connected=connected.utc if connected else None,
        )

    # --- the inbox ----------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        while not self.leg.events.empty():
            self._leg_says(self.leg.events.get_nowait())
        self._watch(self._leg_events())
        self._watch(self._send_digits())
        self._start_timer(logic.Timer.RING, self.ticket.max_ring_s)
        if self._inbox.empty() and self.state.direction == "out":
            self._dialling = self._do(self._dial())
        while self.state.phase is not logic.Phase.ENDED:
            self._handle(await self._inbox.get())

    def _handle(self, event: logic.Event) -> None:
        before = self.state.phase
        self.state, actions = logic.step(self.state, event)
        if self.state.phase is not before:
            self._log.info("call moved", old=before.value, new=self.state.phase.value, event_=type(event).__name__)
        for action in actions:
            self._act(action)

    def _act(self, action: logic.Action) -> None:
        match action:
            case logic.Show(state=state):
                self._show(state)
            case logic.Listen():
                self._listen()
            case logic.TakeCall():
                self._dialling = self._do(self._take_call())
            case logic.HangUp(cause=cause):
                self._do(self._hang_up(cause))
            case logic.AwaitDial():
                self._do(self._await_dial())
            case logic.EndLeg(cause=cause, text=text):
                self.leg.hang_up(cause, text)
            case _:
                self._signal(action)

    def _signal(self, action: logic.Action) -> None:
        """What only a leg that the controller placed can send."""
        assert self.caller is not None
        match action:
            case logic.OpenPath():
                self._open_voice()
                self.caller.progress(self._answer())
            case logic.Ring():
                self.caller.ring()
            case logic.Answer():
                if self.bridge:
                    self.bridge.answered()
                if not self.state.opened:
                    self._open_voice()
                self.caller.answer(self._answer())
            case logic.Refuse(status=status, cause=cause, text=text, refusal=refusal):
                headers = [("X-Simrack-Refusal", refusal)] if refusal else []
                self.caller.reject(status, cause, text, headers)

    def _show(self, state: ChannelState) -> None:
        if self.lost:
            return
        channel = self.line.channel
        if state is ChannelState.ACTIVE:
            self._stop_timer(logic.Timer.RING)
            if logic.Timer.CALL not in self._timers:
                self._start_timer(logic.Timer.CALL, self.ticket.max_call_s)
            channel.call = self.info
        channel.set_state(state, "call")

    # --- the leg ------------------------------------------------------------------------------------------

    async def _leg_events(self) -> None:
        while True:
            self._leg_says(await self.leg.events.get())

    def _leg_says(self, event: legs.Event) -> None:
        match event:
            case legs.Failed(cause=cause, text=text) | legs.Disconnected(cause=cause, text=text):
                self.feed(logic.LegGone(cause, text))
            case legs.Info(content_type=kind, body=body):
                digit = logic.dtmf_of_info(kind, body)
                if digit:
                    self._digits.put_nowait(digit)
            case legs.Update(sdp=offer):
                self._renegotiate(offer)
            case legs.Connected(sdp=answer) if self.state.direction == "in":
                self._connected(answer)
            case _:
                pass

    def _connected(self, answer: bytes | None) -> None:
        try:
            self.chosen = sdp.read_answer(self.offered, answer or b"")
        except sdp.SdpError as error:
            self.feed(logic.Ordered(Cause.INCOMPATIBLE, str(error)))
        else:
            self.feed(logic.LegAnswered())

    def _renegotiate(self, offer: bytes | None) -> None:
        """A re-INVITE: hold, resume, or another address; the codec stays."""
        if self.chosen is None:
            self.leg.refuse_update(488)
            return
        if offer is None:
            self.leg.accept_update(self._answer())
            return
        try:
            chosen = sdp.negotiate(sdp.parse(offer), (self.chosen.codec,))
            sdp.check_family(chosen, self.rtp.address[0])
        except sdp.SdpError as error:
            self._log.info("re-INVITE refused", reason=str(error))
            self.leg.refuse_update(488)
            return
        self.chosen = chosen
        self._bodies += 1
        if self.bridge:
            self.bridge.update(self.chosen)
        self.leg.accept_update(self._answer())
        self.feed(logic.Held(not (self.chosen.sends and self.chosen.receives)))

    def _answer(self) -> bytes:
        assert self.chosen is not None
        # RFC 3264 8: the version grows with each new body of the session.
        version = self.session + self._bodies
        return sdp.answer(self.chosen, self.rtp.address, self.session, version=version)

    # --- the voice ----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Join the module's audio and RTP; the SIP side hears nothing before `_open_voice`."""
        if self.bridge is None and self.chosen is not None and self.line.audio is not None:
            quiet = replace(self.chosen, sends=False)
            self.bridge = self.tools.sound.bridge(quiet, self.rtp, self.line.audio, self.line.gain_db)
            self._watch(self._hear(self.bridge))
            self._watch(self._hear_digits(self.bridge))
            self._watch(self._miss_bridge(self.bridge))
        if self.bridge is not None and self.state.phase is logic.Phase.ACTIVE:
            self._watch(self._miss_media(self.bridge))
            if self.state.direction == "in":
                self.bridge.answered()
                self._open_voice()

    def _open_voice(self) -> None:
        if self.bridge is not None and self.chosen is not None:
            self.bridge.update(self.chosen)

    async def _hear(self, bridge: Bridge) -> None:
        await bridge.heard.wait()
        self.feed(logic.VoiceHeard())

    async def _hear_digits(self, bridge: Bridge) -> None:
        while True:
            self._digits.put_nowait(await bridge.digits.get())

    async def _miss_media(self, bridge: Bridge) -> None:
        # Silence while it rang is no fault: the watch begins anew with the answer.
        await asyncio.sleep(self.tools.settings.calls.no_media_s)
        bridge.no_media.clear()
        await bridge.no_media.wait()
        self.feed(logic.Expired(logic.Timer.MEDIA))

    async def _miss_bridge(self, bridge: Bridge) -> None:
        await bridge.failed.wait()
        self.feed(logic.Ordered(Cause.TEMPORARY_FAILURE, "voice failed"))

    def _speak(self, digit: str) -> None:
        if self.chosen is not None and self.chosen.dtmf_type is None and self.state.answered:
            self.leg.info("application/dtmf-relay", f"Signal={digit}\r\nDuration=160\r\n".encode())
        elif self.bridge is not None:
            self.bridge.speak(digit)

    async def _send_digits(self) -> None:
        while True:
            digit = await self._digits.get()
            if self.state.phase is not logic.Phase.ACTIVE:
                continue
            work = self._do(self.line.driver.send_dtmf(digit))
            await asyncio.wait([work])

    # --- the journal --------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep an incoming call; one that can't be kept isn't answered."""
        try:
            await self.tools.attempts.remember(self._row)
        except StoreBroken as error:
            self._unkept = True
            self._log.error("attempt can't be kept", error=str(error))
            self.feed(logic.Ordered(Cause.TEMPORARY_FAILURE, "the box can't write its file"))

    def _journal(self) -> None:
        """Write the moments beside the call: an answer that waited for the disk would cut off the first word."""
        if self.state.phase is logic.Phase.ENDED:
            return
        moments = {"dialled": self.moments.dialled, "connected": self.moments.connected}
        self._row = self._row.model_copy(update={name: at.when for name, at in moments.items() if at})
        self._do(self.tools.attempts.note(self._row))

    # --- work on the module -------------------------------------------------------------------------------

    async def _dial(self) -> None:
        if self.state.end is not None:
            return
        try:
            async with asyncio.timeout(DIAL_S):
                await self.line.driver.dial(self.ticket.number, hide=self.ticket.hide)
        except ModemRefused as error:
            self.feed(logic.DialRefused(error.cause, str(error)))
        except ModemUnsure as error:
            # The hang-up that follows finds out whether the module still does what it is told.
            self.feed(logic.DialUnsure(str(error)))
        except (ModemError, TimeoutError) as error:
            self._dial_broke(error)
        else:
            self._note("dialled")
            self._taken = True
            self.feed(logic.DialTaken())
            await self._audio_on()

    def _dial_broke(self, error: Exception) -> None:
        if self.state.end is not None:
            # The call is being hung up, which breaks off an ATD that takes too long.
            self._log.info("dial broken off", error=str(error))
            return
        self._module_failed(f"dial: {error or 'no answer'}")

    async def _take_call(self) -> None:
        if self._kept is not None:
            await asyncio.wait([self._kept])
        if self._unkept:
            return
        try:
            await self.line.driver.answer()
        except ModemRefused as error:
            self.feed(logic.DialRefused(error.cause, str(error)))
        except ModemError as error:
            self._module_failed(f"answer: {error}")
        else:
            self.feed(logic.DialTaken())
            await self._audio_on()

    async def _audio_on(self) -> None:
        if self.state.end is not None:
            return
        try:
            await self.line.driver.audio_on()
        except ModemError as error:
            # Without its voice the call is worth nothing, and the next candidate may have one.
            self.feed(logic.Ordered(Cause.TEMPORARY_FAILURE, f"no audio: {error}", "no audio"))

    async def _hang_up(self, cause: int) -> None:
        try:
            async with asyncio.timeout(HANG_UP_S):
                await self._put_on_hook(cause)
        except (ModemError, TimeoutError) as error:
            self._module_failed(f"hang up: {error or 'no answer'}")
        else:
            self.feed(logic.OnHook())

    async def _put_on_hook(self, cause: int) -> None:
        driver = self.line.driver
        # Another caller may ring in the moment after; only a call that itself rang is over when nothing rings.
        rang = self.state.direction == "in" and self.moments.connected is None
        for _ in range(HANG_UP_TRIES):
            ended = await driver.hang_up(cause)
            if not await driver.in_call(ringing=rang):
                # The question takes its time too, which is none of the talk.
                self._note("released", ended)
                return
        raise ModemError("the module holds a call that it was told to end")

    async def _await_dial(self) -> None:
        """Glare: the outstanding ATD normally fails by itself; if the module took it, both calls go."""
        if self._dialling is not None:
            await asyncio.wait([self._dialling])
        if self._taken:
            await self._hang_up(Cause.NORMAL)
        else:
            self.feed(logic.OnHook())

    async def _silence(self) -> None:
        if self.lost:
            return
        try:
            await self.line.driver.audio_off()
        except ModemError as error:
            self._log.warning("audio not switched off", error=str(error))

    async def _emergency(self, text: str) -> None:
        """A fault of ours: release both sides whatever state they are in."""
        self.state = replace(
            self.state, phase=logic.Phase.ENDED, end=logic.End(Cause.TEMPORARY_FAILURE, text, "rack")
        )
        self.leg.hang_up(Cause.TEMPORARY_FAILURE, "internal error")
        if not self.lost:
            await self._hang_up(Cause.NORMAL)

    def _module_failed(self, reason: str) -> None:
        self.feed(logic.ModuleLost(reason))
        self.line.distrust(reason)

    # --- the record ---------------------------------------------------------------------------------------

    async def _report(self) -> None:
        if self._kept is not None:
            # The part closes the row, so it must not come before it.
            await asyncio.wait([self._kept])
        figures = MediaFigures()
        if self.bridge is not None:
            figures = self.bridge.figures()
            self.bridge.close()
            self.bridge = None
        self.rtp.close()
        self._note("released")
        part = self._part(figures)
        self._log.info("call ended", cause=part.cause, text=part.cause_text, side=part.side, talk_ms=part.talk_ms)
        await self.tools.facts.put(part)

    def _part(self, figures: MediaFigures) -> CallPart:
        moments, end, row = self.moments, self.state.end, self._row
        assert end is not None
        assert moments.released is not None

        def utc(at: Moment | None) -> datetime | None:
            # By the clock that nobody sets: a wall clock that jumped in the call would contradict its durations.
            return moments.invited.utc + timedelta(seconds=at.mono - moments.invited.mono) if at else None

        return CallPart(
            call=self.ticket.call,
            attempt=self.ticket.attempt,
            channel=self.line.channel.number,
            iccid=row.iccid,
            imsi=row.imsi,
            imei=row.imei,
            direction=self.state.direction,
            number=self.ticket.number,
            invited=moments.invited.utc,
            dialled=utc(moments.dialled),
            alerting=utc(moments.alerting),
            connected=utc(moments.connected),
            released=utc(moments.released) or moments.invited.utc,
            talk_ms=_ms(moments.connected, moments.released),
            ring_ms=_ms(moments.dialled, moments.connected or moments.released),
            dial_delay_ms=_ms(moments.invited, moments.dialled),
            cause=end.cause,
            cause_text=end.text,
            side=end.side,
            # A module that was lost in the call may have held it for longer than anybody here can tell.
            estimated=(self.lost and moments.dialled is not None) or self._stood_still(),
            early_media=self.state.opened,
            media=figures,
            at_log=tuple(self._at_log),
        )

    def _stood_still(self) -> bool:
        """Whether talk begins or ends with a moment that was noted after a stall: nobody knows when it really was."""
        connected, released = self.moments.connected, self.moments.released
        if connected is None or released is None:
            return False
        return any(self.tools.pace.stalled(moment.mono) for moment in (connected, released))

    # --- small parts --------------------------------------------------------------------------------------

    def _note(self, what: str, at: float = 0.0) -> None:
        """Note a moment once; `at` is a monotonic time that lies a little back."""
        if getattr(self.moments, what) is None:
            setattr(self.moments, what, self._moment(at))

    def _moment(self, at: float) -> Moment:
        return moment(self.tools.clock, at)

    def _watch(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """A task that ends with the call."""
        self._watchers.append(self._group.create_task(coroutine))

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work on the module, which the call's end waits for."""
        return self._group.create_task(self._guard(coroutine))

    async def _guard(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except ModemError as error:
            self._log.warning("module refused", error=str(error))
        except Exception as error:
            # A fault of ours or the driver's: the module's state is unknown, so it is started anew.
            log.exception("work on the module failed", **self._ids)
            self._module_failed(f"internal: {type(error).__name__}")

    def _start_timer(self, timer: logic.Timer, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[timer] = loop.call_later(seconds, self.feed, logic.Expired(timer))

    def _stop_timer(self, timer: logic.Timer) -> None:
        if timer in self._timers:
            self._timers[timer].cancel()


def moment(clock: Clock, at: float = 0.0) -> Moment:
    """Now, or the instant `at` of the monotonic clock that lies a little back."""
    now = clock.monotonic()
    back = max(now - at, 0.0) if at else 0.0
    return Moment(now - back, clock.utc() - timedelta(seconds=back))


def _ms(start: Moment | None, end: Moment | None) -> int:
    return max(round((end.mono - start.mono) * 1000), 0) if start and end else 0
