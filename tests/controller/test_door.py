"""The door: who an INVITE is from."""

from dataclasses import dataclass, field, replace

import pytest
from controller_sim import invite

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
