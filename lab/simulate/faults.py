"""What goes wrong, and when: drawn from the seed for one stretch of simulated time, and healed at its end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from simrack.lab.simulate.judge import Judge
from simrack.lab.simulate.network import SimModule
from simrack.lab.simulate.store import FULL_DISKS
from simrack.lab.simulate.world import CONTROLLER, SENDERS, Process, World

#: Seconds that a process stays away after a kill; mostly what a supervisor takes, sometimes long.
AWAY_S = (0.5, 1.0, 3.0, 8.0, 25.0, 90.0)
STILL_S = (0.5, 2.0, 6.0, 20.0)
TROUBLE_S = (2.0, 8.0, 20.0, 60.0)


@dataclass
class Faults:
    """Makes faults in a world. `phases` counts the phase of each call at each kill."""

    world: World
    judge: Judge
    phases: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    _triggers: list[list[int]] = field(default_factory=list)
    _acts: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = self.world._stream("faults")
        self.kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "kill-controller": (6, lambda: self.kill(self.world.controller)),
            "kill-box": (6, lambda: self.kill(self._box())),
            "freeze-controller": (2, lambda: self.freeze(self.world.controller)),
            "freeze-box": (2, lambda: self.freeze(self._box())),
            "broker-restart": (2, self.broker),
            "broker-slow": (1, self.slow_broker),
            "mqtt-cut-box": (2, self.cut_mqtt_of_box),
            "mqtt-cut-controller": (1, lambda: self.cut_mqtt("controller")),
            "sip-cut-box": (2, self.cut_sip_of_box),
            "sip-cut-sender": (1, self.cut_sip_of_sender),
            "packet-loss": (2, self.lose_packets),
            "doubles": (2, self.doubles),
            "database-down": (3, self.database),
            "box-disk-full": (2, self.box_disk),
            "module-hangs": (2, lambda: self._module().hang()),
            "module-vanishes": (3, self.vanish),
            "module-late": (2, self.late),
            "incoming": (3, self.incoming),
            "wall-clock": (2, self.wall_clock),
        }

    # --- when ---------------------------------------------------------------------------------------------

    def plan(self, count: int, within_s: float, packets: int) -> None:
        """Draw `count` faults: half of them at a moment, half after so many messages on the wire."""
        names, weights = list(self.kinds), [weight for weight, _act in self.kinds.values()]
        for name in self.rng.choices(names, weights, k=count):
            act = self._named(name)
            if self.rng.random() < 0.5:
                self._later(self.rng.uniform(0, within_s), act)
            else:
                self._triggers.append([self.rng.randrange(1, packets), len(self._acts)])
                self._acts.append(act)

    def _named(self, name: str) -> Callable[[], None]:
        def act() -> None:
            self.done[name] += 1
            self.world.story.add("FAULT", "", name)
            self.kinds[name][1]()

        return act

    def packet(self) -> None:
        """A message went; some faults wait for just that."""
        for trigger in self._triggers:
            trigger[0] -= 1
            if trigger[0] == 0:
                # A little after it was sent: before, at, or after its arrival.
                self._later(self.rng.uniform(0, 0.012), self._acts[trigger[1]])
        if self._triggers and any(trigger[0] <= 0 for trigger in self._triggers):
            self._triggers = [trigger for trigger in self._triggers if trigger[0] > 0]

    def _later(self, seconds: float, work: Callable[..., object], *args: object) -> None:
        self.world.loop.call_later(seconds, work, *args, context=self.world.loop.world)

    # --- what ---------------------------------------------------------------------------------------------

    def _box(self) -> Process:
        return self.rng.choice(list(self.world.boxes.values()))

    def _module(self) -> SimModule:
        return self.rng.choice(list(self.world.network.modules.values()))

    def kill(self, process: Process) -> None:
        """SIGKILL, and a start after a while."""
        if not process.running:
            return
        for call in self.judge.calls.values():
            if call.phase != "over":
                self.phases[f"{'box' if process is not self.world.controller else 'controller'} {call.phase}"] += 1
        process.kill()
        self._later(self.rng.choice(AWAY_S), process.start)

    def freeze(self, process: Process) -> None:
        process.freeze()
        self._later(self.rng.choice(STILL_S), process.thaw)

    def broker(self) -> None:
        self.world.broker.stop(forget=self.rng.random() < 0.7)
        self._later(self.rng.choice(TROUBLE_S), self.world.broker.start)

    def slow_broker(self) -> None:
        self.world.broker.slow = True
        self._later(self.rng.choice(TROUBLE_S), self._quick_broker)

    def _quick_broker(self) -> None:
        self.world.broker.slow = False

    def cut_mqtt_of_box(self) -> None:
        self.cut_mqtt(f"box-{self._box().name}")

    def cut_mqtt(self, client: str) -> None:
        self.world.broker.block(client)
        self._later(self.rng.choice(TROUBLE_S), self.world.broker.unblock, client)

    def cut_sip_of_box(self) -> None:
        self._cut_sip(self.world.box_address(self._box().name))

    def cut_sip_of_sender(self) -> None:
        self._cut_sip(self.rng.choice(SENDERS))

    def _cut_sip(self, address: tuple[str, int]) -> None:
        pair = frozenset((CONTROLLER, address))
        self.world.wire.cut.add(pair)
        self._later(self.rng.choice(TROUBLE_S[:3]), self.world.wire.cut.discard, pair)

    def lose_packets(self) -> None:
        self.world.wire.loss = self.rng.choice((0.02, 0.1, 0.3))
        self._later(self.rng.choice(TROUBLE_S), self._lose_none)

    def _lose_none(self) -> None:
        self.world.wire.loss = 0.0

    def doubles(self) -> None:
        self.world.broker.doubles = 0.3

    def database(self) -> None:
        disk = self.world.disk
        said = self.rng.choice(("database or disk is full", "disk I/O error", "database is locked"))
        disk.fail(said, self.rng.choice(("begin", "commit")), self.world.loop.time())
        self._later(self.rng.choice(TROUBLE_S), self._mend_database)

    def _mend_database(self) -> None:
        self.world.disk.mend(self.world.loop.time())

    def box_disk(self) -> None:
        folder = str(self.world.folder / self._box().name)
        FULL_DISKS[folder] = "No space left on device"
        self._later(self.rng.choice(TROUBLE_S), FULL_DISKS.pop, folder, None)

    def vanish(self) -> None:
        module = self._module()
        module.vanish()
        self._later(self.rng.choice(TROUBLE_S), module.come_back)

    def late(self) -> None:
        module = self._module()
        module.answer_late(self.rng.choice((0.5, 2.0, 4.0)))
        self._later(self.rng.choice(TROUBLE_S), self._in_time, module)

    def _in_time(self, module: SimModule) -> None:
        module.answer_late(0.0)

    def incoming(self) -> None:
        """Somebody calls a card, at best just when it dials."""
        self.world.network.ring(self._module(), f"in-{self.rng.getrandbits(32):08x}", self.rng.uniform(1, 15))

    def wall_clock(self) -> None:
        process = self.rng.choice(self.world.processes)
        process.clock.skew += timedelta(seconds=self.rng.choice((-3600, 3600, -30, 30)))

    # --- the end ------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Everything works again; processes that are away come back."""
        world = self.world
        self._triggers.clear()
        self._acts.clear()
        world.broker.slow, world.broker.doubles = False, 0.0
        world.broker.blocked.clear()
        world.broker.start()
        world.wire.cut.clear()
        world.wire.loss = 0.0
        world.disk.mend(world.loop.time())
        FULL_DISKS.clear()
        for process in world.processes:
            process.thaw()
            process.start()
        for module in world.network.modules.values():
            module.answer_late(0.0)
            module.come_back()
