"""The real controller between a raw UDP sender and a raw UDP box, with its database."""

from pathlib import Path

from controller_sim import until
from controller_world import NUMBER, World, authorize, world
from gateway_sip import Dialog, sdp_of

ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")


async def answer(on: World, dialog: Dialog) -> None:
    """The box rings and answers."""
    assert dialog.invite is not None
    dialog.respond(dialog.invite, 180, "Ringing")
    dialog.respond(dialog.invite, 200, "OK", body=ANSWER)


async def test_digest_sender_reaches_a_module_and_the_record_tells_it(tmp_path: Path) -> None:
    """The first whole way of a call: challenge, route, box, answer, BYE, box's part, record."""
    async with world(tmp_path) as on:
        call = on.invite(peer=on.sender)
        assert await on.final(call) == 401
        authorize(call, "only-for-tests")
        at_box = await on.box.invited()
        fields = at_box.invite.headers if at_box.invite else {}
        assert fields["x-simrack-channel"] in ("1", "2")
        assert f"{NUMBER}@" in (at_box.invite.start if at_box.invite else "")
        await answer(on, at_box)
        assert await on.final(call) == 200
        assert 180 in call.statuses
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5, cause_text="normal")
        row = await on.record()
        assert (row.outcome, row.sender, row.cause, row.side) == ("answered", "pbx", 16, "calling")
        assert (row.talk_network_ms, row.estimated, row.plan, row.box) == (5, False, "lab", "box-1")
        await until(lambda: on.box.acks)
