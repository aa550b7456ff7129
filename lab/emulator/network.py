"""The mobile network: who is registered, calls between ends, voice in real time, and the ledger.

An end of a call is a module or a landline; the network carries what one end does to the other and writes the
ledger. The calling side hears the network's ringing tone until the called side puts its own voice through.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from simrack.lab.emulator.ledger import Ledger, Row
from simrack.lab.emulator.listen import DtmfEar
from simrack.lab.emulator.tones import FRAME_S, SILENCE, dtmf_second, frames_of, ringback
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)

NORMAL, BUSY, UNALLOCATED, NO_RESPONSE, NO_ANSWER, ABSENT = 16, 17, 1, 18, 19, 20
OUT_OF_ORDER, INVALID_NUMBER, CONGESTION = 27, 28, 42

#: The ticker jumps over a longer pause of the process instead of making up for it.
CATCH_UP_S = 0.1
#: A DTMF key that a mobile signals is played to the far side for so long (24.008, 5.5.7).
KEY_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast network and modules are, in seconds. Ranges are drawn from per call."""

    setup_s: tuple[float, float] = (0.3, 1.5)  # SETUP to ALERTING
    refuse_s: tuple[float, float] = (0.3, 0.8)  # SETUP to a refusal
    register_s: float = 1.0
    usb_return_s: float = 2.5  # a module that reset comes back on USB
    sim_ready_s: float = 0.4
    ring_period_s: float = 3.0
    answer_s: float = 0.004  # a module's usual time to answer a command

    def booting(self, factor: float) -> "Timing":
        """Return the same with all times of booting and registering multiplied."""
        return replace(
            self,
            register_s=self.register_s * factor,
            usb_return_s=self.usb_return_s * factor,
            sim_ready_s=self.sim_ready_s * factor,
        )

    def at_hardware_pace(self) -> "Timing":
        """Return the same as slow as hardware: an EC25 is back on USB after 11 to 15 s."""
        return replace(self, register_s=6.0, usb_return_s=13.0, sim_ready_s=3.0)


class End(Protocol):
    """One end of a call. The network calls these; none may block."""

    def offered(self, call: "Call") -> None:
        """SETUP arrived (called end)."""

    def alerted(self, call: "Call") -> None:
        """The far side rings (calling end)."""

    def connected(self, call: "Call") -> None:
        """The call is answered (both ends)."""

    def released(self, call: "Call", cause: int) -> None:
        """The far side or the network ended the call."""

    def say(self, call: "Call") -> bytes:
        """Give the next 20 ms of this end's voice."""

    def hear(self, call: "Call", frame: bytes) -> None:
        """Take the next 20 ms from the far side."""


@dataclass(eq=False, slots=True)
class Call:
    """One call between two ends."""

    network: "Network"
    row: Row
    calling: End
    called: End
    shown: str  # the number presented to the called side, "" when withheld
    state: str = "setup"
    through: bool = False  # the called side's voice reaches the calling one
    mobile_calls: bool = True
    ringing: Iterator[bytes] = field(default_factory=ringback)
    up_keys: list[bytes] = field(default_factory=list)
    down_keys: list[bytes] = field(default_factory=list)
    ear: DtmfEar = field(default_factory=DtmfEar)

    def alert(self) -> None:
        """Ring (from the called end)."""
        if self.state != "setup":
            return
        self.state, self.row.alerting = "alerting", self.network.ledger.now()
        self.network.speaking(self)
        self.calling.alerted(self)

    def progress(self) -> None:
        """Put the called end's voice through before the answer (24.008, 5.5.1: in-band information)."""
        self.through = True
        self.network.speaking(self)

    def answer(self) -> None:
        """Connect (from the called end)."""
        if self.state not in ("setup", "alerting"):
            return
        self.state, self.row.answered, self.through = "active", self.network.ledger.now(), True
        self.row.from_mobile.answered = self.row.to_mobile.answered = True
        self.network.speaking(self)
        self.called.connected(self)
        self.calling.connected(self)

    def release(self, by: End | None, cause: int) -> None:
        """End the call from one end, or from the network with `by` None. Idempotent."""
        if self.state == "released":
            return
        self.state = "released"
        side = "network" if by is None else "calling" if by is self.calling else "called"
        self.network.ended(self, cause, side)
        for end in (self.calling, self.called):
            if end is not by:
                end.released(self, cause)

    def press(self, by: End, key: str) -> None:
        """Signal a DTMF key out of band; the far side hears the tone (24.008, 5.5.7)."""
        if self.state != "active":
            return
        played = [*itertools.islice(frames_of(dtmf_second(key)), KEY_FRAMES), *[SILENCE] * KEY_FRAMES]
        if self._from_mobile(by):
            self.up_keys += played
            self.row.dtmf_from_mobile += key
        else:
            self.down_keys += played
            self.row.dtmf_to_mobile += key

    def _from_mobile(self, by: End) -> bool:
        return (by is self.calling) == self.mobile_calls

    def tick(self) -> None:
        """Carry 20 ms each way."""
        forth = self.calling.say(self) if self.state == "active" else SILENCE
        back = self._backward()
        up, down = (forth, back) if self.mobile_calls else (back, forth)
        signalled = bool(self.up_keys)
        up = self.up_keys.pop(0) if self.up_keys else up
        down = self.down_keys.pop(0) if self.down_keys else down
        self._note(up, down, signalled=signalled)
        forth, back = (up, down) if self.mobile_calls else (down, up)
        if self.state == "active":
            self.called.hear(self, forth)
        self.calling.hear(self, back)

    def _backward(self) -> bytes:
        return self.called.say(self) if self.through else next(self.ringing)

    def _note(self, up: bytes, down: bytes, *, signalled: bool) -> None:
        self.row.from_mobile.add(up)
        self.row.to_mobile.add(down)
        if self.state == "active" and not signalled and (key := self.ear.hear(up)):
            self.row.dtmf_from_mobile += key


@dataclass(slots=True, eq=False)
class Subscriber:
    """A SIM of the lab's network (MCC 001) and where it is now."""

    imsi: str
    iccid: str
    msisdn: str  # "+88210..."
    home: str = ""
    end: End | None = None  # set while registered
    denied: bool = False


class Network:
    """Subscribers, running calls, the ledger and the one ticker that moves all voice."""

    def __init__(self, clock: Clock, timing: Timing, seed: int) -> None:
        self.clock, self.timing = clock, timing
        self.dice = random.Random(seed)
        self.ledger = Ledger(clock)
        self.subscribers: dict[str, Subscriber] = {}
        self.calls: set[Call] = set()
        self.landline: Callable[[str], End | None] = lambda _number: None
        self._speaking: set[Call] = set()
        self._busy = asyncio.Event()
        self.ticks_late = 0

    def add(self, subscriber: Subscriber) -> None:
        self.subscribers[subscriber.msisdn] = subscriber

    def between(self, limits: tuple[float, float]) -> float:
        return self.dice.uniform(*limits)

    def dial(self, subscriber: Subscriber, end: End, number: str, *, hide: bool = False) -> Call:
        """Take a SETUP from a registered module; what becomes of it comes to `end` later."""
        called = _international(number)
        far = self._end_of(called)
        direction = "between" if called in self.subscribers else "out"
        row = self.ledger.open(subscriber.imsi, subscriber.msisdn, called or number, direction)
        row.clir = hide
        call = Call(self, row, end, far or _Nobody(), "" if hide else subscriber.msisdn)
        self.calls.add(call)
        self._offer(call, BUSY if far is end else self._verdict(called, far))
        return call

    def ring(self, subscriber: Subscriber, end: End, shown: str) -> Call:
        """Call a module from a landline that is `end`."""
        row = self.ledger.open("", shown, subscriber.msisdn, "in")
        call = Call(self, row, end, subscriber.end or _Nobody(), shown, mobile_calls=False)
        self.calls.add(call)
        self._offer(call, 0 if subscriber.end else ABSENT)
        return call

    def _end_of(self, called: str) -> End | None:
        if called in self.subscribers:
            return self.subscribers[called].end
        return self.landline(called)

    def _verdict(self, called: str, far: End | None) -> int:
        if not called:
            return INVALID_NUMBER
        if far is not None:
            return 0
        return ABSENT if called in self.subscribers else UNALLOCATED

    def _offer(self, call: Call, refusal: int) -> None:
        loop = asyncio.get_running_loop()
        if refusal:
            loop.call_later(self.between(self.timing.refuse_s), call.release, None, refusal)
        else:
            loop.call_later(self.between(self.timing.setup_s), self._setup, call)

    def _setup(self, call: Call) -> None:
        if call.state != "setup":
            return
        subscriber = self.subscribers.get(call.row.called)
        if subscriber is not None and subscriber.end is not call.called:
            call.release(None, ABSENT)  # it left the network while the call was on its way
        else:
            call.called.offered(call)

    def speaking(self, call: Call) -> None:
        """Let the ticker carry the call's voice from now on."""
        if call.state != "released":
            self._speaking.add(call)
            self._busy.set()

    def ended(self, call: Call, cause: int, side: str) -> None:
        """Close the books of a call that an end released."""
        self.ledger.close(call.row, cause, side)
        self.calls.discard(call)
        self._speaking.discard(call)
        if not self._speaking:
            self._busy.clear()
        log.info("call over", call=call.row.number, called=call.row.called, cause=cause, by=side)

    def lost(self, end: End, cause: int) -> None:
        """The radio link of a module is gone: the network ends its calls."""
        for call in [call for call in self.calls if end in (call.calling, call.called)]:
            call.release(None, cause)

    async def run(self) -> None:
        """Tick every 20 ms while a call has voice; sleep without any cost otherwise."""
        loop = asyncio.get_running_loop()
        while True:
            await self._busy.wait()
            due = loop.time()
            while self._speaking:
                self._tick()
                due += FRAME_S
                if (late := loop.time() - due) > CATCH_UP_S:
                    self.ticks_late += 1
                    due += late
                with suppress(TimeoutError):
                    await asyncio.sleep(max(0.0, due - loop.time()))

    def _tick(self) -> None:
        for call in tuple(self._speaking):
            call.tick()


def _international(number: str) -> str:
    """Return "+digits", or "" for a number without international prefix: the lab has no national plan."""
    digits = number[2:] if number.startswith("00") else number.removeprefix("+") if number[:1] == "+" else ""
    return f"+{digits}" if digits.isdecimal() and 3 <= len(digits) <= 15 else ""


class _Nobody:
    """The end of a call to a number that nobody has."""

    def offered(self, call: Call) -> None:
        call.release(None, ABSENT)

    def alerted(self, call: Call) -> None:
        """Nobody hears it."""

    def connected(self, call: Call) -> None:
        """It never comes to that."""

    def released(self, call: Call, cause: int) -> None:
        """Nobody cares."""

    def say(self, call: Call) -> bytes:
        return SILENCE

    def hear(self, call: Call, frame: bytes) -> None:
        """Nobody listens."""
