"""Digest authentication, the server's side (RFC 7616, RFC 8760): MD5 and SHA-256, qop=auth.

The SIP library's own check looks at neither realm, request URI nor nonce count (reference: fault 5), so all of
it is decided here, without I/O. A nonce carries its birth and a MAC: challenges cost no memory, and only a nonce
that was used rightly is remembered, until it is too old to be used at all.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from simrack.wire.ports import Clock, Ids

Problem = Literal["", "stale", "unknown-user", "wrong", "realm", "uri", "replay", "malformed"]

# RFC 8760 2.4: the preferred algorithm stands first; one header for each.
ALGORITHMS: Mapping[str, str] = {"SHA-256": "sha256", "MD5": "md5"}
# A secret that begins so holds hashes (`hashed`), not a password.
HASHED = "{HA1}"
# Ten times what one process admits in a nonce's life at 80 calls/s.
MAX_USED = 50_000
_NEEDED = ("username", "realm", "nonce", "uri", "response")
MAX_HEADER = 2048  # octets of an Authorization header; real ones have about 300

_PARAMETER = re.compile(r'\s*([A-Za-z0-9_*\-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')
_URI = re.compile(r"(sips?):(?:([^@]*)@)?(\[[^\]]*\]|[^:;?]+)(?::(\d+))?(?:[;?].*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a set of credentials is worth.

    `stale`, `replay`: the secret is right, the nonce is not: challenge again with `stale=True` (401).
    `unknown-user`, `wrong`: 403. `realm`, `uri`, `malformed`: made for somebody else, or for nobody: 403 or 400.
    """

    ok: bool
    username: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Credentials:
    """An Authorization header taken apart."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    qop: str
    nc: str
    cnonce: str


class Digest:
    """Challenges and their checks for one realm."""

    def __init__(self, realm: str, clock: Clock, ids: Ids, nonce_life_s: float = 60) -> None:
        self._realm, self._clock, self._ids, self._life_s = realm, clock, ids, nonce_life_s
        self._key = ids.token(32).encode()
        self._used: dict[str, int] = {}  # nonce -> highest nonce count seen; oldest use first

    def challenge(
        self, stale: bool = False, algorithms: Collection[str] = tuple(ALGORITHMS)
    ) -> list[tuple[str, str]]:
        """The WWW-Authenticate headers of a 401, one for each of `algorithms`."""
        nonce = self._nonce()
        end = ", stale=true" if stale else ""
        return [
            (
                "WWW-Authenticate",
                f'Digest realm="{self._realm}", nonce="{nonce}", algorithm={name}, qop="auth"{end}',
            )
            for name in ALGORITHMS
            if name in algorithms
        ]

    def check(
        self, authorization: str, method: str, uri: str, secret_of: Callable[[str], str | None]
    ) -> Verdict:
        """Judge an Authorization header of a request with `method` and request URI `uri`.

        `secret_of` gives a user's password, or None. The comparison takes equal time whether the user is known.
        """
        given = parse(authorization)
        if given is None:
            return Verdict(False, "", "malformed")
        problem = self._problem(given, method, uri, secret_of(given.username))
        return Verdict(not problem, given.username, problem)

    def _problem(self, given: Credentials, method: str, uri: str, secret: str | None) -> Problem:
        if given.realm != self._realm:
            return "realm"
        if not same_uri(given.uri, uri):
            return "uri"
        right = hmac.compare_digest(response_of(given, method, secret or ""), given.response.lower())
        if secret is None:
            return "unknown-user"
        if not right:
            return "wrong"
        # Only now: `stale` may be told to nobody who does not know the secret (RFC 7616 3.3).
        if not self._fresh(given.nonce):
            return "stale"
        return "" if self._counts(given) else "replay"

    def _counts(self, given: Credentials) -> bool:
        """Whether the nonce count is new; without qop a nonce serves once."""
        count = int(given.nc, 16) if given.qop else 1
        if count <= self._used.get(given.nonce, 0):
            return False
        self._used[given.nonce] = count
        if len(self._used) > MAX_USED:
            self._sweep()
        return True

    def _sweep(self) -> None:
        self._used = {nonce: count for nonce, count in self._used.items() if self._fresh(nonce)}
        if len(self._used) > MAX_USED:
            # All fresh: a forgotten nonce could be replayed, so all challenges so far become stale instead.
            self._key, self._used = self._ids.token(32).encode(), {}

    def _nonce(self) -> str:
        body = f"{int(self._clock.monotonic() * 1000):x}-{self._ids.token(8)}"
        return f"{body}-{self._mac(body)}"

    def _fresh(self, nonce: str) -> bool:
        body, _, mac = nonce.rpartition("-")
        if not hmac.compare_digest(_octets(mac), _octets(self._mac(body))):
            return False
        age_s = self._clock.monotonic() - int(body.partition("-")[0], 16) / 1000
        return age_s <= self._life_s

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, _octets(body), "sha256").hexdigest()[:32]


def parse(authorization: str) -> Credentials | None:
    """Take an Authorization header apart; None for anything that RFC 7616 3.4 or this server does not allow."""
    scheme, _, rest = authorization.strip().partition(" ")
    values = _parameters(rest)
    if scheme.lower() != "digest" or values is None or len(authorization) > MAX_HEADER:
        return None
    who, realm, nonce, uri, response = (values.get(name, "") for name in _NEEDED)
    algorithm = values.get("algorithm", "MD5").upper()
    qop, nc, cnonce = values.get("qop", ""), values.get("nc", ""), values.get("cnonce", "")
    counted = re.fullmatch(r"[0-9A-Fa-f]{8}", nc) is not None and cnonce != ""
    if not (who and realm and nonce and uri and re.fullmatch(r"[0-9A-Fa-f]+", response)):
        return None
    if algorithm not in ALGORITHMS:
        return None
    if (qop and not (qop == "auth" and counted)) or (not qop and (nc or cnonce)):
        return None
    return Credentials(who, realm, nonce, uri, response, algorithm, qop, nc, cnonce)


def response_of(given: Credentials, method: str, secret: str) -> str:
    """The response that knows `secret` (RFC 7616 3.4.1, without qop as in RFC 2617 3.2.2.1)."""

    def digest(text: str) -> str:
        octets = _octets(text)
        return hashlib.new(ALGORITHMS[given.algorithm], octets, usedforsecurity=False).hexdigest()

    who = _stored(secret, given.algorithm) or digest(f"{given.username}:{given.realm}:{secret}")
    what = digest(f"{method}:{given.uri}")
    if not given.qop:
        return digest(f"{who}:{given.nonce}:{what}")
    return digest(f"{who}:{given.nonce}:{given.nc}:{given.cnonce}:{given.qop}:{what}")


def hashed(username: str, realm: str, password: str) -> str:
    """A password in the form in which it may be stored: its H(A1) for each algorithm, good for this realm only."""
    hashes = (
        f"{name}={hashlib.new(method, _octets(f'{username}:{realm}:{password}'), usedforsecurity=False).hexdigest()}"
        for name, method in ALGORITHMS.items()
    )
    return HASHED + ",".join(hashes)


def _stored(secret: str, algorithm: str) -> str:
    """H(A1) out of a secret made by `hashed`; "" of a plain password."""
    if not secret.startswith(HASHED):
        return ""
    hashes = dict(part.split("=", 1) for part in secret.removeprefix(HASHED).split(","))
    # "-" can't be in front of any H(A1): a client that insists on a hash that isn't stored never matches.
    return hashes.get(algorithm, "-")


def same_uri(one: str, other: str) -> bool:
    """Whether two SIP URIs name the same target; clients differ in parameters and in writing port 5060."""
    first, second = _URI.fullmatch(one.strip()), _URI.fullmatch(other.strip())
    if not first or not second:
        return one == other
    return _target(first) == _target(second)


def _target(match: re.Match[str]) -> tuple[str, str, str, int]:
    scheme, user, host, port = match.groups()
    return scheme.lower(), user or "", host.lower(), int(port or 5060)


def _parameters(text: str) -> dict[str, str] | None:
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if not match or match.group(1).lower() in values:
            return None
        quoted, plain = match.group(2), match.group(3)
        values[match.group(1).lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
        position = match.end()
    return values


def _octets(text: str) -> bytes:
    """The octets as they came: header text is decoded with surrogates for what is not UTF-8."""
    return text.encode("utf-8", "surrogateescape")
