"""Landline test numbers: each has a behaviour, and one object plays the far end of one call."""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from simrack.lab.emulator import tones
from simrack.lab.emulator.network import CONGESTION, NO_ANSWER, NO_RESPONSE, NORMAL, UNALLOCATED, Call

Kind = Literal[
    "answer", "busy", "no_answer", "no_response", "unallocated", "announcement", "echo", "tone", "speech", "silence",
    "dtmf", "reject", "congestion",
]  # fmt: skip
PREFIX = "+88210900"  # then four digits
FIRST_FREE = 1000
_REFUSALS = {"busy": 17, "unallocated": UNALLOCATED, "reject": 21, "congestion": CONGESTION}
#: The announcement's release when nothing else is asked: normal, unspecified.
ANNOUNCED = 31
#: A network stops waiting for an answer after about a minute; the lab is quicker unless told.
RING_S = 30.0
#: An echo comes back after 100 ms, as over a long line.
ECHO_FRAMES = 5


class Behaviour(BaseModel):
    """What a test number does; times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    behaviour: Kind = "answer"
    tone_hz: int | None = Field(default=None, ge=100, le=3800)  # None: another random tone per call
    alert: bool = True  # False: answers without ringing first
    answer_after_s: float | None = Field(default=None, ge=0)
    ring_s: float = Field(default=RING_S, gt=0)  # then released with cause 19
    cause: int | None = Field(default=None, ge=1, le=127)
    hang_up_after_s: float | None = Field(default=None, gt=0)
    announcement_s: float = Field(default=4.0, gt=0)
    dtmf: str = Field(default="", pattern=r"^[0-9A-D*#]*$")  # sent in band after the answer

    def answers_after(self) -> float | None:
        """Ringing time until the answer, None when nobody answers."""
        if self.answer_after_s is not None:
            return self.answer_after_s
        return None if self.behaviour in ("no_answer", "no_response", "announcement") else 1.0


#: The numbers that exist from the start, named as in the state file.
STANDARD = {
    "answer": (f"{PREFIX}0001", Behaviour()),
    "busy": (f"{PREFIX}0002", Behaviour(behaviour="busy")),
    "no_answer": (f"{PREFIX}0003", Behaviour(behaviour="no_answer", ring_s=15.0)),
    "announcement": (f"{PREFIX}0005", Behaviour(behaviour="announcement")),
    "echo": (f"{PREFIX}0006", Behaviour(behaviour="echo")),
    "tone": (f"{PREFIX}0007", Behaviour(behaviour="tone", tone_hz=1000)),
    "speech": (f"{PREFIX}0008", Behaviour(behaviour="speech")),
    "silence": (f"{PREFIX}0009", Behaviour(behaviour="silence")),
    "dtmf": (f"{PREFIX}0010", Behaviour(behaviour="dtmf", dtmf="159*0#D")),
    "reject": (f"{PREFIX}0011", Behaviour(behaviour="reject")),
    "congestion": (f"{PREFIX}0012", Behaviour(behaviour="congestion")),
    "no_response": (f"{PREFIX}0013", Behaviour(behaviour="no_response")),
}
#: Never in the table, so the network itself answers with cause 1.
UNALLOCATED_NUMBER = f"{PREFIX}0004"


class Landline:
    """The landline end of one call; its timers die with the call."""

    def __init__(self, behaviour: Behaviour, dice: random.Random) -> None:
        self.behaviour = behaviour
        self._dice = dice
        self._timers: list[asyncio.TimerHandle] = []
        self._voice: Iterator[bytes] = tones.silence()
        self._echo: list[bytes] = []

    def offered(self, call: Call) -> None:
        kind = self.behaviour.behaviour
        if (refusal := _REFUSALS.get(kind)) is not None:
            self._end(call, self.behaviour.cause or refusal)
            return
        self._voice = self._choose_voice(call)
        if kind == "announcement":
            self._announce(call)
            return
        if kind == "no_response":
            self._later(self.behaviour.ring_s, self._end, call, self.behaviour.cause or NO_RESPONSE)
            return
        if self.behaviour.alert:
            call.alert()
        self._later(self.behaviour.ring_s, self._give_up, call)
        if (after := self.behaviour.answers_after()) is not None:
            self._later(after, call.answer)

    def _announce(self, call: Call) -> None:
        talk, self._voice = self._voice, tones.announcement()
        call.progress()
        if (after := self.behaviour.answer_after_s) is not None:
            self._later(after, self._answer_with, call, talk)
        else:
            self._later(self.behaviour.announcement_s, self._end, call, self.behaviour.cause or ANNOUNCED)

    def _answer_with(self, call: Call, voice: Iterator[bytes]) -> None:
        self._voice = voice
        call.answer()

    def _give_up(self, call: Call) -> None:
        if call.state != "active":
            call.release(None, self.behaviour.cause or NO_ANSWER)

    def _end(self, call: Call, cause: int) -> None:
        self._stop()
        call.release(self, cause)

    def _choose_voice(self, call: Call) -> Iterator[bytes]:
        match self.behaviour.behaviour:
            case "speech":
                return tones.speech()
            case "silence" | "echo":
                return tones.silence()
            case "dtmf":
                return self._key_sender(call)
        hz = self.behaviour.tone_hz or tones.random_hz(self._dice)
        call.row.sent_hz = hz
        return tones.tone(hz)

    def _key_sender(self, call: Call) -> Iterator[bytes]:
        # Keys begin with the talk, so the row can name them at once.
        call.row.dtmf_to_mobile = self.behaviour.dtmf
        return tones.dtmf(self.behaviour.dtmf)

    def alerted(self, call: Call) -> None:
        """The landline calls a module and hears it ring: nothing to do."""

    def connected(self, call: Call) -> None:
        if self is call.calling:
            self._voice = self._choose_voice(call)
        if (after := self.behaviour.hang_up_after_s) is not None:
            self._later(after, self._end, call, self.behaviour.cause or NORMAL)

    def released(self, call: Call, cause: int) -> None:
        self._stop()

    def wait_for_answer(self, call: Call, ring_s: float) -> None:
        """Give up as the calling side when nobody answers."""
        self._later(ring_s, self._cancel, call)

    def _cancel(self, call: Call) -> None:
        if call.state != "active":
            self._end(call, NORMAL)

    def say(self, call: Call) -> bytes:
        if self.behaviour.behaviour == "echo" and call.state == "active":
            return self._echo.pop(0) if len(self._echo) > ECHO_FRAMES else tones.SILENCE
        return next(self._voice)

    def hear(self, call: Call, frame: bytes) -> None:
        if self.behaviour.behaviour == "echo" and call.state == "active":
            self._echo.append(frame)

    def _later(self, delay: float, act: Callable[..., None], *args: object) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay, act, *args))

    def _stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class Numbers:
    """The table of test numbers."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.table = dict(STANDARD.values())
        self._next = FIRST_FREE

    def far_end(self, number: str) -> Landline | None:
        """Return a fresh far end for a call to `number`, None when nobody has it."""
        behaviour = self.table.get(number)
        return None if behaviour is None else Landline(behaviour, self._dice)

    def set(self, number: str, behaviour: Behaviour) -> str:
        """Give a number a behaviour; an empty number means the next free one."""
        if not number:
            number = f"{PREFIX}{self._next:04d}"
            self._next += 1
        self.table[number] = behaviour
        return number

    def names(self) -> dict[str, str]:
        """Return the standard numbers by name, as in the state file."""
        return {name: number for name, (number, _) in STANDARD.items()} | {"unallocated": UNALLOCATED_NUMBER}
