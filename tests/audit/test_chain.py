"""The chain: every way to touch it is found and named, by whoever holds only the entries."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.controller.audit.chain import (
    Entry,
    Fact,
    Fault,
    Head,
    canonical,
    digest,
    follow,
    genesis,
    head_of,
    verify,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def chain(count: int = 9) -> list[Entry]:
    entries = [genesis("here", NOW)]
    for number in range(2, count + 1):
        fact = Fact(NOW + timedelta(seconds=number), "user:Ada", "ban", f"192.0.2.{number}", {"hours": number})
        entries.append(follow(head_of(entries[-1]), fact))
    return entries


def checked(entries: Sequence[Entry], head: Head | None, kept: Head | None = None) -> Fault | None:
    return verify(entries, lambda: head, kept).fault


def anew(entry: Entry, **changes: Any) -> Entry:
    """Changed by somebody who knows how hashes are made."""
    touched = replace(entry, **changes)
    return replace(touched, hash=digest(touched))


def numbered(entries: Sequence[Entry]) -> list[Entry]:
    return [replace(entry, seq=number) for number, entry in enumerate(entries, 1)]


def change(entries: list[Entry]) -> list[Entry]:
    return [*entries[:4], replace(entries[4], actor="user:Eve"), *entries[5:]]


def change_with_hash(entries: list[Entry]) -> list[Entry]:
    return [*entries[:4], anew(entries[4], actor="user:Eve"), *entries[5:]]


def remove(entries: list[Entry]) -> list[Entry]:
    return [*entries[:4], *entries[5:]]


def remove_and_number(entries: list[Entry]) -> list[Entry]:
    return numbered(remove(entries))


def swap(entries: list[Entry]) -> list[Entry]:
    return numbered([*entries[:4], entries[5], entries[4], *entries[6:]])


def swap_in_a_file(entries: list[Entry]) -> list[Entry]:
    return [*entries[:4], entries[5], entries[4], *entries[6:]]


def insert(entries: list[Entry]) -> list[Entry]:
    false = anew(entries[4], actor="user:Eve")
    return numbered([*entries[:4], false, *entries[4:]])


def insert_badly(entries: list[Entry]) -> list[Entry]:
    return numbered([*entries[:4], replace(entries[7], actor="user:Eve"), *entries[4:]])


def behead(entries: list[Entry]) -> list[Entry]:
    return entries[1:]


def behead_and_number(entries: list[Entry]) -> list[Entry]:
    return numbered(entries[1:])


@pytest.mark.parametrize(
    ("touch", "kind", "seq"),
    [
        (change, "changed", 5), (change_with_hash, "changed", 5), (remove, "removed", 5),
        (remove_and_number, "removed", 5), (swap, "reordered", 5), (swap_in_a_file, "reordered", 5),
        (insert, "inserted", 5), (insert_badly, "inserted", 5), (behead, "removed", 1), (behead_and_number, "removed", 1),
    ],
)  # fmt: skip
def test_what_was_touched_is_named(touch: Callable[[list[Entry]], list[Entry]], kind: str, seq: int) -> None:
    """An auditor hears which entry is the first that can't be trusted, and what happened to it."""
    entries = chain()
    assert checked(entries, head_of(entries[-1])) is None
    fault = checked(touch(entries), head_of(entries[-1]))
    assert fault is not None
    assert (fault.kind, fault.seq) == (kind, seq), fault.text


@pytest.mark.parametrize("left", [0, 1, 5, 8])
def test_an_end_that_was_cut_off_is_missed(left: int) -> None:
    """The last acts of somebody who wipes their own traces."""
    entries = chain()
    fault = checked(entries[:left], head_of(entries[-1]))
    assert fault is not None
    assert (fault.kind, fault.seq) == ("truncated", left + 1)
    assert str(len(entries)) in fault.text


def test_a_log_cut_off_together_with_its_head_is_missed_by_a_head_kept_elsewhere() -> None:
    """Whoever can write the whole database can write the head too; the printed one they can't reach."""
    entries = chain()
    left = entries[:5]
    assert checked(left, head_of(left[-1])) is None
    fault = checked(left, head_of(left[-1]), kept=head_of(entries[7]))
    assert fault is not None
    assert (fault.kind, fault.seq) == ("truncated", 6)


def test_a_log_written_anew_from_some_entry_on_is_told_by_a_head_kept_elsewhere() -> None:
    """Everything fits together and is still not what was written."""
    entries = chain()
    false = entries[:4]
    for entry in entries[4:]:
        false.append(anew(entry, previous=false[-1].hash, actor="user:Eve"))
    assert checked(false, head_of(false[-1])) is None
    fault = checked(false, head_of(false[-1]), kept=head_of(entries[6]))
    assert fault is not None
    assert (fault.kind, fault.seq) == ("changed", 7)
    assert checked(entries, head_of(entries[-1]), kept=head_of(entries[6])) is None


def test_heads_that_do_not_fit_are_told() -> None:
    """A head that is gone, behind or another's says that somebody worked around the controller."""
    entries = chain()
    last = head_of(entries[-1])
    found = [checked(entries, head) for head in (None, head_of(entries[5]), Head(last.seq, "f" * 64))]
    assert [(fault.kind, fault.seq) for fault in found if fault] == [("head", 9), ("inserted", 7), ("changed", 9)]
    empty = checked([], None)
    assert empty is not None
    assert empty.kind == "empty"


@given(st.data())
def test_no_single_change_of_any_field_goes_unnoticed(data: st.DataObject) -> None:
    """Each octet of each field counts, at every place."""
    entries = chain(6)
    place = data.draw(st.integers(0, 5))
    name = data.draw(st.sampled_from(["actor", "address", "action", "subject", "detail", "source", "previous", "hash"]))
    text = data.draw(st.text(max_size=5))
    longer: dict[str, Any] = {name: (getattr(entries[place], name) or "") + "x" + text}
    whole = replace(entries[place], **longer)
    moved = replace(entries[place], at=entries[place].at + timedelta(microseconds=1))
    for touched in (whole, moved):
        fault = checked([*entries[:place], touched, *entries[place + 1 :]], head_of(entries[-1]))
        assert fault is not None
        # The last entry's own hash is only told by the head, every other by its own fields.
        assert fault.seq in (place + 1, place)


@given(st.lists(st.integers(0, 7), unique=True, min_size=1, max_size=7))
def test_no_removal_goes_unnoticed(away: list[int]) -> None:
    """Any entries taken out anywhere, numbered anew or not: the first place is at or before the first of them."""
    entries = chain(8)
    left = [entry for place, entry in enumerate(entries) if place not in away]
    for touched in (left, numbered(left)):
        fault = checked(touched, head_of(entries[-1]))
        assert fault is not None
        assert fault.seq == min(away) + 1, fault.text


@given(st.permutations(range(8)))
def test_no_other_order_goes_unnoticed(order: list[int]) -> None:
    """Entries that changed places, whatever the permutation."""
    entries = chain(8)
    shuffled = numbered([entries[place] for place in order])
    fault = checked(shuffled, head_of(entries[-1]))
    if list(order) == list(range(8)):
        assert fault is None
    else:
        assert fault is not None
        first = next(place for place, was in enumerate(order) if place != was)
        assert fault.seq == first + 1, fault.text


def test_hashes_are_made_of_text_that_every_database_gives_back() -> None:
    """NUL and half surrogate pairs would make a log that can't be verified after it was stored."""
    entry = follow(head_of(genesis("x", NOW)), Fact(NOW, "user:\0Ad\ud800a", "ban", "s\0", {"k\ud800": "\0v"}))
    for text in (entry.actor, entry.subject, entry.detail):
        assert "\0" not in text
        text.encode()
    assert canonical({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'


@pytest.mark.parametrize("text", ["", "5", "5:", "x:" + "0" * 64, "5:" + "g" * 64, "5:" + "0" * 63, "-5:" + "0" * 64])
def test_a_head_that_was_copied_badly_is_refused(text: str) -> None:
    """A slip of the pen must not count as proof of tampering."""
    with pytest.raises(ValueError, match="NUMBER:HASH"):
        Head.parse(text)
    head = Head(7, "ab" * 32)
    assert Head.parse(f" {head}\n") == head
