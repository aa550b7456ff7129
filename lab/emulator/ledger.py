"""The network's own books: one row per call, kept by the network and by nobody else.

Durations come from the monotonic clock, so that tests may hold the product's records against them.
"""

import asyncio
import io
import json
import wave
import zlib
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simrack.lab.emulator.listen import Heard, Recorder, judge
from simrack.lab.emulator.tones import RATE
from simrack.wire.ports import Clock, iso_ms

#: Rows kept; the oldest go first.
KEEP_ROWS = 20_000
#: Released calls whose voice is kept, about 1 MB each at most.
KEEP_VOICES = 40


@dataclass(frozen=True, slots=True)
class Moment:
    """One point in time on both clocks."""

    utc: datetime
    mono: float


@dataclass(slots=True, eq=False)
class Row:
    """One call as the network saw it. `cause` is Q.850; `released_by` is calling, called or network."""

    number: int
    calling_imsi: str
    calling: str
    called: str
    direction: str  # out: from a module to a landline; in: to a module; between: module to module
    setup: Moment
    alerting: Moment | None = None
    answered: Moment | None = None
    released: Moment | None = None
    cause: int = 0
    released_by: str = ""
    sent_hz: int | None = None  # the tone that the landline says, when it says one
    clir: bool = False
    from_mobile: Recorder = field(default_factory=Recorder)
    to_mobile: Recorder = field(default_factory=Recorder)
    dtmf_from_mobile: str = ""
    dtmf_to_mobile: str = ""
    figures: tuple[Heard, Heard] | None = None

    @property
    def talk_ms(self) -> int:
        if self.answered is None or self.released is None:
            return 0
        return round((self.released.mono - self.answered.mono) * 1000)

    async def heard(self) -> tuple[Heard, Heard]:
        """Return what came from the mobile and what went to it; once released it does not change any more."""
        if self.figures is not None:
            return self.figures
        over = self.released is not None
        # A transform takes ms, and the ticker must not wait for it.
        figures = await asyncio.to_thread(_judge_both, self.from_mobile.telling(), self.to_mobile.telling())
        if over:
            self.figures = figures
        return figures

    async def as_json(self, *, heard: bool = True) -> dict[str, Any]:
        """Render the row as the HTTP interface shows it; without `heard` as if nothing had been said."""
        up, down = await self.heard() if heard else (Heard(None, None), Heard(None, None))
        return {
            "id": self.number,
            "direction": self.direction,
            "calling_imsi": self.calling_imsi,
            "calling": self.calling,
            "called": self.called,
            "clir": self.clir,
            "setup_at": _text(self.setup),
            "alerting_at": _text(self.alerting),
            "answered_at": _text(self.answered),
            "released_at": _text(self.released),
            "talk_ms": self.talk_ms,
            "cause": self.cause,
            "released_by": self.released_by,
            "sent_hz": self.sent_hz,
            "heard": {
                "from_mobile_hz": up.hz,
                "from_mobile_dbfs": up.dbfs,
                "to_mobile_hz": down.hz,
                "to_mobile_dbfs": down.dbfs,
                "level_dbfs": up.dbfs,
                "dtmf": self.dtmf_from_mobile,
                "to_mobile_dtmf": self.dtmf_to_mobile,
            },
        }


def _judge_both(up: bytes, down: bytes) -> tuple[Heard, Heard]:
    return judge(up), judge(down)


def _text(moment: Moment | None) -> str | None:
    return None if moment is None else iso_ms(moment.utc)


class Ledger:
    """All rows, oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self.rows: deque[Row] = deque()
        # A day of calls as objects would be most of the lab's memory.
        self._aged: dict[int, bytes] = {}
        self._voices: asyncio.Queue[Row] = asyncio.Queue()
        self._crowded = asyncio.Event()

    def now(self) -> Moment:
        return Moment(self._clock.utc(), self._clock.monotonic())

    def open(self, calling_imsi: str, calling: str, called: str, direction: str) -> Row:
        self._count += 1
        row = Row(self._count, calling_imsi, calling, called, direction, self.now())
        self.rows.append(row)
        return row

    def close(self, row: Row, cause: int, released_by: str) -> None:
        """Note the release."""
        row.released, row.cause, row.released_by = self.now(), cause, released_by
        self._voices.put_nowait(row)
        if self._voices.qsize() > KEEP_VOICES:
            self._crowded.set()

    async def run(self) -> None:
        """Drop the voice of the oldest calls when too many are kept, after a last look at it."""
        while True:
            await self._crowded.wait()
            self._crowded.clear()
            while self._voices.qsize() > KEEP_VOICES:
                await self._age(self._voices.get_nowait())

    async def _age(self, row: Row) -> None:
        told = await row.as_json()
        row.from_mobile.forget()
        row.to_mobile.forget()
        self._aged[row.number] = zlib.compress(json.dumps(told).encode())
        self.rows.remove(row)
        while len(self._aged) > KEEP_ROWS:
            del self._aged[next(iter(self._aged))]

    def row(self, number: int) -> Row | None:
        """Return a call that is going on or was a short while ago."""
        return next((row for row in self.rows if row.number == number), None)

    def aged(self, number: int) -> dict[str, Any] | None:
        """Return an older call as the HTTP interface shows it; its voice is gone."""
        packed = self._aged.get(number)
        return None if packed is None else dict(json.loads(zlib.decompress(packed)))

    def newest(self, after: int, most: int) -> list["Row | dict[str, Any]"]:
        """Return the newest rows, oldest first, with ids larger than `after`: at most `most`."""
        fresh = {row.number: row for row in self.rows if row.number > after}
        numbers = sorted({*fresh, *(number for number in self._aged if number > after)})[-most:]
        found = (fresh.get(number) or self.aged(number) for number in numbers)
        return [row for row in found if row is not None]


def wav(pcm: bytes) -> bytes:
    """Wrap voice into a WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(pcm)
    return target.getvalue()
