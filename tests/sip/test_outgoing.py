"""Calls that we place: what the called side sees, and what the application is told."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time

import pytest
from sip_peer import SDP, SDP2, Message, OpenPeer, Peer, Rig, age, event, until

from simrack.sip import calls
from simrack.sip.errors import WrongStage
from simrack.sip.legs import Connected, Disconnected, Failed, Leg, Progress, Ringing, Trying, Update


async def placed(rig: Rig, peer: Peer) -> tuple[Leg, Message]:
    """An answered call."""
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 200, body=SDP)
    assert isinstance(await event(leg), Connected)
    await peer.request("ACK")
    return leg, invite


async def ringing(rig: Rig, peer: Peer) -> tuple[Leg, Message]:
    """A call that the far end has said rings."""
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 180)
    assert await event(leg) == Ringing()
    return leg, invite


async def test_answered_call_and_called_party_hangs_up(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer, display="Jörg", headers={"X-Simrack-Call": "c-1"}, sdp=SDP2)
    invite = await peer.request("INVITE")
    assert invite.start == f"INVITE sip:4930123@{peer.hostport} SIP/2.0"
    assert (invite.body, invite.one("x-simrack-call")) == (SDP2, "c-1")
    assert "Jörg" in invite.one("from")
    assert "4940999" in invite.one("from")
    assert invite.one("call-id") == leg.ids.call_id
    peer.reply(invite, 100)
    assert await event(leg) == Trying()
    peer.reply(invite, 180)
    assert await event(leg) == Ringing()
    peer.reply(invite, 183, body=SDP)
    assert await event(leg) == Progress(SDP)
    peer.reply(invite, 200, body=SDP)
    connected = await event(leg)
    assert isinstance(connected, Connected)
    assert connected.sdp == SDP
    ids = connected.ids
    assert (ids.local_tag, ids.remote_tag) == (invite.from_tag, "peer")
    assert (ids.remote_target, ids.remote_address) == (f"sip:peer@{peer.hostport}", peer.hostport)
    assert ids.local_cseq == invite.cseq + 1
    ack = await peer.request("ACK")
    assert (ack.to_tag, ack.cseq) == ("peer", invite.cseq)
    peer.from_callee("BYE", invite, 1, extra='Reason: Q.850;cause=16;text="Normal"')
    await peer.status(200, "BYE")
    assert await event(leg) == Disconnected(16, "Normal", "remote")
    assert leg.events.empty()
    assert rig.stack.legs == 0


async def test_we_hang_up(rig: Rig, peer: Peer) -> None:
    leg, invite = await placed(rig, peer)
    leg.hang_up(31, "limit")
    bye = await peer.request("BYE")
    assert (bye.one("reason"), bye.cseq) == ('Q.850;cause=31;text="limit"', invite.cseq + 1)
    assert await event(leg) == Disconnected(31, "limit", "local")


@pytest.mark.parametrize(
    ("status", "reason", "cause", "text"),
    [
        (486, "", 17, "Words"), (404, "", 1, "Words"), (503, "", 41, "Words"), (480, "", 18, "Words"),
        (503, 'Reason: Q.850;cause=44;text="taken"', 44, "taken"), (603, "Reason: Q.850;cause=21", 21, "Words"),
        (480, 'Reason: SIP;cause=480\r\nReason: Q.850;cause=19;text="a;b, c"', 19, "a;b, c"),
        (500, "Reason: garbage", 41, "Words"), (302, "", 127, "Words"), (699, "", 127, "Words"),
    ],
)  # fmt: skip
async def test_refusal_is_told_with_its_cause(
    rig: Rig, peer: Peer, status: int, reason: str, cause: int, text: str
) -> None:
    """The cause decides whether the next candidate is tried; the Reason header goes before the status."""
    rig.trusted.add("127.0.0.1")
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, status, "Words", extra=f"{reason}\r\nX-Simrack-Refusal: taken")
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.cause, failed.text, failed.side) == (status, cause, text, "remote")
    assert (failed.headers["x-simrack-refusal"], failed.no_response) == ("taken", False)
    ack = await peer.request("ACK")
    assert (ack.branch, ack.to_tag) == (invite.branch, "peer")
    assert rig.stack.legs == 0


async def test_silent_host_fails_soon_and_is_left_alone(rig: Rig, peer: Peer) -> None:
    """Failover must not wait 32 s; and a host that wakes up late must not ring for an abandoned call."""
    leg = rig.dial(peer, no_response_s=0.05)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.no_response, failed.side) == (True, "local")
    sent = peer.count("INVITE")
    age(3)
    await peer.fence()
    assert peer.count("INVITE") == sent


async def test_stalled_host_finds_the_cancel_behind_the_invite(rig: Rig, peer: Peer) -> None:
    """A box that was frozen for seconds dialled the number beside the box that had taken the call over."""
    leg = rig.dial(peer, no_response_s=0.05)
    await event(leg)
    invite, cancel = await peer.request("INVITE"), await peer.request("CANCEL")
    assert (cancel.branch, cancel.cseq) == (invite.branch, invite.cseq)
    assert "cause=102" in cancel.one("reason")
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    await peer.request("ACK")
    assert rig.stack.legs == 0


def stand_still(seconds: float) -> None:
    """What SIGSTOP does to the process."""
    time.sleep(seconds)


async def test_answer_that_came_while_we_stood_still_is_heard(rig: Rig, peer: Peer) -> None:
    """A controller that was frozen past its patience with a box asked another one while the first was dialling."""
    leg = rig.dial(peer, no_response_s=0.1)
    invite = await peer.request("INVITE")
    stand_still(0.4)
    # Behind much else in the socket, or in a loop that looks at its timers first: it is read after the timer.
    asyncio.get_running_loop().call_later(0.1, peer.reply, invite, 100)
    assert isinstance(await event(leg), Trying)
    await peer.fence()
    assert leg.events.empty()
    assert peer.count("CANCEL") == 0


async def test_silence_after_we_stood_still_counts(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer, no_response_s=0.1)
    await peer.request("INVITE")
    stand_still(0.4)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert failed.no_response
    await peer.request("CANCEL")


async def test_late_ringing_of_an_abandoned_call_is_cancelled(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer, no_response_s=0.05)
    invite = await peer.request("INVITE")
    await event(leg)
    peer.reply(invite, 180)
    cancel = await peer.request("CANCEL")
    assert cancel.branch == invite.branch
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    await peer.request("ACK")
    assert leg.events.empty()


async def test_late_answer_of_an_abandoned_call_is_ended(rig: Rig, peer: Peer) -> None:
    """A late 200 is acknowledged and ended, or the called party would talk to nobody (routing)."""
    leg = rig.dial(peer, no_response_s=0.05)
    invite = await peer.request("INVITE")
    await event(leg)
    peer.reply(invite, 200, body=SDP)
    await peer.request("ACK")
    peer.reply(await peer.request("BYE"), 200)
    await peer.fence()
    assert leg.events.empty()


async def test_first_response_ends_the_wait(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer, no_response_s=0.1, ring_s=0.3)
    invite = await peer.request("INVITE")
    peer.reply(invite, 100)
    assert await event(leg) == Trying()
    cancel = await peer.request("CANCEL")
    assert cancel.one("reason").startswith("Q.850;cause=19;")
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.cause, failed.no_response) == (19, False)


async def test_nobody_answers(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer, ring_s=0.05)
    invite = await peer.request("INVITE")
    peer.reply(invite, 180)
    assert await event(leg) == Ringing()
    peer.reply(await peer.request("CANCEL"), 200)
    peer.reply(invite, 487)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.cause, failed.side) == (487, 19, "local")


@pytest.mark.parametrize("heard", [100, 180, 183])
async def test_we_cancel_at_each_stage(rig: Rig, peer: Peer, heard: int) -> None:
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, heard, body=SDP if heard == 183 else b"")
    await event(leg)
    leg.hang_up(16, "caller gone")
    leg.hang_up(17, "twice")
    cancel = await peer.request("CANCEL")
    assert (cancel.branch, cancel.cseq, cancel.one("reason")) == (
        invite.branch, invite.cseq, 'Q.850;cause=16;text="caller gone"',
    )  # fmt: skip
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    await peer.request("ACK")
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.cause, failed.text, failed.side) == (487, 16, "caller gone", "local")
    assert peer.count("CANCEL") == 1


async def test_we_cancel_before_any_response(rig: Rig, peer: Peer) -> None:
    """CANCEL may only follow a provisional response (RFC 3261 9.1); its Reason is not lost meanwhile."""
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    leg.hang_up(16, "gone")
    await peer.fence()
    assert peer.count("CANCEL") == 0
    peer.reply(invite, 100)
    cancel = await peer.request("CANCEL")
    assert cancel.one("reason") == 'Q.850;cause=16;text="gone"'
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    assert isinstance(await event(leg), Failed)


async def test_cancel_towards_a_silent_host(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer, no_response_s=0.05)
    leg.hang_up(16, "gone")
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.cause, failed.no_response, failed.side) == (487, 16, True, "local")


@pytest.mark.parametrize("cancelled_before", [False, True])
async def test_leg_to_a_lost_box_is_given_up_at_once(rig: Rig, peer: Peer, *, cancelled_before: bool) -> None:
    """An INVITE that was repeated reached the box's next run, which had given the channel to another call."""
    leg = rig.dial(peer, no_response_s=1000)
    invite = await peer.request("INVITE")
    if cancelled_before:
        leg.hang_up(16, "gone")
    leg.give_up(38, "box lost")
    failed = await event(leg)
    assert isinstance(failed, Failed)
    expected = (487, 16 if cancelled_before else 38, True, "local")
    assert (failed.status, failed.cause, failed.no_response, failed.side) == expected
    cancel = await peer.request("CANCEL")
    assert (cancel.branch, cancel.cseq) == (invite.branch, invite.cseq)
    assert f"cause={expected[1]}" in cancel.one("reason")
    sent = peer.count("INVITE")
    age(3)
    await peer.fence()
    assert peer.count("INVITE") == sent
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    await peer.request("ACK")
    assert rig.stack.legs == 0


async def test_ringing_leg_to_a_lost_box_is_cancelled(rig: Rig, peer: Peer) -> None:
    """The box may live on: its last word is waited for as after any other cancellation."""
    leg, invite = await ringing(rig, peer)
    leg.give_up(38, "box lost")
    cancel = await peer.request("CANCEL")
    assert leg.events.empty()
    peer.reply(cancel, 200)
    peer.reply(invite, 487)
    assert isinstance(await event(leg), Failed)


async def test_cancelled_call_without_last_word(rig: Rig, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A far end that never sends the 487 does not hold the call for ever (RFC 3261 9.1)."""
    monkeypatch.setattr(calls, "CANCEL_WAIT_S", 0.05)
    leg, _invite = await ringing(rig, peer)
    leg.hang_up(16)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.side, failed.no_response) == (487, "local", False)


async def test_call_that_only_rings_is_not_a_silent_host(rig: Rig, peer: Peer) -> None:
    """Time-out after 180: the next candidate is tried by its cause, but the box is not called unreachable."""
    leg = rig.dial(peer, ring_s=1000)
    peer.reply(await peer.request("INVITE"), 180)
    assert await event(leg) == Ringing()
    age(301)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.cause, failed.side, failed.no_response) == (408, 102, "local", False)


@pytest.mark.parametrize("heard", [0, 180])
async def test_cancel_that_crosses_the_answer(rig: Rig, peer: Peer, heard: int) -> None:
    """The network connected first: ACK, then BYE, and the events tell that the call was answered (routing)."""
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    if heard:
        peer.reply(invite, heard)
        await event(leg)
    leg.hang_up(16, "gone")
    peer.reply(invite, 200, body=SDP)
    connected = await event(leg)
    assert isinstance(connected, Connected)
    assert (connected.sdp, connected.ids.remote_tag) == (SDP, "peer")
    assert await event(leg) == Disconnected(16, "gone", "local")
    bye = await peer.request("BYE")
    assert (bye.to_tag, bye.one("reason")) == ("peer", 'Q.850;cause=16;text="gone"')
    order = [m.start.split()[0] for m in peer.heard if m.start.split()[0] in ("ACK", "BYE")]
    assert order == ["ACK", "BYE"]


async def test_refusal_that_crosses_our_cancel(rig: Rig, peer: Peer) -> None:
    leg, invite = await ringing(rig, peer)
    leg.hang_up(16, "gone")
    peer.reply(invite, 486)
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.cause, failed.side) == (486, 16, "local")


@pytest.mark.parametrize(("algorithm", "function"), [("MD5", hashlib.md5), ("SHA-256", hashlib.sha256)])
async def test_peer_that_challenges_gets_credentials(rig: Rig, peer: Peer, algorithm: str, function: object) -> None:
    leg = rig.dial(peer, username="rack", password="pw")
    first = await peer.request("INVITE")
    peer.reply(first, 401, extra=f'WWW-Authenticate: Digest realm="r", nonce="n1", algorithm={algorithm}, qop="auth"')
    second = await peer.next(lambda message: message.start.startswith("INVITE ") and message.cseq > first.cseq)
    assert second.cseq == first.cseq + 1
    assert second.one("call-id") == first.one("call-id")
    found = dict(re.findall(r'(\w+)="?([^",]+)"?', second.one("authorization")))
    assert found["uri"] == second.start.split()[1]

    def digest(text: str) -> str:
        return str(function(text.encode()).hexdigest())  # type: ignore[operator]

    middle = f"{found['nonce']}:{found['nc']}:{found['cnonce']}:auth"
    assert found["response"] == digest(
        f"{digest('rack:r:pw')}:{middle}:{digest('INVITE:' + second.start.split()[1])}"
    )
    peer.reply(second, 200, body=SDP)
    assert isinstance(await event(leg), Connected)


@pytest.mark.parametrize("challenge", ['Digest realm="r", nonce="n"', "Digest", 'Foo bar="', "Digest realm=,,,=\"\""])
async def test_challenge_that_we_cannot_meet_fails_the_call(rig: Rig, peer: Peer, challenge: str) -> None:
    """Without credentials, or with nonsense for a challenge, the call fails; nothing hangs."""
    leg = rig.dial(peer, username="rack" if "realm=," in challenge or challenge == "Digest" else "", password="x")
    peer.reply(await peer.request("INVITE"), 401, extra=f"WWW-Authenticate: {challenge}")
    failed = await event(leg)
    assert isinstance(failed, Failed)
    assert failed.status == 401
    await peer.request("ACK")


async def test_called_party_offers_anew(rig: Rig, peer: Peer) -> None:
    leg, invite = await placed(rig, peer)
    peer.from_callee("INVITE", invite, 1, body=SDP2)
    assert await event(leg) == Update(SDP2)
    leg.accept_update(SDP)
    assert (await peer.status(200)).body == SDP


async def test_call_without_offer_gets_one(rig: Rig, peer: Peer) -> None:
    """Late offer passed through: the answer goes out in the ACK."""
    leg = rig.dial(peer, sdp=None)
    invite = await peer.request("INVITE")
    assert invite.body == b""
    peer.reply(invite, 200, body=SDP)
    connected = await event(leg)
    assert isinstance(connected, Connected)
    assert connected.sdp == SDP
    leg.accept_update(SDP2)
    assert (await peer.request("ACK")).body == SDP2


async def test_glare_is_refused_and_both_calls_live(rig: Rig, peer: Peer) -> None:
    """Both offer at once: 491 on both sides (RFC 3261 14.1), the session stays."""
    leg, invite = await placed(rig, peer)
    leg.offer(SDP2)
    ours = await peer.request("INVITE")
    peer.from_callee("INVITE", invite, 1, body=SDP2)
    await peer.status(491)
    peer.reply(ours, 491)
    assert await event(leg) == Update(None, answers=True, status=491)
    leg.hang_up(16)
    await peer.request("BYE")


async def test_far_end_lost_the_dialog(rig: Rig, peer: Peer) -> None:
    """A re-INVITE answered 481 means that the call is gone over there (RFC 3261 12.2.1.2)."""
    leg, _ = await placed(rig, peer)
    leg.offer(SDP2)
    peer.reply(await peer.request("INVITE"), 481)
    assert await event(leg) == Update(None, answers=True, status=481)
    assert await event(leg) == Disconnected(41, "dialog lost", "remote")
    await peer.request("BYE")


async def test_challenge_that_crosses_our_cancel_starts_no_new_call(rig: Rig, peer: Peer) -> None:
    """The library would send a second INVITE with credentials, and the phone would ring for nobody."""
    leg = rig.dial(peer, username="rack", password="pw")
    invite = await peer.request("INVITE")
    peer.reply(invite, 100)
    await event(leg)
    leg.hang_up(16)
    peer.reply(invite, 401, extra='WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5, qop="auth"')
    await peer.request("ACK")
    assert isinstance(await event(leg), Failed)
    await peer.fence()
    assert peer.count("INVITE") == 1


async def test_offer_before_the_answer_is_a_mistake(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer)
    with pytest.raises(WrongStage):
        leg.offer(SDP)
    leg.accept_update(SDP)
    leg.refuse_update(488)
    leg.info("a/b", b"")


@pytest.mark.parametrize("headers", [{"X-A": "1\r\nEvil: 1"}, {"X-A\r\n": "1"}, {"X-A": "a\0"}])
async def test_header_values_cannot_start_lines(rig: Rig, peer: Peer, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        rig.dial(peer, headers=headers)
    assert rig.stack.legs == 0


async def test_one_offer_at_a_time(rig: Rig, peer: Peer) -> None:
    leg, _ = await placed(rig, peer)
    leg.offer(SDP2)
    leg.offer(SDP)
    assert await event(leg) == Update(None, answers=True, status=491)


async def test_route_set_of_the_called_side(rig: Rig, peer: Peer, open_peer: OpenPeer) -> None:
    proxy = await open_peer()
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    route = f"<sip:{proxy.hostport};lr>"
    peer.reply(invite, 200, body=SDP, extra=f"Record-Route: <sip:far.example;lr>\r\nRecord-Route: {route}")
    connected = await event(leg)
    assert isinstance(connected, Connected)
    assert connected.ids.route_set == (route, "<sip:far.example;lr>")
    assert (await proxy.request("ACK")).all("route") == [route, "<sip:far.example;lr>"]
    leg.hang_up(16)
    assert (await proxy.request("BYE")).all("route") == [route, "<sip:far.example;lr>"]


async def test_answer_without_to_tag_is_no_answer(rig: Rig, peer: Peer) -> None:
    leg = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 100)
    await event(leg)
    peer.reply(invite, 200, tag="", body=SDP)
    await until(lambda: "To tag" in rig.suspects)
    assert leg.events.empty()


@pytest.mark.parametrize("stage", ["INVITE", "CANCEL", "BYE"])
async def test_lost_requests_are_sent_again(rig: Rig, peer: Peer, stage: str) -> None:
    """UDP loses packets: each request comes again half a second later, until it is answered."""
    leg = rig.dial(peer, no_response_s=10)
    invite = await peer.request("INVITE")
    if stage != "INVITE":
        peer.reply(invite, 180 if stage == "CANCEL" else 200, body=SDP)
        await event(leg)
        leg.hang_up(16)
        await peer.request(stage)
    age(0.6)
    peer.reply(await peer.request(stage), 200, body=SDP if stage == "INVITE" else b"")
    seen = peer.count(stage)
    age(0.6)
    await peer.fence()
    assert (peer.count(stage), seen) == (2, 2)


async def test_offer_that_is_never_answered_leaves_the_call_standing(rig: Rig, peer: Peer) -> None:
    """A far end that is slow with a re-INVITE keeps its call; its late answer is acknowledged, so that it rests."""
    leg, _ = await placed(rig, peer)
    leg.offer(SDP2)
    invite = await peer.request("INVITE")
    age(33)
    assert await event(leg) == Update(None, answers=True, status=408)
    peer.reply(invite, 200, body=SDP)
    assert (await peer.request("ACK")).cseq == invite.cseq
    leg.offer(SDP)
    again = await peer.request("INVITE")
    peer.reply(again, 200, body=SDP2)
    assert await event(leg) == Update(SDP2, answers=True)
    assert not peer.count("BYE")
