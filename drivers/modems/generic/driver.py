"""The standard driver: 3GPP TS 27.007 and nothing else. Families override the differences.

Call progress comes from asking (+CLCC), because that is all the standard promises; families with unsolicited
call states feed the same `CallView` from them, and keep the asking, seldom, against lost ends of calls.
"""

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import replace

from simrack.drivers.at.chat import Chat
from simrack.drivers.at.command import CALL_S, NETWORK_S, AtCommand, Priority
from simrack.drivers.at.errors import AtAborted, AtError, AtRefused
from simrack.drivers.at.fields import value_of
from simrack.drivers.at.framing import Line
from simrack.drivers.at.result import Kind, parse_final
from simrack.drivers.modems.base import (
    AudioFormat,
    CallProgress,
    LeftOver,
    ModemError,
    ModemRefused,
    ModemUnsure,
    Progress,
    Sheet,
)
from simrack.drivers.modems.generic import replies
from simrack.drivers.modems.generic.calls import CallView, Ended, Ghost, Moved, Row, Second, Step
from simrack.drivers.modems.generic.service import ServedDriver
from simrack.wire.messages import ModuleInfo
from simrack.wire.ports import Clock

# How long a cancel waits for an outstanding dial to be taken before it breaks it off; modules answer ATD
# within 300 ms when COLP is off.
DIAL_GRACE_S = 1.0
# After a hang-up command: until the call must be gone from +CLCC before the next one is tried. Networks were
# seen to take 1 s for the release of an alerting call.
# The module ended the call between the order and its OK, which a busy module or a busy box makes late: the middle of both is
# nearest, but of a module that takes long to hear nobody knows more than its OK. Just under what a record may be off, which
# then holds for both: a module that ends the call with its OK, and one whose OK is read up to 180 ms after the end.
MOST_LATE_S = 0.09
ON_HOOK_S = 3.0
ON_HOOK_POLL_S = 0.2
# A dial that was given up may still come to life; it is looked for once more after this.
GHOST_S = 1.0
# A list of calls proves that a dial came to nothing if no garbage came with it; so often it is asked for one
# that does.
FATE_LOOKS = 4
# The second one is for a call that the list shows late.
FATE_PROOFS = 2
# +CEER is answered at once; the record should not wait for a module that does not.
CEER_S = 1.0
RESET_S = 2.0

_DIALLABLE = re.compile(r"\+?[0-9]{2,20}")
_DTMF = re.compile(r"[0-9*#A-D]")
_END_CAUSES = {Kind.BUSY: 17, Kind.NO_ANSWER: 19}
_SETTING_UP = (Progress.DIALLING, Progress.ALERTING)

# At once by the manual; a caller hears nothing while a module that hangs in the call is not noticed.
CLCC_WATCH_S = 2.0
CLCC = AtCommand("AT+CLCC", ("+CLCC:",))


def _worked(sent: float, at: float) -> float:
    """When an order that was sent at `sent` worked, whose OK was read at `at`."""
    return at - min((at - sent) / 2, MOST_LATE_S)


class GenericDriver(ServedDriver):
    """A module by the standard alone."""

    #: Sent at start in this order, after ATE0; a refusal is tolerated.
    start_up: tuple[AtCommand, ...] = (
        AtCommand("AT+CVHU=0"),
        AtCommand("AT+COLP=0", timeout_s=NETWORK_S),
        AtCommand("AT+CLIP=1", timeout_s=NETWORK_S),
        AtCommand("AT+CRC=1"),
        AtCommand("AT+CSSN=0,0"),
        AtCommand('AT+CSCS="GSM"'),
        AtCommand("AT+COPS=3,0"),
        AtCommand("AT+CREG=2"),
        AtCommand("AT+CEREG=2"),
        AtCommand("AT+CMGF=0"),
    )
    #: Seconds between +CLCC while a call is set up, and while it is up.
    poll_setup_s = 0.3
    poll_call_s = 1.0
    #: Seconds until ATD must be answered, with COLP off. A caller waits for that before the call goes elsewhere.
    dial_s = 15.0

    def __init__(self, chat: Chat, sheet: Sheet, clock: Clock) -> None:
        super().__init__(chat, sheet, clock)
        self.view = CallView()
        self._hint = 0
        self._hanging: int | None = None
        self._orders: frozenset[str] = frozenset()  # by which it is hung up
        self._releasing = False
        self._held_back: list[CallProgress] = []
        self._call_up = asyncio.Event()
        self._dial_over = asyncio.Event()
        self._dial_over.set()
        self._given_up = self._can_list = False
        self._hang_up_turn = asyncio.Lock()
        self._urcs.update(
            {
                "RING": self._ring,
                "+CRING": self._ring,
                "+CLIP": self._clip,
                "+CCWA": self._waiting,
                "NO CARRIER": self._end_news,
                "BUSY": self._end_news,
                "NO ANSWER": self._end_news,
                "NO DIALTONE": self._end_news,
            }
        )

    @property
    def _setting_up(self) -> bool:
        return self._chat.dialling or self._hanging is not None or self.view.state in _SETTING_UP

    # Start.

    async def start(self) -> ModuleInfo:
        await self._synchronised()
        # First of all: a call that nobody records any more costs money with each second.
        await self._clear_line()
        self.info = await self._identify()
        await self._run_start_up()
        self._serve()
        return self.info

    async def _clear_line(self) -> None:
        """End what an earlier run of the box left behind: nobody records it any more. A ring stays."""
        try:
            rows = await self._voice_rows()
        except ModemRefused:
            return
        self._can_list = True
        left = [row for row in rows if row.state not in (Progress.INCOMING, Progress.WAITING)]
        if left:
            await self.hang_up()
            self.left_over = LeftOver(left[0].outgoing, left[0].state, self._clock.monotonic())

    async def reset(self) -> None:
        await self._try(AtCommand("AT+CFUN=1,1", timeout_s=RESET_S), Priority.URGENT)

    async def _synchronised(self) -> None:
        try:
            await self._chat.synchronise()
        except AtError as error:
            raise self._modem_error(error) from error
        await self._run("ATE0")
        # Numbers instead of words, and instead of a bare ERROR.
        await self._try("AT+CMEE=1")

    async def _identify(self) -> ModuleInfo:
        read = {}
        for field, name in (
            ("manufacturer", "+CGMI"), ("model", "+CGMM"), ("firmware", "+CGMR"), ("imei", "+CGSN"),
        ):  # fmt: skip
            answer = await self._try(AtCommand(f"AT{name}", (f"{name}:",), bare=True))
            read[field] = value_of(answer.first) if answer is not None else ""
        return ModuleInfo(**read, driver=self.sheet.name, answer_safe=bool(self.sheet.answer_signal))

    async def _run_start_up(self) -> None:
        for command in self.start_up:
            await self._try(command)
        # Radio off (0, 4) is kept over a restart by some firmware; a module in service has it on.
        mode = await self._try(AtCommand("AT+CFUN?", ("+CFUN:",)))
        if mode is not None and value_of(mode.first) != "1":
            await self._try(AtCommand("AT+CFUN=1", timeout_s=NETWORK_S))

    # Verbs.

    async def dial(self, number: str, *, hide: bool | None = None) -> None:
        if not _DIALLABLE.fullmatch(number):
            raise ModemRefused(f"{number!r} is no number that a module can dial", cause=28)
        if self.view.busy:
            raise ModemRefused("the module has a call", cause=44)
        # A suffix instead of AT+CLIR: one command less before the call, and it cannot stay on (27.007, 6.2).
        suffix = {None: "", True: "I", False: "i"}[hide]
        self.view.asked(number)
        self._hint = 0
        try:
            await self._outstanding(AtCommand(f"ATD{number}{suffix};", timeout_s=self.dial_s, dial=True))
        except AtRefused as error:
            refusal = await self._dial_refused(error)
            raise refusal from error
        except (AtAborted, asyncio.CancelledError) as error:
            # The module may have taken it: a call counts as there until hang_up has proved otherwise.
            self.view.taken()
            self._given_up = True
            if isinstance(error, AtAborted):
                raise self._modem_error(error) from error
            raise
        except AtError as error:
            self._given_up = True
            if not (error.sent and await self._was_taken(error)):
                self.view.failed()
                self._spawn(self._look_for_ghost)
                raise self._modem_error(error) from error
        self._do(self.view.taken())

    async def _was_taken(self, error: AtError) -> bool:
        """Find out what became of a dial whose answer never came, by two lists that no garbage came with.

        Raises:
            ModemUnsure: the module says nothing that could be believed.
        """
        proofs = 0
        try:
            for _ in range(FATE_LOOKS):
                noise = self._chat.noise
                if self.view.state is not None or any(row.outgoing for row in await self._voice_rows()):
                    return True
                proofs += self._chat.noise == noise
                if proofs == FATE_PROOFS:
                    return False
                await asyncio.sleep(GHOST_S)
        except ModemError as silence:
            self.view.taken()
            raise ModemUnsure(f"{error}; {silence}") from silence
        self.view.taken()
        raise ModemUnsure(f"{error}; garbage on the port")

    async def _outstanding(self, command: AtCommand) -> None:
        """Send a command that ends in a call, so that `hang_up` knows while it is outstanding."""
        self._dial_over.clear()
        try:
            await self._chat.run(command, Priority.URGENT)
        finally:
            self._dial_over.set()

    async def _dial_refused(self, error: AtRefused) -> ModemRefused:
        self.view.failed()
        cause, words = 0, ""
        if error.final.kind is Kind.NO_CARRIER:
            cause, words = await self.release_cause()
        rows = await self._voice_rows() if self._can_list else ()
        if any(row.outgoing for row in rows):
            await self.hang_up()
            if error.final.kind is Kind.ERROR:
                # It may have rung: not the rest of a call that the network refused, but one that goes on.
                raise ModemUnsure(f"{error}: and yet it had a call")
        elif rows:
            # Every way to hang up would end the call that came first, too.
            self._do(self.view.listing(rows))
            return ModemRefused(f"{error}: an incoming call came first", 44)
        refused = self._modem_error(error)
        assert isinstance(refused, ModemRefused)
        return ModemRefused(f"{error}; {words}" if words else str(error), cause or refused.cause)

    async def answer(self) -> None:
        try:
            await self._outstanding(AtCommand("ATA", timeout_s=CALL_S, dial=True))
        except AtRefused as error:
            # NO CARRIER here: the caller hung up meanwhile.
            self._spawn(self._confirm_end, self._clock.monotonic())
            cause = 16 if error.final.kind is Kind.NO_CARRIER else 41
            raise ModemRefused(str(error), cause) from error
        except AtError as error:
            raise self._modem_error(error) from error
        self._spawn(self._list_calls, Priority.URGENT)

    async def hang_up(self, cause: int = 16) -> float:
        async with self._hang_up_turn:
            ended = self._clock.monotonic()
            await self._end_dial()
            if not self.view.busy and not await self._voice_rows():
                return ended
            self._hanging = cause
            try:
                ended = await self._climb_down(cause)
            finally:
                self._hanging = None
        if self._given_up:
            self._given_up = False
            self._spawn(self._look_for_ghost)
        return ended

    async def _end_dial(self) -> None:
        """Let an outstanding ATD or ATA be taken, or break it off."""
        try:
            async with asyncio.timeout(DIAL_GRACE_S):
                await self._dial_over.wait()
        except TimeoutError:
            if self._chat.dialling:
                self._chat.abandon()

    async def _climb_down(self, cause: int) -> float:
        commands = self._hang_up_commands(cause)
        # Who rings in the moment after a call is the next one: neither a proof against its end nor to be turned away.
        rings_too = self.view.state in (None, Progress.INCOMING)
        self._orders = frozenset(command.text for command in commands)
        for command in commands:
            answer = await self._try(command, Priority.URGENT)
            since = _worked(answer.sent, answer.at) if answer is not None else self._clock.monotonic()
            ended = await self._on_hook(since, ON_HOOK_S if answer is not None else 0.0, rings_too=rings_too)
            if ended is not None:
                return ended
        raise ModemRefused("still off-hook after every way to hang up")

    def _hang_up_commands(self, cause: int) -> tuple[AtCommand, ...]:
        """Ways to hang up, tried in this order until the call is gone."""
        return (AtCommand("AT+CHUP", timeout_s=CALL_S), AtCommand("ATH", timeout_s=CALL_S))

    async def _on_hook(self, since: float, within_s: float, *, rings_too: bool) -> float | None:
        """Since when the module has no call (`rings_too`: nor rings); None when it still has one after `within_s`.

        `since`, when the command worked, if the first look finds none: asking took its time too, which is none of the talk.
        """
        deadline = self._clock.monotonic() + within_s
        while True:
            rows = await self._voice_rows()
            # The hang-up command was taken and the call is in this list no more: two proofs.
            if not any(rings_too or not row.rings for row in rows):
                self._do(self.view.ended(), since)
                self.view.failed()
                self._do(self.view.listing(rows))
                return since
            since = self._clock.monotonic()
            if since >= deadline:
                return None
            await asyncio.sleep(ON_HOOK_POLL_S)

    async def _look_for_ghost(self, after_s: float = GHOST_S) -> None:
        await asyncio.sleep(after_s)
        if not self.view.busy and any(row.outgoing for row in await self._voice_rows()):
            await self.hang_up()

    async def send_dtmf(self, digit: str) -> None:
        if not _DTMF.fullmatch(digit):
            raise ModemRefused(f"{digit!r} is no DTMF digit", cause=28)
        await self._run(AtCommand(self._dtmf_command(digit), timeout_s=NETWORK_S), Priority.URGENT)

    def _dtmf_command(self, digit: str) -> str:
        return f"AT+VTS={digit}"

    async def audio_on(self) -> AudioFormat:
        return self.sheet.audio

    async def audio_off(self) -> None:
        """The standard has no audio port to close."""

    async def release_cause(self) -> tuple[int, str]:
        answer = await self._try(AtCommand("AT+CEER", ("+CEER:",), timeout_s=CEER_S), Priority.URGENT)
        return replies.release_cause(answer.first) if answer is not None else (0, "")

    async def in_call(self, *, ringing: bool = True) -> bool:
        return any(ringing or not row.rings for row in await self._voice_rows())

    async def _voice_rows(self, priority: Priority = Priority.URGENT) -> tuple[Row, ...]:
        command = CLCC if priority is Priority.URGENT else replace(CLCC, timeout_s=CLCC_WATCH_S)
        answer = await self._run(command, priority)
        return replies.call_rows(answer.texts)

    # Call states.

    def _do(self, steps: tuple[Step, ...], at: float | None = None) -> None:
        now = self._clock.monotonic() if at is None else at
        for step in steps:
            match step:
                case Moved():
                    self._call_up.set()
                    self._progress(CallProgress(step.state, step.number, at=now))
                case Ended():
                    self._call_over(step.number, now)
                case Second():
                    self._progress(CallProgress(Progress.WAITING, step.number, at=now))
                    self._spawn(self._refuse_second)
                case Ghost():
                    self._spawn(self.hang_up)

    def _progress(self, progress: CallProgress) -> None:
        """Pass it on, but never before the release of the call before it."""
        if self._releasing:
            self._held_back.append(progress)
        else:
            self._emit(progress)

    def _call_over(self, number: str, at: float) -> None:
        self._call_up.clear()
        self._network_due.set()
        if self._hanging is not None:
            order, sent = self._chat.last
            at = _worked(sent, at) if order in self._orders else at
            self._progress(CallProgress(Progress.RELEASED, number, self._hanging, at=at))
            return
        self._releasing = True
        self._spawn(self._report_release, number, at)

    async def _report_release(self, number: str, at: float) -> None:
        cause, words = 0, ""
        try:
            cause, words = await self.release_cause()
        except ModemError as error:
            words = str(error)
        finally:
            self._releasing = False
            self._emit(CallProgress(Progress.RELEASED, number, cause or self._hint, words, at))
            held, self._held_back = self._held_back, []
            for progress in held:
                self._emit(progress)

    async def _refuse_second(self) -> None:
        # 27.007 7.13: with a waiting call, 0 means "user determined user busy" for it and nothing else.
        await self._try("AT+CHLD=0", Priority.URGENT)

    def _service_loops(self) -> list[Coroutine[None, None, None]]:
        return [*super()._service_loops(), self._watch_calls()]

    async def _watch_calls(self) -> None:
        while True:
            await self._call_up.wait()
            await asyncio.sleep(self.poll_setup_s if self._setting_up else self.poll_call_s)
            if self.view.state is not None and self._hanging is None:
                await self._guarded(self._list_calls)
            elif self.view.state is None:
                self._call_up.clear()

    async def _list_calls(self, priority: Priority = Priority.IDLE) -> None:
        self._do(self.view.listing(await self._voice_rows(priority)))

    def _ring(self, line: Line) -> None:
        if not self.view.busy:
            self._spawn(self._ringing, "")

    def _clip(self, line: Line) -> None:
        if not self.view.busy:
            self._spawn(self._ringing, replies.calling_number(line.text))

    async def _ringing(self, number: str) -> None:
        # Without a list the line itself is all there is. With one, RING in a burst of noise stays noise, and a
        # real ring comes again after some seconds.
        if self._can_list:
            await self._list_calls(Priority.URGENT)
        else:
            self._do(self.view.ringing(number))

    def _waiting(self, line: Line) -> None:
        self._spawn(self._list_calls, Priority.URGENT)

    def _end_news(self, line: Line) -> None:
        final = parse_final(line.text)
        if final is None or not (self.view.busy or self._releasing):
            return
        self._hint = _END_CAUSES.get(final.kind, self._hint)
        self._spawn(self._confirm_end, self._clock.monotonic())

    async def _confirm_end(self, at: float) -> None:
        """NO CARRIER may belong to the call before: with an empty list it is proved."""
        if self.view.state is None or await self._voice_rows():
            return
        for step in self.view.ended():
            if isinstance(step, Ended):
                self._call_over(step.number, at)
