"""What happened, so that a person can read it: one timeline of messages, network, faults and processes."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from simrack.lab.simulate.loop import VirtualLoop
from simrack.lab.simulate.ports import EPOCH
from simrack.lab.simulate.wire import Address, Message

#: Lines kept of a whole run; those of one broken call lie in the last minutes.
KEPT = 20_000
#: A process that says the same again and again says nothing new.
REPEATED_S = 20.0


@dataclass(slots=True)
class Line:
    """One thing that happened; `call` is the called number, or "" for what concerns all."""

    at: float
    who: str
    call: str
    what: str | Message
    to: str = ""

    def text(self) -> str:
        moment = EPOCH + timedelta(seconds=self.at)
        what = self.what if isinstance(self.what, str) else f"-> {self.to}: {_of(self.what)}"
        return f"{moment:%d %H:%M:%S}.{moment.microsecond // 1000:03} {self.who:<16} {what}"


class Story:
    """Collects; formatting waits until somebody wants to read."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self.numbers: dict[str, str] = {}  # SIP Call-ID -> called number
        self.names: dict[Address, str] = {}
        self._said: dict[tuple[str, str], float] = {}

    def add(self, who: str, call: str, what: str) -> None:
        now = self._loop.time()
        if call == "" and what.startswith("log:"):
            if now - self._said.get((who, what[:40]), -1e9) < REPEATED_S:
                return
            self._said[who, what[:40]] = now
        self._lines.append(Line(now, who, call, what))

    def packet(self, source: Address, to: Address, message: Message) -> None:
        """A SIP message was sent."""
        number = self.numbers.get(message.call_id)
        if number is None:
            number = self.numbers[message.call_id] = message.called
        who, whom = self.names.get(source, source[0]), self.names.get(to, to[0])
        self._lines.append(Line(self._loop.time(), who, number, message, whom))

    def tell(self, calls: Iterable[str], most: int = 80) -> list[str]:
        """The last lines that concern these calls, and what concerned everybody meanwhile."""
        wanted = set(calls)
        found = [line for line in self._lines if line.call in wanted] if wanted else []
        begin = (found[0].at if found else self._loop.time() - 300.0) - 5.0
        told = [line for line in self._lines if line.at >= begin and (not line.call or line.call in wanted)]
        if len(told) > most:
            told = [*told[: most // 3], Line(told[most // 3].at, "...", "", "..."), *told[-(most - most // 3) :]]
        return [line.text() for line in told]


def _of(message: Message) -> str:
    reason = message.header("reason")
    tail = f" [{reason}]" if reason else ""
    sdp = " with SDP" if message.sdp else ""
    if message.status:
        return f"{message.status} {message.phrase} ({message.method}){sdp}{tail}"
    channel, attempt = message.header("x-simrack-channel"), message.header("x-simrack-attempt")
    more = f" channel {channel} attempt {attempt[:6]}" if channel else ""
    return f"{message.method}{sdp}{more}{tail}"
