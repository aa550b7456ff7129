"""The door: who an INVITE is from, what it costs a source, who is not answered."""

from dataclasses import dataclass, field, replace

import pytest
from controller_sim import TestClock, invite
from hypothesis import given, settings
from hypothesis import strategies as st

from simrack.controller.calls.guard import MOST_SOURCES, Bucket, Gate, Guard, GuardLimits
from simrack.controller.calls.ingress import (
    Challenge,
    Entrance,
    FromBox,
    Identified,
    SecretOf,
    Stranger,
    enter,
)

HOME, AWAY, ELSEWHERE = ("192.0.2.1", 5060), ("192.0.2.2", 5060), ("203.0.113.9", 5060)


class KnownSenders:
    """One sender by address (HOME), one digest user who may come from AWAY."""

    def by_address(self, source: tuple[str, int]) -> str | None:
        return "trunk" if source == HOME else None

    def algorithms(self, source: tuple[str, int]) -> frozenset[str]:
        return frozenset({"MD5"})

    def may_challenge(self, source: tuple[str, int]) -> bool:
        return source == AWAY

    def secret_of(self, username: str, source: tuple[str, int]) -> str | None:
        return "secret" if username == "pbx" and source == AWAY else None

    def by_user(self, username: str) -> str | None:
        return "pbx" if username == "pbx" else None

    def knows(self, source: tuple[str, int]) -> bool:
        return source in (HOME, AWAY)


@dataclass
class Said:
    ok: bool
    username: str
    problem: str


@dataclass
class ToldDigest:
    """Judges as the header says: "user:problem"."""

    asked: list[str | None] = field(default_factory=list)

    def challenge(self, stale: bool = False, algorithms: object = ()) -> list[tuple[str, str]]:
        return []

    def check(self, authorization: str, method: str, uri: str, secret_of: SecretOf) -> Said:
        user, _, problem = authorization.partition(":")
        self.asked.append(secret_of(user))
        return Said(not problem, user, problem)


@pytest.mark.parametrize(
    ("source", "box", "authorization", "expected"),
    [
        (HOME, "box-1", "", FromBox("box-1")),
        (HOME, None, "", Identified("trunk")),
        (HOME, None, "pbx:wrong", Identified("trunk")),
        (ELSEWHERE, None, "", Stranger(403, 21, "unknown sender", "sender-unknown")),
        (ELSEWHERE, None, "pbx:", Stranger(403, 21, "unknown sender", "sender-unknown")),
        (AWAY, None, "", Challenge()),
        (AWAY, None, "pbx:", Identified("pbx", digest=True)),
        (AWAY, None, "pbx:stale", Challenge(stale=True)),
        (AWAY, None, "pbx:replay", Challenge(stale=True)),
        (AWAY, None, "pbx:wrong", Stranger(403, 21, "wrong credentials", "credentials-wrong")),
        (AWAY, None, "eve:unknown-user", Stranger(403, 21, "wrong credentials", "credentials-wrong")),
        (AWAY, None, "pbx:realm", Stranger(403, 21, "wrong credentials", "credentials-wrong")),
        (AWAY, None, "pbx:uri", Stranger(403, 21, "wrong credentials", "credentials-wrong")),
        (AWAY, None, "pbx:malformed", Stranger(403, 21, "wrong credentials", "credentials-wrong")),
    ],
)
def test_table_of_entrances(
    source: tuple[str, int], box: str | None, authorization: str, expected: Entrance
) -> None:
    """Each way in and each way out of the issue's table: who is let in, challenged, refused."""
    asked = invite(source=source, authorization=authorization)
    assert enter(asked, box, KnownSenders(), ToldDigest()) == expected


def test_credentials_for_another_realm_are_passed_over() -> None:
    """A PBX behind a proxy of its own shows that proxy's credentials too; it must not be refused for them."""
    asked = replace(invite(source=AWAY, authorization="pbx:realm"), more_authorizations=("pbx:realm", "pbx:"))
    assert enter(asked, None, KnownSenders(), ToldDigest()) == Identified("pbx", digest=True)
    many = replace(asked, more_authorizations=("pbx:realm",) * 50)
    digest = ToldDigest()
    assert isinstance(enter(many, None, KnownSenders(), digest), Stranger)
    assert len(digest.asked) <= 5


def test_user_of_another_address_has_no_secret_there() -> None:
    """A password stolen elsewhere opens nothing from a wrong address."""
    digest = ToldDigest()
    senders = KnownSenders()
    enter(invite(source=AWAY, authorization="pbx:"), None, senders, digest)
    assert digest.asked == ["secret"]
    assert senders.secret_of("pbx", ELSEWHERE) is None


def guard(**limits: float) -> tuple[TestClock, Guard]:
    clock = TestClock()
    return clock, Guard(clock, GuardLimits(**limits))  # type: ignore[arg-type]


def test_ban_after_failures_expires_and_can_be_lifted() -> None:
    """A guesser is left unanswered for the ban's time; a person can end it before."""
    clock, door = guard(failures=3, ban_s=100)
    assert [door.failed(ELSEWHERE, spare=False) for _ in range(3)] == [False, False, True]
    assert door.gate(ELSEWHERE) is Gate.SHUT
    assert door.gate(HOME) is Gate.OPEN
    assert door.banned() == ("203.0.113.9",)
    clock.forward(101)
    assert door.gate(ELSEWHERE) is Gate.OPEN
    for _ in range(3):
        door.failed(ELSEWHERE, spare=False)
    assert door.free("203.0.113.9")
    assert door.gate(ELSEWHERE) is Gate.OPEN
    assert not door.free("203.0.113.9")


def test_ban_is_told_once_however_long_the_source_goes_on() -> None:
    """A flood wrote a line of log for every 20 packets."""
    door = Guard(TestClock(), GuardLimits(failures=3))
    told = [door.failed(ELSEWHERE, spare=False) for _ in range(30)]
    assert told.count(True) == 1
    assert door.is_banned(ELSEWHERE)
    assert not door.is_banned(HOME)


def test_failures_far_apart_ban_nobody() -> None:
    clock, door = guard(failures=3, failures_within_s=10)
    for _ in range(6):
        assert not door.failed(ELSEWHERE, spare=False)
        clock.forward(6)


def test_sender_s_address_is_told_of_and_never_banned() -> None:
    _, door = guard(failures=2)
    door.failed(HOME, spare=True)
    assert door.failed(HOME, spare=True)
    assert door.gate(HOME) is Gate.OPEN


def test_flood_of_one_source_does_not_cost_the_others() -> None:
    """A source that only gets refusals runs out of its own budget; others are answered."""
    _, door = guard(calls_per_second=10, refusals_per_second=5)
    for _ in range(20):
        door.refused(ELSEWHERE)
    assert door.gate(ELSEWHERE) is Gate.SHUT
    assert door.gate(HOME) is Gate.OPEN


def test_sender_that_passes_its_challenges_pays_nothing() -> None:
    """A digest sender at the full rate is never taken for a flood."""
    _, door = guard(calls_per_second=10, refusals_per_second=1)
    for _ in range(100):
        door.refused(AWAY)
        door.passed(AWAY)
    assert door.gate(AWAY) is Gate.OPEN


def test_memory_for_sources_is_bounded() -> None:
    """Forged addresses can't fill the memory."""
    _, door = guard()
    for number in range(MOST_SOURCES + 50):
        door.refused((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1))
    assert len(door._sources) == MOST_SOURCES


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 20))
def test_bucket_never_gives_more_than_its_rate_and_burst(gaps: list[float], rate: int) -> None:
    """Whatever the arrival times, admitted calls stay below rate x time + burst."""
    now, taken, bucket = 0.0, 0, Bucket(rate, rate, 0.0)
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= rate * now + rate + 1e-6
