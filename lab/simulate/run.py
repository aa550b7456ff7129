"""Runs a rack for simulated days, stretch by stretch: calls and faults, then quiet, then the audit, then a pause."""

import asyncio
import gc
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from simrack.controller.alarms import watch
from simrack.controller.calls import strays
from simrack.controller.fleet import link
from simrack.gateway import agent, uplink
from simrack.lab.simulate.faults import Faults
from simrack.lab.simulate.judge import WORDS, Breach, Judge
from simrack.lab.simulate.loop import OWNER, Deadlock, VirtualLoop
from simrack.lab.simulate.network import Fate, Kind
from simrack.lab.simulate.ports import EPOCH
from simrack.lab.simulate.senders import Manner, SenderCall
from simrack.lab.simulate.store import simulated_files
from simrack.lab.simulate.wire import Address, Message
from simrack.lab.simulate.world import CONTROLLER, Process, Size, World

DAY_S = 86_400.0
#: A disk that is memory, where there is one: the simulation's files need no durability, a crash is modelled.
SHM = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the folder in it
START_S = 20.0
#: Stretches of a day; the pauses between them make up the rest.
STRETCHES = 6
CALLS = (6, 16)
CALLS_WITHIN_S = 60.0
LOOK_S = 1.0
#: Longest way back after all faults: a module's back-off (60 s), a journal's patience (120 s), a leg's (33 s) ...
QUIET_WITHIN_S = 600.0
#: Late facts and records are awaited this long after the last call.
SETTLE_S = 6.0
#: People who hear nobody hang up.
BORED_S = 50.0
#: Between the stretches nobody calls, and what is said every few seconds is said this rarely. In the stretches,
#: and long enough before each, all times are the product's own.
PAUSED_S = 900.0
PACE = (
    (link, "TIME_EVERY_S"), (watch, "LOOK_EVERY_S"), (strays, "LOOK_EVERY_S"), (uplink, "RESEND_S"),
    (uplink, "STATUS_EVERY_S"), (agent, "ALONE_CHECK_S"),
)  # fmt: skip


@dataclass
class Result:
    """What a simulation found."""

    seed: int
    days: float
    seconds: float = 0.0
    virtual_s: float = 0.0
    calls: int = 0
    answered: int = 0
    checks: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    breach: Breach | None = None
    story: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.breach is None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "seed": self.seed, "days": self.days, "ok": self.ok, "seconds": round(self.seconds, 2),
            "virtual_s": round(self.virtual_s, 1), "calls": self.calls, "answered": self.answered,
            "checks": self.checks, "steps": self.steps, "faults": dict(sorted(self.faults.items())),
            "phases": dict(sorted(self.phases.items())),
            "invariant": self.breach.invariant if self.breach else None,
            "what": self.breach.what if self.breach else "", "story": self.story,
        }  # fmt: skip

    def text(self) -> str:
        """For people."""
        if self.breach is None:
            return (
                f"seed {self.seed}: {self.days:g} days, {self.calls} calls ({self.answered} answered), "
                f"{sum(self.faults.values())} faults, {self.checks} checks: all invariants held ({self.seconds:.1f} s)"
            )
        return "\n".join([
            f"seed {self.seed}: broken after {self.virtual_s / 3600:.2f} simulated hours",
            f"invariant {self.breach.invariant}: {WORDS[self.breach.invariant]}",
            f"what happened: {self.breach.what}", "", *self.story, "",
            f"again: simrack lab simulate --seed {self.seed} --days {self.days:g}",
        ])  # fmt: skip


class Simulation:
    """One run; see the module."""

    def __init__(
        self, loop: VirtualLoop, folder: Path, seed: int, days: float, size: Size | None = None,
        stretches: int = STRETCHES,
    ) -> None:  # fmt: skip
        self.world = World(loop, folder, seed, size or Size())
        self.judge = Judge(self.world)
        self.faults = Faults(self.world, self.judge)
        self.result = Result(seed, days)
        self._rng = self.world._stream("traffic")
        self._number = 0
        self._pause_s = DAY_S / stretches - 200.0
        self._loop = loop
        self._wire_up()

    def _wire_up(self) -> None:
        world, judge = self.world, self.judge
        world.story.names = {
            CONTROLLER: "controller", **{sender.address: sender.name for sender in world.senders},
            **{world.box_address(box): box for box in world.boxes},
        }  # fmt: skip
        world.wire.watch = self._packet
        world.broker.watch = judge.event
        world.network.story = world.story.add
        world.network.breached = judge.second_call
        world.network.released = judge.released
        world.network.dialled = judge.dialled
        world.ended = self._process_ended
        self._loop.on_fault = self._fault
        for sender in world.senders:
            sender.over = self._sender_over

    def _sender_over(self, call: SenderCall) -> None:
        """The far end of a call whose sender has gone hears nobody from now on."""
        bored = self.world.network.bored
        self._loop.call_later(BORED_S, bored, call.number, context=self._loop.world)

    def _packet(self, source: Address, to: Address, message: Message) -> None:
        self.world.story.packet(source, to, message)
        self.judge.packet(source, to, message)
        self.faults.packet()

    def _process_ended(self, process: Process, error: BaseException | None) -> None:
        """A process may give up while its database is down; nothing else ends one."""
        if self.world.disk.broken or self.world.disk.refused:
            return
        told = "".join(traceback.format_exception(error))[-1500:] if error else ""
        self.judge.breach(8, f"{process.name} ended by itself: {error!r}\n{told}")

    def _fault(self, name: str, context: dict[str, Any]) -> None:
        error = context.get("exception")
        told = "".join(traceback.format_exception(error))[-1500:] if error else ""
        self.judge.breach(8, f"unhandled in {name or 'the simulation'}: {context.get('message')}: {error!r}\n{told}")

    def logged(self, event: structlog.typing.EventDict) -> None:
        """A warning or an error in the log of a process: it belongs to the story, and an exception is a fault."""
        owner = OWNER.get()
        if owner is None or not owner.alive:
            return
        words = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "exc_info", "level"))
        self.world.story.add(owner.name, "", f"log: {event.get('event')} {words}"[:300])
        if event.get("exc_info"):
            told = traceback.format_exc()[-1500:]
            self.judge.breach(8, f"{owner.name} logged an exception: {event.get('event')} {words}\n{told}")

    # --- the run ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Simulate until the days are over or something breaks."""
        end = self.result.days * DAY_S
        for process in self.world.processes:
            process.start()
        await asyncio.sleep(START_S)
        while self._loop.time() < end and not self.judge.breaches:
            await self._stretch()
            pause = self._rng.uniform(0.2, 1.8) * self._pause_s
            if not self.judge.breaches and self._loop.time() < end:
                await _pause(pause)

    async def _stretch(self) -> None:
        """Calls and faults, then quiet, then the audit."""
        begun, rng = self._loop.time(), self._rng
        gc.collect()
        self.judge.new_stretch()
        self.world.broker.tidy()
        count = rng.randint(*CALLS)
        for _ in range(count):
            self._loop.call_later(rng.uniform(0, CALLS_WITHIN_S), self._call)
        self.faults.plan(rng.choice((0, 1, 1, 2, 2, 3, 4)), CALLS_WITHIN_S + 20, 14 * count)
        while self._loop.time() < begun + CALLS_WITHIN_S + 20 and not self.judge.breaches:
            await asyncio.sleep(LOOK_S)
            self._look()
        self.world.story.add("FAULT", "", "none any more")
        self.faults.heal()
        await self._calm(begun)
        if not self.judge.breaches:
            self.judge.audit()
        self.result.calls += len(self.judge.calls)
        self.result.answered += sum(call.answered_at is not None for call in self.judge.calls.values())

    async def _calm(self, begun: float) -> None:
        """Until all is idle, and a little longer."""
        healed = self._loop.time()
        while not self.judge.breaches:
            await asyncio.sleep(LOOK_S)
            self._look()
            why = self.judge.restless()
            if not why:
                break
            if self._loop.time() - healed > QUIET_WITHIN_S:
                numbers = [call.number for call in self.judge.calls.values() if call.number in why]
                self.judge.breach(8, f"{QUIET_WITHIN_S:.0f} s after the last fault {why}", *numbers)
        await asyncio.sleep(SETTLE_S)
        self._look()

    def _look(self) -> None:
        self.judge.look()

    def _call(self) -> None:
        """One call, with its fate in the network and its caller's manner."""
        rng, world = self._rng, self.world
        self._number += 1
        number = f"+88210{self._number:08}"
        sender, manner = rng.choice(world.senders), draw_manner(rng)
        world.network.fates[number] = draw_fate(rng)
        sender.call(number, manner)
        self._loop.call_soon(self._note, sender, number)

    def _note(self, sender: Any, number: str) -> None:
        if number in sender.calls:
            self.judge.calls[number] = sender.calls.pop(number)
        else:
            self._loop.call_soon(self._note, sender, number)


def draw_fate(rng: random.Random) -> Fate:
    """What the far end does with a call."""
    kind = rng.choices(list(Kind), (80, 7, 7, 6))[0]
    talk = rng.expovariate(1 / 30) if rng.random() < 0.5 else 1e9
    return Fate(kind, rng.uniform(0.1, 1.5), rng.uniform(0.05, 8.0), talk)


def draw_manner(rng: random.Random) -> Manner:
    """How a caller behaves."""

    def perhaps(chance: float, low: float, high: float) -> float | None:
        return rng.uniform(low, high) if rng.random() < chance else None

    return Manner(
        talk_s=rng.expovariate(1 / 25), cancel_s=perhaps(0.15, 0.0, 8.0), vanish_s=perhaps(0.03, 0.0, 30.0),
        hold_s=perhaps(0.1, 0.1, 20.0), info_s=perhaps(0.1, 0.1, 20.0),
    )  # fmt: skip


def simulate(seed: int, days: float, size: Size | None = None, stretches: int = STRETCHES) -> Result:
    """Run one seed, with `stretches` of calls and faults a day.

    Never raises for what the rack does wrong: that is in the result.
    """
    begun = time.process_time()
    folder = Path(tempfile.mkdtemp(prefix="simrack-simulate-", dir=SHM if SHM.is_dir() else None))
    loop = VirtualLoop()
    simulation = Simulation(loop, folder, seed, days, size, stretches)
    try:
        with simulated_files(), _listening(simulation), _searched_at_will():
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(simulation.run())
            except Deadlock as error:
                simulation.judge.breach(8, str(error))
            simulation.world.close()
            loop.run_until_complete(_let_die())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)
    return _told(simulation, time.process_time() - begun)


@contextmanager
def _searched_at_will() -> Iterator[None]:
    """Cycles are searched for between stretches alone: what a search ends calls the loop, at a moment that no seed sets."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def _let_die() -> None:
    """Dead processes' tasks end in the next rounds."""
    for _ in range(50):
        await asyncio.sleep(0)


def _told(simulation: Simulation, seconds: float) -> Result:
    result, judge = simulation.result, simulation.judge
    result.seconds, result.virtual_s = seconds, simulation._loop.time()
    result.checks, result.steps = judge.checks, simulation._loop.steps
    result.faults, result.phases = simulation.faults.done, simulation.faults.phases
    if judge.breaches:
        result.breach = judge.breaches[0]
        result.story = simulation.world.story.tell(result.breach.calls)
    return result


async def _pause(seconds: float) -> None:
    """Let time pass in which nothing happens."""
    if seconds <= 2 * PAUSED_S:
        await asyncio.sleep(seconds)
        return
    with _paced():
        await asyncio.sleep(seconds - PAUSED_S - 1.0)
    await asyncio.sleep(PAUSED_S + 1.0)


@contextmanager
def _paced() -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name in PACE]
    for module, name in PACE:
        setattr(module, name, PAUSED_S)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def _listening(simulation: Simulation) -> Iterator[None]:
    """The log goes to the story; nothing is printed."""

    def keep(_logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if method == "exception":
            event["exc_info"] = True
        simulation.logged(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(30))
    try:
        yield
    finally:
        structlog.configure(**before)


__all__ = ["EPOCH", "Result", "Simulation", "simulate"]
