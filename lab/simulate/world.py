"""The whole rack: processes that can be killed, frozen and started, and everything around them."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from simrack.controller.app import Controller, Parts
from simrack.controller.settings import ControllerSettings, SipSettings
from simrack.controller.store.migrate import Migrated, head, migrate
from simrack.gateway.agent import Box
from simrack.gateway.settings import BoxSettings, ModuleSettings
from simrack.gateway.settings import SipSettings as BoxSip
from simrack.lab.simulate.bus import SimBroker, SimBus
from simrack.lab.simulate.loop import Incarnation, Life, VirtualLoop
from simrack.lab.simulate.modem import NoPlugs, SimPlugs, SimSound
from simrack.lab.simulate.network import SimModule, SimNetwork
from simrack.lab.simulate.ports import SimClock, SimIds
from simrack.lab.simulate.senders import SimSender
from simrack.lab.simulate.sip import SimStack
from simrack.lab.simulate.store import Disk, InlineWriter
from simrack.lab.simulate.story import Story
from simrack.lab.simulate.wire import Address, SipWire
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
CONTROLLER: Address = ("127.0.0.1", 5060)
SENDERS: tuple[Address, ...] = (("127.0.0.101", 5060), ("127.0.0.102", 5060))
#: There is no control room whose acts the controller could take over.
DAY_S = 86_400.0
#: What a supervisor waits before it starts a process anew that ended by itself.
RESTART_S = 2.0
ROUTING = """
[installation]
class = "test-lab"
owner = "Example Laboratory"
country = "001"

[[site]]
name = "lab"
country = "001"
emergency = "refuse"

[[agreement]]
name = "lab"
operator = "Emulated network"
reference = "none"
lab = true
uses = ["test"]
sites = ["lab"]
valid_from = 2020-01-01
valid_until = 2099-12-31

[[plan]]
name = "loud"
agreement = "lab"
country = "001"
imsi_prefixes = ["00101"]
max_ring_s = 60

[[plan]]
name = "still"
agreement = "lab"
country = "001"
imsi_prefixes = ["00102"]
early_media = "never"
max_ring_s = 60

[[pattern]]
name = "lab numbers"
prefixes = ["+88210"]
targets = [{ plan = "loud", priority = 100 }, { plan = "still", priority = 100 }]

[limits]
rested_s = 1
"""
SENDER = """
[[sender]]
name = "{name}"
legal_name = "Example Laboratory"
contact = "noc"
country = "001"
purpose = "simulation"
use = "test"
addresses = ["{address}"]
numbers = ["+88210*"]
default_number = "+882109000000"
other_numbers = "replace"
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the rack is."""

    boxes: int = 2
    channels: int = 2


class Process:
    """A simulated process of the rack; `make` gives what its incarnation runs."""

    def __init__(self, world: "World", name: str, make: "MakeRun") -> None:
        self.world, self.name, self._make = world, name, make
        self.clock = SimClock(world.loop)
        self.life: Incarnation | None = None
        self.task: asyncio.Task[Any] | None = None
        self.wanted = True
        self.starts = 0
        #: Times at which it was not there or did not move: (from, to).
        self.gaps: list[tuple[float, float]] = []
        self.frozen: list[tuple[float, float]] = []

    @property
    def running(self) -> bool:
        return self.life is not None and self.life.alive and self.task is not None and not self.task.done()

    def start(self) -> None:
        """Begin a new incarnation."""
        if self.running or not self.wanted:
            return
        self.starts += 1
        self._close_gap(self.gaps)
        life = self.life = Incarnation(self.world.loop, self.name)
        self.task = life.start(self._make(self, life))
        self.task.add_done_callback(partial(self._ended, life), context=self.world.loop.world)
        self.world.story.add(self.name, "", "starts")

    def kill(self) -> None:
        """SIGKILL."""
        life = self.life
        if life is None or not life.alive:
            return
        self.thaw()
        if self.wanted:
            self.world.story.add(self.name, "", "is killed")
        life.kill()
        self._open_gap(self.gaps)

    def freeze(self) -> None:
        """SIGSTOP."""
        if self.life is not None and self.life.life is Life.RUNNING:
            self.world.story.add(self.name, "", "stands still")
            self.life.freeze()
            self._open_gap(self.frozen)
            for bus in self.world.buses_of(self.life):
                self.world.broker.freeze(bus)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.life is not None and self.life.life is Life.FROZEN:
            self.world.story.add(self.name, "", "goes on")
            self.life.thaw()
            self._close_gap(self.frozen)

    def _ended(self, life: Incarnation, task: asyncio.Task[Any]) -> None:
        """It ended: by a kill, or by itself, and then somebody starts it again."""
        if task.cancelled() or life.life in (Life.DYING, Life.DEAD):
            return
        error = task.exception()
        self.world.story.add(self.name, "", f"ends by itself: {error!r}")
        self._open_gap(self.gaps)
        self.world.ended(self, error)
        life.life = Life.DEAD
        for close in reversed(life.ports):
            close()
        self.world.loop.call_later(RESTART_S, self.start, context=self.world.loop.world)

    def _open_gap(self, gaps: list[tuple[float, float]]) -> None:
        gaps.append((self.world.loop.time(), float("inf")))

    def _close_gap(self, gaps: list[tuple[float, float]]) -> None:
        if gaps and gaps[-1][1] == float("inf"):
            gaps[-1] = (gaps[-1][0], self.world.loop.time())


MakeRun = Callable[[Process, Incarnation], Any]


@dataclass
class World:
    """See the module. `folder` is empty at the start and on a disk that costs nothing."""

    loop: VirtualLoop
    folder: Path
    seed: int
    size: Size = field(default_factory=Size)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.story = Story(self.loop)
        self.broker = SimBroker(self.loop, self._stream("broker"))
        self.wire = SipWire(self.loop, self._stream("wire"))
        self.network = SimNetwork(self.loop, self._stream("network"))
        self.disk = Disk(self._stream("disk"))
        self.url = f"sqlite:///{self.folder / 'centre.db'}"
        #: Hears of a process that ended by itself: (process, error).
        self.ended: Callable[[Process, BaseException | None], None] = lambda _process, _error: None
        self._buses: list[SimBus] = []
        self._migrated = False
        self._write_routing()
        self.controller = Process(self, "controller", self._controller)
        self.boxes = {f"box-{n}": Process(self, f"box-{n}", self._box) for n in range(1, self.size.boxes + 1)}
        self.senders = [
            SimSender(
                self.loop, self.wire, f"sender-{n}", address, CONTROLLER, SimIds(self._stream(f"sender-{n}")),
                self._stream(f"manner-{n}"),
            )
            for n, address in enumerate(SENDERS, 1)
        ]  # fmt: skip
        for sender in self.senders:
            sender.story = self.story.add
        for number, box in enumerate(self.boxes, 1):
            for channel in range(1, self.size.channels + 1):
                seat = (box, channel)
                tail = f"{number:03}{channel:03}"
                self.network.module(seat, f"8988210000000{tail}", f"0010{number % 2 + 1}0000{tail}")

    @property
    def processes(self) -> list[Process]:
        return [self.controller, *self.boxes.values()]

    def box_address(self, box: str) -> Address:
        return ("127.0.0." + box.removeprefix("box-").zfill(1).rjust(1) + "0", 5060)

    def buses_of(self, life: Incarnation) -> list[SimBus]:
        return [bus for bus in self._buses if bus.owner is life]

    def _stream(self, name: str) -> random.Random:
        """One generator per part, so that a new draw in one leaves the others as they were."""
        return random.Random(f"{self.seed}/{name}")

    def _write_routing(self) -> None:
        senders = "".join(
            SENDER.format(name=f"sender-{n}", address=address[0]) for n, address in enumerate(SENDERS, 1)
        )
        (self.folder / "routing.toml").write_text(ROUTING + senders)

    def _make_bus(self, life: Incarnation, name: str, will: tuple[str, bytes]) -> SimBus:
        bus = self.broker.bus(life, name, will)
        self._buses = [known for known in self._buses if known.owner.alive]
        self._buses.append(bus)
        return bus

    # --- controller ---------------------------------------------------------------------------------------

    async def _controller(self, process: Process, life: Incarnation) -> None:
        ids = SimIds(self._stream(f"controller/{process.starts}"))
        settings = ControllerSettings(
            database=self.url, data=self.folder, import_=self.folder / "routing.toml",
            sip=SipSettings(listen="{}:{}".format(*CONTROLLER)),
        )  # fmt: skip
        parts = Parts(
            make_stack=partial(SimStack, self.wire, life),
            make_store=partial(_writer, life, self.disk),
            migrate=self._migrate,
            free_disk=None,
            acts_every_s=DAY_S,
        )
        make_bus = partial(self._make_bus, life)
        await Controller(settings, process.clock, ids, make_bus, "simulation", parts=parts).run(self._nothing)

    def _migrate(self, url: str, clock: Clock) -> Migrated:
        """The real steps once; a check of every page at each of thousands of starts would prove nothing."""
        self.disk.begin(None)
        if not self._migrated:
            self._migrated = True
            return _fresh(url, clock, self.folder / "centre.db")
        return Migrated(head_once(), head_once())

    # --- boxes --------------------------------------------------------------------------------------------

    async def _box(self, process: Process, life: Incarnation) -> None:
        name = process.name
        rng = self._stream(f"{name}/{process.starts}")
        host, port = self.box_address(name)
        folder = self.folder / name
        channels = range(1, self.size.channels + 1)
        settings = BoxSettings(
            box=name, site="lab", data=folder,
            sip=BoxSip(listen=f"{host}:{port}", controller="{}:{}".format(*CONTROLLER)),
            module=tuple(
                ModuleSettings(channel=n, at=f"{folder}/at{n}", audio=f"{folder}/pcm{n}", driver="") for n in channels
            ),
        )  # fmt: skip
        modules: Mapping[int, SimModule] = {n: self.network.modules[name, n] for n in channels}
        plugs = SimPlugs(dict(modules), life, process.clock, rng)
        box = Box(
            settings=settings, clock=process.clock, ids=SimIds(rng), make_bus=partial(self._make_bus, life),
            sound=SimSound(host), opener=plugs.open, strict=False, software="simulation",
            make_stack=partial(SimStack, self.wire, life), locate=plugs.locate, watch_plugs=NoPlugs,
        )  # fmt: skip
        await box.run(self._nothing)

    def _nothing(self, _ready: Mapping[str, Any]) -> None:
        return

    # --- the database as the judge reads it ---------------------------------------------------------------

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What is committed."""
        if not hasattr(self, "_reader"):
            self._reader = sqlite3.connect(self.folder / "centre.db", isolation_level=None)
        return self._reader.execute(statement, values).fetchall()

    def close(self) -> None:
        for process in self.processes:
            process.wanted = False
            process.kill()
        if hasattr(self, "_reader"):
            self._reader.close()


def _writer(life: Incarnation, disk: Disk, url: str, clock: Clock, run: str) -> InlineWriter:
    return InlineWriter(url, clock, run, life, disk)


_HEAD: list[str] = []
_TEMPLATE: dict[str, bytes] = {}


def _fresh(url: str, clock: Clock, path: Path) -> Migrated:
    """A database with this release's tables; the real steps make the first of a process, the others are copies."""
    if _TEMPLATE:
        path.write_bytes(_TEMPLATE["sqlite"])
        return Migrated("", head_once())
    done = migrate(url, clock)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    _TEMPLATE["sqlite"] = path.read_bytes()
    return done


def head_once() -> str:
    """The release's revision, looked up once."""
    if not _HEAD:
        _HEAD.append(head())
    return _HEAD[0]
