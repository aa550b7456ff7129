"""One EC25: power, ports, the AT interpreter, registration, card, quirks and faults.

A module lives in `run`: plug the ports in, boot, serve lines until something takes it down, stay away for a
while, and again. Settings that a reset loses are made anew with each life; the rest belongs to the object.
"""

import asyncio
import inspect
import random
from collections.abc import Callable
from pathlib import Path

import structlog

from simrack.lab.emulator.answers import NUMERIC as NUMERIC_RESULTS
from simrack.lab.emulator.answers import Answer, Cme, Cms, Refused, joined, result_of
from simrack.lab.emulator.ec25.calls import Handset, Leg
from simrack.lab.emulator.ec25.registry import COMMANDS
from simrack.lab.emulator.ec25.state import DENIED, HOME, IDLE, SEARCHING, Card, Identity, Kept, Settings
from simrack.lab.emulator.line import BadLine, Command, split
from simrack.lab.emulator.network import OUT_OF_ORDER, Network, Subscriber
from simrack.lab.emulator.oddities import Quirk
from simrack.lab.emulator.pty import Pty

#: A command line longer than this is refused whole, as V.250 allows.
LINE_LIMIT = 2048
LATE_S = (0.2, 0.8)
#: What ends a hang, weakest first.
_CURES = ("any", "reset", "usb", "power")
ESC, CTRL_Z, CR, LF, SLASH = 0x1B, 0x1A, 0x0D, 0x0A, 0x2F


class Module:
    """An EC25 with two ports; `seat` is (box, channel)."""

    def __init__(
        self,
        network: Network,
        subscriber: Subscriber,
        identity: Identity,
        folder: Path,
        seat: tuple[str, int],
        *,
        quirks: frozenset[Quirk] = frozenset(),
        seed: str = "0",
    ) -> None:
        self.network, self.subscriber, self.identity, self.seat = network, subscriber, identity, seat
        self.dice = random.Random(seed)
        self.quirks: set[Quirk] = set(quirks)
        self.at = Pty(folder / f"{seat[0]}-{seat[1]}-at", self._octets)
        self.audio = Pty(folder / f"{seat[0]}-{seat[1]}-audio", self._voice)
        self.handset = Handset(network, subscriber, self.audio, self.urc, self.quirks)
        self.settings, self.kept = Settings(), Kept()
        self.rssi = self.dice.randint(17, 28)
        self.function = 1  # +CFUN
        self.inserted, self.pin, self.unlocked, self.tries = True, "", True, 3
        self.denied = self.no_service = False
        self.stat = IDLE
        self.up = asyncio.Event()
        self.garbled = self.flooding = False  # faults
        self.dial_errors = self.dial_silences = self.lost_answers = self.late_answers = 0
        self.dial_error_code: int | None = None
        self.late_s = 0.0
        self.cure = "any"  # of a hang
        self._powered = asyncio.Event()
        self._powered.set()
        self.prompt: Callable[[bytes | None], Answer] | None = None
        self.waiting_dial: Leg | None = None
        self._lines: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._typed = bytearray()
        self._last_line = "AT"
        self._down: asyncio.Future[tuple[str, float]] | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self.log = structlog.get_logger(__name__).bind(box=seat[0], channel=seat[1])

    @property
    def silent(self) -> bool:
        """Whether the module hangs: it takes nothing in and puts nothing out."""
        return self.handset.frozen

    @silent.setter
    def silent(self, hangs: bool) -> None:
        self.handset.frozen = hangs

    # -- life

    async def run(self, *, warm: bool = True) -> None:
        """Live until cancelled. A warm first life is booted and registered already, as a rack in service is."""
        try:
            while True:
                await self._power_up(warm=warm)
                reason, away_s = await self._serve()
                self.log.info("module goes down", reason=reason, away_s=away_s)
                self._power_down()
                await self.at.unlink()
                await self.audio.unlink()
                warm = False
                await asyncio.sleep(away_s)
                await self._powered.wait()
        finally:
            self._power_down()

    def set_quirks(self, quirks: set[Quirk]) -> None:
        """Take on these quirks and no others, from now on."""
        self.quirks.clear()
        self.quirks |= quirks
        self.at.drip = Quirk.DRIP in quirks

    def take_down(self, reason: str, away_s: float) -> None:
        """Let both ports vanish now; the module boots again after `away_s` seconds."""
        if self._down is not None and not self._down.done():
            self._down.set_result((reason, away_s))

    def cut_off(self) -> None:
        """Vanish until the power is switched off and on."""
        self._powered.clear()
        self.take_down("fault: gone until its power is switched", 0.0)

    def power(self, *, on: bool) -> None:
        """Switch the power of the module's place; with it every hang ends."""
        if on:
            self._powered.set()
            return
        self._powered.clear()
        self._heal("power")
        self.take_down("power switched off", self.network.timing.usb_return_s)

    def usb_reset(self) -> None:
        """Reset its USB port: both ports vanish and come back; a hang that only power ends goes on."""
        self._heal("usb")
        self.take_down("USB reset", self.network.timing.usb_return_s)

    def _heal(self, act: str) -> None:
        if _CURES.index(act) >= _CURES.index(self.cure):
            self.cure = "any"

    async def _serve(self) -> tuple[str, float]:
        self._down = asyncio.get_running_loop().create_future()
        worker = asyncio.create_task(self._work(), name=f"lab {self.seat}")
        try:
            done, _ = await asyncio.wait((worker, self._down), return_when=asyncio.FIRST_COMPLETED)
            if worker in done:
                worker.result()
            return await self._down
        finally:
            worker.cancel()

    async def _power_up(self, *, warm: bool) -> None:
        self.settings = self.handset.settings = Settings(indications=dict(self.kept.indications))
        self.function, self.unlocked, self.silent = 1, not self.pin, self.cure != "any"
        self.garbled = self.flooding = False
        self.prompt, self._lines = None, asyncio.Queue()
        self._typed.clear()
        self.at.drip = Quirk.DRIP in self.quirks
        await self.at.plug()
        await self.audio.plug()
        self.up.set()
        if warm:
            self._register_now()
        else:
            self._boot()

    def _boot(self) -> None:
        timing = self.network.timing
        self._urcs("RDY", "+CFUN: 1")
        self.later(timing.sim_ready_s, self.card_up)

    def card_up(self) -> None:
        self.urc(f"+CPIN: {self.card()}")
        if self.card() == Card.READY:
            self._urcs("+QUSIM: 1", "+QIND: SMS DONE", "+QIND: PB DONE")
        self.search()

    def _power_down(self) -> None:
        self.up.clear()
        self._cancel_timers()
        self.at.unplug()
        self.audio.unplug()
        self._leave_network(OUT_OF_ORDER)
        self.stat = IDLE

    def _leave_network(self, cause: int) -> None:
        self.subscriber.end = None
        self.handset.lose_all()
        self.network.lost(self.handset, cause)

    def later(self, delay: float, act: Callable[[], None]) -> None:
        """Run `act` after `delay` seconds, unless the module goes down first."""

        def fire() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(delay, fire)
        self._timers.add(timer)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # -- card and registration

    def card(self) -> Card:
        """Return the state of the SIM."""
        if not self.inserted:
            return Card.ABSENT
        if self.function == 0:
            return Card.BUSY
        if not self.unlocked:
            return Card.PIN if self.tries else Card.PUK
        return Card.READY

    def insert(self, *, present: bool) -> None:
        """Put the card in or take it out while the module runs (at-dialects, 8.3)."""
        if present == self.inserted:
            return
        self.inserted, self.unlocked = present, not self.pin
        if self.settings.sim_notices:
            self.urc(f"+QSIMSTAT: 1,{int(present)}")
        if present:
            self.later(self.network.timing.sim_ready_s, self.card_up)
            return
        self.handset.lose_signal(OUT_OF_ORDER)
        self.urc("+CPIN: NOT READY")
        self.search()

    def search(self) -> None:
        """Leave the network and look for it again; the result comes as registration notices."""
        self.subscriber.end = None
        if self.function != 1 or self.card() != Card.READY:
            self._set_stat(IDLE)
            return
        self._set_stat(SEARCHING)
        if not self.no_service:
            self.later(self.network.timing.register_s, self._register)

    def _register(self) -> None:
        if self.stat == SEARCHING and self.card() == Card.READY and not self.no_service:
            self._register_now()

    def _register_now(self) -> None:
        if self.card() != Card.READY or self.no_service:
            self._set_stat(SEARCHING if self.inserted else IDLE)
        elif self.denied:
            self._set_stat(DENIED)
        else:
            self.subscriber.end = self.handset
            self._set_stat(HOME)

    def _set_stat(self, stat: int) -> None:
        if stat == self.stat:
            return
        self.stat = stat
        for name in ("creg", "cgreg", "cereg"):
            if level := getattr(self.settings, name):
                self.urc(f"+{name.upper()}: {self.registration(name, level)}")

    def registration(self, name: str, level: int) -> str:
        """Return the fields of a +CREG, +CGREG or +CEREG notice."""
        stat = IDLE if name == "creg" and Quirk.VOLTE_ONLY in self.quirks else self.stat
        if level < 2 or stat != HOME:
            return str(stat)
        return f'{stat},"1A2B","01C3D4{self.seat[1]:02X}",7'

    @property
    def registered(self) -> bool:
        return self.stat == HOME

    def receive(self, rssi: int) -> None:
        """Take another signal strength; told when +QINDCFG="csq" is on."""
        self.rssi = rssi
        if self.settings.indications["csq"]:
            self.urc(f'+QIND: "csq",{rssi},99')

    # -- octets in

    def _octets(self, data: bytes) -> None:
        if self.silent:
            # Some firmware hears in its hang, and only its voice is gone.
            if self.cure == "reset" and b"AT+CFUN=1,1\r" in data:
                self._heal("reset")
                self.take_down("restarted blindly", self.network.timing.usb_return_s)
            return
        if self.waiting_dial is not None:
            data = self._abort_dial(data)
        if self.settings.echo and self.prompt is None:
            self.at.write(data)
        for octet in data:
            self._octet(octet)

    def _abort_dial(self, data: bytes) -> bytes:
        """Give up ATD under +COLP=1 at the next character, which is used up (V.250, 5.6.1)."""
        rest = data.lstrip(b"\r\n")
        if rest and self.waiting_dial is not None:
            self.handset.end(self.waiting_dial, 16)
        return rest[1:]

    def _octet(self, octet: int) -> None:
        if self.prompt is not None:
            self._prompted(octet)
        elif octet == SLASH and self._typed.upper() == b"A":
            self._typed.clear()
            self._lines.put_nowait(self._last_line)
        elif octet == CR:
            line, self._typed = self._typed.decode("latin-1"), bytearray()
            self._lines.put_nowait(line)
        elif octet not in (LF, ESC, CTRL_Z) and len(self._typed) < LINE_LIMIT:
            self._typed.append(octet)

    def _prompted(self, octet: int) -> None:
        if octet in (ESC, CTRL_Z):
            self._lines.put_nowait(bytes(self._typed) if octet == CTRL_Z else None)
            self._typed.clear()
        elif len(self._typed) < LINE_LIMIT:
            self._typed.append(octet)

    def _voice(self, data: bytes) -> None:
        if not self.silent:
            self.handset.from_host(data)

    # -- lines

    async def _work(self) -> None:
        while True:
            line = await self._lines.get()
            if isinstance(line, str):
                self._last_line = line  # for A/ (V.250, 5.2.4)
                answer = await self._execute(line)
            else:
                answer = self._finish_prompt(line)
            if answer is not None:
                await self._reply(answer)

    def _finish_prompt(self, body: bytes | None) -> Answer | None:
        follow, self.prompt = self.prompt, None
        if follow is None:
            return None
        try:
            return follow(body)
        except (Cme, Cms, Refused) as error:
            return Answer((), result_of(error, self.settings.cmee))

    async def _execute(self, line: str) -> Answer | None:
        """Run one command line; None where it is no command line at all."""
        start = line.upper().find("AT")
        if start < 0:
            return None
        answers: list[Answer] = []
        try:
            for command in split(line[start + 2 :]):
                answers.append(await self._one(command))
                if answers[-1].final != "OK":
                    break
        except (Cme, Cms, Refused, BadLine) as error:
            answers.append(Answer((), result_of(error, self.settings.cmee)))
        return joined(answers)

    async def _one(self, command: Command) -> Answer:
        handler = COMMANDS.get(command.name)
        if handler is None:
            raise Refused(command.name)
        answer = handler(self, command)
        if inspect.isawaitable(answer):
            answer = await answer
        return answer

    # -- octets out

    async def _reply(self, answer: Answer) -> None:
        await asyncio.sleep(self._answer_delay())
        if self.lost_answers:
            self.lost_answers -= 1
        elif answer.final == "SILENT":
            pass
        elif self.prompt is not None and answer.final == "PROMPT":
            self._put(b"\r\n> ")
        else:
            self._print(answer)
        answer.then()

    def _answer_delay(self) -> float:
        if self.late_answers:
            self.late_answers -= 1
            return self.late_s
        if Quirk.LATE in self.quirks:
            return self.dice.uniform(*LATE_S)
        return self.network.timing.answer_s

    def _print(self, answer: Answer) -> None:
        out = "".join(self._line(line) for line in answer.lines)
        if answer.lines and Quirk.URC_INSIDE in self.quirks:
            out += self._line(f'+QIND: "csq",{self.rssi},99')
        if not self.settings.quiet:
            out += self._result(answer.final)
        self._put(out.encode("latin-1", "replace"))

    def _line(self, text: str) -> str:
        end = "\r\r\n" if Quirk.DOUBLED_CR in self.quirks else "\r\n"
        return f"{end}{text}{end}" if self.settings.verbose else f"{text}{end}"

    def _result(self, word: str) -> str:
        if not self.settings.verbose and word in NUMERIC_RESULTS:
            return f"{NUMERIC_RESULTS[word]}\r"
        return self._line(word)

    def urc(self, text: str) -> None:
        """Put out an unsolicited line (or a result code that stands alone).

        It is lost when +QURCCFG sends such lines to a port that the lab does not have.
        """
        if self.kept.urc_port not in ("usbat", "all"):
            return
        self._put(self._result(text).encode("latin-1", "replace"))

    def _urcs(self, *texts: str) -> None:
        for text in texts:
            self.urc(text)

    def _put(self, data: bytes) -> None:
        if self.silent:
            return
        if self.garbled:
            data = self.dice.randbytes(len(data))
        self.at.write(data)
