"""The stack as a part of a process: starting, stopping, admission, trust, and what it says outside calls."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import inspect
import socket
import weakref
from typing import Any

import pytest
from sip_peer import SDP, OpenPeer, Peer, Rig, age, event, until
from sippy.Core.EventDispatcher import ED2

from simrack.sip import engine
from simrack.sip.errors import AlreadyOpen, LibraryChanged, NotOpen
from simrack.sip.legs import Connected, Disconnected
from simrack.sip.stack import Admission, SipStack
from simrack.wire.errors import UserError
from simrack.wire.ports import SystemClock, SystemIds


def stack(port: int = 0, host: str = "127.0.0.1", **more: Any) -> SipStack:
    values: dict[str, Any] = {
        "listen": (host, port), "on_invite": lambda leg: leg.reject(404, 27), "clock": SystemClock(),
        "ids": SystemIds(), "trusted": lambda _: False, "admit": lambda _: Admission.ACCEPT, **more,
    }  # fmt: skip
    return SipStack(**values)


async def test_options_is_answered_with_what_we_can(rig: Rig, peer: Peer) -> None:
    """Senders probe with OPTIONS; no answer takes us out of their routes."""
    peer.send(peer.build("OPTIONS", peer.new_call()))
    answer = await peer.status(200, "OPTIONS")
    assert {"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO"} == set(answer.one("allow").split(", "))
    assert (answer.one("accept"), bool(answer.to_tag)) == ("application/sdp", True)


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "SUBSCRIBE", "PUBLISH", "NEWTHING"])
async def test_other_requests_are_refused(rig: Rig, peer: Peer, method: str) -> None:
    peer.send(peer.build(method, peer.new_call()))
    assert "INVITE" in (await peer.status(405, method)).one("allow")


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO", "UPDATE", "CANCEL"])
async def test_request_for_a_dialog_that_we_do_not_know(rig: Rig, peer: Peer, method: str) -> None:
    call = peer.new_call()
    call.to_tag = "unknown"
    peer.send(peer.build(method, call, body=SDP if method == "INVITE" else b""))
    await peer.status(481, method)
    assert rig.offered.empty()


@pytest.mark.parametrize("method", ["BYE", "INFO"])
async def test_request_that_needs_a_dialog_and_names_none(rig: Rig, peer: Peer, method: str) -> None:
    peer.send(peer.build(method, peer.new_call()))
    await peer.status(481, method)


async def test_unmatched_ack_is_silent(rig: Rig, peer: Peer) -> None:
    peer.send(peer.build("ACK", peer.new_call()))
    await peer.fence()
    assert len(peer.heard) == 1


async def test_overload_is_told_with_retry_after(rig: Rig, peer: Peer) -> None:
    rig.admission = Admission.OVERLOAD
    call = peer.invite()
    refused = await peer.status(503)
    assert int(refused.one("retry-after")) > 0
    peer.ack(call, refused)
    await peer.fence()
    assert (rig.offered.empty(), rig.stack.legs) == (True, 0)


async def test_banned_source_hears_nothing(rig: Rig, peer: Peer) -> None:
    rig.admission = Admission.DROP
    call = peer.invite()
    peer.invite(call)
    await peer.fence()
    assert (len(peer.heard), rig.offered.empty()) == (1, True)


async def test_strangers_hear_nothing_where_the_stack_names_its_peers(rig: Rig, open_peer: OpenPeer) -> None:
    """A box that answers OPTIONS, BYE, noise or a repeated packet of its controller can be found by a scan."""
    known, stranger = await open_peer(), await open_peer()
    rig.stack._hears = lambda source: source == known.address
    call = known.new_call()
    known.send(known.build("OPTIONS", call))
    await known.status(200, "OPTIONS")
    stranger.send(known.build("OPTIONS", call))
    for method in ("OPTIONS", "BYE", "REGISTER", "CANCEL"):
        stranger.send(stranger.build(method, stranger.new_call()))
    stranger.invite()
    stranger.send(stranger.build("INVITE", stranger.new_call()).replace(b"Contact", b"X-No-Contact"))
    await known.fence()
    assert (stranger.heard, len(known.heard), rig.offered.empty()) == ([], 2, True)


async def test_admission_is_asked_once_per_call(rig: Rig, peer: Peer) -> None:
    """Retransmissions must not eat the rate of real calls."""
    asked: list[tuple[str, int]] = []

    def admit(source: tuple[str, int]) -> Admission:
        asked.append(source)
        return Admission.ACCEPT

    rig.stack._admit = admit
    call = peer.invite()
    peer.invite(call)
    await peer.fence()
    assert asked == [peer.address]


@pytest.mark.parametrize("trusted", [False, True])
async def test_our_headers_count_from_boxes_only(rig: Rig, peer: Peer, trusted: bool) -> None:
    """A sender who writes X-Simrack-Channel must not choose the channel."""
    if trusted:
        rig.trusted.add("127.0.0.1")
    peer.invite(extra="X-Simrack-Channel: 3\r\nX-Other: 1")
    leg = await rig.leg()
    assert leg.request.headers.get("x-simrack-channel") == ("3" if trusted else None)
    assert leg.request.headers["x-other"] == "1"


async def test_second_stack_in_a_process_is_refused(rig: Rig) -> None:
    with pytest.raises(AlreadyOpen):
        await stack().start()


async def test_stacks_one_after_the_other_leave_nothing(request: pytest.FixtureRequest) -> None:
    """stop() frees socket, timers and dialogs: a test (or a supervisor) may start the next at once."""
    port = 0
    for _ in range(5):
        one = stack(port)
        await one.start()
        port = one.address[1]
        peer = await Peer.open(one.address)
        call = peer.invite()
        peer.ack(call, await peer.status(404))
        peer.close()
        gone = weakref.ref(one._engine.manager)
        await one.stop()
        await one.stop()
        del one
        gc.collect()
        assert gone() is None
        assert ED2.tlisteners == []
    with pytest.raises(NotOpen):
        _ = stack().address


async def test_calls_are_forgotten_when_they_are_over(rig: Rig, peer: Peer) -> None:
    """No memory is kept for a call 64 s after its end (600 concurrent calls: memory flat)."""
    for _ in range(10):
        leg = rig.dial(peer)
        peer.reply(await peer.request("INVITE"), 200, body=SDP)
        assert isinstance(await event(leg), Connected)
        await peer.request("ACK")
        leg.hang_up(16)
        peer.reply(await peer.request("BYE"), 200)
        peer.invite()
        (await rig.leg()).reject(486, 17)
    await peer.fence()
    manager = rig.stack._engine.manager
    for _ in range(4):
        age(40)
        await until(lambda: all(item.cb_func is None or item.etime > ED2.last_ts for item in ED2.tlisteners))
    assert (manager.tclient, manager.tserver, manager.req_consumers) == ({}, {}, {})
    assert (rig.stack.legs, len(manager.l1rcache)) == (0, 0)
    assert len(ED2.tlisteners) < 10


async def test_port_in_use_says_what_to_do() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError) as told:
            await stack(taken.getsockname()[1]).start()
    assert "Address already in use" in str(told.value)
    assert told.value.todo
    after = stack()
    await after.start()
    await after.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
async def test_listening_on_no_address_in_particular_is_refused(host: str) -> None:
    """Contact would say 0.0.0.0, and no BYE would ever reach us."""
    with pytest.raises(UserError, match="one address"):
        await stack(host=host).start()


async def test_bug_of_the_application_is_answered_and_serving_goes_on() -> None:
    """An exception in the call logic costs that call a 500, not the process its socket."""

    def buggy(_leg: object) -> None:
        raise RuntimeError("bug")

    one = stack(on_invite=buggy)
    await one.start()
    peer = await Peer.open(one.address)
    peer.invite()
    await peer.status(500)
    await peer.fence()
    peer.close()
    await one.stop()


async def test_two_calls_with_one_call_id_are_two(rig: Rig, peer: Peer) -> None:
    """Calls are keyed by Call-ID and tags; a sender's generator may repeat a Call-ID."""
    first = peer.invite()
    second = peer.new_call()
    second.call_id = first.call_id
    peer.invite(second)
    legs = [await rig.leg(), await rig.leg()]
    for leg in legs:
        leg.answer(SDP)
    for _ in legs:
        ok = await peer.status(200)
        peer.ack(first if ok.from_tag == first.from_tag else second, ok)
    assert [type(await event(leg)) for leg in legs] == [Connected, Connected]
    peer.within("BYE", second)
    assert await event(legs[1]) == Disconnected(16, "", "remote")
    assert legs[0].events.empty()


async def test_calls_of_both_directions_at_once(rig: Rig, peer: Peer) -> None:
    legs = [rig.dial(peer) for _ in range(10)]
    for _ in legs:
        peer.invite()
    incoming = [await rig.leg() for _ in legs]
    for leg in incoming:
        leg.answer(SDP)
    for _ in legs:
        peer.reply(await peer.request("INVITE"), 200, body=SDP)
    async with asyncio.timeout(5):
        assert all([isinstance(await event(leg), Connected) for leg in [*legs, *incoming]])
    assert rig.stack.legs == 20


def test_other_version_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "INSTALLED_VERSION", "2.6.0")

    async def start() -> None:
        await stack().start()

    with pytest.raises(LibraryChanged, match=r"2\.6\.0"):
        asyncio.run(start())


LEANED_ON = (
    "Core.EventDispatcher", "SipMsg", "SipTransactionManager", "UA", "UacStateCancelling", "UacStateIdle",
    "UacStateRinging", "UacStateTrying", "UacStateUpdating", "UasStateGeneric", "UasStateIdle",
    "UasStateProgressing", "UasStateRinging", "UasStateTrying", "UasStateUpdating", "UaStateConnected",
    "UaStateDisconnected",
)  # fmt: skip


def test_internals_of_the_library_are_those_we_know() -> None:
    """sip/engine.py leans on these modules' insides. When this fails: read what changed, run the tests of the
    nine faults, mend the engine, then write the new fingerprint here."""
    text = "\0".join(inspect.getsource(importlib.import_module(f"sippy.{name}")) for name in LEANED_ON)
    assert hashlib.sha256(text.encode()).hexdigest() == "bcd7c62ee4eede548b8c83bab7a545d9fe8223f5355e0115b6fad3d2b876aa9b"
