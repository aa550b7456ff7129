"""Answered calls that an earlier run has left: after `adopt` the far end must not notice that anything happened."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from sip_peer import SDP, SDP2, Call, Message, Peer, Rig, event, until

from simrack.sip import adopted
from simrack.sip.adopted import AdoptedLeg, return_address
from simrack.sip.legs import Connected, DialogIds, Disconnected, Info, Leg, Probed, Update


@dataclass
class Taken:
    """A call that was answered by one run and taken up by the next."""

    rig: Rig
    peer: Peer
    leg: Leg
    call: Call
    ids: DialogIds
    ok: Message | None = None

    async def gone(self) -> None:
        await until(lambda: self.rig.stack.legs == 0)


async def restart(rig: Rig, peer: Peer) -> None:
    await rig.stack.stop()
    await rig.stack.start()
    peer.far = rig.stack.address
    peer.unread.clear()


async def called_us(rig: Rig, peer: Peer, *, acknowledged: bool = True, proxied: bool = False) -> Taken:
    """The sender's leg; without ACK the stored answer goes along."""
    call = peer.invite(extra=f"Record-Route: <sip:{peer.hostport};lr>" if proxied else "")
    leg = await rig.leg()
    leg.trying()
    leg.ring()
    text = leg.answer_text(SDP)
    leg.answer(SDP)
    ok = await peer.status(200)
    assert text.encode() == ok.raw, "what is stored is what was sent"
    connected = await event(leg)
    assert isinstance(connected, Connected)
    call.to_tag = ok.to_tag
    if acknowledged:
        peer.ack(call, ok)
    await restart(rig, peer)
    call.target = "sip:x@{}:{}".format(*peer.far)
    taken = rig.stack.adopt(connected.ids, "" if acknowledged else text)
    return Taken(rig, peer, taken, call, connected.ids, ok)


async def we_called(rig: Rig, peer: Peer) -> Taken:
    """The box's leg."""
    out = rig.dial(peer)
    invite = await peer.request("INVITE")
    peer.reply(invite, 200, body=SDP)
    connected = await event(out)
    assert isinstance(connected, Connected)
    await peer.request("ACK")
    await restart(rig, peer)
    call = Call(invite.one("call-id"), "peer", "z9hG4bK-x", 1, invite.from_tag, contact=f"<sip:peer@{peer.hostport}>")
    call.target = "sip:x@{}:{}".format(*peer.far)
    return Taken(rig, peer, rig.stack.adopt(connected.ids), call, connected.ids)


async def either(rig: Rig, peer: Peer, side: str) -> Taken:
    return await (called_us if side == "sender" else we_called)(rig, peer)


SIDES = pytest.mark.parametrize("side", ["sender", "box"])


@SIDES
async def test_far_end_hangs_up(rig: Rig, peer: Peer, side: str) -> None:
    """The BYE that comes after the restart is answered, with its cause; so is its repeat."""
    on = await either(rig, peer, side)
    peer.within("BYE", on.call, extra='Reason: Q.850;cause=31;text="done"')
    await peer.status(200, "BYE")
    assert await event(on.leg) == Disconnected(31, "done", "remote")
    peer.within("BYE", on.call)
    await peer.status(200, "BYE")
    await on.gone()


@SIDES
async def test_we_hang_up(rig: Rig, peer: Peer, side: str) -> None:
    """The BYE is repeated until it is answered, and its CSeq is higher than any that the run before has used."""
    on = await either(rig, peer, side)
    on.leg.hang_up(41, "bye")
    first = await peer.request("BYE")
    again = await peer.request("BYE")
    assert first.raw == again.raw
    assert first.cseq == on.ids.local_cseq + 1000
    assert (first.from_tag, first.to_tag) == (on.call.to_tag, on.call.from_tag)
    assert first.one("reason") == 'Q.850;cause=41;text="bye"'
    peer.reply(first, 200)
    assert await event(on.leg) == Disconnected(41, "bye", "local")


@SIDES
async def test_hold_and_resume(rig: Rig, peer: Peer, side: str) -> None:
    """A re-INVITE is told, its answer repeated until the ACK, and the next one works too."""
    on = await either(rig, peer, side)
    for offered, given in ((SDP2, SDP), (SDP, SDP2)):
        peer.within("INVITE", on.call, body=offered)
        assert await event(on.leg) == Update(offered)
        on.leg.accept_update(given)
        ok = await peer.status(200)
        assert ok.body == given
        again = await peer.status(200)
        assert again.raw == ok.raw
        peer.ack(on.call, ok)
    peer.within("INVITE", on.call, body=SDP2)
    assert await event(on.leg) == Update(SDP2)
    on.leg.refuse_update(488)
    peer.ack(on.call, await peer.status(488))


@SIDES
async def test_the_other_requests_of_a_dialog(rig: Rig, peer: Peer, side: str) -> None:
    on = await either(rig, peer, side)
    peer.within("INFO", on.call, body=b"Signal=5\r\n", kind="application/dtmf-relay")
    await peer.status(200, "INFO")
    assert await event(on.leg) == Info("application/dtmf-relay", b"Signal=5\r\n")
    for method in ("OPTIONS", "UPDATE"):
        peer.within(method, on.call)
        await peer.status(200, method)
    low = peer.build("INFO", on.call, cseq=on.call.cseq - 1, branch="z9hG4bK-low")
    peer.send(low)
    await peer.status(500, "INFO")


@SIDES
async def test_we_offer_and_inform(rig: Rig, peer: Peer, side: str) -> None:
    on = await either(rig, peer, side)
    on.leg.info("application/dtmf-relay", b"Signal=1\r\n")
    info = await peer.request("INFO")
    assert info.cseq == on.ids.local_cseq + 1000
    peer.reply(info, 200)
    on.leg.offer(SDP2)
    invite = await peer.request("INVITE")
    assert (invite.body, invite.cseq) == (SDP2, info.cseq + 1)
    peer.reply(invite, 200, body=SDP)
    assert (await peer.request("ACK")).cseq == invite.cseq
    assert await event(on.leg) == Update(SDP, answers=True)
    assert on.leg.ids.local_cseq == invite.cseq + 1


async def test_reinvites_of_both_sides_at_once(rig: Rig, peer: Peer) -> None:
    """Glare after a restart: the far end's is refused with 491, ours goes on (RFC 3261 14.2)."""
    on = await called_us(rig, peer)
    on.leg.offer(SDP2)
    ours = await peer.request("INVITE")
    peer.within("INVITE", on.call, body=SDP2)
    refused = await peer.status(491)
    peer.ack(on.call, refused)
    peer.reply(ours, 200, body=SDP)
    assert await event(on.leg) == Update(SDP, answers=True)


@pytest.mark.parametrize("wrong", ["from_tag", "to_tag"])
async def test_wrong_tags_are_another_dialog(rig: Rig, peer: Peer, wrong: str) -> None:
    on = await called_us(rig, peer)
    setattr(on.call, wrong, "other")
    peer.within("BYE", on.call)
    await peer.status(481, "BYE")
    assert rig.stack.legs == 1


async def test_stray_ack_is_silent(rig: Rig, peer: Peer) -> None:
    on = await called_us(rig, peer)
    assert on.ok is not None
    peer.ack(on.call, on.ok)
    await peer.fence()
    assert not peer.unread
    assert on.leg.events.empty()


async def test_request_that_the_run_before_has_seen_is_refused(rig: Rig, peer: Peer) -> None:
    """The INVITE's own CSeq is over: a request that was delayed over the restart must not act twice."""
    on = await called_us(rig, peer)
    assert on.ids.remote_cseq == on.call.cseq
    peer.send(peer.build("BYE", on.call, branch="z9hG4bK-old"))
    await peer.status(500, "BYE")
    assert rig.stack.legs == 1


async def test_identifiers_can_be_stored_again(rig: Rig, peer: Peer) -> None:
    """A second restart in one call: numbers go on upwards, and the route is kept."""
    on = await called_us(rig, peer, proxied=True)
    for count in (1, 2):
        again = on.leg.ids
        assert again == replace(on.ids, local_cseq=on.ids.local_cseq + 1000 * count)
        await restart(rig, peer)
        on.leg = rig.stack.adopt(again)
    on.leg.hang_up(16)
    bye = await peer.request("BYE")
    assert bye.cseq == on.ids.local_cseq + 3000
    assert bye.all("route") == [f"<sip:{peer.hostport};lr>"]
    peer.reply(bye, 200)


async def test_answer_that_nobody_heard_is_repeated_until_the_ack(rig: Rig, peer: Peer) -> None:
    """Killed between the disk's word and the 200: the caller rings on, and gets its answer from the next run."""
    on = await called_us(rig, peer, acknowledged=False)
    assert on.ok is not None
    first = await peer.status(200)
    assert first.raw == on.ok.raw
    peer.send(peer.build("INVITE", replace(on.call, to_tag="", target=""), body=SDP))
    again = await peer.status(200)
    assert again.raw == on.ok.raw
    assert rig.offered.empty(), "the repeated INVITE is no second call"
    peer.ack(on.call, again)
    await peer.fence()
    on.leg.hang_up(16)
    peer.reply(await peer.request("BYE"), 200)
    assert await event(on.leg) == Disconnected(16, "", "local")


async def test_bye_waits_for_the_missing_ack(rig: Rig, peer: Peer) -> None:
    """RFC 3261 15: a caller that has heard no 200 knows no dialog that a BYE could end."""
    on = await called_us(rig, peer, acknowledged=False)
    on.leg.hang_up(31, "network")
    assert await event(on.leg) == Disconnected(31, "network", "local")
    ok = await peer.status(200)
    assert not peer.count("BYE")
    peer.ack(on.call, ok)
    bye = await peer.request("BYE")
    assert bye.one("reason") == 'Q.850;cause=31;text="network"'
    peer.reply(bye, 200)


async def test_caller_that_never_acknowledges(rig: Rig, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller died with the run before: the call ends, so that nobody pays for silence."""
    monkeypatch.setattr(adopted, "GIVE_UP_S", 0.8)
    on = await called_us(rig, peer, acknowledged=False)
    assert await event(on.leg) == Disconnected(102, "no ACK", "remote")
    assert (await peer.request("BYE")).cseq == on.ids.local_cseq + 1000
    await on.gone()


async def test_cancel_that_crosses_a_repeated_answer(rig: Rig, peer: Peer) -> None:
    """The caller rang on for too long: its CANCEL is taken, the 200 stands, and BYE ends the call (RFC 3261 9.2)."""
    on = await called_us(rig, peer, acknowledged=False)
    peer.send(peer.build("CANCEL", replace(on.call, to_tag="", target="")))
    await peer.status(200, "CANCEL")
    ok = await peer.status(200)
    peer.ack(on.call, ok)
    peer.within("BYE", on.call)
    await peer.status(200, "BYE")
    assert await event(on.leg) == Disconnected(16, "", "remote")
    await on.gone()


@SIDES
@pytest.mark.parametrize(("status", "alive"), [(200, True), (405, True), (481, False)])
async def test_far_end_is_asked_whether_it_has_the_call(
    rig: Rig, peer: Peer, side: str, status: int, alive: bool
) -> None:
    on = await either(rig, peer, side)
    on.leg.probe()
    options = await peer.request("OPTIONS")
    assert (options.from_tag, options.to_tag) == (on.call.to_tag, on.call.from_tag)
    peer.reply(options, status)
    assert await event(on.leg) == Probed(alive)
    assert rig.stack.legs == 1, "the application decides what follows"


async def test_answer_to_a_dead_run_is_acknowledged_and_ended(rig: Rig, peer: Peer) -> None:
    """A box answers what the run before had asked for: without ACK it would go on for 32 s, and cost."""
    rig.dial(peer)
    invite = await peer.request("INVITE")
    await restart(rig, peer)
    peer.reply(replace(invite, source=rig.stack.address), 200, body=SDP)
    await peer.fence()
    assert not peer.count("ACK"), "a stranger's answer is nothing to us"
    rig.trusted.add("127.0.0.1")
    peer.reply(replace(invite, source=rig.stack.address), 200, body=SDP2)
    assert (await peer.request("ACK")).cseq == invite.cseq
    bye = await peer.request("BYE")
    assert (bye.from_tag, bye.to_tag, bye.cseq) == (invite.from_tag, "peer", invite.cseq + 1)
    peer.reply(bye, 200)


async def test_caller_hangs_up_before_its_ack(rig: Rig, peer: Peer) -> None:
    on = await called_us(rig, peer, acknowledged=False)
    peer.within("BYE", on.call)
    await peer.status(200, "BYE")
    assert await event(on.leg) == Disconnected(16, "", "remote")
    assert isinstance(on.leg, AdoptedLeg)
    assert not on.leg.repeat(), "no answer is repeated to who has gone"


@pytest.mark.parametrize(
    ("via", "address"),
    [
        ("Via: SIP/2.0/UDP 10.0.0.1:5070;branch=b;received=1.2.3.4;rport=99\r\nVia: SIP/2.0/UDP 9.9.9.9", ("1.2.3.4", 99)),
        ("via: SIP/2.0/UDP 10.0.0.1:5070;branch=b", ("10.0.0.1", 5070)),
        ("Via: SIP/2.0/UDP 10.0.0.1;rport;branch=b", ("10.0.0.1", 5060)),
        ("nothing", None),
    ],
)  # fmt: skip
def test_where_a_stored_answer_goes(via: str, address: tuple[str, int] | None) -> None:
    """Behind NAT the answer must go where the INVITE came from, not where the caller thinks it is."""
    assert return_address(f"SIP/2.0 200 OK\r\n{via}\r\nTo: x\r\n\r\n") == address


async def test_incomplete_identifiers_make_no_leg(rig: Rig) -> None:
    with pytest.raises(ValueError, match="complete"):
        rig.stack.adopt(DialogIds("c"))
    assert rig.stack.legs == 0
