"""Long proof: random calls for some minutes; every record equals the network's own books.

Run by `make proof WHAT=calls MINUTES=10`; docs/proof/README.md tells how to read the result.
"""

import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from proof.common import BESIDE_CALLS, Options, Proof, Slice, prove
from support import processes
from system import sipp as s
from system.rack import Rack
from system.sipp import Running, Sipp

CALLER = "+882109000999"
LEEWAY_MS = 100


@dataclass
class Books:
    """What was compared."""

    calls: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    worst_ms: int = 0


def answered(number: str) -> str:
    scenario = s.invite(number, CALLER) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>'
    return scenario + s.ack(number, CALLER) + s.AWAIT_BYE


def cancelled(number: str, after_ms: int) -> str:
    scenario = s.invite(number, CALLER) + '<recv response="100"></recv>' + s.pause(after_ms)
    return scenario + s.cancel(number, CALLER).replace(
        '<recv response="200">', '<recv response="183" optional="true"></recv><recv response="200">', 1
    )


def draw(dice: random.Random, rack: Rack) -> tuple[str, str, str]:
    """(what, number, scenario) of one random call."""
    what = dice.choice(["answered", "answered", "answered", "busy", "no_answer", "cancelled"])
    match what:
        case "answered":
            talk = dice.uniform(0.2, 4.0)
            number = rack.number("answer", answer_after_s=dice.uniform(0, 2), hang_up_after_s=talk)
            return what, number, answered(number)
        case "cancelled":
            number = rack.number("no_answer", ring_s=20.0)
            return what, number, cancelled(number, dice.randrange(1500, 3000))
        case "busy":
            number = rack.number("busy")
            return what, number, s.invite(number, CALLER) + s.failure(number, CALLER, 486)
    number = rack.number("no_answer", ring_s=dice.uniform(0.5, 2))
    return what, number, s.invite(number, CALLER) + s.failure(number, CALLER, 480)


def compare(rack: Rack, what: str, number: str, books: Books) -> None:
    """Hold one call's record against the network's row."""
    records = rack.records(number)
    rows = rack.ended(number) if what != "cancelled" else rack.ledger(number)
    books.calls += 1
    books.outcomes[records[0].outcome] += 1
    if len(records) != 1 or len(rows) != 1 or not rows[0]["released_at"]:
        books.wrong.append(f"{what} {number}: {len(records)} records, {len(rows)} rows")
        return
    record, row = records[0], rows[0]
    off = abs(record.talk_network_ms - row["talk_ms"])
    books.worst_ms = max(books.worst_ms, off)
    same_cause = record.cause == row["cause"] or what == "cancelled"
    if off > LEEWAY_MS or bool(record.answered) != bool(row["answered_at"]) or not same_cause or record.estimated:
        books.wrong.append(f"{what} {number}: record {record.talk_network_ms} ms {record.cause}, network {row['talk_ms']} ms {row['cause']}")


def run(rack: Rack, folder: Path, seed: int, minutes: float) -> Books:
    """Keep up to four calls going until the time is over."""
    dice, books = random.Random(seed), Books()
    end = time.monotonic() + minutes * 60
    sender, turn = Sipp(folder, rack.sip, "127.0.0.2"), 0
    while time.monotonic() < end:
        running: list[tuple[str, str, Running]] = []
        for _ in range(4):
            turn += 1
            what, number, scenario = draw(dice, rack)
            running.append((what, number, sender.start(scenario, "-p", str(20000 + turn % 20000))))
        for what, number, sipp in running:
            if not sipp.result().ok:
                books.wrong.append(f"{what} {number}: SIPp saw something else")
            compare(rack, what, number, books)
    return books


def work(options: Options) -> Slice:
    """One slice: a rack of 2 x 4 channels."""
    with tempfile.TemporaryDirectory() as name, processes(Path(name)) as begin:
        books = run(Rack(Path(name), begin, boxes=2, channels=4), Path(name), options.seed, options.minutes)
    counts = Counter({"calls": books.calls, **{f"calls {outcome}": n for outcome, n in books.outcomes.items()}})
    return Slice(counts, books.wrong, {"worst_difference_ms": books.worst_ms})


if __name__ == "__main__":
    prove(Proof("calls", f"each record equals the network's own books within {LEEWAY_MS} ms", Path(__file__), beside=BESIDE_CALLS), work)
