"""The calls of one module: its end of them, the notifications, and the voice at its audio port.

Numbers of states follow +CLCC (27.007 clause 7.18); ^DSCI has its own, in a table.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from simrack.lab.emulator.ec25.state import Settings
from simrack.lab.emulator.listen import DtmfEar
from simrack.lab.emulator.network import BUSY, NO_ANSWER, NO_RESPONSE, Call, Network, Subscriber
from simrack.lab.emulator.oddities import Quirk
from simrack.lab.emulator.tones import FRAME_BYTES, SILENCE

ACTIVE, HELD, DIALLING, ALERTING, INCOMING, WAITING = range(6)
RELEASED = -1
_DSCI = {ACTIVE: 3, HELD: 1, DIALLING: 2, ALERTING: 7, INCOMING: 4, WAITING: 5, RELEASED: 6}
_RESULTS = {BUSY: "BUSY", NO_RESPONSE: "NO ANSWER", NO_ANSWER: "NO ANSWER"}
REJECTED, NO_NETWORK = 21, 38
#: Index 1 belongs to the permanent LTE data bearer (at-dialects, 4.2).
FIRST_INDEX = 2
#: Voice from the host: begin to play with 40 ms in hand, ask it to pause at 200 ms, drop from 400 ms on.
PRIME, PAUSE, RESUME, FULL = (FRAME_BYTES * frames for frames in (2, 10, 5, 20))
#: Voice to the host that it has not read: drop beyond 100 ms, as the module's small buffer does.
HOST_LATE = FRAME_BYTES * 5
CEER = {
    1: "Unassigned (unallocated) number", 3: "No route to destination", 16: "Normal call clearing", 17: "User busy",
    18: "No user responding", 19: "User alerting, no answer", 20: "Subscriber absent", 21: "Call rejected",
    22: "Number changed", 27: "Destination out of order", 28: "Invalid number format (incomplete number)",
    29: "Facility rejected", 31: "Normal, unspecified", 34: "No circuit/channel available",
    38: "Network out of order", 41: "Temporary failure", 42: "Switching equipment congestion",
    44: "Requested circuit/channel not available", 47: "Resources unavailable, unspecified",
}  # fmt: skip


@dataclass(eq=False, slots=True)
class Leg:
    """One row of +CLCC."""

    index: int
    incoming: bool
    state: int
    number: str
    call: Call | None = None
    ring: asyncio.TimerHandle | None = None
    ear: DtmfEar = field(default_factory=DtmfEar)
    waiting_result: asyncio.Future[str] | None = None  # ATD under +COLP=1 waits for it

    @property
    def kind(self) -> int:
        """Type of number of 24.008: 145 international, 129 unknown, 128 withheld."""
        if not self.number:
            return 128
        return 145 if self.number.startswith("+") else 129

    def row(self) -> str:
        return f'{self.index},{int(self.incoming)},{self.state},0,0,"{self.number}",{self.kind}'


class Audio(Protocol):
    """The module's audio port."""

    def write(self, data: bytes) -> None: ...

    def backlog(self) -> int: ...

    @property
    def plugged(self) -> bool: ...


class Handset:
    """All calls of one module; the network's `End` for each of them."""

    def __init__(
        self,
        network: Network,
        subscriber: Subscriber,
        audio: Audio,
        urc: Callable[[str], None],
        quirks: set[Quirk],
    ) -> None:
        self.network, self.subscriber, self._audio, self._urc = network, subscriber, audio, urc
        self.quirks = quirks
        self.settings = Settings()
        self.legs: list[Leg] = []
        self.last_cause = "No cause information available"
        self.last_number = 0
        self.one_way = ""
        self.frozen = False  # fault: the module hangs, voice and all
        self._uplink = bytearray()
        self._primed = self._paused = False
        self.dropped_frames = self.starved_frames = 0

    # -- what the host asks for

    def dial(self, number: str) -> Leg:
        """Begin a call; the network hears of it when `set_up` runs, after the OK."""
        for leg in self.legs:
            if leg.state == ACTIVE:
                self._move(leg, HELD)
        leg = Leg(self._free_index(), False, DIALLING, number)
        self.legs.append(leg)
        return leg

    def set_up(self, leg: Leg, *, hide: bool) -> None:
        """Send SETUP to the network, unless the host hung up meanwhile."""
        if leg not in self.legs:
            return
        self._notify(leg)
        if self.subscriber.end is not self:
            self._finish(leg, NO_NETWORK)
        else:
            leg.call = self.network.dial(self.subscriber, self, leg.number, hide=hide)

    @property
    def ringing(self) -> bool:
        return self._in_state(INCOMING) is not None

    def answer(self) -> None:
        """Answer the ringing call, if it still rings."""
        leg = self._in_state(INCOMING)
        if leg is not None and leg.call is not None:
            leg.call.answer()

    def hang_up(self, cause: int = 16) -> int:
        """End every call, reject one that rings; returns how many there were."""
        legs = list(self.legs)
        for leg in legs:
            self.end(leg, REJECTED if leg.state in (INCOMING, WAITING) and cause == 16 else cause)
        return len(legs)

    def end(self, leg: Leg, cause: int) -> None:
        self.last_cause, self.last_number = "Client ended call", cause
        self._drop(leg)
        self._settle(leg, "NO CARRIER")
        if leg.call is not None:
            leg.call.release(self, cause)
        # Own hang-up brings the call notices but no NO CARRIER (at-dialects, 4.3).
        asyncio.get_running_loop().call_later(0.02, self._notify, leg)

    def swap(self) -> None:
        """Hold the active call; take the held or waiting one (+CHLD=2)."""
        active, other = self._in_state(ACTIVE), self._in_state(WAITING) or self._in_state(HELD)
        if active is not None:
            self._move(active, HELD)
        if other is not None:
            self._take(other)

    def release_active(self) -> None:
        """End the active calls and take the other one (+CHLD=1)."""
        for leg in [leg for leg in self.legs if leg.state in (ACTIVE, DIALLING, ALERTING)]:
            self.end(leg, 16)
        if (other := self._in_state(WAITING) or self._in_state(HELD)) is not None:
            self._take(other)

    def release_held(self) -> None:
        """End the held calls, or tell the waiting one that we are busy (+CHLD=0)."""
        waiting = [leg for leg in self.legs if leg.state in (WAITING, INCOMING)]
        for leg in waiting or [leg for leg in self.legs if leg.state == HELD]:
            self.end(leg, BUSY if waiting else 16)

    def _take(self, leg: Leg) -> None:
        if leg.state == WAITING and leg.call is not None:
            leg.call.answer()
        else:
            self._move(leg, ACTIVE)

    def press(self, key: str) -> bool:
        """Signal a DTMF key in the active call; False when there is none."""
        leg = self._in_state(ACTIVE)
        if leg is None or leg.call is None:
            return False
        leg.call.press(self, key)
        return True

    def rows(self) -> list[str]:
        """Return the lines of +CLCC, the LTE bearer's row first."""
        data = [] if Quirk.NO_DATA_ROW in self.quirks else ['+CLCC: 1,0,0,1,0,"",128']
        return data + [f"+CLCC: {leg.row()}" for leg in self.legs]

    def activity(self) -> int:
        """Return the <pas> of +CPAS."""
        if not self.legs:
            return 0
        return 3 if self._in_state(INCOMING) else 4

    # -- what the network says

    def offered(self, call: Call) -> None:
        waiting = bool(self.legs)
        if waiting and not self.settings.call_waiting:
            call.release(self, BUSY)
            return
        leg = Leg(self._free_index(), True, WAITING if waiting else INCOMING, call.shown, call)
        self.legs.append(leg)
        call.alert()
        self._notify(leg)
        if waiting:
            self._urc(f'+CCWA: "{leg.number}",{leg.kind},1')
        else:
            self._ring(leg)

    def alerted(self, call: Call) -> None:
        if (leg := self._leg_of(call)) is not None and Quirk.NO_ALERTING not in self.quirks:
            self._move(leg, ALERTING)

    def connected(self, call: Call) -> None:
        leg = self._leg_of(call)
        if leg is None:
            return
        self._stop_ringing(leg)
        self._empty()
        self._move(leg, ACTIVE)
        self._settle(leg, "OK")

    def released(self, call: Call, cause: int) -> None:
        if (leg := self._leg_of(call)) is not None:
            self._finish(leg, cause)

    def _finish(self, leg: Leg, cause: int) -> None:
        self._drop(leg)
        self.last_cause, self.last_number = CEER.get(cause, f"Cause {cause}"), cause
        self._notify(leg)
        result = self._result(leg, cause)
        if not self._settle(leg, result) and Quirk.NO_NO_CARRIER not in self.quirks:
            self._urc(result)

    @staticmethod
    def _settle(leg: Leg, result: str) -> bool:
        """Give ATD its late result under +COLP=1; False where it has long had one."""
        if leg.waiting_result is None or leg.waiting_result.done():
            return False
        leg.waiting_result.set_result(result)
        return True

    def _result(self, leg: Leg, cause: int) -> str:
        if leg.incoming or Quirk.PLAIN_NO_CARRIER in self.quirks or leg.state == ACTIVE:
            return "NO CARRIER"
        return _RESULTS.get(cause, "NO CARRIER")

    # -- voice

    def from_host(self, data: bytes) -> None:
        """Take what the host wrote to the audio port; without an answered call it goes nowhere."""
        if not self._voice_on() or self._in_state(ACTIVE) is None or self.frozen:
            return
        self._uplink += data
        if len(self._uplink) > FULL:
            del self._uplink[: len(self._uplink) - FULL]
        if len(self._uplink) > PAUSE and not self._paused:
            self._paused = True
            self._urc("+QPCMV: 0,0")

    def say(self, call: Call) -> bytes:
        leg = self._leg_of(call)
        if leg is None or leg.state != ACTIVE or self.frozen or not self._voice_on():
            return SILENCE
        frame = self._next_frame()
        return SILENCE if self.one_way in ("to_mobile", "none") else frame

    def _next_frame(self) -> bytes:
        if len(self._uplink) < (FRAME_BYTES if self._primed else PRIME):
            self._primed = False
            self.starved_frames += 1
            return SILENCE
        self._primed = True
        frame = bytes(self._uplink[:FRAME_BYTES])
        del self._uplink[:FRAME_BYTES]
        if len(self._uplink) <= RESUME:
            self._go_on()
        return frame

    def hear(self, call: Call, frame: bytes) -> None:
        leg = self._leg_of(call)
        if leg is None or self.frozen or leg.state in (HELD, WAITING, INCOMING):
            return
        frame = SILENCE if self.one_way in ("from_mobile", "none") else frame
        if self.settings.tone_detection and leg.state == ACTIVE and (key := leg.ear.hear(frame)):
            self._urc(f"+QTONEDET: {ord(key)}")
        if not self._voice_on():
            return
        if self._audio.backlog() > HOST_LATE:
            self.dropped_frames += 1
        else:
            self._audio.write(frame)

    def _voice_on(self) -> bool:
        return self.settings.pcm == 1 and self._audio.plugged

    def _empty(self) -> None:
        self._uplink.clear()
        self._primed = False
        self._go_on()

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            self._urc("+QPCMV: 1,0")

    # -- bookkeeping

    def lose_signal(self, cause: int) -> None:
        """End every call as when the radio link is gone; the network learns of it at once."""
        for leg in list(self.legs):
            if leg.call is not None:
                leg.call.release(None, cause)
            else:
                self._finish(leg, cause)

    def lose_all(self) -> None:
        """Forget every call without a word: the module reset, or lost its power."""
        for leg in list(self.legs):
            self._drop(leg)
            self._settle(leg, "NO CARRIER")

    def _drop(self, leg: Leg) -> None:
        self._stop_ringing(leg)
        if leg in self.legs:
            self.legs.remove(leg)
        if self._in_state(ACTIVE) is None:
            self._empty()

    def _move(self, leg: Leg, state: int) -> None:
        leg.state = state
        if self._in_state(ACTIVE) is None:
            self._empty()
        self._notify(leg)

    def _notify(self, leg: Leg) -> None:
        state = leg.state if leg in self.legs else RELEASED
        mode = f'{leg.index},{int(leg.incoming)},{state},0,0,"{leg.number}",{leg.kind}'
        if self.settings.indications["ccinfo"]:
            self._urc(f'+QIND: "ccinfo",{mode}')
        if self.settings.dsci:
            self._urc(f"^DSCI: {leg.index},{int(leg.incoming)},{_DSCI[state]},0,{leg.number},{leg.kind},1")

    def _ring(self, leg: Leg) -> None:
        if self.settings.indications["ring"]:
            self._urc("+CRING: VOICE" if self.settings.cring else "RING")
        if self.settings.clip:
            validity = 0 if leg.number else 1
            self._urc(f'+CLIP: "{leg.number}",{leg.kind},,,,{validity}')
        leg.ring = asyncio.get_running_loop().call_later(self.network.timing.ring_period_s, self._ring, leg)

    def _stop_ringing(self, leg: Leg) -> None:
        if leg.ring is not None:
            leg.ring.cancel()
            leg.ring = None

    def _in_state(self, state: int) -> Leg | None:
        return next((leg for leg in self.legs if leg.state == state), None)

    def _leg_of(self, call: Call) -> Leg | None:
        return next((leg for leg in self.legs if leg.call is call), None)

    def leg(self, index: int) -> Leg | None:
        """Return the call with an index of +CLCC."""
        return next((leg for leg in self.legs if leg.index == index), None)

    def _free_index(self) -> int:
        first = 1 if Quirk.NO_DATA_ROW in self.quirks else FIRST_INDEX
        taken = {leg.index for leg in self.legs}
        return next(index for index in range(first, first + 8) if index not in taken)
