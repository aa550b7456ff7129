"""`simrack bans` against a real controller process: what a person on duty does about an attacker."""

import json
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import processes
from system.rack import until
from typer.testing import CliRunner

from simrack.cli.bans import app, nft_script
from simrack.wire.errors import UserError

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def ban(address: str, seconds: float = 90) -> dict[str, str]:
    return {"address": address, "until": (NOON + timedelta(seconds=seconds)).isoformat()}


def test_firewall_gets_each_address_with_its_own_end() -> None:
    """The kernel must forget a ban when the controller does."""
    script = nft_script([ban("192.0.2.7"), ban("2001:db8::1"), ban("192.0.2.8", -1)], NOON)
    assert "add element inet simrack banned4 { 192.0.2.7 timeout 90s }" in script
    assert "add element inet simrack banned6 { 2001:db8::1 timeout 90s }" in script
    assert "192.0.2.8" not in script


def test_nothing_but_addresses_reaches_the_firewall() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        nft_script([ban("192.0.2.7 }; flush ruleset")], NOON)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_firewall_understands_the_script() -> None:
    tables = "add table inet simrack\n" + "".join(
        f"add set inet simrack banned{v} {{ type ipv{v}_addr; flags timeout; }}\n" for v in (4, 6)
    )
    text = tables + nft_script([ban("192.0.2.7")], NOON)
    done = subprocess.run(["nft", "-c", "-f", "-"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0 or "not permitted" in done.stderr, done.stderr


def scan(target: str, packets: int) -> None:
    """Malformed INVITEs of a stranger."""
    host, _, port = target.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as scanner:
        scanner.bind(("127.0.0.77", 0))
        for number in range(packets):
            text = f"INVITE sip:100@{target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.77;branch=z9hG4bK{number}\r\n\r\n"
            scanner.sendto(text.encode(), (host, int(port)))


@pytest.mark.system
def test_a_scanner_is_banned_shown_kept_over_a_restart_and_freed(tmp_path: Path) -> None:
    """The whole way of a ban, with real processes: detected, listed, remembered, lifted by hand."""
    data, runner = tmp_path / "data", CliRunner()
    state = ["--state", str(tmp_path / "state.json")]
    up = ["up", "--data", str(data), *state, "--sip", "127.0.0.1:0", "--web", "127.0.0.1:0", "--json"]

    def shown() -> list[dict[str, str]]:
        result = runner.invoke(app, [*state, "--json"], catch_exceptions=False)
        bans: list[dict[str, str]] = json.loads(result.output)["bans"]
        return bans

    with processes(tmp_path) as begin:
        begin(*up)
        assert shown() == []
        scan(str(json.loads(Path(state[1]).read_text())["sip"]), 25)
        (found,) = until(shown, "the scanner is banned")
        assert (found["address"], found["reason"]) == ("127.0.0.77", "failures: malformed: no from header")
        runner.invoke(app, ["add", "203.0.113.5", "--hours", "1", "--reason", "test", *state], catch_exceptions=False)
        assert "203.0.113.5" in runner.invoke(app, [*state], catch_exceptions=False).output
    with processes(tmp_path) as begin:
        begin(*up)
        assert {one["address"] for one in shown()} == {"127.0.0.77", "203.0.113.5"}
        for address in ("127.0.0.77", "203.0.113.5"):
            runner.invoke(app, ["free", address, *state], catch_exceptions=False)
        assert shown() == []
        with pytest.raises(UserError, match=r"203\.0\.113\.5 is not banned"):
            runner.invoke(app, ["free", "203.0.113.5", *state], catch_exceptions=False)
        with pytest.raises(UserError, match="no IP address"):
            runner.invoke(app, ["free", "everybody", *state], catch_exceptions=False)
