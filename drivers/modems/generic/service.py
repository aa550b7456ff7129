"""What every driver does beside calls: it keeps the conversation, and watches card, network and life.

`start` opens a task group that lives until `close`; each follow-up of an unsolicited line runs in it. The
loops send at the lowest priority, and nothing at all while a call is being set up, so that a dial, an answer
or a cancel never waits behind a signal reading.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import ParamSpec

import structlog

from simrack.drivers.at import allow
from simrack.drivers.at.chat import Answer, Chat
from simrack.drivers.at.command import NETWORK_S, AtCommand, Priority
from simrack.drivers.at.errors import AtAborted, AtError, AtGone, AtRefused, AtSilent, AtTimeout
from simrack.drivers.at.fields import value_of
from simrack.drivers.at.framing import Line
from simrack.drivers.at.result import Kind
from simrack.drivers.modems.base import (
    AtTrace,
    CardChanged,
    CardState,
    ModemDriver,
    ModemError,
    ModemEvent,
    ModemRefused,
    ModemSilent,
    NetworkChanged,
    NotAllowed,
    PortLost,
    Sheet,
    Unresponsive,
)
from simrack.drivers.modems.generic import replies
from simrack.wire.messages import ModuleInfo, NetworkInfo, SimInfo
from simrack.wire.ports import Clock

# Signal and registration also come unsolicited; this catches what was missed.
NETWORK_EVERY_S = 30.0
# A burst of registration and signal lines leads to one reading.
NETWORK_SETTLE_S = 0.2
# After a reading: a module that floods with news is not asked without end.
NETWORK_PAUSE_S = 1.0
# Signal told by the module itself is passed on this often at most; nobody reads a page faster.
SIGNAL_EVERY_S = 2.0
# +CME ERROR 14 (busy) and 13 in the first seconds after power-on or a change of card (at-dialects 8.1).
CARD_RETRY_S = 1.0
# A card that answers is asked again seldom; changes come unsolicited where the family can.
CARD_EVERY_S = 60.0
# The gateway wants to know of a dead module within two periods.
LIFE_EVERY_S = 10.0
# A read is answered in 300 ms by the manual, in a second behind a loaded hub; whether a module lives is asked
# only when the port is idle.
LIFE_S = 2.0

# +CME ERROR of 27.007 9.2 as Q.850: no network service, network time-out, emergency calls only.
_CME_CAUSES = {30: 38, 31: 38, 32: 38}
_RESULT_CAUSES = {Kind.BUSY: 17, Kind.NO_ANSWER: 19, Kind.NO_DIALTONE: 38}

P = ParamSpec("P")

_log = structlog.get_logger(__name__)


def _untraced(_: AtTrace) -> None:
    """The default of `ModemDriver.trace`: nobody listens."""


class ServedDriver(ModemDriver):
    """Conversation, card, network and life of a module; calls come in the subclass."""

    def __init__(self, chat: Chat, sheet: Sheet, clock: Clock) -> None:
        self.events: asyncio.Queue[ModemEvent] = asyncio.Queue()
        self.trace: Callable[[AtTrace], None] = _untraced
        self.sheet = sheet
        self.info = ModuleInfo(driver=sheet.name)
        #: Lines that no reader could make sense of.
        self.garbled = 0
        self._chat, self._clock = chat, clock
        self._card_state: CardState | None = None
        self._sim: SimInfo | None = None
        self._network: NetworkInfo | None = None
        self._prepared_for = ""
        self._signal_at = 0.0
        self._silent = False
        self._card_due, self._network_due = asyncio.Event(), asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._service: asyncio.Task[None] | None = None
        self._urcs: dict[str, Callable[[Line], None]] = {
            "+CREG": self._registration_news,
            "+CEREG": self._registration_news,
            "+CPIN": self._card_news,
            "RDY": self._restarted,
            "POWERED DOWN": self._restarted,
        }
        chat.on_line, chat.on_lost = self._line, self._port_lost
        chat.trace = lambda way, text: self.trace(AtTrace(clock.monotonic(), way, text))

    @property
    def timeouts(self) -> int:
        return self._chat.timeouts

    @property
    def resyncs(self) -> tuple[int, int]:
        return self._chat.resyncs, self._chat.resyncs_failed

    @property
    @abstractmethod
    def _setting_up(self) -> bool:
        """A call is being set up or answered: the port must stay free."""

    async def command(self, text: str) -> tuple[str, ...]:
        if not allow.allows(self.sheet.allowed, text):
            _log.warning("at-command-refused", driver=self.sheet.name, command=text[:80])
            raise NotAllowed(f"{text[:80]!r} is not on the allow-list of {self.sheet.name}")
        sent = allow.normal(text)
        head = sent.removeprefix("AT").partition("=")[0].rstrip("?")
        expect = (f"{head}:",) if head[:1] in "+^*" else ()
        answer = await self._run(AtCommand(sent, expect, timeout_s=NETWORK_S, bare=True))
        return answer.texts

    async def refresh(self) -> NetworkInfo:
        network = await self._read_network()
        if network != self._network:
            self._network = network
            self._emit(NetworkChanged(network))
        return network

    async def close(self) -> None:
        self._chat.on_line = self._chat.on_lost = None
        if self._service is not None:
            self._service.cancel()
            await asyncio.wait((self._service,))
        await self._chat.close()

    # The conversation.

    async def _run(self, command: AtCommand | str, priority: Priority = Priority.NORMAL) -> Answer:
        try:
            answer = await self._chat.run(command, priority)
        except AtError as error:
            raise self._modem_error(error) from error
        self._silent = False
        return answer

    async def _try(self, command: AtCommand | str, priority: Priority = Priority.NORMAL) -> Answer | None:
        """Like `_run`, for what a module may refuse; None then."""
        try:
            return await self._run(command, priority)
        except ModemRefused:
            return None

    def _modem_error(self, error: AtError) -> ModemError:
        match error:
            case AtRefused():
                cause = _RESULT_CAUSES.get(error.final.kind) or _CME_CAUSES.get(error.final.code or 0, 41)
                return ModemRefused(str(error), cause)
            case AtAborted():
                return ModemRefused(str(error), cause=16)
            case AtTimeout():
                return ModemRefused(str(error))
            case AtSilent():
                if not self._silent:
                    self._silent = True
                    self._emit(Unresponsive(str(error)))
                return ModemSilent(str(error))
            case _:
                return ModemSilent(f"port lost: {error}" if isinstance(error, AtGone) else str(error))

    def _emit(self, event: ModemEvent) -> None:
        self.events.put_nowait(event)

    def _spawn(self, work: Callable[P, Awaitable[object]], *args: P.args, **named: P.kwargs) -> None:
        """Run a follow-up in the service's task group; before start and after the end there is none."""
        if self._group is not None:
            self._group.create_task(self._guarded(work, *args, **named))

    async def _guarded(self, work: Callable[P, Awaitable[object]], *args: P.args, **named: P.kwargs) -> None:
        try:
            await work(*args, **named)
        except ModemError as error:
            _log.info("modem-follow-up-failed", driver=self.sheet.name, error=str(error))

    def _line(self, line: Line) -> None:
        handler = self._urcs.get(line.text.partition(":")[0].rstrip())
        if handler is None:
            return
        try:
            handler(line)
        except (ValueError, IndexError, KeyError) as error:
            self.garbled += 1
            _log.info("at-line-garbled", driver=self.sheet.name, line=line.text[:80], error=str(error))

    def _port_lost(self, reason: str) -> None:
        self._emit(PortLost(reason))
        self._group = None
        if self._service is not None:
            self._service.cancel()

    def _restarted(self, line: Line) -> None:
        # Echo, result formats and unsolicited lines are volatile (at-dialects 10.2): all is to be done anew.
        if self._service is not None:
            self._port_lost(f"the module restarted: {line.text}")

    # The loops.

    def _serve(self) -> None:
        self._service = asyncio.create_task(self._loops(), name=f"driver-{self.sheet.name}")
        self._service.add_done_callback(self._served)

    async def _loops(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for loop in self._service_loops():
                group.create_task(loop)

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._group = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("driver-died", driver=self.sheet.name, exc_info=task.exception())
            self._emit(PortLost(f"driver failed: {task.exception()!r}"))

    def _service_loops(self) -> list[Coroutine[None, None, None]]:
        return [self._watch_card(), self._watch_network(), self._watch_life()]

    async def _due(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        event.clear()

    async def _watch_card(self) -> None:
        while True:
            await self._guarded(self._look_at_card)
            steady = self._card_state in (CardState.READY, CardState.PIN, CardState.PUK)
            await self._due(self._card_due, CARD_EVERY_S if steady else CARD_RETRY_S)

    async def _look_at_card(self) -> None:
        if self._setting_up:
            return
        state, sim = await self._read_card()
        if (state, sim) != (self._card_state, self._sim):
            self._card_state, self._sim = state, sim
            self._emit(CardChanged(state, sim))
            self._network_due.set()

    async def _watch_network(self) -> None:
        while True:
            await self._due(self._network_due, NETWORK_EVERY_S)
            await asyncio.sleep(NETWORK_SETTLE_S)
            if not self._setting_up:
                await self._guarded(self._look_at_network)
            await asyncio.sleep(NETWORK_PAUSE_S)

    async def _look_at_network(self) -> None:
        network = await self._read_network()
        key = self._sim.iccid if self._sim else ""
        if network.stat in (1, 5) and key != self._prepared_for:
            await self._prepare_service()
            self._prepared_for = key
        if network != self._network:
            self._network = network
            self._emit(NetworkChanged(network))

    async def _watch_life(self) -> None:
        while True:
            await asyncio.sleep(LIFE_EVERY_S)
            if self._clock.monotonic() - self._chat.heard_at >= LIFE_EVERY_S:
                await self._guarded(self._ask_life)

    async def _ask_life(self) -> None:
        await self._run(AtCommand("AT", timeout_s=LIFE_S), Priority.WATCHDOG)

    # Card.

    def _card_news(self, line: Line) -> None:
        self._card_due.set()

    async def _read_card(self) -> tuple[CardState, SimInfo | None]:
        try:
            answer = await self._chat.run(AtCommand("AT+CPIN?", ("+CPIN:",)), Priority.IDLE)
        except AtRefused as error:
            return replies.card_error(error.final.code), None
        except AtError as error:
            raise self._modem_error(error) from error
        state = replies.card_state(answer.first)
        if state is not CardState.READY:
            return state, None
        sim = await self._read_sim()
        return (CardState.READY, sim) if sim is not None else (CardState.BUSY, None)

    async def _read_sim(self) -> SimInfo | None:
        iccid = await self._read_iccid()
        imsi = await self._try(AtCommand("AT+CIMI", ("+CIMI:",), timeout_s=20.0, bare=True), Priority.IDLE)
        own = await self._try(AtCommand("AT+CNUM", ("+CNUM:",)), Priority.IDLE)
        if not iccid or imsi is None:
            return None
        number = replies.own_number(own.texts) if own is not None else ""
        return SimInfo(iccid=iccid, imsi=replies.imsi(value_of(imsi.first)), msisdn=number)

    async def _read_iccid(self) -> str:
        answer = await self._try(AtCommand("AT+CCID", ("+CCID:",), bare=True), Priority.IDLE)
        return replies.iccid(answer.first) if answer is not None else ""

    # Network.

    def _registration_news(self, line: Line) -> None:
        self._network_due.set()

    def _signal_news(self, dbm: int | None) -> None:
        """Take a signal that came unsolicited without asking again; dBm, None = unknown."""
        now = self._clock.monotonic()
        if self._network is None or now - self._signal_at < SIGNAL_EVERY_S:
            return
        if dbm != self._network.signal_dbm:
            self._signal_at = now
            self._network = self._network.model_copy(update={"signal_dbm": dbm})
            self._emit(NetworkChanged(self._network))

    async def _read_network(self) -> NetworkInfo:
        cs = await self._read_registration("+CREG")
        ps = await self._read_registration("+CEREG")
        if not cs.registered and ps.registered:
            cs = await self._voice_registration(cs, ps)
        operator = await self._try(AtCommand("AT+COPS?", ("+COPS:",)), Priority.IDLE)
        signal = await self._try(AtCommand("AT+CSQ", ("+CSQ:",)), Priority.IDLE)
        name, access = replies.operator(operator.first) if operator is not None else ("", "")
        return NetworkInfo(
            stat=cs.stat,
            operator=name,
            technology=access or cs.access,
            roaming=cs.stat == 5,
            signal_dbm=replies.signal_dbm(signal.first) if signal is not None else None,
            cell=cs.cell,
            reject_cause=cs.reject,
        )

    async def _read_registration(self, domain: str) -> replies.Registration:
        command = AtCommand(f"AT{domain}?", (f"{domain}:",), shape=replies.REGISTRATION_ANSWER)
        answer = await self._try(command, Priority.IDLE)
        found = replies.registration(answer.first) if answer is not None and answer.first else None
        return found or replies.Registration()

    async def _voice_registration(
        self, cs: replies.Registration, ps: replies.Registration
    ) -> replies.Registration:
        """What packet registration alone means for calls; a family that can tell asks for IMS voice."""
        return replace(cs, reject=cs.reject or "registered for data only")

    async def _prepare_service(self) -> None:
        """Settings that the network must confirm; once per card, when it is registered."""
        await self._try(AtCommand("AT+CCWA=0,0,1", timeout_s=NETWORK_S), Priority.IDLE)
        await self._try(AtCommand("AT+CLIR=0", timeout_s=NETWORK_S), Priority.IDLE)
