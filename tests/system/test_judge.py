"""The judge of the kills says nothing when the books agree, and finds each single lie in them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from system.judge import Findings, Leg, Product, Record, Rules, Seen, judge, unclaimed

KEY = ("id@callers", "t1")
SIM, OTHER = "001010000100001", "001010000200001"


ANSWERS = ((100, "", False), (183, "", False), (200, "", False))
SEEN = Seen(KEY, "+882107", "call", ANSWERS, answered=True)
LEG = Leg(1, SIM, "+882107", 100.0, 101.0, 105.0, 4000, 16)
RECORD = Record("c1", KEY, "+882107", "answered", 4050, estimated=False, ended=105.0)
NOTHING_HIT = Rules()


@dataclass
class Books:
    """One answered call of 4 s in all three books, and a box's fact about it."""

    seen: Seen = SEEN
    leg: Leg = LEG
    record: Record = RECORD
    parts: int = 1
    facts: tuple[int, ...] = (1, 2)
    records: int = 1
    legs: int = 1
    rules: Rules = NOTHING_HIT
    open: bool = False

    def product(self) -> Product:
        records = tuple(replace(self.record, call=f"c{n + 1}") for n in range(self.records))
        keys = frozenset({KEY} if self.open else ())
        return Product(records, frozenset(), keys, {"c1": self.parts}, {("lab-01", "b"): self.facts})

    def judged(self) -> Findings:
        legs = [replace(self.leg, id=n + 1) for n in range(self.legs)]
        return judge([self.seen], legs, self.product(), self.rules)


def test_books_that_agree() -> None:
    """A judge who cries at nothing would be switched off."""
    assert Books().judged().lines() == []


def changed(**values: object) -> Callable[[Books], None]:
    """A lie: fields of one of the books, as "book__field"."""

    def tell(books: Books) -> None:
        for name, value in values.items():
            book, _, field = name.rpartition("__")
            if book:
                setattr(books, book, replace(getattr(books, book), **{field: value}))
            else:
                setattr(books, name, value)

    return tell


@pytest.mark.parametrize(
    ("lie", "invariant"),
    [
        (changed(records=0), "records"),
        (changed(records=2), "records"),
        (changed(record__key=("other", "t2")), "records"),
        (changed(seen__answers=((503, 'Q.850;text="overload"', True),), seen__answered=False), "records"),
        (changed(legs=0, record__talk_ms=0), "outcome"),
        (changed(seen__answers=(), records=2), "records"),
        (changed(record__talk_ms=4150), "talk"),
        (changed(record__talk_ms=3850), "talk"),
        (changed(record__estimated=True), "talk"),
        (changed(record__outcome="failed"), "outcome"),
        (changed(leg__answered=None, leg__talk_ms=0, record__talk_ms=0), "outcome"),
        (changed(parts=0), "facts"),
        (changed(facts=(1, 3)), "facts"),
        (changed(facts=(2, 1)), "facts"),
        (changed(legs=2), "channel"),
        (changed(legs=2), "double"),
        (changed(leg__released=None), "leg"),
        (changed(open=True), "open"),
        (changed(seen__survives=True, seen__lost=True), "survival"),
        (changed(seen__bye_unanswered=True), "sender"),
        (changed(seen__open=True), "sender"),
    ],
)
def test_each_lie_is_found(lie: Callable[[Books], None], invariant: str) -> None:
    """A record lost, doubled, made up or wrong must not pass as long as it is alone."""
    books = Books()
    lie(books)
    assert invariant in books.judged().kinds


@pytest.mark.parametrize(
    "truth",
    [
        changed(record__estimated=True, record__talk_ms=0, rules=Rules(hit=frozenset({SIM}))),
        changed(record__talk_ms=4100),
        changed(seen__answers=(), seen__answered=False, records=1),
        changed(seen__survives=True),
    ],
    ids=["marked, its box was killed", "100 ms", "died before it heard anything", "goes on"],
)
def test_what_is_allowed(truth: Callable[[Books], None]) -> None:
    books = Books()
    truth(books)
    assert books.judged().lines() == []


def test_mark_of_a_box_that_was_never_hit() -> None:
    """The mark is no way out: only the killed box's calls may carry it."""
    books = Books(rules=Rules(hit=frozenset({OTHER})))
    changed(record__estimated=True)(books)
    assert "talk" in books.judged().kinds


def test_a_leg_needs_a_record_that_claims_it() -> None:
    """A SIM that goes on speaking for nobody is money that nobody is billed for."""
    leg = replace(Books().leg, released=None)
    product = Books().product()
    assert unclaimed([leg], product, now=106.0).kinds == set()
    assert unclaimed([leg], product, now=110.0).kinds == {"leg"}
    assert unclaimed([leg], replace(product, open_numbers=frozenset({"+882107"})), now=110.0).kinds == set()
