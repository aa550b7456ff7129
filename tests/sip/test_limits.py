"""What one packet may cost: messages made to be expensive are refused before they are."""

from __future__ import annotations

import time

import pytest
from sip_peer import SDP, Call, Peer, Rig, age, event, until

from simrack.sip.legs import Connected, Failed, IncomingLeg
from simrack.sip.screen import MAX_LINES, MAX_MESSAGE, MAX_VIAS, screen

BASE = (
    "INVITE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:1@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:a@b>\r\n"
)
MULTI = "Content-Type: multipart/mixed;boundary=x\r\n\r\n"
COSTLY = {
    "1,000 Via headers": BASE + "Via: SIP/2.0/UDP 192.0.2.4;branch=z\r\n" * 1000,
    "3,000 Via values in one line": BASE + "Via: " + ",".join(["SIP/2.0/UDP 192.0.2.4"] * 3000),
    "a Via of slashes": BASE + "Via: " + "/ " * 30000,
    "a From of separators": BASE.replace("tag=1", "tag=1" + " ; = " * 15000),
    "white space without end": BASE.replace("h>\r\n", "h>;" + " " * 60000 + "\r\n", 1),
    "backslashes": BASE.replace("To: <", "To: " + '\\"' * 20000 + "<"),
    "brackets": BASE.replace("To: <", "To: " + "<" * 60000),
    "a start line of words": "INVITE " + "a " * 30000 + BASE,
    "a URI of at signs": BASE.replace("sip:1@h", "sip:" + "a@" * 30000),
    "folding without end": BASE + "X: a\r\n" + " b\r\n" * 15000,
    "20,000 empty names": BASE + ":\r\n" * 20000,
    "15,000 headers": BASE + "a:\r\n" * 15000,
    "carriage returns": BASE + "\r" * 60000,
    "commas": BASE + "Accept: " + "," * 60000,
    "10,000 options": BASE + "Require: " + "a," * 30000,
    "10,000 parts": BASE + MULTI + "--x\r\n" * 10000,
    "300 nested parts": BASE + MULTI + f"--x\r\n{MULTI}" * 300,
    "escapes": BASE.replace("1@h>", "1@h>;" + "%" * 60000),
}


@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("size", [MAX_MESSAGE - 500, 65_000])
def test_no_packet_costs_more_than_some_ms(name: str, size: int) -> None:
    """300 nested parts took 1.2 s: 16 KB a second from one address would have stopped all calls."""
    data = COSTLY[name].encode()[:size] + b"\r\n\r\n"
    cost = min(_seconds(data) for _ in range(3))
    assert cost < 0.03, f"{cost * 1000:.1f} ms of processor time"


def _seconds(data: bytes) -> float:
    begin = time.process_time()
    screen(data, trusted=False)
    return time.process_time() - begin


def test_bounds_of_what_is_read() -> None:
    """As many hops and lines as RFC 3261 lets a call have are no reason to refuse it."""
    vias = "Via: SIP/2.0/UDP 192.0.2.4;branch=z\r\n"
    assert screen((BASE + vias * (MAX_VIAS - 1) + "\r\n").encode(), trusted=False).refusal is None
    assert screen((BASE + vias * MAX_VIAS + "\r\n").encode(), trusted=False).refusal is not None
    assert screen((BASE + "a: b\r\n" * (MAX_LINES - 10) + "\r\n").encode(), trusted=False).refusal is None


def multipart(*parts: str, boundary: str = "b1") -> bytes:
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
    head = BASE + f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n'
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def test_sdp_is_found_among_parts_and_one_envelope_deeper() -> None:
    """Carriers send ISUP or a location beside the SDP; the call must find its voice."""
    sdp = "Content-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n" + SDP.decode()
    isup = "Content-Type: application/isup\r\n\r\n\x01\x11"
    inner = f"--in\r\n{sdp}\r\n--in--\r\n"
    for data in (
        multipart(isup, sdp), multipart(sdp, isup),
        multipart(isup, f"Content-Type: multipart/alternative;boundary=in\r\n\r\n{inner}"),
    ):  # fmt: skip
        screened = screen(data, trusted=False)
        assert screened.refusal is None
        assert screened.packet is not None
        assert (screened.packet.sdp or b"").strip() == SDP.strip()


@pytest.mark.parametrize("data", [multipart("Content-Type: text/plain\r\n\r\nhello"), multipart(), multipart("")])
def test_parts_without_sdp_are_refused(data: bytes) -> None:
    refusal = screen(data, trusted=False).refusal
    assert refusal is not None
    assert refusal.status == 415


async def test_an_answer_is_never_longer_than_a_few_kilobytes(rig: Rig, peer: Peer) -> None:
    """The largest datagram with a forged source must not make us send as much to whoever has that address."""
    vias = "".join(f"Via: SIP/2.0/UDP 192.0.2.{n};branch={'z' * 200}\r\n" for n in range(60))
    peer.send(peer.build("OPTIONS", peer.new_call()).replace(b"From:", vias.encode() + b"From:"))
    await peer.fence()
    assert len(peer.heard) == 1, "only the fence's"


async def test_largest_datagram_and_longest_line_are_refused_and_service_goes_on(rig: Rig, peer: Peer) -> None:
    """UDP carries 64 KB in fragments; a header line of 60 KB is one of them."""
    data = peer.build("INVITE", peer.new_call(), body=SDP)
    peer.send(data.replace(b"Max-Forwards: 70", b"X-Long: " + b"x" * 60_000))
    assert (await peer.next()).status == 513
    peer.send(data.replace(b"Max-Forwards: 70", b"X-Long: " + b"x" * (65_507 - len(data) - 10)))
    assert (await peer.next()).status == 513
    peer.invite()
    assert (await rig.leg()).request.called == "+4930123"


async def test_our_own_call_led_back_to_us_is_a_loop(rig: Rig, peer: Peer) -> None:
    """Two proxies that point at each other must not make one call into thousands (RFC 3261 16.3)."""
    rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.send(invite.raw.replace(b"\r\nVia:", f"\r\nVia: SIP/2.0/UDP {peer.hostport};branch=z9hG4bKloop\r\nVia:".encode(), 1))
    assert (await peer.status(482)).one("call-id") == invite.one("call-id")
    assert rig.offered.empty()


async def test_one_call_by_two_ways_is_one_call(rig: Rig, peer: Peer) -> None:
    """A forking proxy's second branch must not ring the called party twice (RFC 3261 8.2.2.2)."""
    call = peer.invite()
    leg = await rig.leg()
    data = peer.build("INVITE", call, body=SDP)
    peer.send(data.replace(call.branch.encode(), b"z9hG4bKother"))
    await peer.status(482)
    leg.ring()
    await peer.status(180)
    assert rig.offered.empty()


async def answered_call(rig: Rig, peer: Peer) -> tuple[IncomingLeg, Call]:
    call = peer.invite()
    leg = await rig.leg()
    leg.answer(SDP)
    assert isinstance(await event(leg), Connected)
    peer.ack(call, await peer.status(200))
    await peer.fence()
    return leg, call


async def test_bye_that_is_never_answered_leaves_nothing(rig: Rig, peer: Peer) -> None:
    """A client that was switched off in a call must not hold memory of ours for more than 64 T1."""
    leg, _call = await answered_call(rig, peer)
    leg.hang_up(16)
    await peer.request("BYE")
    manager = rig.stack._engine.manager

    def over() -> bool:
        age(8)
        return not (manager.tclient or manager.tserver or manager.req_consumers)

    await until(over)
    assert rig.stack.legs == 0


async def test_cancel_storm_ends_one_call_once(rig: Rig, peer: Peer) -> None:
    """A hundred CANCELs, right ones and strays: one 487, and the next call passes."""
    call = peer.invite()
    leg = await rig.leg()
    leg.trying()
    for number in range(100):
        peer.send(peer.build("CANCEL", call, extra=f"X-Number: {number}"))
        peer.send(peer.build("CANCEL", peer.new_call()))
        if number % 10 == 9:
            await peer.fence()  # or the kernel drops what the test itself sends
    assert {m.status for m in peer.heard if m.status >= 200 and m.method == "INVITE"} == {487}
    assert isinstance(await event(leg), Failed)
    assert leg.events.empty()
    await answered_call(rig, peer)
