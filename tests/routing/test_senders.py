"""Who an address or a digest user is."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing.fleets import a_table

from simrack.controller.config.models import Digest, Sender
from simrack.controller.config.secrets import hide, secret_text
from simrack.controller.routing.table import RoutingTable
from simrack.sip.digest import HASHED


def _senders(**addresses: list[str]) -> RoutingTable:
    """Senders by address, one per keyword; a name that begins with "u_" is a digest user as well."""

    def change(data: dict[str, Any]) -> None:
        model = data["sender"][0]
        data["sender"] = [
            {**model, "name": name.replace("_", "-"), "addresses": listed}
            | ({"digest": {"user": name, "password": "pw"}} if name.startswith("u_") else {})
            for name, listed in addresses.items()
        ]

    return a_table(change)


@pytest.mark.parametrize(
    ("source", "sender"),
    [
        (("192.0.2.1", 5060), "host"),
        (("192.0.2.1", 9), "host"),
        (("192.0.2.200", 1), "net"),
        (("198.51.100.1", 5070), "port"),
        (("198.51.100.1", 5071), None),
        (("2001:db8::7", 5060), "six"),
        (("203.0.113.1", 5060), None),
        (("203.0.113.9", 5060), None),
        (("not an address", 0), None),
    ],
)
def test_an_address_means_one_sender(source: tuple[str, int], sender: str | None) -> None:
    """Hosts, networks, ports and IPv6; nobody else is let in by address."""
    table = _senders(
        host=["192.0.2.1"], net=["192.0.2.128/25"], port=["198.51.100.1:5070"], six=["2001:db8::/64"],
        u_fixed=["203.0.113.9"],
    )  # fmt: skip
    assert table.by_address(source) == sender
    assert table.may_challenge(source) == (source[0] == "203.0.113.9")
    assert table.knows(source) == (sender is not None or source[0] == "203.0.113.9")


def test_a_digest_user_with_addresses_comes_from_there_only() -> None:
    """Stolen credentials don't work from elsewhere."""
    table = _senders(u_fixed=["203.0.113.9"])
    assert table.secret_of("u_fixed", ("203.0.113.9", 1)) == "pw"
    assert table.secret_of("u_fixed", ("203.0.113.8", 1)) is None
    assert table.by_user("u_fixed") == "u-fixed"
    assert table.by_user("nobody") is None


def test_a_digest_user_without_addresses_may_come_from_anywhere() -> None:
    """Then every address is asked for credentials instead of being refused."""
    table = _senders(u_anywhere=[])
    assert table.may_challenge(("8.8.8.8", 1))
    assert table.secret_of("u_anywhere", ("8.8.8.8", 1)) == "pw"


def test_a_disabled_sender_is_nobody() -> None:
    """Switching a sender off closes its door at once."""

    def off(data: dict[str, Any]) -> None:
        for sender in data["sender"]:
            sender["enabled"] = False

    table = a_table(off)
    assert table.by_address(("127.0.0.2", 5060)) is None
    assert not table.may_challenge(("127.0.0.1", 5060))


@given(st.text("abz-_.", min_size=1, max_size=12), st.text(min_size=1, max_size=20))
def test_passwords_are_kept_as_hashes_that_sip_digest_reads(user: str, password: str) -> None:
    """The database never holds a password, and what it holds is H(A1) of RFC 7616."""
    sender = Sender.model_validate({
        "name": "s", "enabled": False, "country": "DE", "use": "test", "digest": {"user": user, "password": password}
    })  # fmt: skip
    hidden = hide(sender, "simrack")
    assert hidden.digest is not None
    assert hidden.digest.password == ""
    a1 = f"{user}:simrack:{password}".encode()
    expected = f"{HASHED}MD5={hashlib.md5(a1).hexdigest()},SHA-256={hashlib.sha256(a1).hexdigest()}"
    assert secret_text(hidden.digest) == expected
    assert hide(hidden, "other") == hidden


def test_a_password_does_not_show_in_logs() -> None:
    """A model that is logged by mistake tells no secret."""
    assert "geheim" not in repr(Digest(user="u", password="geheim"))
