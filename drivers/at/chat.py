"""The AT engine: one command in flight, everything else apart from it.

A port speaks to one listener at a time. `Chat` keeps the commands in a queue by priority, sends one, and sorts
each line that comes meanwhile: the echo of the command is dropped, lines with the command's expected prefix
belong to its answer, a final result ends it, and the rest is unsolicited and goes to the waiters and the
subscriber at once.

NO CARRIER, BUSY, NO ANSWER and NO DIALTONE have two roles: they end a dial command while one is outstanding,
and at any other time they are unsolicited news of a call.

After a time-out or a cancelled wait the port is out of step: the missing answer may still come, and would be
taken for the answer of the next command. Nothing is sent then before `AT` has brought exactly one OK.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from simrack.drivers.at.command import AtCommand, Priority, masked
from simrack.drivers.at.errors import AtAborted, AtError, AtGone, AtRefused, AtSilent, AtTimeout
from simrack.drivers.at.framing import Framer, Line, Prompt, Token
from simrack.drivers.at.port import ByteStream
from simrack.drivers.at.result import CALL_ENDS, Final, Kind, parse_final
from simrack.wire.ports import Clock

# A module that is alive answers AT in 300 ms by manual; some were seen silent for seconds after a reset.
RESYNC_ANSWER_S = 1.0
RESYNC_TRIES = 4
# After the first answer: how long a second, late one may lag behind it. USB bursts come within 50 ms.
RESYNC_QUIET_S = 0.15
# A trace line is for people: longer ones are cut.
TRACE_CHARS = 400

Way = Literal[">", "<"]
_CTRL_Z = b"\x1a"
_ESC = b"\x1b"


@dataclass(frozen=True, slots=True)
class Answer:
    """Information lines of a command that was sent at `sent` and whose OK was read at `at` (monotonic, in s)."""

    lines: tuple[Line, ...]
    sent: float = 0.0
    at: float = 0.0

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(line.text for line in self.lines)

    @property
    def first(self) -> str:
        """The first information line, or "" when there was none."""
        return self.lines[0].text if self.lines else ""


@dataclass(slots=True)
class _Flight:
    command: AtCommand
    done: "asyncio.Future[Final]"
    prompted: "asyncio.Future[None]"
    lines: list[Line] = field(default_factory=list)
    sent: float = 0.0
    ended: float = 0.0


class Turns:
    """A lock that the most urgent waiter gets next; equals in order of arrival."""

    def __init__(self) -> None:
        self._held = False
        self._count = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def take(self, priority: Priority) -> None:
        if not self._held:
            self._held = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiting, (priority, self._count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._held = False


class Listener:
    """Unsolicited lines that somebody waits for; made by `Chat.listen`."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self.wanted = wanted
        self._lines: asyncio.Queue[Line] = asyncio.Queue(maxsize=64)

    def offer(self, line: Line) -> None:
        if self.wanted(line.text) and not self._lines.full():
            self._lines.put_nowait(line)

    async def get(self, timeout_s: float) -> Line:
        """The next wanted line; TimeoutError after `timeout_s` seconds."""
        async with asyncio.timeout(timeout_s):
            return await self._lines.get()


class Chat:
    """The conversation at one AT port."""

    def __init__(
        self, stream: ByteStream, *, clock: Clock, trace: Callable[[Way, str], None] | None = None
    ) -> None:
        self._stream, self._clock = stream, clock
        #: Called with each line at the port (`>` sent, `<` received), secrets masked.
        self.trace = trace
        #: Called with each unsolicited line.
        self.on_line: Callable[[Line], None] | None = None
        #: Called once when the port is gone.
        self.on_lost: Callable[[str], None] | None = None
        #: When the module last ended a command (Clock.monotonic).
        self.heard_at = clock.monotonic()
        #: The newest command and when it was sent (monotonic, in s).
        self.last: tuple[str, float] = "", 0.0
        self.resyncs = self.resyncs_failed = self.timeouts = 0
        self._framer = Framer()
        self._turns = Turns()
        self._flight: _Flight | None = None
        self._finals: asyncio.Queue[Final] | None = None
        self._stale: AtCommand | None = None
        self._listeners: list[Listener] = []
        self._lost = ""
        self._out = False
        #: Lines that no module means to say: octets beyond printable ASCII.
        self.noise = 0
        stream.attach(self._received, self._ended)

    @property
    def lost(self) -> str:
        """Why the port is gone; "" while it is there."""
        return self._lost

    @property
    def dialling(self) -> bool:
        """A dial or answer command is outstanding."""
        return self._flight is not None and self._flight.command.dial

    async def run(self, command: AtCommand | str, priority: Priority = Priority.NORMAL) -> Answer:
        """Send one command in its turn and return its information lines.

        Raises:
            AtRefused: the module answered with an error.
            AtTimeout: no answer in the command's time; the module is alive and in step.
            AtSilent: no answer to anything.
            AtAborted: `abandon` was called meanwhile.
            AtGone: the port is closed.
        """
        wanted = AtCommand(command) if isinstance(command, str) else command
        await self._turns.take(priority)
        self._out = False
        try:
            if self._stale is not None:
                await self._resync()
            return await self._answered(wanted)
        except AtError as error:
            error.sent = self._out
            raise
        finally:
            self._turns.give()

    async def _answered(self, command: AtCommand) -> Answer:
        try:
            return await self._exchange(command)
        except TimeoutError:
            self.timeouts += 1
            await self._resync()
            raise AtTimeout(f"{masked(command.text)}: no answer in {command.timeout_s:g} s") from None

    async def synchronise(self) -> None:
        """Bring port and module into step; raises AtSilent when nothing answers."""
        await self._turns.take(Priority.WATCHDOG)
        try:
            await self._resync()
        finally:
            self._turns.give()

    @contextmanager
    def listen(self, wanted: Callable[[str], bool]) -> Iterator[Listener]:
        """Register a waiter for unsolicited lines *before* the command that causes them goes out."""
        listener = Listener(wanted)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    def abandon(self) -> None:
        """Give up the command in flight: its caller gets AtAborted, and the next command resynchronises.

        The characters sent then also abort a dial that the module still works on (V.250, 5.6.1).
        """
        if self._flight is not None and not self._flight.done.done():
            self._flight.done.set_exception(AtAborted(f"{masked(self._flight.command.text)}: given up"))

    async def close(self) -> None:
        if not self._lost:
            self._ended("closed")
        await self._stream.close()

    async def _exchange(self, command: AtCommand) -> Answer:
        self._check()
        loop = asyncio.get_running_loop()
        flight = self._flight = _Flight(command, loop.create_future(), loop.create_future())
        self._framer.prompting = bool(command.body)
        try:
            async with asyncio.timeout(command.timeout_s):
                self._out = True
                self._send(command.text)
                flight.sent = self.last[1]
                if command.body:
                    await self._send_body(flight)
                final = await flight.done
        except (TimeoutError, asyncio.CancelledError, AtAborted):
            self._stale = command
            raise
        finally:
            self._flight, self._framer.prompting = None, False
            flight.prompted.cancel()
            if not flight.done.cancel() and not flight.done.cancelled():
                flight.done.exception()  # taken note of, also where the time-out came first
        if not final.ok:
            raise AtRefused(masked(command.text), final)
        return Answer(tuple(flight.lines), flight.sent, flight.ended)

    async def _send_body(self, flight: _Flight) -> None:
        await asyncio.wait((flight.prompted, flight.done), return_when=asyncio.FIRST_COMPLETED)
        if flight.prompted.done():
            self._trace(">", f"<{len(flight.command.body)} octets>")
            self._stream.write(flight.command.body + _CTRL_Z)

    async def _resync(self) -> None:
        self.resyncs += 1
        stale = self._stale
        for token in self._framer.flush():
            self._sort(token)
        if stale is not None and stale.body:
            self._stream.write(_ESC)
        for _ in range(RESYNC_TRIES):
            if await self._ping() == 1:
                self._stale = None
                return
        self.resyncs_failed += 1
        raise AtSilent("no answer to AT")

    async def _ping(self) -> int:
        """Send AT and count the final results that come; one OK alone means in step."""
        self._check()
        self._finals = asyncio.Queue()
        count = 0
        try:
            self._send("AT")
            wait = RESYNC_ANSWER_S
            while True:
                async with asyncio.timeout(wait):
                    final = await self._finals.get()
                self._check()
                count += 1 if final.kind is Kind.OK else 2
                wait = RESYNC_QUIET_S
        except TimeoutError:
            return count
        finally:
            self._finals = None

    def _check(self) -> None:
        if self._lost:
            raise AtGone(self._lost)

    def _send(self, text: str) -> None:
        self._trace(">", text)
        self._stream.write(text.encode("latin-1") + b"\r")
        self.last = text, self._clock.monotonic()

    def _received(self, data: bytes) -> None:
        for token in self._framer.feed(data):
            self._sort(token)

    def _sort(self, token: Token) -> None:
        flight = self._flight
        if isinstance(token, Prompt):
            if flight is not None and not flight.prompted.done():
                flight.prompted.set_result(None)
            return
        self._trace("<", token.text)
        self.noise += not (token.text.isascii() and token.text.isprintable())
        if token.body:
            self._trace("<", f"<{len(token.body)} characters>")
        if self._echo(token.text):
            return
        final = parse_final(token.text)
        if final is not None and self._end(final):
            return
        if flight is not None and flight.command.owns(token.text):
            flight.lines.append(token)
        elif not self._left_over(token, final):
            self._tell(token)

    def _echo(self, text: str) -> bool:
        command = self._flight.command if self._flight is not None else None
        if command is not None and (text == command.text or command.owns(text)):
            return text == command.text
        # No unsolicited line of any family starts with these letters; an echo of a given-up command does.
        return text.startswith(("AT+", "AT^", "ATD", "ATE", "ATH", "ATA")) or text == "AT"

    def _end(self, final: Final) -> bool:
        """Let a final result end what it belongs to; False when it is news of a call."""
        flight = self._flight
        if final.kind in CALL_ENDS and not (flight is not None and flight.command.dial):
            return False
        self.heard_at = self._clock.monotonic()
        if flight is not None:
            # From here on lines are unsolicited, also those in the same burst of octets.
            self._flight = None
            if not flight.done.done():
                # Now, not when its waiter gets its turn: on a busy box that is several turns of the loop later.
                flight.ended = self._clock.monotonic()
                flight.done.set_result(final)
            return True
        if self._finals is not None:
            self._finals.put_nowait(final)
            return True
        # A result that nobody asked for: an answer came late, so that the next one could be off by one.
        if final.kind in (Kind.OK, Kind.ERROR) and self._stale is None:
            self._stale = AtCommand("AT")
        return False

    def _left_over(self, line: Line, final: Final | None) -> bool:
        """Lines of an answer that came too late are nobody's; so is its result."""
        if final is not None and final.kind in (Kind.OK, Kind.ERROR, Kind.NOT_SUPPORTED):
            return True
        return self._flight is None and self._stale is not None and self._stale.owns(line.text)

    def _tell(self, line: Line) -> None:
        for listener in list(self._listeners):
            listener.offer(line)
        if self.on_line is not None:
            self.on_line(line)

    def _ended(self, reason: str) -> None:
        if self._lost:
            return
        self._lost = reason
        if self._flight is not None and not self._flight.done.done():
            self._flight.done.set_exception(AtGone(reason))
        if self._finals is not None:
            self._finals.put_nowait(Final(Kind.ERROR, "ERROR"))
        if self.on_lost is not None and reason != "closed":
            self.on_lost(reason)

    def _trace(self, way: Way, text: str) -> None:
        if self.trace is not None:
            self.trace(way, masked(text if len(text) <= TRACE_CHARS else text[:TRACE_CHARS] + "..."))
