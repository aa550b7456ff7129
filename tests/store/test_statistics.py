"""Statistics against a plain count in memory: the judge counts records one by one, in its own words."""

from collections import Counter
from datetime import timedelta

import pytest
from store.test_records import drawn, fill
from store.values import NOW, a_record

from simrack.controller.figures import Counts
from simrack.controller.models import Own, RecordFilter, RecordRow
from simrack.controller.store import statistics
from simrack.controller.store.queries import Queries
from simrack.controller.store.statistics import FIELDS, Question, regrouped

SINCE, UNTIL = NOW - timedelta(hours=30), NOW + timedelta(hours=1)
WHOLE = RecordFilter(since=SINCE, until=UNTIL)


def spread() -> list[RecordRow]:
    """Records over a day, so that hours differ."""
    rows = drawn(90)
    return [
        a_record(
            row.call, sender=row.sender, plan=row.plan, box=row.box, outcome=row.outcome, cause=row.cause, called=row.called,
            started=NOW - timedelta(minutes=17 * place), ended=NOW - timedelta(minutes=17 * place - 20), ring_ms=1500,
            setup_ms=row.setup_ms, talk_sender_ms=row.talk_network_ms,
            talk_network_ms=row.talk_network_ms if row.outcome == "answered" else 0,
        )
        for place, row in enumerate(rows)
    ]  # fmt: skip


def counted(rows: list[RecordRow], least_s: int = 2) -> Counts:
    """The judge."""
    seized = [row for row in rows if row.outcome != "refused"]
    answered = [row for row in rows if row.outcome == "answered"]
    user = [row for row in rows if row.outcome == "failed" and row.cause in (17, 18, 19, 20, 21, 27)]
    return Counts(
        calls=len(rows), seizures=len(seized), answers=len(answered), effective=len(answered) + len(user),
        long_answers=sum(row.talk_network_ms >= least_s * 1000 for row in answered),
        talk_ms=sum(row.talk_network_ms for row in answered), setup_ms=sum(row.setup_ms for row in rows),
        rung=sum(row.setup_ms > 0 for row in rows),
        busy_ms=sum(row.setup_ms + row.ring_ms + row.talk_sender_ms for row in rows),
    )  # fmt: skip


@pytest.fixture
def rows() -> list[RecordRow]:
    return spread()


@pytest.fixture
def filled(url: str, queries: Queries, rows: list[RecordRow]) -> Queries:
    fill(url, rows)
    return queries


@pytest.mark.stack
def test_every_group_is_what_a_plain_count_gives(filled: Queries, rows: list[RecordRow]) -> None:
    """A customer would be shown figures that no list of his calls bears out."""
    for by in ("sender", "plan", "box", "outcome", "cause", "side", "called"):
        found = filled.groups(Question(WHOLE, by, least_s=2))
        keys = {str(getattr(row, by)) for row in rows}
        assert found.groups == {key: counted([row for row in rows if str(getattr(row, by)) == key]) for key in keys}
        assert found.total == counted(rows)
        assert list(found.groups.values()) == sorted(found.groups.values(), key=lambda counts: -counts.calls)


@pytest.mark.stack
def test_no_grouping_loses_a_call(filled: Queries, rows: list[RecordRow]) -> None:
    """The sum at the foot of the table would differ from grouping to grouping."""
    for by in FIELDS:
        found = filled.groups(Question(WHOLE, by))
        assert Counts.sum(found.groups.values()) == counted(rows, 10), by


@pytest.mark.stack
def test_hours_and_minutes_hold_the_calls_that_began_in_them(filled: Queries, rows: list[RecordRow]) -> None:
    """The chart would be off by a zone, or lose calls at the edges."""
    hours = filled.times(Question(WHOLE, least_s=2))
    expected = {row.started.replace(minute=0, second=0, microsecond=0) for row in rows}
    assert hours == {
        hour: counted([row for row in rows if hour <= row.started < hour + timedelta(hours=1)]) for hour in expected
    }
    minutes = filled.times(Question(WHOLE), minutes=True)
    assert sum(counts.calls for counts in minutes.values()) == len(rows)
    assert all(moment.tzinfo is not None and not moment.second for moment in minutes)


@pytest.mark.stack
def test_one_pass_gives_what_two_give(filled: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and the charts of one page would tell different stories, or a customer would see another one's calls."""
    for by in FIELDS:
        for own in (Own(), Own(senders=frozenset({"alpine"})), Own(plans=frozenset({"nova"}))):
            for minutes in (False, True):
                asked = Question(WHOLE, by, 2)
                groups, times = filled.both(asked, own, minutes=minutes)
                assert groups == filled.groups(asked, own)
                assert times == filled.times(asked, own, minutes=minutes)
    monkeypatch.setattr(statistics, "GROUPS_MOST", 1)
    assert filled.both(Question(WHOLE, "sender"))[0] == filled.groups(Question(WHOLE, "sender"))


@pytest.mark.stack
def test_filters_and_own_rows_hold_for_figures_too(filled: Queries, rows: list[RecordRow]) -> None:
    """A customer would learn another one's traffic from a sum."""
    own = Own(senders=frozenset({"alpine"}))
    theirs = [row for row in rows if row.sender == "alpine"]
    assert filled.groups(Question(WHOLE, "box", 2), own).total == counted(theirs)
    assert Counts.sum(filled.times(Question(WHOLE, least_s=2), own).values()) == counted(theirs)
    assert sum(row[3] for row in filled.causes(WHOLE, own)) == len(theirs)
    narrow = RecordFilter(since=NOW - timedelta(hours=5), until=NOW, plan="nova", cause=17)
    fits = [row for row in rows if row.plan == "nova" and row.cause == 17 and NOW - timedelta(hours=5) <= row.started < NOW]
    assert filled.groups(Question(narrow, "sender", 2)).total == counted(fits)
    assert filled.groups(Question(WHOLE, "sender"), Own(plans=frozenset())).total == Counts()


@pytest.mark.stack
def test_causes_are_counted_by_direction_and_side(filled: Queries, rows: list[RecordRow]) -> None:
    """The chart of release causes would not add up."""
    found = {(direction, side, cause): calls for direction, side, cause, calls, _ in filled.causes(WHOLE)}
    assert found == Counter((row.direction, row.side, row.cause) for row in rows)


@pytest.mark.stack
def test_the_peak_is_the_most_calls_that_overlap(filled: Queries, rows: list[RecordRow]) -> None:
    """Channels would be planned by a wrong figure."""
    since, until = NOW - timedelta(hours=20), NOW - timedelta(hours=1)
    peak = filled.peaks(RecordFilter(since=since, until=until))
    assert peak is not None
    on = [row for row in rows if row.outcome != "refused" and row.started < until]
    moments = [row.started for row in on if row.started >= since]
    most = max(sum(row.started <= moment < row.ended for row in on) for moment in moments)
    assert peak.calls == most
    assert peak.hour is not None
    assert peak.hours[peak.hour] == most


@pytest.mark.stack
def test_too_much_is_said_instead_of_waited_for(filled: Queries, rows: list[RecordRow], monkeypatch: pytest.MonkeyPatch) -> None:
    """A page grouped by caller would hold a million rows, and the sum would miss those that were left out."""
    monkeypatch.setattr(statistics, "GROUPS_MOST", 3)
    monkeypatch.setattr(statistics, "PEAK_MOST", 10)
    found = filled.groups(Question(WHOLE, "called", 2))
    assert (len(found.groups), found.cut) == (3, True)
    assert found.total == counted(rows)
    assert filled.peaks(WHOLE) is None


@pytest.mark.stack
def test_nothing_counted_has_no_ratio(queries: Queries) -> None:
    """A new rack would show an ASR of 0 %."""
    found = queries.groups(Question(WHOLE))
    assert (found.groups, found.total.asr, found.total.acd_s, found.total.ner) == ({}, None, None, None)
    assert queries.times(Question(WHOLE)) == {}
    peak = queries.peaks(WHOLE)
    assert peak is not None
    assert (peak.calls, peak.hour) == (0, None)


def test_groups_are_put_together_by_name() -> None:
    """Two plans of one owner would stand in two rows."""
    groups = {"a": Counts(calls=1), "b": Counts(calls=5), "c": Counts(calls=2)}
    assert regrouped(groups, lambda key: "x" if key in "ac" else "y") == {"y": Counts(calls=5), "x": Counts(calls=3)}
