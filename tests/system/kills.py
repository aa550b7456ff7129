"""One round: calls in every phase, a kill, the recovery, the end of all calls, and the judgement.

    build up  -> ringing, early media, talking, and calls whose hour has come to be released
    instant   -> INVITEs, BYEs and the network's own releases in the moment before; then the kill
    5 s after -> no leg at the network that no record claims
    the end   -> who still speaks is ended by either side, who still waits gives up
    quiet     -> the judge compares clients' traces, the network's books and the records
"""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Engine
from system import judge as j
from system.floor import Floor, Proc, eventually
from system.judge import Findings, Leg, Product, Rules, Seen
from system.uac import Call, Callers, Phase, reached

PHASES = (Phase.BEFORE_100, Phase.TRYING, Phase.RINGING, Phase.EARLY_MEDIA, Phase.TALKING, Phase.RELEASING)
#: Phases that a kill has to meet (quality.md); `trying` lasts some ms and is met by chance.
WANTED = tuple(phase for phase in PHASES if phase is not Phase.TRYING)
CLOCK = "clock"
BEHAVIOURS: dict[str, dict[str, Any]] = {
    "ringing": {"behaviour": "no_answer", "ring_s": 300.0},
    "early media": {"behaviour": "announcement", "announcement_s": 300.0},
    "talking": {"behaviour": "answer", "answer_after_s": 0.05},
}
READY_PHASE = {"ringing": Phase.RINGING, "early media": Phase.EARLY_MEDIA, "talking": Phase.TALKING}
BUILD_S, PLACE_TRIES = 40.0, 3
#: INVITEs are repeated after 0.5, 1.5, 3.5, 7.5 and 15.5 s: by then a controller that lives has answered.
ANSWER_S = 20.0
#: quality.md, invariant 1: from then on the network holds no leg that no record claims.
CLAIM_S = 5.0
ENDING_S = 40.0
QUIET_S = 40.0
#: Ring 1 shares its cores with other tests: what the machine was late itself is added to the 100 ms, up to this.
BEAT_S, MOST_LATE_MS = 0.02, 400
#: Calls whose box, never hit, says that it stood still when they began or ended: a busy machine makes some.
GUESSES = 0.1
#: The long proof adds nothing to the 100 ms, so that a moment in which the machine stood still marks all calls that ended
#: in it; it counts such marks over all kills instead.
STRICT_GUESSES = 0.5
#: A kill within this long of the INVITEs meets the controller anywhere between the packet and the dial.
JITTER_S = 0.25


@dataclass(frozen=True)
class Kill:
    """What is done to whom; drawn from a seed."""

    kind: str
    box: int = 0
    down_s: float = 0.5
    pause_s: float = 0.3
    jitter_s: float = 0.0

    @classmethod
    def draw(cls, kind: str, dice: random.Random, boxes: int) -> "Kill":
        return cls(
            kind, dice.randrange(boxes), dice.uniform(0.1, 2.0), dice.uniform(0.0, 1.2),
            dice.choice((0.0, dice.uniform(0, JITTER_S))),
        )  # fmt: skip


@dataclass
class Result:
    """What one round met and found."""

    kill: Kill
    phases: Counter[str]
    findings: Findings
    calls: int
    legs: int
    estimated: int
    back_s: float
    seconds: float = 0.0
    worst_ms: int = 0
    late_ms: int = 0  # of the machine itself

    def thin(self, wanted: int) -> list[str]:
        """Phases that met fewer calls than wanted."""
        return [phase for phase in WANTED if self.phases[phase] < wanted]

    def line(self) -> str:
        met = " ".join(f"{phase.replace(' ', '-')}={self.phases[phase]}" for phase in PHASES)
        wrong = ", ".join(sorted(self.findings.kinds)) or "held"
        return (
            f"{self.kill.kind:<18} {met} | calls {self.calls} legs {self.legs} estimated {self.estimated} "
            f"worst {self.worst_ms} ms (machine late {self.late_ms} ms) back {self.back_s:.1f} s, {self.seconds:.1f} s | {wrong}"
        )


class Pulse:
    """How late this machine runs what is due: in a process of ours that has nothing to do but to look."""

    def __init__(self) -> None:
        self.worst_ms = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self.worst_ms = max(self.worst_ms, round((loop.time() - due) * 1000))


@dataclass
class Round:
    """One kill with everything around it."""

    floor: Floor
    callers: Callers
    engine: Engine
    kill: Kill
    each: int  # calls in each phase
    strict: bool = False  # 100 ms whatever the machine is busy with
    pulse: Pulse = field(default_factory=Pulse)
    patience: float = 1.0  # a planted bug's damage never comes right: no need to wait as long for it
    calls: list[Call] = field(default_factory=list)
    spoke: list[Call] = field(default_factory=list)  # speaking at the kill, and meant to go on
    rang: list[Call] = field(default_factory=list)
    released: list[Call] = field(default_factory=list)
    hung_up: list[Call] = field(default_factory=list)  # by the network, just before
    findings: Findings = field(default_factory=Findings)
    lost: set[Call] = field(default_factory=set)
    sims: dict[str, str] = field(default_factory=dict)  # SIM -> box
    after_leg: int = 0  # rows of the network's books up to here belong to earlier rounds
    after_record: int = 0
    _box_of: dict[str, str] = field(default_factory=dict)  # number -> box, at the kill

    async def run(self) -> Result:
        began = time.monotonic()
        self.after_leg = await self._newest_leg()
        self.after_record = await asyncio.to_thread(j.last_record, self.engine)
        self.sims = {m["imsi"]: box["box"] for box in self.floor.facts["boxes"] for m in box["modules"]}
        await self._build_up()
        phases = await self._strike_in_time()
        back = await HOW[self.kill.kind](self)
        back_at = time.monotonic()
        await self._claimed(back_at)
        await self._all_heard()
        await self._end_all()
        legs, product = await self._quiet()
        seen = [self._seen(call) for call in self.calls]
        for invariant, text in j.judge(seen, legs, product, self._rules()).wrong:
            self.findings.add(invariant, text)
        result = Result(
            self.kill, phases, self.findings, len(seen), len(legs), sum(r.estimated for r in product.records), back,
            time.monotonic() - began, _worst(legs, product), self.pulse.worst_ms,
        )  # fmt: skip
        self.callers.forget()
        return result

    # --- before -------------------------------------------------------------------------------------------

    def _invite(self, wanted: Sequence[tuple[str, str]]) -> list[Call]:
        made = [self.callers.invite(number, kind) for number, kind in wanted]
        self.calls += made
        return made

    async def _place(self, kind: str, count: int) -> list[Call]:
        """So many calls in their phase; one that fails on the way is a call too, and another takes its place."""
        there: list[Call] = []
        for _ in range(PLACE_TRIES):
            numbers = [await self.floor.number(**BEHAVIOURS[kind]) for _ in range(count - len(there))]
            made = self._invite([(number, kind) for number in numbers])
            await reached(made, lambda call: call.phase in (READY_PHASE[kind], Phase.OVER), BUILD_S)
            there += [call for call in made if call.phase is READY_PHASE[kind]]
            if len(there) == count:
                return there
        raise AssertionError(f"never came to their phase: {[call.told for call in self.calls]}")

    async def _build_up(self) -> None:
        each = self.each
        talking = await self._place("talking", 2 * each + max(1, each // 4))
        self.released, self.spoke, self.hung_up = talking[:each], talking[each : 2 * each], talking[2 * each :]
        self.rang = [*await self._place("ringing", each), *await self._place("early media", each)]

    async def _strike_in_time(self) -> Counter[str]:
        """Send what shall be under way, and note where every call is in the moment of the kill."""
        kinds = [("talking", "ringing", "early media")[n % 3] for n in range(2 * self.each)]
        numbers = [(await self.floor.number(**BEHAVIOURS[kind]), kind) for kind in kinds]
        rows = {leg.called: leg.id for leg in await self._legs(self.after_leg) if leg.released is None}
        hang_ups = [self.floor.ask(f"/calls/{rows[call.number]}", method="DELETE") for call in self.hung_up]
        self._invite(numbers[: self.each])
        await asyncio.sleep(self.kill.jitter_s)
        network = asyncio.gather(*hang_ups)
        await asyncio.sleep(0.005)
        for call in self.released:
            self.callers.bye(call)
        self._invite(numbers[self.each :])
        FIRST[self.kill.kind](self)
        phases = Counter(call.phase.value for call in self.calls)
        phases[Phase.RELEASING] += sum(call.phase is Phase.TALKING for call in self.hung_up)
        phases[Phase.TALKING] -= sum(call.phase is Phase.TALKING for call in self.hung_up)
        await network
        return phases

    # --- after --------------------------------------------------------------------------------------------

    async def _claimed(self, back_at: float) -> None:
        await asyncio.sleep(max(0.0, back_at + CLAIM_S - time.monotonic()))
        # The legs first: one that begins or is claimed meanwhile is no finding.
        legs = await self._legs(self.after_leg)
        product = await self._product()
        self.findings.wrong += j.unclaimed(legs, product, time.time()).wrong
        self.lost = {call for call in (*self.spoke, *self.rang) if call.ended is not None}

    async def _all_heard(self) -> None:
        """Every INVITE has had some response: a living controller answers what is repeated to it."""
        left = await reached(self.calls, lambda call: bool(call.answers) or call.ended is not None, ANSWER_S * self.patience)
        for call in left:
            self.findings.add("sender", f"its INVITE was never answered: {call.told}")

    async def _end_all(self) -> None:
        """Every second talk is ended by its caller, the others by the network; who waits gives up."""
        # What was placed in the last moment may just have been answered.
        await reached(self.calls, lambda call: call.phase not in (Phase.BEFORE_100, Phase.TRYING), 3.0)
        talking = [call for call in self.calls if call.phase is Phase.TALKING]
        rows = {leg.called: leg.id for leg in await self._legs(self.after_leg) if leg.released is None}
        for index, call in enumerate(talking):
            if index % 2 and call.number in rows:
                await self.floor.ask(f"/calls/{rows[call.number]}", method="DELETE")
            else:
                self.callers.bye(call)
        for call in self.calls:
            if call.ended is not None or call in talking:
                continue
            # Whoever was answered while the others were ended speaks now, and would speak for ever.
            if call.was_answered:
                self.callers.bye(call)
            else:
                self.callers.cancel(call)
        await reached(self.calls, lambda call: call.ended is not None, ENDING_S * self.patience)

    async def _quiet(self) -> tuple[list[Leg], Product]:
        """Wait until legs, open rows and pending parts of this round are gone; then return the books as they are."""
        mine = {(call.call_id, call.tag) for call in self.calls}

        async def quiet() -> bool:
            legs, product = await self._legs(self.after_leg), await self._product()
            legs_of = j.grouped(legs)
            waits = [r for r in product.records if r.estimated and product.parts.get(r.call, 0) < len(legs_of.get(r.called, ()))]
            return not (waits or product.open_keys & mine or any(leg.released is None for leg in legs))

        with contextlib.suppress(AssertionError):  # the judge says what is left
            await eventually(quiet, "quiet", QUIET_S * self.patience, pause=0.25)
        return await self._legs(self.after_leg), await self._product()

    async def _newest_leg(self) -> int:
        rows = await self.floor.ask("/ledger/calls")
        return int(rows[-1]["id"]) if rows else 0

    async def _legs(self, after: int) -> list[Leg]:
        return [Leg.read(row) for row in await self.floor.ledger(after)]

    async def _product(self) -> Product:
        return await asyncio.to_thread(j.read_product, self.engine, self.after_record)

    # --- who may be hit by what ---------------------------------------------------------------------------

    @property
    def hit_box(self) -> str:
        return self.floor.size.names[self.kill.box]

    def _rules(self) -> Rules:
        killed = self.kill.kind in KILLS_BOX
        hit = frozenset(sim for sim, box in self.sims.items() if killed and box == self.hit_box)
        late = 0 if self.strict else min(self.pulse.worst_ms, MOST_LATE_MS)
        still = self.kill.kind == "box-frozen" or late > j.LEEWAY_MS
        share = 1.0 if still else STRICT_GUESSES if self.strict else GUESSES
        guesses = max(2, round(share * len(self.calls)))
        return Rules(hit, guesses, j.LEEWAY_MS + late, ordered=self.kill.kind != CLOCK)

    def _seen(self, call: Call) -> Seen:
        keeps = call in self.spoke and self.kill.kind not in ENDS_TALKS
        keeps = keeps or (call in self.rang and self.kill.kind in KEEPS_RINGING)
        on_hit = self.kill.kind in KILLS_BOX and self._box_of.get(call.number) == self.hit_box
        return Seen.read(call, survives=keeps and not on_hit, lost=call in self.lost)

    async def note_boxes(self) -> None:
        """Which box carries which call now, by the network's books."""
        legs = await self._legs(self.after_leg)
        self._box_of = {leg.called: self.sims[leg.sim] for leg in legs}

    async def heard_through(self, seconds: float) -> None:
        """Invariant 6: whoever speaks goes on hearing the far end while the controller is away."""
        hit = self.hit_box if self.kill.kind in KILLS_BOX else ""
        mine = [call for call in self.spoke if self._box_of.get(call.number) != hit]
        mine = [] if self.kill.kind in ENDS_TALKS else mine
        for call in mine:
            call.heard()
        await asyncio.sleep(seconds)
        if seconds < HEAR_S:
            return
        for call in mine:
            if call.ended is None and call.heard()[1] == 0:
                self.findings.add("survival", f"silence for {seconds:.1f} s after the kill: {call.told}")


#: Voice comes each 20 ms; in less than this a busy machine may be late with all of it.
HEAR_S = 0.8


def _worst(legs: Sequence[Leg], product: Product) -> int:
    talk: Counter[str] = Counter()
    for leg in legs:
        talk[leg.called] += leg.talk_ms
    exact = [record for record in product.records if not record.estimated and record.called in talk]
    return max((abs(talk[record.called] - record.talk_ms) for record in exact), default=0)


# --- what is done ---------------------------------------------------------------------------------------------

Act = Callable[[Round], Awaitable[float]]


def _targets(round_: Round) -> list[Proc]:
    floor, kind = round_.floor, round_.kill.kind
    box = floor.boxes[round_.kill.box]
    if kind.startswith("broker"):
        return [floor.parts.broker]
    if kind.startswith("both"):
        return [floor.controller, box]
    if kind == CLOCK:
        return [floor.controller, floor.boxes[0]]
    return [box] if kind.startswith("box") else [floor.controller]


def _strike(number: int) -> Callable[[Round], None]:
    def act(round_: Round) -> None:
        for proc in _targets(round_):
            proc.send(number)

    return act


async def _back(round_: Round) -> float:
    """Start what was killed again, after a time."""
    began = time.monotonic()
    targets = _targets(round_)
    await asyncio.gather(*(proc.gone() for proc in targets))
    await round_.note_boxes()
    await round_.heard_through(round_.kill.down_s)
    await asyncio.gather(*(proc.start() for proc in targets))
    return time.monotonic() - began


async def _back_twice(round_: Round) -> float:
    """A second kill while the first one is being recovered from."""
    first = await _back(round_)
    began = time.monotonic()
    await asyncio.sleep(round_.kill.pause_s)
    for proc in _targets(round_):
        await proc.kill()
    await asyncio.gather(*(proc.start() for proc in _targets(round_)))
    return first + time.monotonic() - began


async def _back_from_start(round_: Round) -> float:
    """A second kill while the process is starting."""
    began = time.monotonic()
    targets = _targets(round_)
    await asyncio.gather(*(proc.gone() for proc in targets))
    await round_.note_boxes()
    for proc in targets:
        await proc.begin()
        await asyncio.sleep(0.1 + round_.kill.pause_s)
        await proc.kill()
    await asyncio.gather(*(proc.start() for proc in targets))
    return time.monotonic() - began


async def _thaw(round_: Round) -> float:
    """The process was frozen; it goes on after 3 to 10 s."""
    frozen = 3.0 + 3.5 * round_.kill.down_s
    await round_.note_boxes()
    if round_.kill.kind == "box-frozen":
        await asyncio.sleep(frozen)
    else:
        await round_.heard_through(frozen)
    for proc in _targets(round_):
        proc.send(signal.SIGCONT)
    return frozen


async def _run_on(round_: Round) -> float:
    """Nothing died: the wall clock of some processes jumped (tests/system/jumping.py)."""
    await round_.note_boxes()
    await round_.heard_through(1.0)
    return 0.0


KINDS: dict[str, tuple[int, Act]] = {
    "controller": (signal.SIGKILL, _back),
    "box": (signal.SIGKILL, _back),
    "both": (signal.SIGKILL, _back),
    "broker": (signal.SIGKILL, _back),
    "broker-frozen": (signal.SIGSTOP, _thaw),
    "controller-frozen": (signal.SIGSTOP, _thaw),
    "box-frozen": (signal.SIGSTOP, _thaw),
    "controller-twice": (signal.SIGKILL, _back_twice),
    "box-twice": (signal.SIGKILL, _back_twice),
    "controller-in-start": (signal.SIGKILL, _back_from_start),
    "box-in-start": (signal.SIGKILL, _back_from_start),
    "controller-stopped": (signal.SIGTERM, _back),
    "controller-handed-over": (signal.SIGUSR1, _back),
    "box-stopped": (signal.SIGTERM, _back),
}
#: Only for processes that were started so that the signal means this.
_ALL = {**KINDS, CLOCK: (signal.SIGUSR2, _run_on)}
FIRST = {kind: _strike(number) for kind, (number, _) in _ALL.items()}
HOW: dict[str, Act] = {kind: act for kind, (_, act) in _ALL.items()}
KILLS_BOX = frozenset(
    kind for kind, (number, _) in KINDS.items() if number != signal.SIGSTOP and kind.startswith(("box", "both"))
)
#: An orderly end of the controller ends its calls with it, unless it is told to leave them to its successor.
ENDS_TALKS = frozenset({"controller-stopped"})
#: A call that rings outlives what does not touch its INVITE transaction.
KEEPS_RINGING = frozenset(_ALL) - {kind for kind in KINDS if kind.startswith(("controller", "both"))} | {"controller-frozen"}


async def run_round(
    floor: Floor, engine: Engine, kill: Kill, each: int, *, patience: float = 1.0, strict: bool = False
) -> Result:
    """One kill on a floor that is quiet; `strict` allows a busy machine nothing."""
    await floor.wait_ready()
    async with Callers(floor.sip, floor.sender) as callers:
        round_ = Round(floor, callers, engine, kill, each, strict, patience=patience)
        beating = asyncio.create_task(round_.pulse.run())
        try:
            return await round_.run()
        finally:
            beating.cancel()


def channels_for(each: int, boxes: int = 2) -> int:
    """Channels per box so that a kill can meet `each` calls in every phase."""
    return -(-(6 * each + max(1, each // 4)) // boxes) + 1
