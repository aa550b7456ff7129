"""A module that plays a transcript over a real PTY, in four ways.

A transcript is plain text: `>` what the driver sends (`*` and `?` as in file names), `<` what the module puts
out after it, answer and later lines alike; `<<` is a line in which `\\r`, `\\n` and `\\x..` stand for octets;
`= name` holds the rest of the exchange back until the test says `go(name)`; `#` is a remark. The first line
names the source; `@ name` adds the exchanges of another transcript behind its own. A command that stands there several times uses its exchanges in order, the last one again
and again; one that does not stand there gets ERROR.
"""

import asyncio
import fnmatch
import os
import tty
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

FOLDER = Path(__file__).parent / "drivers" / "transcripts"
# What a real module says on its own at any moment; none of these changes a call.
NOISE = ("+QIND: SMS DONE", '+CMTI: "ME",3', '+CREG: 1,"1A2B","01C3D4E5",7', "^RSSI:19", "+CGEV: NW DETACH")
LATE_S = 0.002


class Way(StrEnum):
    """How the octets travel."""

    PLAIN = "plain"
    BYTEWISE = "byte by byte"
    LATE = "late"
    NOISY = "unsolicited lines inside answers"


@dataclass(frozen=True, slots=True)
class Out:
    """A line of the module, or the name of a gate."""

    octets: bytes = b""
    gate: str = ""


@dataclass(slots=True)
class Exchange:
    """One command and what follows it."""

    pattern: str
    outs: list[Out] = field(default_factory=list)


def parse(text: str) -> list[Exchange]:
    exchanges, included = [Exchange("")], list[Exchange]()
    head, *lines = text.splitlines()
    assert head.startswith("source: "), "the first line names the source"
    for line in lines:
        mark, _, rest = line.partition(" ")
        match mark:
            case ">":
                exchanges.append(Exchange(rest))
            case "<":
                exchanges[-1].outs.append(Out(b"\r\n" + rest.encode("latin-1") + b"\r\n"))
            case "<<":
                exchanges[-1].outs.append(
                    Out(rest.encode("latin-1").decode("unicode_escape").encode("latin-1"))
                )
            case "=":
                exchanges[-1].outs.append(Out(gate=rest))
            case "@":
                included += parse((FOLDER / f"{rest}.at").read_text())[1:]
            case _:
                assert not line or line.startswith("#"), f"no such mark: {line!r}"
    return exchanges + included


class Transcript:
    """The module's side of the PTY."""

    def __init__(self, text: str, way: Way = Way.PLAIN, *, echo: bool = False) -> None:
        self.sent: list[str] = []
        self.way, self.echo = way, echo
        #: Set while the module hears nothing.
        self.deaf = False
        self._exchanges = parse(text)
        self._gates: dict[str, asyncio.Event] = {}
        self._heard = bytearray()
        self._news = asyncio.Condition()
        self._orders: asyncio.Queue[str] = asyncio.Queue()
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._noise = self._endless_noise()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)

    @classmethod
    def named(cls, name: str, way: Way = Way.PLAIN, *, echo: bool = False) -> "Transcript":
        """The transcript of that name."""
        return cls((FOLDER / f"{name}.at").read_text(), way, echo=echo)

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        self._task = asyncio.create_task(self._play())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self.unplug()

    def go(self, gate: str) -> None:
        """Let the lines behind a gate out."""
        self._gate(gate).set()

    def unplug(self) -> None:
        """The device goes away."""
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    async def put(self, octets: bytes) -> None:
        """Put out octets, as many as ever the host reads."""
        while octets and self._master >= 0:
            try:
                octets = octets[os.write(self._master, octets) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)

    async def line(self, text: str) -> None:
        """Put out a line of its own accord, but never in the middle of another one."""
        async with self._writing:
            await self.put(b"\r\n" + text.encode("latin-1") + b"\r\n")

    async def received(self, pattern: str, count: int = 1) -> None:
        """Wait until the driver has sent `count` commands that fit."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: len(self.matching(pattern)) >= count)

    def matching(self, pattern: str) -> list[str]:
        return [text for text in self.sent if fnmatch.fnmatchcase(text, pattern)]

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def _endless_noise(self) -> Iterator[bytes]:
        while True:
            for line in NOISE:
                yield b"\r\n" + line.encode() + b"\r\n"

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            self._heard += os.read(self._master, 4096)
        while b"\r" in self._heard:
            line, _, rest = self._heard.partition(b"\r")
            self._heard = bytearray(rest)
            self._orders.put_nowait(line.decode("latin-1").strip("\n"))
        if self._heard.endswith(b"\x1a"):
            self._orders.put_nowait(self._heard.decode("latin-1"))
            self._heard.clear()

    async def _play(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            await self._out(self._exchanges[0])
            while True:
                order = await self._orders.get()
                if self.deaf:
                    continue
                if self.echo:
                    await self._write(order.encode("latin-1") + b"\r")
                await self._out(self._exchange(order))
                async with self._news:
                    self.sent.append(order)
                    self._news.notify_all()

    def _exchange(self, order: str) -> Exchange:
        if order in ("AT", "ATE0", "AT+CMEE=1"):
            return Exchange(order, [Out(b"\r\nOK\r\n")])
        fitting = [one for one in self._exchanges[1:] if fnmatch.fnmatchcase(order, one.pattern)]
        if not fitting:
            return Exchange(order, [Out(b"\r\nERROR\r\n")])
        if len(fitting) > 1 and fitting[0].pattern == fitting[1].pattern:
            self._exchanges.remove(fitting[0])
        return fitting[0]

    async def _out(self, exchange: Exchange) -> None:
        for index, out in enumerate(exchange.outs):
            if out.gate:
                assert self._group is not None
                self._group.create_task(self._later(out.gate, exchange.outs[index + 1 :]))
                return
            await self._one(out)

    async def _later(self, gate: str, outs: list[Out]) -> None:
        await self._gate(gate).wait()
        await self._out(Exchange("", outs))

    async def _one(self, out: Out) -> None:
        if self.way is Way.NOISY and not out.octets.startswith(b"\r\n>"):
            await self._write(next(self._noise))
        await self._write(out.octets)

    async def _write(self, octets: bytes) -> None:
        # A module puts out one line after the other, never two at once.
        async with self._writing:
            await self._travel(octets)

    async def _travel(self, octets: bytes) -> None:
        if self.way is Way.LATE:
            await asyncio.sleep(LATE_S)
        if self.way is not Way.BYTEWISE:
            await self.put(octets)
            return
        for octet in octets:
            await self.put(bytes((octet,)))
            await asyncio.sleep(0)
