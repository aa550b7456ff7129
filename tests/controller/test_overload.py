"""The controller at its door under load: what each source costs, and that calls never pay for it."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from controller_sim import until
from controller_world import NUMBER, World, peer_at, world
from gateway_sip import Controller as Peer

from simrack.controller.calls.pressure import LATE_S

pytestmark = pytest.mark.stack
NOWHERE = "+4930123456"


def options(on: World, peer: Peer, number: int, method: str = "OPTIONS") -> None:
    """A request outside all calls, by hand."""
    host, port = on.sip
    peer.transport.sendto(
        f"{method} sip:a@{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {peer.host}:{peer.port};branch=z9hG4bKo{number};rport\r\n"
        f"From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: o-{method}-{number}\r\nCSeq: 1 {method}\r\n"
        f"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
        on.sip,
    )


async def figure(on: World, name: str) -> float:
    """A figure of the metrics page, as an operator's Prometheus sees it."""
    async with aiohttp.ClientSession() as session, session.get(on.metrics) as page:
        lines = (await page.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_sender_leaves_no_more_calls_ringing_than_its_limit(tmp_path: Path) -> None:
    """1,000 half-open INVITEs of one sender must not fill the memory; the other sender still calls."""
    async with world(tmp_path, setup_per_sender=2) as on:
        first, second = on.invite(), on.invite()
        await on.box.invited()
        await on.box.invited()
        third = on.invite()
        assert await on.final(third) == 503
        assert third.final is not None
        assert third.final.cause == 42
        assert int(third.final.headers["retry-after"]) >= 5
        assert await on.final(on.invite(peer=on.sender)) == 401, "another sender is asked as always"
        first.cancel()
        second.cancel()
        await until(lambda: first.final and second.final)
        await on.record(2)
        fourth = on.invite(NOWHERE)
        assert await on.final(fourth) == 404


async def test_overload_makes_no_record_and_no_transaction(tmp_path: Path) -> None:
    """A refused call must cost next to nothing: no row, no timers, and its ACK ends at the door."""
    async with world(tmp_path, calls_per_second=2) as on:
        calls = [on.invite(NOWHERE) for _ in range(30)]
        statuses = [await on.final(call) for call in calls]
        assert statuses.count(503) >= 25
        assert set(statuses) == {404, 503}
        admitted = statuses.count(404)
        assert (await on.record(admitted)).sip_status == 404
        assert await figure(on, "simrack_overload_total") == statuses.count(503)
        assert await figure(on, 'simrack_refusals_total{reason="overload"}') == statuses.count(503)
        assert all([m.status for m in call.got].count(503) <= 1 for call in calls), "no answer came twice"


async def test_probes_of_one_source_are_answered_within_its_budget(tmp_path: Path) -> None:
    """OPTIONS and REGISTER floods: some answers, then silence; a sender's calls go on."""
    async with world(tmp_path, calls_per_second=5) as on:
        stranger = await peer_at("127.0.0.5")
        answered: list[bytes] = []

        def hear(data: bytes, addr: tuple[str, int]) -> None:
            answered.append(data)

        stranger.datagram_received = hear  # type: ignore[method-assign]
        for number in range(200):
            options(on, stranger, number, "OPTIONS" if number % 2 else "REGISTER")
        assert await on.final(on.invite(NOWHERE)) == 404
        assert 0 < len(answered) <= 60
        assert await figure(on, "simrack_unheard_total") > 0
        stranger.transport.close()


async def test_known_address_floods_and_is_told_of(tmp_path: Path) -> None:
    """A trunk's SBC in a loop: an alarm names it, it is never banned, and its real calls pass afterwards."""
    async with world(tmp_path, calls_per_second=1) as on:
        for number in range(1500):
            options(on, on.trunk, number)
        await on.alarm("sender-flood:127.0.0.2")
        assert (await on.command("banned")).result["addresses"] == []

        async def heard() -> bool:
            call = on.invite(NOWHERE)
            await asyncio.sleep(0.2)
            return call.final is not None

        async with asyncio.timeout(20):
            while not await heard():
                pass


async def test_person_bans_and_frees_by_command(tmp_path: Path) -> None:
    """What the command line and a page send; a sender's address and nonsense are refused with a reason."""
    async with world(tmp_path) as on:
        assert (await on.command("ban", address="127.0.0.6", hours=1, reason="scan")).ok
        stranger = await peer_at("127.0.0.6")
        silent = on.invite(peer=stranger)
        (ban,) = (await on.command("banned")).result["bans"]
        assert (ban["address"], ban["reason"]) == ("127.0.0.6", "by hand: scan")
        for wrong, hours in (("127.0.0.2", 1), ("nobody", 1), ("127.0.0.7", -1), ("127.0.0.7", "x")):
            assert not (await on.command("ban", address=wrong, hours=hours)).ok
        assert await on.final(on.invite(NOWHERE)) == 404
        assert not silent.got
        assert (await on.command("free", address="127.0.0.6")).ok
        assert await on.final(on.invite(peer=stranger)) == 403
        stranger.transport.close()


async def test_late_loop_shrinks_what_is_admitted_and_says_so(tmp_path: Path) -> None:
    """A machine that swaps or shares its processor: fewer calls come in, a person hears why."""
    async with world(tmp_path, calls_per_second=10) as on:
        assert await figure(on, "simrack_admitted_part") == 1
        loop = asyncio.get_running_loop()
        end = loop.time() + 3
        while await figure(on, "simrack_admitted_part") == 1 and loop.time() < end:
            busy = loop.time() + LATE_S + 0.1
            while loop.time() < busy:
                pass
            await asyncio.sleep(0.05)
        assert await figure(on, "simrack_admitted_part") < 1
        await on.alarm("machine-slow")
        call = on.invite(NUMBER)
        await on.box.invited()
        call.cancel()
