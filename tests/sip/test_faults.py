"""The nine known faults of the SIP library (reference/sip-and-media.md), each seen from the wire."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sip_peer import SDP, SDP2, OpenPeer, Peer, Rig, age, event, until

from simrack.sip.engine import TICK_S
from simrack.sip.legs import Connected, Disconnected, Update


async def test_fault_1_messages_keep_their_order_and_no_thread_runs(rig: Rig, peer: Peer) -> None:
    """The library's threads put 180 after 200 on the wire, and callers gave up."""
    for _ in range(20):  # no more than the peer's socket buffer holds
        peer.invite()
    for _ in range(20):
        leg = await rig.leg()
        leg.trying()
        leg.ring()
        leg.progress(SDP)
        leg.answer(SDP)
    await until(lambda: peer.count("SIP/2.0 200") == 20)
    for call_id in {message.one("call-id") for message in peer.heard}:
        statuses = [message.status for message in peer.heard if message.one("call-id") == call_id]
        assert statuses == [100, 180, 183, 200]
    assert not [thread for thread in threading.enumerate() if "Async" in type(thread).__name__]


@pytest.mark.parametrize("parameter", ["transport=UDP", "transport=Udp", "transport=tcp", "transport=TLS"])
async def test_fault_2_contact_transport_in_any_case(rig: Rig, peer: Peer, parameter: str) -> None:
    """Such a Contact raised, and the BYE was never sent: the SIM stayed busy, and billed."""
    call = peer.invite(contact=f"<sip:me@{peer.hostport};{parameter}>")
    leg = await rig.leg()
    leg.answer(SDP)
    peer.ack(call, await peer.status(200))
    leg.hang_up(16)
    assert (await peer.request("BYE")).start == f"BYE sip:me@{peer.hostport};{parameter} SIP/2.0"
    out = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 200, body=SDP, contact=f"<sip:peer@{peer.hostport};{parameter}>")
    assert isinstance(await event(out), Connected)
    await peer.request("ACK")
    out.hang_up(16)
    await peer.request("BYE")


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("UPDATE", b"", 200), ("UPDATE", SDP, 405), ("PRACK", b"", 405), ("MESSAGE", b"hello", 405),
        ("REFER", b"", 405), ("SUBSCRIBE", b"", 405), ("OPTIONS", b"", 200), ("UNHEARD", b"", 405),
    ],
)  # fmt: skip
async def test_fault_3_every_request_in_a_dialog_is_answered(
    rig: Rig, peer: Peer, method: str, body: bytes, status: int
) -> None:
    """Session timers of callers (UPDATE without SDP) end calls that are not answered; REFER must not move one."""
    call = peer.invite()
    leg = await rig.leg()
    leg.ring()
    call.to_tag = (await peer.status(180)).to_tag
    peer.within(method, call, body=body)
    early = await peer.next(lambda message: message.method == method)
    assert early.status == status
    call.cseq, number = 1, call.cseq
    leg.answer(SDP)
    peer.ack(call, await peer.status(200))
    call.cseq = number
    peer.within(method, call, body=body, extra=f"Refer-To: <sip:x@{peer.hostport}>")
    answer = await peer.next(lambda message: message.method == method)
    assert answer.status == status
    assert "INVITE" in answer.one("allow")
    assert isinstance(await event(leg), Connected)
    assert leg.events.empty()


async def test_fault_4_invite_without_contact_is_400(rig: Rig, peer: Peer) -> None:
    call = peer.invite(contact="")
    assert (await peer.next()).status == 400
    peer.invite(call, contact="")
    assert (await peer.next()).status == 400
    assert rig.offered.empty()


async def test_fault_4_require_100rel_is_420(rig: Rig, peer: Peer) -> None:
    peer.invite(extra="Require: 100rel, timer")
    refused = await peer.next()
    assert (refused.status, refused.one("unsupported")) == (420, "100rel, timer")
    assert rig.offered.empty()


# Fault 5 (digest checks neither realm, URI nor nonce count): tests/sip/test_digest.py.


async def test_fault_6_reinvite_goes_on_after_its_100(rig: Rig, peer: Peer) -> None:
    """The application is asked, and its answer reaches the wire, many times in one call."""
    call = peer.invite()
    leg = await rig.leg()
    leg.answer(SDP)
    peer.ack(call, await peer.status(200))
    assert isinstance(await event(leg), Connected)
    for body in (SDP2, SDP, SDP2):
        number = peer.within("INVITE", call, body=body)
        assert await event(leg) == Update(body)
        leg.accept_update(SDP)
        ok = await peer.status(200)
        assert ok.cseq == number
        peer.ack(call, ok)


async def test_fault_7_second_answer_of_a_fork_is_ended(rig: Rig, peer: Peer, open_peer: OpenPeer) -> None:
    """A forking proxy lets two phones answer: the second must not stay off hook."""
    other = await open_peer()
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 200, tag="one", body=SDP)
    assert isinstance(await event(leg), Connected)
    assert (await peer.request("ACK")).to_tag == "one"
    second = peer.reply(invite, 200, tag="two", body=SDP2, contact=f"<sip:two@{other.hostport}>")
    assert (await other.request("ACK")).to_tag == "two"
    bye = await other.request("BYE")
    assert (bye.to_tag, bye.start.split()[1]) == ("two", f"sip:two@{other.hostport}")
    peer.transport.sendto(second, invite.source)
    assert (await other.request("ACK")).to_tag == "two"
    assert (other.count("BYE"), leg.events.empty()) == (1, True)
    peer.from_callee("BYE", invite, 1, tag="one")
    assert isinstance(await event(leg), Disconnected)


async def test_fault_7_repeated_answer_is_acknowledged_again(rig: Rig, peer: Peer) -> None:
    """Our ACK was lost: each repeat of the 200 gets one, also when a proxy changed its octets."""
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 200, body=SDP)
    await peer.request("ACK")
    peer.reply(invite, 200, body=SDP)
    await peer.request("ACK")
    peer.reply(invite, 200, body=SDP, extra="X-Hop: 2")
    await peer.request("ACK")
    assert isinstance(await event(leg), Connected)
    await peer.fence()
    assert (peer.count("BYE"), leg.events.empty()) == (0, True)


async def test_fault_7_repeats_of_the_200_are_at_most_t2_apart(rig: Rig, peer: Peer) -> None:
    """RFC 3261 13.3.1.4: 0.5, 1, 2, 4, 4, 4 ... s; the library doubled to 8 and 16."""
    peer.invite()
    (await rig.leg()).answer(SDP)
    gaps = []
    for _ in range(7):
        seen = peer.count("SIP/2.0 200")
        waited = 0.0
        while peer.count("SIP/2.0 200") == seen:
            age(0.25)
            waited += 0.25
            await asyncio.sleep(TICK_S * 1.2)  # the engine looks at its timers, what it sends arrives
        gaps.append(waited)
    assert gaps[0] <= 0.75
    assert max(gaps) <= 4.25
    assert gaps[-1] > 3


async def test_fault_8_nothing_is_sent_before_the_application_speaks(rig: Rig, peer: Peer) -> None:
    """The open row must be on disk before 100: else a crash loses a call that the caller believes in."""
    call = peer.invite()
    leg = await rig.leg()
    await peer.fence()
    assert peer.count("SIP/2.0 1") == 0
    peer.invite(call)
    await peer.fence()
    assert (peer.count("SIP/2.0 1"), rig.offered.empty()) == (0, True)
    leg.trying()
    await peer.status(100)


async def test_fault_9_reliable_provisionals_are_never_asked_of_us_or_by_us(rig: Rig, peer: Peer) -> None:
    """No PRACK, no TCP: we say so, and do not send what we can't keep."""
    peer.invite(extra="Supported: 100rel, timer")
    leg = await rig.leg()
    leg.progress(SDP)
    early = await peer.status(183)
    assert (early.all("require"), early.all("rseq")) == ([], [])
    leg.answer(SDP)
    ok = await peer.status(200)
    assert "PRACK" not in ok.one("allow")
    assert ok.all("require") == []
