"""Who sent this INVITE: a box, a sender by its address, a sender by digest, or nobody we know.

Pure but for the digest's memory of nonces. The order is fixed: a box's own address first, then addresses that
identify a sender alone, then digest where a digest sender may come from that address (routing:
authentication). A challenge round is no call.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from simrack.controller.calls.ports import Senders
from simrack.sip.legs import Invite
from simrack.wire.causes import Cause


class DigestVerdict(Protocol):
    """What `sip.digest` says of an Authorization header."""

    @property
    def ok(self) -> bool: ...

    @property
    def username(self) -> str: ...

    @property
    def problem(self) -> str: ...


class DigestCheck(Protocol):
    """The digest of RFC 7616 with our realm."""

    def challenge(self, stale: bool = False, algorithms: Collection[str] = ...) -> list[tuple[str, str]]:
        """Headers of a 401."""

    def check(self, authorization: str, method: str, uri: str, secret_of: "SecretOf") -> DigestVerdict:
        """Judge an Authorization header."""


class SecretOf(Protocol):
    """Password of a user, or None."""

    def __call__(self, username: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class FromBox:
    """A box offers a call that rings at one of its modules."""

    box: str


@dataclass(frozen=True, slots=True)
class Identified:
    """A sender; `digest` when by its password."""

    sender: str
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Challenge:
    """401: say who you are."""

    stale: bool = False


@dataclass(frozen=True, slots=True)
class Stranger:
    """Refuse without a record. `failure` counts towards a ban."""

    status: int
    cause: int
    text: str
    reason: str
    failure: bool = True


Entrance = FromBox | Identified | Challenge | Stranger
#: Each costs a hash; an honest client has one or two.
MOST_CREDENTIALS = 4
#: What a digest problem leads to; the rest is a wrong credential.
_ASK_AGAIN = frozenset({"stale", "replay"})


def enter(invite: Invite, box: str | None, senders: Senders, digest: DigestCheck) -> Entrance:
    """Judge an INVITE by where it came from and what it shows."""
    if box is not None:
        return FromBox(box)
    sender = senders.by_address(invite.source)
    if sender is not None:
        return Identified(sender)
    if not senders.may_challenge(invite.source):
        return Stranger(403, Cause.REJECTED, "unknown sender", "sender-unknown")
    if not invite.authorization:
        return Challenge()
    return _by_digest(invite, senders, digest)


def _by_digest(invite: Invite, senders: Senders, digest: DigestCheck) -> Entrance:
    source = invite.source
    shown = (invite.authorization, *invite.more_authorizations[:MOST_CREDENTIALS])
    for credentials in shown:
        verdict = digest.check(
            credentials, "INVITE", invite.method_uri, lambda user: senders.secret_of(user, source)
        )
        # Those for another realm were meant for somebody else.
        if verdict.problem != "realm":
            break
    if verdict.ok:
        sender = senders.by_user(verdict.username)
        if sender is not None:
            return Identified(sender, digest=True)
    # A nonce that is too old or was used up is no offence: the password behind it was right (RFC 7616 3.3).
    if verdict.problem in _ASK_AGAIN:
        return Challenge(stale=True)
    return Stranger(403, Cause.REJECTED, "wrong credentials", "credentials-wrong")
