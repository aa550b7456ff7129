"""After a restart the stored identifiers alone must be enough to end a call, or the SIM stays busy for hours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sip_peer import SDP, Peer, Rig, event

from simrack.sip.legs import Connected, DialogIds


@pytest.mark.parametrize("outgoing", [False, True])
@pytest.mark.parametrize("proxied", [False, True])
async def test_call_of_an_earlier_run_is_ended(rig: Rig, peer: Peer, outgoing: bool, proxied: bool) -> None:
    """The BYE fits the dialog of the far end: tags, URIs, target, route; and a higher CSeq than any before."""
    extra = f"Record-Route: <sip:{peer.hostport};lr>" if proxied else ""
    if outgoing:
        out = rig.dial(peer)
        invite = await peer.request("INVITE")
        peer.reply(invite, 200, body=SDP, extra=extra)
        connected = await event(out)
    else:
        call = peer.invite(extra=extra)
        leg = await rig.leg()
        leg.answer(SDP)
        peer.ack(call, await peer.status(200))
        connected = await event(leg)
    assert isinstance(connected, Connected)
    await rig.stack.stop()
    await rig.stack.start()
    peer.far = rig.stack.address
    rig.stack.release(connected.ids, 41, "restart")
    bye = await peer.request("BYE")
    if outgoing:
        assert (bye.from_tag, bye.to_tag, bye.cseq > invite.cseq) == (invite.from_tag, "peer", True)
        assert (bye.one("call-id"), bye.start.split()[1]) == (invite.one("call-id"), f"sip:peer@{peer.hostport}")
        assert bye.one("from").split(";")[0] == invite.one("from").split(";")[0]
    else:
        assert (bye.from_tag, bye.to_tag) == (call.to_tag, call.from_tag)
        assert (bye.one("call-id"), bye.start.split()[1]) == (call.call_id, f"sip:me@{peer.hostport}")
    assert bye.all("route") == ([f"<sip:{peer.hostport};lr>"] if proxied else [])
    assert bye.one("reason") == 'Q.850;cause=41;text="restart"'
    peer.reply(bye, 481)


WHOLE = DialogIds("c", "l", "r", "sip:a@b", "sip:c@d", "sip:c@127.0.0.1", (), 1, "127.0.0.1:5060")


@pytest.mark.parametrize(
    "ids",
    [
        replace(WHOLE, local_tag=""), replace(WHOLE, remote_tag=""), replace(WHOLE, remote_target=""),
        replace(WHOLE, remote_address=""), replace(WHOLE, remote_address="127.0.0.1"),
    ],
)  # fmt: skip
async def test_incomplete_identifiers_are_told(rig: Rig, ids: DialogIds) -> None:
    with pytest.raises(ValueError, match="complete"):
        rig.stack.release(ids, 41)
