"""Digest: a sender with the right secret gets in once per nonce count, and nobody else does."""

import hashlib
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.sip import digest as digest_module
from simrack.sip.digest import Credentials, Digest, Verdict, parse, response_of, same_uri

URI = "sip:+4930123@rack.example"


class HandClock:
    """A clock that the test turns by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


class CountIds:
    """Tokens in a row."""

    def __init__(self) -> None:
        self.count = 0

    def token(self, octets: int = 12) -> str:
        self.count += 1
        return f"{self.count:0{octets * 2}x}"


def client(
    challenge: str, *, user: str = "alice", password: str = "s3cret", method: str = "INVITE", uri: str = URI,
    nc: int = 1, cnonce: str = "c0ffee", realm: str = "", qop: str = "auth",
) -> str:  # fmt: skip
    """A client of our own, written from the RFC and sharing nothing with the code under test."""
    found = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge.partition(" ")[2]))
    algorithm = found["algorithm"]
    function = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
    realm = realm or found["realm"]
    a1 = function(f"{user}:{realm}:{password}".encode()).hexdigest()
    a2 = function(f"{method}:{uri}".encode()).hexdigest()
    middle = f"{nc:08x}:{cnonce}:{qop}:" if qop else ""
    response = function(f"{a1}:{found['nonce']}:{middle}{a2}".encode()).hexdigest()
    tail = f', qop={qop}, nc={nc:08x}, cnonce="{cnonce}"' if qop else ""
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{found["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm={algorithm}{tail}'
    )


def secret_of(user: str) -> str | None:
    return {"alice": "s3cret"}.get(user)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def server(clock: HandClock) -> Digest:
    return Digest("rack.example", clock, CountIds(), nonce_life_s=60)


def check(server: Digest, header: str, method: str = "INVITE", uri: str = URI) -> Verdict:
    return server.check(header, method, uri, secret_of)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("qop", ["auth", ""])
def test_right_secret_is_let_in(server: Digest, index: int, qop: str) -> None:
    """Both algorithms, and old clients without qop; else a paying sender is locked out."""
    challenge = server.challenge()[index][1]
    assert check(server, client(challenge, qop=qop)) == Verdict(True, "alice", "")


def test_challenge_prefers_sha256_and_offers_md5(server: Digest) -> None:
    headers = server.challenge()
    assert [name for name, _ in headers] == ["WWW-Authenticate"] * 2
    assert ["SHA-256" in headers[0][1], "MD5" in headers[1][1]] == [True, True]
    assert "stale" not in headers[0][1]
    assert all("stale=true" in value for _, value in server.challenge(stale=True))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"password": "guess"}, "wrong"),
        ({"user": "mallory"}, "unknown-user"),
        ({"realm": "other.example"}, "realm"),
        ({"uri": "sip:+4930999@rack.example"}, "uri"),
        ({"method": "BYE"}, "wrong"),
    ],
)
def test_wrong_credentials_are_told_apart(server: Digest, change: dict[str, str], problem: str) -> None:
    """Fault 5: realm and request URI are checked, so credentials of one call can't be used for another."""
    verdict = check(server, client(server.challenge()[0][1], **change))  # type: ignore[arg-type]
    assert (verdict.ok, verdict.problem) == (False, problem)


def test_replayed_credentials_are_refused(server: Digest) -> None:
    """Fault 5: who listens to one INVITE can't place another call with its header."""
    challenge = server.challenge()[0][1]
    header = client(challenge)
    assert check(server, header).ok
    assert check(server, header).problem == "replay"
    assert check(server, client(challenge, nc=2)).ok
    assert check(server, client(challenge, nc=2)).problem == "replay"


def test_nonce_without_qop_serves_once(server: Digest) -> None:
    header = client(server.challenge()[1][1], qop="")
    assert check(server, header).ok
    assert check(server, header).problem == "replay"


def test_old_nonce_is_stale(server: Digest, clock: HandClock) -> None:
    challenge = server.challenge()[0][1]
    clock.now += 61
    assert check(server, client(challenge)).problem == "stale"


def test_nonce_of_another_run_is_stale_not_wrong(clock: HandClock) -> None:
    """After a restart clients must be asked again, not be taken for attackers."""
    ids = CountIds()
    before, after = Digest("rack.example", clock, ids), Digest("rack.example", clock, ids)
    assert check(after, client(before.challenge()[0][1])).problem == "stale"


def test_staleness_is_not_told_to_strangers(server: Digest, clock: HandClock) -> None:
    challenge = server.challenge()[0][1]
    clock.now += 61
    assert check(server, client(challenge, password="guess")).problem == "wrong"


@pytest.mark.parametrize(
    "header",
    [
        "", "Digest", "Basic YWxpY2U6czNjcmV0", "Digest username=alice", 'Digest username="alice', "Digest ,,,",
        'Digest username="a", username="b", realm="r", nonce="n", uri="u", response="00"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="zz"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="00", algorithm=MD5-sess',
        'Digest username="a", realm="r", nonce="n", uri="u", response="00", qop=auth-int, nc=00000001, cnonce="x"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="00", qop=auth, nc=1, cnonce="x"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="00", qop=auth',
        'Digest username="' + "a" * 3000 + '", realm="r", nonce="n", uri="u", response="00"',
    ],
)  # fmt: skip
def test_malformed_header_is_told(server: Digest, header: str) -> None:
    assert check(server, header) == Verdict(False, "", "malformed")


def test_rfc_2617_example() -> None:
    """RFC 2617 3.5."""
    header = (
        'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
        'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    found = parse(header)
    assert found is not None
    assert response_of(found, "GET", "Circle Of Life") == found.response


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_examples(algorithm: str, response: str) -> None:
    """RFC 7616 3.9.1."""
    found = Credentials(
        "Mufasa", "http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "/dir/index.html",
        response, algorithm, "auth", "00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )  # fmt: skip
    assert response_of(found, "GET", "Circle of Life") == response


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:1@h", "sip:1@H:5060", True),
        ("sip:1@h;transport=UDP", "sip:1@h", True),
        ("sip:1@h", "sip:2@h", False),
        ("sip:1@h", "sip:1@h:5070", False),
        ("sip:1@h", "sips:1@h", False),
        ("sip:A@h", "sip:a@h", False),
        ("tel:+1", "tel:+1", True),
    ],
)
def test_uris_are_compared_by_target(one: str, other: str, same: bool) -> None:
    assert same_uri(one, other) is same


def test_memory_is_bounded_and_old_nonces_do_not_come_back(
    server: Digest, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of right credentials neither fills the memory nor makes an old header good again."""
    monkeypatch.setattr(digest_module, "MAX_USED", 5)
    headers = [client(server.challenge()[1][1]) for _ in range(12)]
    first = [check(server, header).ok for header in headers]
    assert first[:5] == [True] * 5
    assert not any(check(server, header).ok for header in headers[:5])
    assert len(server._used) <= 6


@given(
    st.text(st.characters(exclude_characters='"\\', exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=40),
    st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()),
)
def test_any_user_and_password_work(user: str, password: str) -> None:
    clock = HandClock()
    server = Digest("rack.example", clock, CountIds())
    header = client(server.challenge()[0][1], user=user, password=password)
    assert server.check(header, "INVITE", URI, {user: password}.get).ok


@given(st.text(max_size=300))
def test_garbage_never_raises_and_never_gets_in(text: str) -> None:
    server = Digest("rack.example", HandClock(), CountIds())
    assert not server.check(text, "INVITE", URI, secret_of).ok
    assert not server.check("Digest " + text, "INVITE", URI, secret_of).ok


@given(st.integers(min_value=0, max_value=300), st.integers(min_value=0, max_value=15))
def test_one_changed_character_of_the_response_is_wrong(position: int, digit: int) -> None:
    server = Digest("rack.example", HandClock(), CountIds())
    header = client(server.challenge()[0][1])
    start = header.index('response="') + 10
    place = start + position % 64
    changed = header[:place] + f"{digit:x}" + header[place + 1 :]
    assert check(server, changed).ok is (changed == header)


def test_octets_that_are_no_text_do_not_raise(server: Digest) -> None:
    """A nonce of arbitrary octets is a wrong one, not a traceback."""
    header = client(server.challenge()[0][1])
    assert not check(server, header.replace("nonce=\"", "nonce=\"\udcff")).ok
