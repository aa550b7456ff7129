"""The chain of the audit log: plain values in, entries and verdicts out; no clock, no database.

Each entry holds the SHA-256 of all its fields and of the hash before it, so that nothing in the middle can be touched
without a trace. What was cut off at the end, or written anew from some entry on, only a head shows that was kept
elsewhere: whoever can write the whole database can also write the head record in it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

GENESIS = "genesis"
#: An entry of the controller itself that found the head record lost or behind.
TROUBLE = "audit-trouble"
#: What the first entry holds in place of a hash before it.
NOTHING_BEFORE = "0" * 64
#: How far a broken place is looked around to tell what happened there.
LOOK_AROUND = 1000

FaultKind = Literal["changed", "removed", "reordered", "inserted", "truncated", "head", "empty"]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to be written down. `source` names it where it came from: the same source is written once."""

    at: datetime
    actor: str
    action: str
    subject: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is stored; `detail` is canonical JSON, `at` aware UTC."""

    seq: int
    at: datetime
    actor: str
    address: str
    action: str
    subject: str
    detail: str
    source: str | None
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry by number and hash: short enough to be printed, mailed or written on paper."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """A head as it was printed. Raises `ValueError`."""
        seq, colon, digest = text.strip().partition(":")
        if not (colon and seq.isdecimal() and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
            raise ValueError("a head is NUMBER:HASH, the hash of 64 hexadecimal digits")
        return cls(int(seq), digest)


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where the chain does not hold."""

    seq: int
    kind: FaultKind
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found: how many entries hold, the last of them, and the fault behind it."""

    entries: int
    head: Head | None
    fault: Fault | None = None
    installation: str = ""

    @property
    def ok(self) -> bool:
        return self.fault is None


def canonical(value: Any) -> str:
    """JSON in the one way that hashes are made of: keys sorted, no spaces, no NaN. Raises `ValueError`, `TypeError`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode()


def digest(entry: Entry) -> str:
    """The hash that an entry must have."""
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    fields = [
        entry.seq, at, entry.actor, entry.address, entry.action, entry.subject, entry.detail, entry.source,
        entry.previous,
    ]  # fmt: skip
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def follow(head: Head | None, fact: Fact) -> Entry:
    """The entry of a fact behind `head`; None: the first of all."""
    entry = Entry(
        seq=head.seq + 1 if head else 1, at=fact.at.astimezone(UTC), actor=plain(fact.actor), address=plain(fact.address),
        action=plain(fact.action), subject=plain(fact.subject), detail=canonical(dict(fact.detail)), source=fact.source,
        previous=head.hash if head else NOTHING_BEFORE, hash="",
    )  # fmt: skip
    return replace(entry, hash=digest(entry))


def genesis(installation: str, at: datetime) -> Entry:
    """The first entry: it makes the chains of two installations differ from the beginning."""
    return follow(None, Fact(at, "controller", GENESIS, detail={"installation": installation, "format": 1}))


def plain(text: str) -> str:
    """Text that every database keeps as it is: no NUL, no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def head_of(entry: Entry) -> Head:
    return Head(entry.seq, entry.hash)


# --- verifying --------------------------------------------------------------------------------------------------


def verify(entries: Iterable[Entry], head: Callable[[], Head | None], kept: Head | None = None) -> Verdict:
    """Check a whole chain in the order of its numbers, against the head record and a head that was kept elsewhere.

    `head` is asked when the entries have come to their end, for a log that grows meanwhile.
    """
    rest = iter(entries)
    before: Head | None = None
    oldest: Head | None = None
    installation = ""
    trouble: Fault | None = None
    for entry in rest:
        place = _Place(before, oldest)
        fault = place.look(entry, rest) or _against(kept, entry)
        if fault is not None:
            return Verdict(before.seq if before else 0, before, fault, installation)
        if entry.seq == 1:
            installation = str(_told(entry).get("installation", ""))
        if entry.action == TROUBLE and trouble is None:
            trouble = Fault(entry.seq, "head", f"at entry {entry.seq} the controller found that {_why(entry)}")
        oldest, before = before, head_of(entry)
    end = _at_the_end(before, head(), kept) or trouble
    return Verdict(before.seq if before else 0, before, end, installation)


def _against(kept: Head | None, entry: Entry) -> Fault | None:
    if kept is None or entry.seq != kept.seq or entry.hash == kept.hash:
        return None
    text = f"entry {entry.seq} is not the one that was kept elsewhere: the log was written anew there or before"
    return Fault(entry.seq, "changed", text)


def _why(entry: Entry) -> str:
    return str(_told(entry).get("found", "the head record was wrong"))


def _told(entry: Entry) -> Mapping[str, Any]:
    """The detail of an entry, whoever wrote it."""
    try:
        detail = json.loads(entry.detail)
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _at_the_end(last: Head | None, head: Head | None, kept: Head | None) -> Fault | None:
    """What the heads say of the end."""
    seq = last.seq if last else 0
    if kept is not None and kept.seq > seq:
        return Fault(seq + 1, "truncated", f"entries {seq + 1} to {kept.seq} are cut off: one was kept elsewhere")
    if head is None and last is None:
        return Fault(1, "empty", "there is no audit log here; it begins with the controller's first start")
    if head is None:
        return Fault(seq, "head", "the head record is gone, so that nobody knows where the log ended")
    if head.seq > seq:
        return Fault(seq + 1, "truncated", f"entries {seq + 1} to {head.seq} are cut off at the end")
    if head.seq < seq:
        return Fault(head.seq + 1, "inserted", f"entries from {head.seq + 1} on stand behind the head record")
    if last is not None and head.hash != last.hash:
        return Fault(seq, "changed", f"entry {seq} is not the one that the head record names")
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """One place in the chain: what must stand before it."""

    before: Head | None
    oldest: Head | None  # the one before `before`

    @property
    def seq(self) -> int:
        return self.before.seq + 1 if self.before else 1

    @property
    def previous(self) -> str:
        return self.before.hash if self.before else NOTHING_BEFORE

    def look(self, entry: Entry, rest: Iterator[Entry]) -> Fault | None:
        """What is wrong with the entry that stands here; reads on in `rest` only when something is."""
        if entry.seq != self.seq:
            return self._gap(entry, tuple(islice(rest, LOOK_AROUND)))
        if digest(entry) != entry.hash:
            return self._torn(entry, tuple(islice(rest, LOOK_AROUND)))
        if entry.previous != self.previous:
            return self._other_past(entry)
        if self.before is None and entry.action != GENESIS:
            return Fault(1, "changed", "the first entry is no genesis entry")
        return None

    def _gap(self, entry: Entry, rest: Sequence[Entry]) -> Fault:
        if entry.seq < self.seq or any(later.seq == self.seq for later in rest):
            return Fault(self.seq, "reordered", f"entry {entry.seq} stands where entry {self.seq} belongs")
        last = entry.seq - 1
        which = f"entry {self.seq} is" if last == self.seq else f"entries {self.seq} to {last} are"
        return Fault(self.seq, "removed", f"{which} missing")

    def _torn(self, entry: Entry, rest: Sequence[Entry]) -> Fault:
        """An entry whose hash is not its own: was it written over, or is it another one's place?"""
        true = next((later for later in rest if self._belongs(later)), None)
        if true is not None and _is(entry, true.seq):
            return Fault(self.seq, "reordered", f"entries {self.seq} and {true.seq} have changed places")
        if true is not None:
            return Fault(self.seq, "inserted", f"entry {self.seq} was inserted: entry {true.seq} was number {self.seq}")
        if self._belongs_before(entry):
            at = self.seq - 1
            return Fault(at, "inserted", f"entry {at} was inserted: entry {self.seq} was number {at}")
        number = next((n for n in range(1, LOOK_AROUND) if _is(entry, self.seq + n)), 0)
        if number and (not rest or _is(rest[0], rest[0].seq + number)):
            which = f"{number} entries are" if number > 1 else "an entry is"
            return Fault(self.seq, "removed", f"{which} missing at {self.seq}, and what follows was numbered anew")
        if number:
            return Fault(self.seq, "reordered", f"what stands at {self.seq} was entry {self.seq + number}")
        return Fault(self.seq, "changed", f"entry {self.seq} was changed: its fields do not make its hash")

    def _other_past(self, entry: Entry) -> Fault:
        """An entry that is whole and follows something else than what stands before it."""
        at = max(1, self.seq - 1)
        if self.oldest is not None and entry.previous == self.oldest.hash:
            return Fault(at, "inserted", f"entry {at} was inserted: entry {self.seq} does not follow it")
        return Fault(at, "changed", f"entry {at} was changed and its hash made anew: entry {self.seq} does not follow it")

    def _belongs(self, entry: Entry) -> bool:
        return entry.previous == self.previous and _is(entry, self.seq)

    def _belongs_before(self, entry: Entry) -> bool:
        """Whether the entry was the one at the place before, which an inserted one now has."""
        past = self.oldest.hash if self.oldest else NOTHING_BEFORE
        return self.before is not None and entry.previous == past and _is(entry, self.seq - 1)


def _is(entry: Entry, seq: int) -> bool:
    """Whether the entry was written under this number."""
    return digest(replace(entry, seq=seq)) == entry.hash
