"""The guard: what one source may cost, who is not answered, and whose calls come in when too many come."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from controller_sim import TestClock
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.controller.calls.banfile import NAME, BanFile, read
from simrack.controller.calls.bans import MOST_BANS, Ban, BanList
from simrack.controller.calls.fair import ACTIVE_S, Bucket, FairRate
from simrack.controller.calls.guard import GOOD_FOR_S, MOST_SOURCES, Guard, GuardLimits, Heard
from simrack.controller.calls.pressure import LATE_S, LEAST, Pressure

HOME, AWAY, ELSEWHERE = "192.0.2.1", "192.0.2.2", "203.0.113.9"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def guard(**limits: float) -> tuple[TestClock, Guard]:
    clock = TestClock()
    return clock, Guard(clock, GuardLimits(**limits))  # type: ignore[arg-type]


def address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


# --- bans -----------------------------------------------------------------------------------------------------


def test_ban_after_failures_expires_and_can_be_lifted() -> None:
    """A guesser is left unanswered for the ban's time; a person can end it before."""
    clock, door = guard(failures=3, ban_s=100)
    assert [door.failed(ELSEWHERE, "guessing", spare=False) for _ in range(3)] == [False, False, True]
    assert door.hears(ELSEWHERE, known=False) is Heard.BANNED
    assert door.hears(HOME, known=False) is Heard.YES
    (ban,) = door.banned()
    assert (ban.address, ban.reason, ban.until - ban.since) == (ELSEWHERE, "guessing", timedelta(seconds=100))
    assert ban.count == 1, "what it sent since"
    clock.forward(101)
    assert door.hears(ELSEWHERE, known=False) is Heard.YES
    assert door.banned() == ()
    door.ban(ELSEWHERE, "again")
    assert door.free(ELSEWHERE)
    assert door.hears(ELSEWHERE, known=False) is Heard.YES
    assert not door.free(ELSEWHERE)


def test_ban_is_told_once_however_long_the_source_goes_on() -> None:
    """A flood wrote a line of log for every 20 packets."""
    _, door = guard(failures=3)
    told = [door.failed(ELSEWHERE, "guessing", spare=False) for _ in range(30)]
    assert told.count(True) == 1


def test_failures_far_apart_ban_nobody() -> None:
    """A person who mistypes a password once an hour must not lose the line."""
    clock, door = guard(failures=3, failures_within_s=10)
    for _ in range(6):
        assert not door.failed(ELSEWHERE, "guessing", spare=False)
        clock.forward(6)


def test_sender_s_address_is_told_of_and_never_banned() -> None:
    """A trunk with one wrong setting must not lose all its calls."""
    _, door = guard(failures=2)
    door.failed(HOME, "guessing", spare=True)
    assert door.failed(HOME, "guessing", spare=True)
    assert door.hears(HOME, known=True) is Heard.YES


def test_office_behind_one_address_is_not_banned_for_one_of_its_phones() -> None:
    """Many phones share an address by NAT; where a password was right lately, a wrong one bans nobody."""
    clock, door = guard(failures=3)
    door.passed(AWAY)
    assert [door.failed(AWAY, "guessing", spare=False) for _ in range(3)][-1]
    assert (door.banned(), door.hears(AWAY, known=False)) == ((), Heard.YES)
    clock.forward(GOOD_FOR_S + 1)
    for _ in range(3):
        door.failed(AWAY, "guessing", spare=False)
    assert door.hears(AWAY, known=False) is Heard.BANNED


def test_address_that_becomes_a_sender_s_is_heard_at_once() -> None:
    """A new customer who tried too early must not wait for twelve hours."""
    _, door = guard()
    door.ban(ELSEWHERE, "guessing")
    assert door.hears(ELSEWHERE, known=True) is Heard.YES


def test_a_flood_of_forged_addresses_frees_no_banned_one() -> None:
    """The memory of sources is bounded; bans must not be what falls out of it. 100,000 addresses."""
    _, door = guard()
    door.ban(ELSEWHERE, "guessing")
    for number in range(100_000):
        door.hears(address(number), known=False)
        door.failed(address(number), "malformed", spare=False)
        door.answered(address(number))
    assert door.hears(ELSEWHERE, known=False) is Heard.BANNED
    assert (len(door._sources), len(door.bans)) == (MOST_SOURCES, 1)


def test_bans_have_an_upper_bound_too() -> None:
    bans = BanList()
    for number in range(MOST_BANS + 20):
        bans.add(address(number), "flood", NOON, 60 + number)
    assert len(bans) == MOST_BANS
    assert address(0) not in bans, "the one that ends first makes room"


async def test_bans_outlive_the_process(tmp_path: Path) -> None:
    """An attacker must not be let in by a restart, nor a freed address be banned again by one."""
    clock, door = guard(ban_s=100)
    file = BanFile(tmp_path, door.bans, clock)
    door.ban(ELSEWHERE, "guessing")
    door.ban(AWAY, "flood", seconds=10)
    door.ban(HOME, "by hand")
    door.free(HOME)
    await file.save()
    later = Guard(clock)
    clock.forward(11)
    await BanFile(tmp_path, later.bans, clock).load()
    assert [(ban.address, ban.reason) for ban in later.banned()] == [(ELSEWHERE, "guessing")]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2, "bans": []}', '{"version": 1}', '{"version": 1, "bans": [1]}',
     '{"version": 1, "bans": [{"address": "x", "reason": "", "since": "", "until": "", "count": 0}]}', "[" * 5000],
)  # fmt: skip
def test_damaged_ban_list_stops_nothing(tmp_path: Path, text: str) -> None:
    """A file cut short by a full disk must not keep the controller from starting."""
    (tmp_path / NAME).write_text(text)
    assert read(tmp_path) == ()


async def test_ban_list_that_can_t_be_written_stops_nothing(tmp_path: Path) -> None:
    clock, door = guard()
    file = BanFile(tmp_path / "gone", door.bans, clock)
    door.ban(ELSEWHERE, "guessing")
    await file.save()
    assert door.hears(ELSEWHERE, known=False) is Heard.BANNED


@given(st.ip_addresses(v=4), st.text(max_size=80), st.datetimes(), st.integers(0, 10**6))
def test_ban_is_read_as_it_was_written(host: object, reason: str, since: datetime, count: int) -> None:
    """What the command line and the file show is what the guard holds (to the millisecond)."""
    since = since.replace(tzinfo=UTC, microsecond=0)
    ban = Ban(str(host), reason, since, since, count)
    assert Ban.from_json(json.loads(json.dumps(ban.to_json()))) == ban


# --- budgets --------------------------------------------------------------------------------------------------


def test_flood_of_one_source_does_not_cost_the_others() -> None:
    """A source that only gets refusals runs out of its own budget; others are answered."""
    _, door = guard(calls_per_second=10, refusals_per_second=5)
    for _ in range(20):
        door.answered(ELSEWHERE)
    assert not door.may_answer(ELSEWHERE)
    assert not door.answered(ELSEWHERE)
    assert door.may_answer(HOME)


def test_sender_that_passes_its_challenges_pays_nothing() -> None:
    """A digest sender at the full rate is never taken for a flood."""
    _, door = guard(calls_per_second=10, refusals_per_second=1)
    for _ in range(100):
        door.answered(AWAY)
        door.passed(AWAY)
    assert door.may_answer(AWAY)


def test_packets_over_the_budget_are_not_read_and_end_in_a_ban() -> None:
    """5,000 packets a second of a stranger cost no more than its 50; after 1,000 too many it is told, once."""
    clock, door = guard(stranger_packets_per_second=50, flood_packets=1000)
    heard = []
    for _ in range(5000):
        clock.forward(1 / 5000)
        heard.append(door.hears(ELSEWHERE, known=False))
    assert heard.count(Heard.YES) <= 50 + 100 + 1
    assert heard.count(Heard.FLOOD) == (5000 - heard.count(Heard.YES)) // 1000


def test_flood_of_a_sender_s_address_is_told_of_too() -> None:
    """A trunk gone mad keeps its calls and loses the rest; a person hears of it."""
    clock, door = guard(calls_per_second=10, flood_packets=1000)
    heard = []
    for _ in range(20_000):
        clock.forward(1 / 20_000)
        heard.append(door.hears(HOME, known=True))
    assert Heard.FLOOD in heard
    assert 500 <= heard.count(Heard.YES) <= 1000


def test_strangers_together_leave_room_for_senders() -> None:
    """A flood from 100,000 forged addresses, one packet each, must not fill the process with parsing."""
    clock, door = guard(calls_per_second=80)
    heard = []
    for number in range(100_000):
        clock.forward(1 / 5000)
        heard.append(door.hears(address(number), known=False))
        if number % 1000 == 0:
            assert door.hears(HOME, known=True) is Heard.YES
    assert heard.count(Heard.YES) <= 320 * 21


def test_memory_for_passwords_that_were_right_is_bounded() -> None:
    _, door = guard()
    for number in range(MOST_SOURCES + 50):
        door.passed(address(number))
    assert len(door._good) == MOST_SOURCES


# --- the rate -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 20))
def test_bucket_never_gives_more_than_its_rate_and_burst(gaps: list[float], rate: int) -> None:
    """Whatever the arrival times, admitted calls stay below rate x time + burst."""
    now, taken, bucket = 0.0, 0, Bucket(rate, rate, 0.0)
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= rate * now + rate + 1e-6


def offer(rate: FairRate, loads: dict[str, float], seconds: float, start: float = 0.0) -> dict[str, tuple[int, int]]:
    """(asked, admitted) of each sender that calls evenly at its load."""
    moments = sorted(
        (start + number / load, name) for name, load in loads.items() for number in range(int(load * seconds))
    )
    result = dict.fromkeys(loads, (0, 0))
    for now, name in moments:
        asked, admitted = result[name]
        result[name] = (asked + 1, admitted + rate.admit(name, now))
    return result


@pytest.mark.parametrize("times", [2, 5])
def test_overload_of_one_sender_is_cut_to_the_rate(times: int) -> None:
    """Twice and five times what the process carries: it goes on at its rate."""
    asked, admitted = offer(FairRate(80, 0.0), {"trunk": 80.0 * times}, 10)["trunk"]
    assert asked == 800 * times
    assert 800 <= admitted <= 80 * 10 + 80 * 1.5 + 1


def test_quiet_sender_loses_no_call_to_a_loud_one() -> None:
    """The flood of one customer is the other customer's Tuesday: 5 calls a second, none refused."""
    result = offer(FairRate(80, 0.0), {"loud": 400.0, "quiet": 5.0}, 20)
    assert result["quiet"] == (100, 100)
    assert result["loud"][1] >= 20 * 70, "what the quiet one leaves is used"


def test_newcomer_is_let_in_at_once_beside_a_flood() -> None:
    rate = FairRate(80, 0.0)
    offer(rate, {"loud": 400.0}, 20)
    assert offer(rate, {"loud": 400.0, "new": 10.0}, 5, start=20.0)["new"] == (50, 50)


def test_two_loud_senders_share_evenly() -> None:
    result = offer(FairRate(80, 0.0), {"one": 400.0, "other": 100.0}, 20)
    assert abs(result["one"][1] - result["other"][1]) <= 200
    assert result["one"][1] + result["other"][1] <= 80 * 20 + 120 + 1


def test_sender_that_went_away_leaves_its_share() -> None:
    rate = FairRate(10, 0.0)
    offer(rate, {"one": 5.0, "other": 5.0}, 5)
    asked, admitted = offer(rate, {"one": 10.0}, 10, start=5.0 + ACTIVE_S)["one"]
    assert asked == admitted


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.sampled_from("abcd"), st.sampled_from([1.0, 0.7, 0.1])), max_size=200),
    st.integers(1, 40),
)
def test_shares_never_add_up_to_more_than_the_rate(calls: list[tuple[float, str, float]], rate: int) -> None:
    """Fairness must not be a way around the limit: rate x time, a burst, and half a burst of debt."""
    now, admitted, fair = 0.0, 0, FairRate(rate, 0.0)
    for gap, sender, factor in calls:
        now += gap
        admitted += fair.admit(sender, now, factor)
        assert admitted <= rate * now + max(1, rate) + rate / 2 + 1


def test_late_machine_admits_less_and_comes_back() -> None:
    """A loop that is half a second late must not take 80 calls a second; one slow moment must not cut the rate."""
    pressure, now = Pressure(), 0.0
    for _ in range(60):
        now += 0.1
        pressure.heard(0.01, now)
    assert pressure.factor == 1.0
    for _ in range(300):
        now += 0.1
        pressure.heard(0.5, now)
    assert pressure.factor == pytest.approx(LEAST)
    for _ in range(120):
        now += 0.1
        pressure.heard(0.0, now)
    assert pressure.factor == 1.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 10)), max_size=100))
def test_pressure_stays_between_its_bounds(samples: list[tuple[float, float]]) -> None:
    pressure, now = Pressure(), 0.0
    for late, gap in samples:
        now += gap
        pressure.heard(late, now)
        assert LEAST <= pressure.factor <= 1.0


def test_slow_machine_halves_what_comes_in() -> None:
    clock, door = guard(calls_per_second=80)
    door.pressure.factor = 0.1
    admitted = 0
    for _ in range(2000):
        clock.forward(0.01)
        admitted += door.admit("trunk")
    assert admitted <= 20 * 8 + 12 + 1


def test_nothing_is_admitted_while_work_piles_up() -> None:
    """A call on top of those that wait is answered too late, and delays the refusals behind it by seconds."""
    clock, door = guard(calls_per_second=80)
    door.late(LATE_S + 0.1)
    assert door.admit("trunk"), "one slow step is no overload"
    door.late(LATE_S + 0.1)
    assert not door.admit("trunk")
    clock.forward(0.02)
    door.late(0.01)
    assert door.admit("trunk"), "the loop keeps up again"
