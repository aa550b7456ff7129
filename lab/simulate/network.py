"""The emulated mobile network and its modules as the judge sees them: books that nobody else writes.

A module is a radio with a card: it holds at most one call, it can hang, vanish, come back. What becomes of a
call is drawn when its number is given out (`Fate`), so that the network needs no other script.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from simrack.lab.simulate.loop import VirtualLoop
from simrack.wire.causes import Cause

#: A radio that has lost its power is missed by the network at once here; the box can't know it earlier.
VANISH_S = 0.0
#: A firmware that is told to restart is gone for this long.
BOOT_S = 4.0


class Kind(Enum):
    """What the far end does."""

    ANSWER = "answer"
    BUSY = "busy"
    SILENT = "silent"  # rings until somebody gives up
    CONGESTED = "congested"  # the network has no circuit


@dataclass(frozen=True, slots=True)
class Fate:
    """Times in seconds: until it alerts, until it answers after that, until the far end hangs up."""

    kind: Kind
    setup_s: float = 0.5
    ring_s: float = 2.0
    talk_s: float = 1e9


@dataclass(slots=True, eq=False)
class Row:
    """One call in the network's books; times are the loop's. `by` is far, module or network."""

    row: int
    seat: tuple[str, int]
    iccid: str
    number: str
    direction: str
    setup: float
    alerting: float | None = None
    answered: float | None = None
    released: float | None = None
    cause: int = 0
    by: str = ""
    why: str = ""

    @property
    def talk_s(self) -> float:
        if self.answered is None or self.released is None:
            return 0.0
        return self.released - self.answered


Story = Callable[[str, str, str], None]
#: What a module tells its driver: (what, cause).
ModuleHears = Callable[[str, int], None]


class SimModule:
    """One module in its seat."""

    def __init__(self, network: "SimNetwork", seat: tuple[str, int], iccid: str, imsi: str) -> None:
        self.network, self.seat, self.iccid = network, seat, iccid
        self.imsi, self.imei = imsi, f"35693803{iccid[-7:]}"
        self.present, self.hung = True, False
        self.late_s = self.slowest_s = 0.0  # how late it answers, now and at worst since the judge's last audit
        self.row: Row | None = None
        self.ringing: Row | None = None
        self.hears: ModuleHears | None = None
        self.faults: list[tuple[float, float]] = []  # when it was hung or away, for the judge
        self.hung_at: list[float] = []
        self._unsaid: list[tuple[str, int]] = []

    def answer_late(self, late_s: float) -> None:
        """From now on each answer takes so much longer."""
        self.late_s, self.slowest_s = late_s, max(self.slowest_s, late_s)

    @property
    def busy(self) -> bool:
        return self.row is not None or self.ringing is not None

    def tell(self, what: str, cause: int = 0) -> None:
        """Say something at the port; a firmware that hangs says it when it goes on."""
        if self.present and self.hung:
            self._unsaid.append((what, cause))
        elif self.present and self.hears is not None:
            self.hears(what, cause)

    def dial(self, number: str) -> None:
        """SETUP. A second call on a module would be a call that nobody can hear."""
        if self.row is not None:
            self.network.breach(self, number)
            return
        self.row = self.network.setup(self, number)

    def hang_up(self, cause: int = 16) -> None:
        """Release whatever it holds."""
        for row in (self.row, self.ringing):
            if row is not None:
                self.network.release(row, cause, "module")

    def vanish(self) -> None:
        """Unplugged: no power, no radio."""
        if self.present:
            self.present = False
            self._unsaid.clear()
            self._begin_fault()
            for row in (self.row, self.ringing):
                if row is not None:
                    self.network.release(row, 27, "network", "the module vanished")
            if self.hears is not None:
                self.hears("lost", 0)

    def come_back(self) -> None:
        if not self.present or self.hung:
            self.present, self.hung = True, False
            self._end_fault()
            unsaid, self._unsaid = self._unsaid, []
            for what, cause in unsaid:
                self.tell(what, cause)

    def hang(self) -> None:
        """The firmware stops answering; the network does not notice."""
        if self.present and not self.hung:
            self.hung = True
            self.hung_at.append(self.network.loop.time())
            self._begin_fault()

    def restart(self) -> None:
        """The firmware starts anew."""
        self.vanish()
        self.network.loop.call_later(BOOT_S, self.come_back, context=self.network.loop.world)

    def _begin_fault(self) -> None:
        if not self.faults or self.faults[-1][1] != float("inf"):
            self.faults.append((self.network.loop.time(), float("inf")))

    def _end_fault(self) -> None:
        if self.faults:
            self.faults[-1] = (self.faults[-1][0], self.network.loop.time())


@dataclass
class SimNetwork:
    """All calls of all modules. `breached` is told of a second call on one module."""

    loop: VirtualLoop
    rng: random.Random
    fates: dict[str, Fate] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    modules: dict[tuple[str, int], SimModule] = field(default_factory=dict)
    story: Story = lambda _who, _call, _what: None
    breached: Callable[[SimModule, str], None] = lambda _module, _number: None
    released: Callable[[Row], None] = lambda _row: None
    dialled: Callable[[Row], None] = lambda _row: None

    def module(self, seat: tuple[str, int], iccid: str, imsi: str) -> SimModule:
        made = self.modules[seat] = SimModule(self, seat, iccid, imsi)
        return made

    def breach(self, module: SimModule, number: str) -> None:
        self.breached(module, number)

    def setup(self, module: SimModule, number: str) -> Row:
        row = self._open(module, number, "out")
        self.dialled(row)
        fate = self.fates.get(number, Fate(Kind.ANSWER))
        match fate.kind:
            case Kind.BUSY:
                self._later(fate.setup_s, self.release, row, int(Cause.BUSY), "far")
            case Kind.CONGESTED:
                self._later(fate.setup_s, self.release, row, int(Cause.CONGESTION), "network")
            case _:
                self._later(fate.setup_s, self._alert, row, fate)
        return row

    def ring(self, module: SimModule, caller: str, for_s: float) -> Row | None:
        """Call a module; None when it can't be reached now."""
        if not module.present or module.busy:
            return None
        row = module.ringing = self._open(module, caller, "in")
        row.alerting = row.setup
        module.tell("ring", 0)
        self._later(for_s, self.release, row, int(Cause.NORMAL), "far")
        return row

    def bored(self, number: str) -> None:
        """Whoever hears nobody for a while hangs up."""
        for row in self.held():
            if row.number == number and row.answered is not None:
                self.release(row, int(Cause.NORMAL), "far", "it hears nobody")

    def held(self) -> list[Row]:
        """Calls that the network holds now."""
        return [m.row for m in self.modules.values() if m.row is not None]

    def release(self, row: Row, cause: int, by: str, why: str = "") -> None:
        if row.released is not None:
            return
        row.released, row.cause, row.by, row.why = self.loop.time(), cause, by, why
        module = self.modules[row.seat]
        incoming = module.ringing is row
        if incoming:
            module.ringing = None
        elif module.row is row:
            module.row = None
        self.story(f"network {_seat(row.seat)}", row.number, f"released by {by}, cause {cause} {why}".rstrip())
        self.released(row)
        if by != "module":
            module.tell("released", cause)

    def _open(self, module: SimModule, number: str, direction: str) -> Row:
        row = Row(len(self.rows) + 1, module.seat, module.iccid, number, direction, self.loop.time())
        self.rows.append(row)
        self.story(f"network {_seat(module.seat)}", number, "SETUP" if direction == "out" else "rings at the module")
        return row

    def _alert(self, row: Row, fate: Fate) -> None:
        if row.released is not None:
            return
        row.alerting = self.loop.time()
        self.story(f"network {_seat(row.seat)}", row.number, "alerting")
        self.modules[row.seat].tell("alerting")
        if fate.kind is Kind.ANSWER:
            self._later(fate.ring_s, self._answer, row, fate)

    def _answer(self, row: Row, fate: Fate) -> None:
        if row.released is not None:
            return
        row.answered = self.loop.time()
        self.story(f"network {_seat(row.seat)}", row.number, "answered")
        self.modules[row.seat].tell("answered")
        self._later(fate.talk_s, self.release, row, int(Cause.NORMAL), "far")

    def _later(self, seconds: float, work: Callable[..., None], *args: object) -> None:
        if seconds < 1e8:
            self.loop.call_later(seconds, work, *args, context=self.loop.world)


def _seat(seat: tuple[str, int]) -> str:
    return f"{seat[0]}/{seat[1]}"
