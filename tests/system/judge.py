"""Says what is wrong after a kill, from books that the product does not keep.

The clients' traces say which calls there were, the emulated network's ledger which legs there were and for how long.
What the product says of itself (records, open rows) is held against both. All functions are plain: books in,
findings out.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Engine
from system.uac import Call

from simrack.controller.store import tables as t

LEEWAY_MS = 100
#: A record waits this long for the box's part; a leg of a call that ended so recently is on its way out.
GRACE_S = 2.0
#: What the door says without making a record (docs/calls.md); each carries Retry-After.
NO_RECORD = ("controller stops", "overload", "no record can be kept")
EARLIER_RUN = "controller was restarted"
Key = tuple[str, str]


@dataclass(frozen=True)
class Leg:
    """One row of the network's books; times in s since the epoch."""

    id: int
    sim: str
    called: str
    setup: float
    answered: float | None
    released: float | None
    talk_ms: int
    cause: int

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Leg":
        return cls(
            row["id"], row["calling_imsi"], row["called"], _moment(row["setup_at"]) or 0.0,
            _moment(row["answered_at"]), _moment(row["released_at"]), row["talk_ms"], row["cause"],
        )  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One CDR, as far as the judge looks at it."""

    call: str
    key: Key
    called: str
    outcome: str
    talk_ms: int
    estimated: bool
    ended: float
    marks: tuple[str, ...] = ()
    side: str = ""
    cause: int = 0


@dataclass(frozen=True)
class Product:
    """What the product says of itself: records since a round began, open rows, parts, facts."""

    records: tuple[Record, ...]
    open_numbers: frozenset[str]
    open_keys: frozenset[Key]
    parts: Mapping[str, int]  # call id -> attempts that have their box's part
    facts: Mapping[tuple[str, str], tuple[int, ...]]  # (box, boot) -> sequences in the order in which they were stored


@dataclass(frozen=True)
class Seen:
    """One call in its caller's trace, and what may have happened to it."""

    key: Key
    number: str
    told: str
    answers: tuple[tuple[int, str, bool], ...]  # (status, reason, whether Retry-After stands there)
    answered: bool
    survives: bool = False  # it was speaking, and nothing that carries it was hit
    lost: bool = False  # it ended before its caller or the test ended it
    bye_unanswered: bool = False
    open: bool = False  # the caller still waits

    @classmethod
    def read(cls, call: Call, *, survives: bool = False, lost: bool = False) -> "Seen":
        answers = tuple((one.status, one.reason, one.retry_after) for one in call.answers)
        silent = call.bye_sent is not None and call.bye_status is None and call.bye_received is None
        return cls(
            (call.call_id, call.tag), call.number, call.told, answers, call.was_answered, survives, lost,
            bye_unanswered=silent and call.ended is not None, open=call.ended is None,
        )  # fmt: skip

    @property
    def wants(self) -> range:
        """How many records there must be of it: by what its caller was told (architecture.md, a call is on disk).

        A caller who heard anything of the call's own has one. One who was refused at the door by a sentence that
        makes no record has none; one who was told that the controller was restarted has the one of the earlier run.
        One who heard nothing has at most one: its open row may have been written when the process died.
        """
        if not self.answers:
            return range(2)
        status, reason, retry = self.answers[-1]
        only = len([one for one in self.answers if one[0] != 100]) == len(self.answers) == 1
        if only and status == 503 and retry and EARLIER_RUN not in reason and any(s in reason for s in NO_RECORD):
            return range(1)
        return range(1, 2)


@dataclass(frozen=True)
class Rules:
    """What this kill allows.

    `hit` names the SIMs whose box was killed: their records may stay estimated without further question. A box that lives
    may call a time a guess when it stood still (SIGSTOP, a machine with other things to do), for so many calls.
    """

    hit: frozenset[str] = frozenset()
    guesses: int = 0
    leeway_ms: int = LEEWAY_MS
    ordered: bool = True  # the times of reception tell the order of facts: not when the wall clock was set


@dataclass
class Findings:
    """What is wrong, by the invariant it breaks."""

    wrong: list[tuple[str, str]] = field(default_factory=list)
    guessed: int = 0  # records that a box which was never hit has marked

    def add(self, invariant: str, text: str) -> None:
        self.wrong.append((invariant, text))

    def lines(self) -> list[str]:
        return [f"[{invariant}] {text}" for invariant, text in self.wrong]

    @property
    def kinds(self) -> set[str]:
        return {invariant for invariant, _ in self.wrong}


def judge(seen: Sequence[Seen], legs: Sequence[Leg], product: Product, rules: Rules) -> Findings:
    """Everything that must hold once all is quiet."""
    found = Findings()
    one_record_each(seen, product, found)
    equals_network(seen, legs, product, rules, found)
    one_call_on_a_sim(legs, found)
    nothing_left(seen, legs, product, found)
    survivors(seen, found)
    facts_once(product, rules, found)
    return found


def one_record_each(seen: Sequence[Seen], product: Product, found: Findings) -> None:
    """Calls in the clients' traces = records, once each."""
    keys = Counter(record.key for record in product.records)
    for call in seen:
        count = keys.pop(call.key, 0)
        if count not in call.wants:
            found.add("records", f"{count} records of {call.told}, {list(call.wants)} wanted")
    found.wrong += [("records", f"a record of a call that no client made: {key}") for key in keys]


def equals_network(
    seen: Sequence[Seen], legs: Sequence[Leg], product: Product, rules: Rules, found: Findings
) -> None:
    """Answered calls and talk time are the network's, or marked; every leg at the network has its box's part."""
    by_number = grouped(legs)
    by_key = {record.key: record for record in product.records}
    guessed: list[Record] = []
    for call in seen:
        mine, record = by_number.pop(call.number, []), by_key.get(call.key)
        if record is None:
            if mine and 0 in call.wants:
                found.add("records", f"the network has {len(mine)} legs of {call.told}, and there is no record")
            continue
        _equal(call, mine, record, rules, found)
        # A lost call that no part has called answered stays marked: another attempt may still be told of.
        talked = any(leg.answered is not None for leg in mine) or record.outcome == "answered"
        if record.estimated and talked and not any(leg.sim in rules.hit for leg in mine):
            guessed.append(record)
        parts = product.parts.get(record.call, 0)
        if parts < len(mine):
            found.add("facts", f"{len(mine)} legs and {parts} parts of {call.told}, record {record.call}")
    found.guessed = len(guessed)
    if len(guessed) > rules.guesses:
        found.add("talk", f"estimated, and their box was never hit: {len(guessed)}, first {guessed[0]}")
    found.wrong += [("records", f"the network has a leg to {number} that no client called") for number in by_number]


def _equal(call: Seen, legs: Sequence[Leg], record: Record, rules: Rules, found: Findings) -> None:
    if len(legs) > 1 and "rerouted" in record.marks:
        # A box died in the call's beginning and the next one carried it: nobody can know what became of the first leg
        # while no box held it, and the record says so.
        legs = [leg for leg in legs if leg.sim not in rules.hit] or legs[-1:]
    talk = sum(leg.talk_ms for leg in legs)
    connected = [leg for leg in legs if leg.answered is not None]
    if len(connected) > 1:
        found.add("double", f"the network answered {len(connected)} legs of {call.told}")
    if call.answered and record.outcome != "answered":
        found.add("outcome", f"its caller was answered, the record says {record.outcome}: {call.told}")
    if record.estimated:
        return
    if abs(talk - record.talk_ms) > rules.leeway_ms:
        found.add("talk", f"network {talk} ms, record {record.talk_ms} ms: {call.told}, marks {record.marks}")
    if bool(connected) != (record.outcome == "answered"):
        found.add("outcome", f"network answered {len(connected)} legs, record {record.outcome}: {call.told}")


def one_call_on_a_sim(legs: Sequence[Leg], found: Findings) -> None:
    """Never two calls on a channel: in the network's books no two calls of one SIM overlap."""
    by_sim: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs:
        by_sim[leg.sim].append(leg)
    for sim, mine in by_sim.items():
        mine.sort(key=lambda leg: leg.setup)
        for first, second in itertools.pairwise(mine):
            if first.released is None or second.setup < first.released:
                found.add("channel", f"two calls at once on SIM {sim}: {first.called} and {second.called}")


def unclaimed(legs: Sequence[Leg], product: Product, now: float) -> Findings:
    """Legs that the network holds and no record claims: neither an open row, nor one that ended just now."""
    found = Findings()
    recent = {record.called for record in product.records if now - record.ended < GRACE_S}
    claimed = product.open_numbers | recent
    for leg in legs:
        if leg.released is None and leg.called not in claimed:
            ended = [f"{now - record.ended:.1f} s" for record in product.records if record.called == leg.called]
            found.add("leg", f"the network holds a leg to {leg.called} that no record claims (ended {ended} ago)")
    return found


def nothing_left(seen: Sequence[Seen], legs: Sequence[Leg], product: Product, found: Findings) -> None:
    """Once quiet: no leg, no open row, nobody who waits."""
    found.wrong += [("leg", f"never released: {leg.called}") for leg in legs if leg.released is None]
    mine = {call.key for call in seen}
    found.wrong += [("open", f"an open row stays: {key}") for key in product.open_keys & mine]
    for call in seen:
        if call.open:
            found.add("sender", f"its caller still waits: {call.told}")
        if call.bye_unanswered:
            found.add("sender", f"BYE was never answered: {call.told}")


def survivors(seen: Iterable[Seen], found: Findings) -> None:
    """A call that was speaking goes on when neither its box nor its network was hit."""
    found.wrong += [("survival", f"ended by a fault elsewhere: {c.told}") for c in seen if c.survives and c.lost]


def facts_once(product: Product, rules: Rules, found: Findings) -> None:
    """Each box's facts are stored in order and without a gap: a stored one proves those before it."""
    for (box, boot), sequences in product.facts.items():
        missing = set(range(1, max(sequences) + 1)) - set(sequences)
        if missing:
            found.add("facts", f"{box} boot {boot}: facts {sorted(missing)[:10]} were never stored")
        if rules.ordered and list(sequences) != sorted(sequences):
            found.add("facts", f"{box} boot {boot}: facts were stored out of order: {sequences[-20:]}")


def grouped(legs: Iterable[Leg]) -> dict[str, list[Leg]]:
    found: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs:
        found[leg.called].append(leg)
    return dict(found)


# --- reading the product's books ------------------------------------------------------------------------------


def last_record(engine: Engine) -> int:
    """The newest record's row number."""
    with engine.connect() as connection:
        return int(connection.execute(select(t.cdr.c.id).order_by(t.cdr.c.id.desc()).limit(1)).scalar() or 0)


def read_product(engine: Engine, after: int) -> Product:
    """What stands in the database now; records with a larger row number than `after` only."""
    c, o, a, e = t.cdr.c, t.open_call.c, t.attempt.c, t.box_event_seen.c
    with engine.connect() as connection:
        # Open rows first: a call that ends meanwhile is seen twice, never missed.
        rows = connection.execute(select(o.sip_call_id, o.from_tag, o.called, o.called_received)).all()
        records = connection.execute(select(t.cdr).where(c.id > after)).all()
        parted = connection.execute(select(a.call).where(a.part.is_(True))).scalars().all()
        facts = connection.execute(select(e.box, e.boot, e.seq).order_by(e.received, e.seq)).all()
    stored: dict[tuple[str, str], list[int]] = defaultdict(list)
    for box, boot, seq in facts:
        stored[box, boot].append(seq)
    return Product(
        tuple(_record(row) for row in records),
        frozenset(number for row in rows for number in (row.called, row.called_received)),
        frozenset((row.sip_call_id, row.from_tag) for row in rows),
        Counter(parted),
        {key: tuple(sequences) for key, sequences in stored.items()},
    )


def _record(row: Any) -> Record:
    return Record(
        row.call, (row.sip_call_id, row.from_tag), row.called or row.called_received, row.outcome, row.talk_network_ms,
        row.estimated, row.ended.timestamp(), tuple(row.marks), row.side, row.cause,
    )  # fmt: skip


def _moment(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
