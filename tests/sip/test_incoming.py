"""Calls that come to us: what the caller sees, and what the application is told."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sip_peer import SDP, SDP2, Call, Message, Peer, Rig, age, event, until

from simrack.sip.legs import Connected, Disconnected, Failed, IncomingLeg, Info, Update


async def answered(rig: Rig, peer: Peer) -> tuple[IncomingLeg, Call, Message]:
    """A call in the middle of talking."""
    call = peer.invite()
    leg = await rig.leg()
    leg.trying()
    leg.answer(SDP)
    ok = await peer.status(200)
    call.target = ok.one("contact").strip("<>")
    peer.ack(call, ok)
    assert isinstance(await event(leg), Connected)
    await peer.fence()
    return leg, call, ok


async def test_answered_call_and_caller_hangs_up(rig: Rig, peer: Peer) -> None:
    call = peer.invite(extra="X-Simrack-Call: forged")
    leg = await rig.leg()
    assert (leg.request.called, leg.request.calling, leg.request.sdp) == ("+4930123", "+4940999", SDP)
    assert leg.request.source == peer.address
    leg.trying()
    assert (await peer.next()).status == 100
    leg.ring()
    ringing = await peer.status(180)
    leg.progress(SDP2)
    early = await peer.status(183)
    assert early.body == SDP2
    leg.answer(SDP, [("X-Extra", "1")])
    ok = await peer.status(200)
    assert (ok.body, ok.one("x-extra"), ok.to_tag) == (SDP, "1", ringing.to_tag)
    connected = await event(leg)
    assert isinstance(connected, Connected)
    assert connected.ids.call_id == call.call_id
    assert (connected.ids.local_tag, connected.ids.remote_tag) == (ok.to_tag, call.from_tag)
    assert connected.ids.remote_target == f"sip:me@{peer.hostport}"
    assert connected.ids.remote_address == peer.hostport
    assert connected.ids.local_cseq > 0
    call.target = ok.one("contact").strip("<>")
    peer.ack(call, ok)
    peer.within("BYE", call, extra='Reason: Q.850;cause=31;text="done"')
    assert (await peer.status(200, "BYE")).status == 200
    assert await event(leg) == Disconnected(31, "done", "remote")
    assert rig.stack.legs == 0


async def test_we_hang_up_with_a_reason(rig: Rig, peer: Peer) -> None:
    leg, call, _ = await answered(rig, peer)
    leg.hang_up(34, "no channel")
    bye = await peer.request("BYE")
    assert bye.one("reason") == 'Q.850;cause=34;text="no channel"'
    assert (bye.one("call-id"), bye.to_tag, bye.from_tag) == (call.call_id, call.from_tag, call.to_tag)
    assert await event(leg) == Disconnected(34, "no channel", "local")
    assert leg.events.empty()


async def test_bye_waits_for_the_ack(rig: Rig, peer: Peer) -> None:
    """RFC 3261 15: a BYE before the ACK confuses callers; the application need not care."""
    call = peer.invite()
    leg = await rig.leg()
    leg.answer(SDP)
    ok = await peer.status(200)
    leg.hang_up(16)
    await peer.fence()
    assert peer.count("BYE") == 0
    call.target = ok.one("contact").strip("<>")
    peer.ack(call, ok)
    await peer.request("BYE")


@pytest.mark.parametrize("stage", ["new", "trying", "ringing", "progress"])
async def test_cancel_ends_the_call_at_each_stage(rig: Rig, peer: Peer, stage: str) -> None:
    """A caller who gives up gets 200 for CANCEL and 487 for INVITE, and the application hears of it once."""
    call = peer.invite()
    leg = await rig.leg()
    steps = (leg.trying, leg.ring, partial(leg.progress, SDP))
    for step in steps[: ("new", "trying", "ringing", "progress").index(stage)]:
        step()
    peer.send(peer.build("CANCEL", call))
    await peer.status(200, "CANCEL")
    terminated = await peer.status(487)
    peer.ack(call, terminated)
    tags = {message.to_tag for message in peer.heard if message.status > 100 and message.method == "INVITE"}
    assert tags == {terminated.to_tag}
    assert await event(leg) == Failed(487, 16, "cancelled", "remote")
    leg.trying()
    leg.answer(SDP)
    leg.reject(486, 17)
    leg.hang_up(16)
    await peer.fence()
    assert leg.events.empty()
    assert peer.count("SIP/2.0 487") == 1


async def test_cancel_with_its_reason(rig: Rig, peer: Peer) -> None:
    call = peer.invite()
    leg = await rig.leg()
    leg.ring()
    peer.send(peer.build("CANCEL", call, extra='Reason: SIP;cause=200\r\nReason: Q.850;cause=26;text="elsewhere"'))
    assert await event(leg) == Failed(487, 26, "elsewhere", "remote")


async def test_cancel_after_the_answer_changes_nothing(rig: Rig, peer: Peer) -> None:
    """CANCEL that crosses our 200: the call stands until the caller's BYE (RFC 3261 9.2)."""
    call = peer.invite()
    leg = await rig.leg()
    leg.answer(SDP)
    ok = await peer.status(200)
    peer.send(peer.build("CANCEL", call))
    await peer.next(lambda message: message.method == "CANCEL")
    assert isinstance(await event(leg), Connected)
    assert leg.events.empty()
    call.target = ok.one("contact").strip("<>")
    peer.ack(call, ok)
    peer.within("BYE", call)
    assert await event(leg) == Disconnected(16, "", "remote")


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(("status", "cause"), [(486, 17), (404, 1), (503, 34), (480, 41), (484, 28), (603, 21)])
async def test_refusal_carries_status_and_cause(
    rig: Rig, peer: Peer, status: int, cause: int, prepared: bool
) -> None:
    call = peer.invite()
    leg = await rig.leg()
    if prepared:
        leg.trying()
        leg.ring()
    leg.reject(status, cause, "because", [("X-Why", "test")])
    final = await peer.status(status)
    peer.ack(call, final)
    assert final.one("reason") == f'Q.850;cause={cause};text="because"'
    assert final.one("x-why") == "test"
    assert await event(leg) == Failed(status, cause, "because", "local")
    assert peer.count("SIP/2.0 100") == prepared


async def test_challenge_has_one_header_for_each_algorithm(rig: Rig, peer: Peer) -> None:
    call = peer.invite()
    leg = await rig.leg()
    challenges = [("WWW-Authenticate", f'Digest realm="r", nonce="{n}", algorithm={n}') for n in ("SHA-256", "MD5")]
    leg.reject(401, 21, headers=challenges)
    final = await peer.status(401)
    assert final.all("www-authenticate") == [value for _, value in challenges]
    peer.ack(call, final)
    call.branch += "x"
    call.cseq += 1
    call.to_tag = ""
    peer.invite(call, extra='Authorization: Digest username="a", realm="r"')
    again = await rig.leg()
    assert again.request.authorization == 'Digest username="a", realm="r"'
    assert again.request.call_id == call.call_id
    again.reject(403, 21)
    await peer.status(403)


async def test_hang_up_before_the_answer_is_a_refusal(rig: Rig, peer: Peer) -> None:
    peer.invite()
    leg = await rig.leg()
    leg.ring()
    leg.hang_up(17)
    assert (await peer.status(486)).one("reason").startswith("Q.850;cause=17;")


async def test_retransmitted_invite_is_one_call(rig: Rig, peer: Peer) -> None:
    """Retransmissions are absorbed before the application answers, and get the last response after."""
    call = peer.invite()
    leg = await rig.leg()
    peer.invite(call)
    peer.invite(call)
    await peer.fence()
    assert peer.count("SIP/2.0 100") == 0
    leg.ring()
    await peer.status(180)
    peer.invite(call)
    await peer.status(180)
    leg.reject(486, 17)
    await peer.status(486)
    peer.invite(call)
    await peer.status(486)
    assert rig.offered.empty()


async def test_lost_ack_ends_the_call(rig: Rig, peer: Peer) -> None:
    """Without the ACK the 200 is repeated for 32 s, then the call ends with a BYE (RFC 3261 13.3.1.4)."""
    peer.invite()
    leg = await rig.leg()
    leg.answer(SDP)
    await peer.status(200)
    assert isinstance(await event(leg), Connected)
    age(0.6)
    await peer.status(200)
    age(40)
    await peer.request("BYE")
    assert await event(leg) == Disconnected(102, "no ACK", "remote")


async def test_bye_before_the_ack_ends_the_answering(rig: Rig, peer: Peer) -> None:
    call = peer.invite()
    leg = await rig.leg()
    leg.answer(SDP)
    ok = await peer.status(200)
    call.to_tag, call.target = ok.to_tag, ok.one("contact").strip("<>")
    assert isinstance(await event(leg), Connected)
    peer.within("BYE", call)
    await peer.status(200, "BYE")
    assert await event(leg) == Disconnected(16, "", "remote")
    oks = sum(message.method == "INVITE" for message in peer.heard)
    age(10)
    await peer.fence()
    assert sum(message.method == "INVITE" for message in peer.heard) == oks


async def test_expired_invite_fails(rig: Rig, peer: Peer) -> None:
    """A caller's Expires is kept: 487 when nobody answered in time (RFC 3261 13.3.1)."""
    peer.invite(extra="Expires: 30")
    leg = await rig.leg()
    leg.ring()
    age(31)
    await peer.status(487)
    assert await event(leg) == Failed(487, 102, "request expired", "remote")


async def test_reinvite_is_accepted(rig: Rig, peer: Peer) -> None:
    leg, call, _ = await answered(rig, peer)
    peer.within("INVITE", call, body=SDP2)
    assert await event(leg) == Update(SDP2)
    leg.accept_update(SDP)
    ok = await peer.status(200)
    assert ok.body == SDP
    peer.ack(call, ok)
    leg.hang_up(16)
    await peer.request("BYE")


async def test_reinvite_is_refused_and_the_call_goes_on(rig: Rig, peer: Peer) -> None:
    leg, call, _ = await answered(rig, peer)
    peer.within("INVITE", call, body=SDP2)
    await event(leg)
    leg.refuse_update(488)
    peer.ack(call, await peer.status(488))
    peer.within("INVITE", call, body=SDP2)
    assert await event(leg) == Update(SDP2)
    leg.refuse_update(488)
    peer.ack(call, await peer.status(488))
    leg.hang_up(16)
    await peer.request("BYE")


async def test_we_hang_up_while_a_reinvite_waits(rig: Rig, peer: Peer) -> None:
    """The BYE waits for no ACK then: none would ever come."""
    leg, call, _ = await answered(rig, peer)
    peer.within("INVITE", call, body=SDP2)
    await event(leg)
    leg.hang_up(16)
    await peer.status(487)
    await peer.request("BYE")


async def test_reinvite_without_sdp_asks_for_our_offer(rig: Rig, peer: Peer) -> None:
    """A late offer: our 200 offers, the ACK answers; the library would put the call on hold."""
    leg, call, _ = await answered(rig, peer)
    peer.within("INVITE", call)
    assert await event(leg) == Update(None)
    leg.accept_update(SDP)
    ok = await peer.status(200)
    assert ok.body == SDP
    peer.ack(call, ok, body=SDP2)
    assert await event(leg) == Update(SDP2, answers=True)


async def test_late_offer_in_the_first_invite(rig: Rig, peer: Peer) -> None:
    call = peer.invite(body=b"")
    leg = await rig.leg()
    assert leg.request.sdp is None
    leg.answer(SDP)
    ok = await peer.status(200)
    assert isinstance(await event(leg), Connected)
    peer.ack(call, ok, body=SDP2)
    assert await event(leg) == Update(SDP2, answers=True)


async def test_session_refresh_is_answered_without_asking(rig: Rig, peer: Peer) -> None:
    leg, call, _ = await answered(rig, peer)
    peer.within("INVITE", call, body=SDP)
    ok = await peer.status(200)
    assert ok.body == SDP
    peer.ack(call, ok)
    await peer.fence()
    assert leg.events.empty()


async def test_second_reinvite_while_one_waits_is_pending(rig: Rig, peer: Peer) -> None:
    leg, call, _ = await answered(rig, peer)
    peer.within("INVITE", call, body=SDP2)
    await event(leg)
    peer.within("INVITE", call, body=SDP2)
    await peer.status(491)


async def test_cancelled_reinvite_leaves_the_call_standing(rig: Rig, peer: Peer) -> None:
    """The library would end the call."""
    leg, call, _ = await answered(rig, peer)
    call.cseq += 1
    peer.send(peer.build("INVITE", call, body=SDP2, branch="z9hG4bK-re"))
    await event(leg)
    peer.send(peer.build("CANCEL", call, branch="z9hG4bK-re"))
    await peer.status(487)
    await peer.fence()
    assert peer.count("BYE") == 0
    peer.within("BYE", call)
    assert isinstance(await event(leg), Disconnected)


async def test_we_offer_and_the_answer_comes(rig: Rig, peer: Peer) -> None:
    leg, call, _ = await answered(rig, peer)
    leg.offer(SDP2)
    invite = await peer.request("INVITE")
    assert invite.body == SDP2
    peer.reply(invite, 200, body=SDP)
    await peer.request("ACK")
    assert await event(leg) == Update(SDP, answers=True)
    leg.offer(SDP2)
    peer.reply(await peer.request("INVITE"), 488)
    assert await event(leg) == Update(None, answers=True, status=488)
    peer.within("BYE", call)
    assert isinstance(await event(leg), Disconnected)


async def test_info_is_passed_on_and_answered(rig: Rig, peer: Peer) -> None:
    """DTMF by INFO reaches the application; the sender gets its 200."""
    leg, call, _ = await answered(rig, peer)
    peer.within("INFO", call, body=b"Signal=5\r\nDuration=160\r\n", kind="application/dtmf-relay")
    await peer.status(200, "INFO")
    assert await event(leg) == Info("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n")
    leg.info("application/dtmf-relay", b"Signal=7\r\n")
    ours = await peer.request("INFO")
    assert (ours.one("content-type"), ours.body) == ("application/dtmf-relay", b"Signal=7\r\n")


async def test_stale_cseq_is_refused(rig: Rig, peer: Peer) -> None:
    _, call, _ = await answered(rig, peer)
    peer.within("INFO", call)
    await peer.status(200, "INFO")
    call.cseq -= 1
    peer.within("INFO", call)
    await peer.status(500, "INFO")


async def test_bye_after_the_end_is_answered(rig: Rig, peer: Peer) -> None:
    """Both sides hang up at once: the other's BYE gets its 200 too."""
    leg, call, _ = await answered(rig, peer)
    leg.hang_up(16)
    await peer.request("BYE")
    peer.within("BYE", call)
    await peer.status(200, "BYE")


async def test_route_set_is_kept(rig: Rig, peer: Peer) -> None:
    """Behind proxies every request of ours carries the recorded route, and goes to its first hop."""
    routes = [f"<sip:{peer.hostport};lr>", "<sip:edge.example;lr>"]
    call = peer.invite(extra="".join(f"Record-Route: {route}\r\n" for route in routes))
    leg = await rig.leg()
    leg.answer(SDP)
    ok = await peer.status(200)
    assert ok.all("record-route") == routes
    connected = await event(leg)
    assert isinstance(connected, Connected)
    assert connected.ids.route_set == tuple(routes)
    peer.ack(call, ok)
    leg.hang_up(16)
    assert (await peer.request("BYE")).all("route") == routes


async def test_contact_with_a_host_name_is_reached_where_it_came_from(rig: Rig, peer: Peer) -> None:
    """No name look-up may block the loop; a direct peer is where its packets come from."""
    call = peer.invite(contact="<sip:me@pbx.invalid:5099>")
    leg = await rig.leg()
    leg.answer(SDP)
    peer.ack(call, await peer.status(200))
    leg.hang_up(16)
    assert (await peer.request("BYE")).start.startswith("BYE sip:me@127.0.0.1:")


async def test_non_ascii_text_passes_unharmed(rig: Rig, peer: Peer) -> None:
    """Display names in UTF-8, and Latin-1 inside SDP, whose length is counted in octets."""
    name = "Jörg Åström"
    sdp = SDP.replace(b"s=-", b"s=gr\xfc\xdfe")
    call = peer.new_call()
    data = peer.build("INVITE", call, body=sdp).decode("latin-1")
    peer.send(data.replace("From: ", f'From: "{name.encode().decode("latin-1")}" ').encode("latin-1"))
    leg = await rig.leg()
    assert leg.request.sdp == sdp
    assert name in leg.request.headers["from"]
    leg.answer(sdp)
    ok = await peer.status(200)
    assert (ok.body, int(ok.one("content-length"))) == (sdp, len(sdp))
    assert name in ok.one("from")


async def test_octets_that_are_no_utf_8_are_read_as_latin_1(rig: Rig, peer: Peer) -> None:
    """Such a name kept the call from the database: the sender heard nothing at all, and there was no record."""
    call = peer.new_call()
    data = peer.build("INVITE", call, body=SDP).decode()
    peer.send(data.replace("From: <sip:", 'From: "J\xf6rg" <sip:\xff').encode("latin-1"))
    leg = await rig.leg()
    assert leg.request.calling.startswith("ÿ")
    leg.request.headers["from"].encode()
    leg.reject(404, 27)
    assert "Jörg" in (await peer.status(404)).one("from")


async def test_stop_gives_each_leg_its_last_event(rig: Rig, peer: Peer) -> None:
    leg, _, _ = await answered(rig, peer)
    peer.invite()
    fresh = await rig.leg()
    await rig.stack.stop()
    assert await event(leg) == Disconnected(41, "stack stopped", "local")
    assert await event(fresh) == Failed(503, 41, "stack stopped", "local")
    await until(lambda: rig.stack.legs == 0)


async def test_bye_is_passed_on_before_it_is_answered(
    rig: Rig, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the caller asks again; the other way round its far end would speak to nobody, and cost."""
    leg, call, _ = await answered(rig, peer)
    far = await Peer.open(rig.stack.address)
    out = rig.dial(far)
    far.reply(await far.request("INVITE"), 200, body=SDP)
    assert isinstance(await event(out), Connected)
    order: list[str] = []

    async def pass_on() -> None:
        while not isinstance(await leg.events.get(), Disconnected):
            pass
        out.hang_up(16)
        order.append("passed on")

    relay = asyncio.create_task(pass_on())
    send = rig.stack._engine.manager.server.send_to

    def watched(data: str | bytes, address: tuple[str, int], delayed: bool = False) -> None:
        order.append(str(data).split("\r")[0])
        send(data, address, delayed)

    monkeypatch.setattr(rig.stack._engine.manager.server, "send_to", watched)
    number = peer.within("BYE", call)
    peer.send(peer.build("BYE", call, branch="z9hG4bK-again", cseq=number))
    await peer.status(200, "BYE")
    await relay
    assert order[0].startswith("BYE ")
    assert order.index("passed on") < order.index("SIP/2.0 200 OK")
    assert not peer.count("SIP/2.0 500"), "a repeat that was read in the same turn"
    far.close()
