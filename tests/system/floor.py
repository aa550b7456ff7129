"""An installation whose processes are started one by one, so that each can be killed, frozen and started again.

`simrack up` starts a dead child after 1 s by itself; here a test says when. Addresses stay over a restart as they
do in the field: the controller's SIP port and the broker's, and the SIP port of every second box.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from argon2 import PasswordHasher
from production_parts import Broker

from simrack.cli.lab_routing import TRUNK_ADDRESS, lab_routing
from simrack.cli.main import DIE_WITH_PARENT
from simrack.cli.rack import take_snapshot
from simrack.cli.toml_text import toml_text
from simrack.wire.channel import ChannelState
from simrack.wire.errors import UserError

#: A busy machine needs ten times what a quiet one needs for a start.
START_S = 60.0
STOP_S = 20.0
READY_S = 60.0
#: Calls to numbers below: one number for each call, so that a row in the network's books names its call.
NUMBERS = "+882107"
RTP_PORTS = 200
Wrap = Sequence[str]


class NotReady(AssertionError):
    """A process did not come up."""


class NotGone(AssertionError):
    """A process did not end."""


class Proc:
    """One simrack command as a child process; it may be started many times."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.argv, self.log = name, list(argv), log
        self.env = env or {}
        self.wrap: Wrap = ()  # a script of the tests' own that starts the command, for planted bugs
        self.process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def begin(self) -> None:
        """Start it, and do not wait until it serves."""
        command = [*(self.wrap or ("-m", "simrack.cli")), *self.argv]
        with self.log.open("ab") as sink:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", *command,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=sink,
                env={**os.environ, DIE_WITH_PARENT: str(os.getpid()), **self.env}, start_new_session=True,
            )  # fmt: skip

    async def start(self, seconds: float = START_S) -> dict[str, Any]:
        """Start it, and return what its readiness line says. Raises `NotReady`."""
        await self.begin()
        return await self.serves(seconds)

    async def serves(self, seconds: float = START_S) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                async for line in self.process.stdout:
                    if line.startswith(b"{") and b'"ready"' in line:
                        self.ready = json.loads(line)
                        self._reader = asyncio.create_task(self._drain(self.process.stdout))
                        return self.ready
        except TimeoutError:
            raise NotReady(f"{self.name} was not ready within {seconds:g} s\n{self.tail()}") from None
        raise NotReady(f"{self.name} ended with {await self.process.wait()}\n{self.tail()}")

    @staticmethod
    async def _drain(stream: asyncio.StreamReader) -> None:
        while await stream.read(65536):
            pass

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def send(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def gone(self, seconds: float = STOP_S) -> None:
        assert self.process is not None
        try:
            async with asyncio.timeout(seconds):
                await self.process.wait()
        except TimeoutError:
            raise NotGone(f"{self.name} was not gone within {seconds:g} s\n{self.tail()}") from None
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.gone()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for whoever does not listen."""
        if self.process is None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            await self.gone()
        except NotGone:
            await self.kill()


@dataclass
class Parts:
    """Broker and database of an installation; the embedded ones unless ring 2 brings production's.

    `mqtt(user)` is the broker's URL for a user; `broker` starts, kills and stops like a `Proc`.
    """

    broker: Any
    mqtt: Callable[[str], str]
    database: str


@dataclass(frozen=True)
class Size:
    """How large the emulated rack is."""

    boxes: int = 2
    channels: int = 6

    @property
    def names(self) -> list[str]:
        return [f"lab-{number:02d}" for number in range(1, self.boxes + 1)]


class Outside:
    """A broker that the tests' fixtures own (tests/production_parts.py), with the face of a `Proc`."""

    name = "broker"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._dead = False

    def send(self, number: int) -> None:
        self._broker.send(number)

    async def gone(self) -> None:
        await asyncio.to_thread(self._broker.kill)
        self._dead = True

    async def kill(self) -> None:
        await self.gone()

    async def start(self) -> None:
        if self._dead:
            await asyncio.to_thread(self._broker.start)
        self._dead = False

    async def stop(self) -> None:
        """Its owner ends it; it must run for that."""
        self.send(signal.SIGCONT)
        await self.start()


def outside(broker: Broker, database: str) -> Parts:
    """Parts of the running test: embedded ones, or with --stack those of production."""
    return Parts(Outside(broker), broker.url, database)


USERS = ("controller", "web", "cli")


def embedded(folder: Path, size: Size) -> Parts:
    """The broker that comes with simrack, and SQLite."""
    port, password = free_port(socket.SOCK_STREAM), "lab"
    hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    users = folder / "users"
    users.write_text("".join(f"{user}:{hasher.hash(password)}\n" for user in (*USERS, *size.names)))
    config = write(folder, "broker", {"listen": f"127.0.0.1:{port}", "users": str(users)})
    broker = Proc("broker", ["broker", "--config", config], folder / "broker.log")
    return Parts(broker, lambda user: f"mqtt://{user}:{password}@127.0.0.1:{port}", f"sqlite:///{folder / 'simrack.db'}")


def write(folder: Path, name: str, document: dict[str, Any]) -> str:
    path = folder / f"{name}.toml"
    path.write_text(toml_text(document))
    return str(path)


#: Below what the kernel hands out by itself: a port that stays over a restart must not go to somebody else meanwhile.
LASTING = range(22_000, 32_000)


def free_port(kind: int, host: str = "127.0.0.1") -> int:
    """A port that nobody holds now, and that nobody gets by chance."""
    for _ in range(1000):
        port = random.choice(LASTING)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise NotReady("no free port")


def free_ports(count: int) -> int:
    """The first of `count` UDP ports in a row that nobody holds now."""
    for _ in range(100):
        first = free_port(socket.SOCK_DGRAM) // 2 * 2
        if first + count > 60_000:
            continue
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise NotReady(f"no {count} free ports in a row")


@dataclass
class Floor:
    """The running processes; make one with `open_floor`."""

    folder: Path
    size: Size
    parts: Parts
    sip: str
    procs: dict[str, Proc] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    http: aiohttp.ClientSession = field(init=False)
    sender = TRUNK_ADDRESS
    _count: int = 0

    @property
    def controller(self) -> Proc:
        return self.procs["controller"]

    @property
    def boxes(self) -> list[Proc]:
        return [self.procs[name] for name in self.size.names]

    async def ask(self, path: str, body: Any = None, method: str = "") -> Any:
        """The lab's own books and controls; None for what it does not know."""
        method = method or ("GET" if body is None else "POST")
        async with self.http.request(method, self.facts["ledger"] + path, json=body) as answer:
            return await answer.json() if answer.status < 400 else None

    async def number(self, **behaviour: Any) -> str:
        """A number that is called once; the emulated network keeps its behaviour."""
        self._count += 1
        number = f"{NUMBERS}{self._count:07d}"
        made = await self.ask("/numbers", {"number": number, **behaviour})
        assert made is not None, behaviour
        return number

    async def ledger(self, after: int) -> list[dict[str, Any]]:
        """All rows of the network's books with a larger id."""
        rows: list[dict[str, Any]] = await self.ask(f"/ledger/calls?after={after}")
        assert len(rows) < 1000, "the network's books give the last 1,000 rows only"
        return rows

    async def sweep(self) -> None:
        """End whatever call the network still has."""
        for row in await self.ask("/ledger/calls"):
            if row["released_at"] is None:
                await self.ask(f"/calls/{row['id']}", method="DELETE")

    async def wait_ready(self, seconds: float = READY_S) -> None:
        """Until every channel serves. Raises AssertionError that names those that do not."""
        wanted = self.size.boxes * self.size.channels
        states: list[str] = []

        async def all_ready() -> bool:
            states[:] = await self._states()
            return states.count("ready") >= wanted

        try:
            await eventually(all_ready, "", seconds)
        except AssertionError:
            raise AssertionError(f"not all {wanted} channels are ready after {seconds:g} s: {states}") from None

    async def _states(self) -> list[str]:
        try:
            snapshot = await take_snapshot(self.parts.mqtt("cli"))
        except UserError as error:
            # The broker may be the one that was killed.
            return [str(error)]
        online = {name for name, box in snapshot.boxes.items() if box.online}
        reports = [report for report in snapshot.channels.values() if report.box in online]
        return [
            "ready" if report.state is ChannelState.READY else f"{report.box}/{report.channel} {report.state} {report.fault}"
            for report in reports
        ]


async def eventually(condition: Callable[[], Awaitable[Any]], what: str, seconds: float, pause: float = 0.1) -> Any:
    """Ask again and again, because what changes is another process. Raises AssertionError."""
    end = time.monotonic() + seconds
    while not (found := await condition()):
        if time.monotonic() > end:
            raise AssertionError(f"never happened within {seconds:g} s: {what}")
        await asyncio.sleep(pause)
    return found


@contextlib.asynccontextmanager
async def open_floor(
    folder: Path, size: Size, *, seed: int = 1, parts: Parts | None = None, setup: str = "0.1-0.3"
) -> AsyncIterator[Floor]:
    """Start everything; it ends with the block, boxes first."""
    parts = parts or embedded(folder, size)
    sip = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    floor = Floor(folder, size, parts, sip)
    lab_state = folder / "lab.json"
    # Names of terminals are short: a folder deep in a test's own would not fit a socket's or a link's length.
    argv = ["lab", "up", "--boxes", str(size.boxes), "--channels", str(size.channels), "--seed", str(seed)]
    argv += ["--state", str(lab_state), "--setup", setup, "--boot", "0.3"]
    lab = Proc("lab", argv, folder / "lab.log")
    floor.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
    floor.procs = {"lab": lab, "controller": _controller(floor)}
    try:
        await asyncio.gather(parts.broker.start(), lab.start())
        floor.facts = json.loads(lab_state.read_text())
        await floor.controller.start()
        first = free_ports(RTP_PORTS * size.boxes)
        for index, box in enumerate(floor.facts["boxes"]):
            floor.procs[box["box"]] = _box(floor, index, box, first + RTP_PORTS * index)
        await asyncio.gather(*(box.start() for box in floor.boxes))
        await floor.wait_ready()
        yield floor
    finally:
        await floor.http.close()
        for proc in reversed(floor.procs.values()):
            await proc.stop()
        await parts.broker.stop()


def _controller(floor: Floor) -> Proc:
    routing = write(floor.folder, "routing", lab_routing("lab"))
    document = {
        "database": floor.parts.database,
        "data": str(floor.folder / "controller"),
        "import": routing,
        "mqtt": {"url": floor.parts.mqtt("controller")},
        "sip": {"listen": floor.sip, "realm": "simrack"},
        "metrics": {"listen": "127.0.0.1:0"},
    }
    config = write(floor.folder, "controller", document)
    return Proc("controller", ["controller", "--config", config], floor.folder / "controller.log")


def _box(floor: Floor, index: int, box: dict[str, Any], rtp: int) -> Proc:
    name = str(box["box"])
    own = free_port(socket.SOCK_DGRAM) if index % 2 == 0 else 0
    document = {
        "box": name,
        "site": "lab",
        "data": str(floor.folder / name),
        "mqtt": {"url": floor.parts.mqtt(name)},
        "sip": {"listen": f"127.0.0.1:{own}", "controller": floor.sip},
        "rtp": {"host": "127.0.0.1", "first": rtp, "last": rtp + RTP_PORTS - 1},
        "metrics": {"listen": "127.0.0.1:0"},
        "module": [{key: module[key] for key in ("channel", "at", "audio")} for module in box["modules"]],
    }
    return Proc(name, ["box", "--config", write(floor.folder, name, document)], floor.folder / f"{name}.log")


def keep_logs(floor: Floor, target: Path) -> None:
    """Copy what the processes said, for somebody who wants to know why."""
    target.mkdir(parents=True, exist_ok=True)
    for log in floor.folder.glob("*.log"):
        shutil.copy(log, target / log.name)
