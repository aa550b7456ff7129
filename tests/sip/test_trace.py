"""What the stack keeps of the wire: every octet of a call both ways, and no more of strangers than it must."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sip_peer import SDP, Peer, Rig, event

from simrack.sip.legs import Connected, Disconnected, IncomingLeg
from simrack.sip.stack import SipStack
from simrack.sip.trace import MOST_LOOSE, MOST_MESSAGES, MOST_OCTETS, Tapes, call_id_of
from simrack.wire.ports import SystemClock, SystemIds

FAR = ("192.0.2.1", 5060)


@pytest.fixture
async def taped() -> AsyncIterator[tuple[Rig, Tapes, Peer]]:
    """A stack whose wire is taped, and a far end."""
    tapes, offered = Tapes(SystemClock()), asyncio.Queue[IncomingLeg]()
    stack = SipStack(
        listen=("127.0.0.1", 0), on_invite=offered.put_nowait, clock=SystemClock(), ids=SystemIds(),
        trusted=lambda _source: True, admit=lambda _source: rig.admission, tapes=tapes,
    )  # fmt: skip
    rig = Rig(stack, offered)
    await stack.start()
    peer = await Peer.open(stack.address)
    yield rig, tapes, peer
    peer.close()
    await stack.stop()


async def test_a_call_is_taped_octet_for_octet(taped: tuple[Rig, Tapes, Peer]) -> None:
    """A capture that differs from the wire sends people looking in the wrong place."""
    rig, tapes, peer = taped
    call = peer.new_call()
    sent = [peer.build("INVITE", call, body=SDP)]
    peer.send(sent[0])
    leg = await rig.leg()
    tapes.hold(call.call_id)
    leg.trying()
    leg.ring()
    leg.answer(SDP)
    peer.ack(call, await peer.status(200))
    assert isinstance(await event(leg), Connected)
    leg.hang_up(16, "over")
    bye = await peer.request("BYE")
    sent.append(peer.reply(bye, 200))
    assert isinstance(await event(leg), Disconnected)
    await peer.fence()
    tape = tapes.take(call.call_id)
    heard = [message.raw for message in peer.heard if message.one("call-id") == call.call_id]
    assert [each.data for each in tape.messages if each.sent] == heard
    from_peer = [each.data for each in tape.messages if not each.sent]
    assert (from_peer[0], from_peer[-1]) == (sent[0], sent[1])
    assert [data.split()[0] for data in from_peer] == [b"INVITE", b"ACK", b"SIP/2.0"]
    assert {each.remote for each in tape.messages} == {peer.address}
    assert [each.at for each in tape.messages] == sorted(each.at for each in tape.messages)


async def test_a_repeat_is_taped_each_time_and_a_foreign_call_apart(taped: tuple[Rig, Tapes, Peer]) -> None:
    """Repeats tell of a bad link; another call's messages would tell of nothing."""
    rig, tapes, peer = taped
    first, second = peer.invite(), peer.invite()
    legs = [await rig.leg(), await rig.leg()]
    peer.send(peer.build("INVITE", first, body=SDP))
    await peer.fence()
    assert len(tapes.take(first.call_id).messages) == 2
    assert len(tapes.take(second.call_id).messages) == 1
    for leg in legs:
        leg.reject(486, 17)


def message(call_id: str, size: int = 100) -> bytes:
    head = f"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: {call_id}\r\n".encode()
    return head + b"x" * (size - len(head))


def test_strangers_push_out_strangers_and_never_a_call() -> None:
    """A flood of Call-IDs must neither fill the memory nor cost a call its trace."""
    tapes = Tapes(SystemClock())
    tapes.note(message("kept"), FAR, sent=False)
    tapes.hold("kept")
    for number in range(3 * MOST_LOOSE):
        tapes.note(message(f"stranger-{number}"), FAR, sent=False)
    assert len(tapes) == MOST_LOOSE + 1
    assert len(tapes.take("kept").messages) == 1
    assert not tapes.take("stranger-0").messages
    assert tapes.take(f"stranger-{3 * MOST_LOOSE - 1}").messages


def test_one_call_has_an_end_too() -> None:
    """A dialog that is flooded keeps its beginning, and says how much is missing."""
    tapes = Tapes(SystemClock())
    for _ in range(MOST_MESSAGES + 5):
        tapes.note(message("many"), FAR, sent=False)
    for _ in range(20):
        tapes.note(message("long", 10_000), FAR, sent=True)
    many, long = tapes.take("many"), tapes.take("long")
    assert (len(many.messages), many.left_out) == (MOST_MESSAGES, 5)
    assert long.octets <= MOST_OCTETS
    assert len(long.messages) + long.left_out == 20


def test_nothing_is_kept_while_it_is_off() -> None:
    """`trace = off` must mean that no message stays in memory."""
    tapes = Tapes(SystemClock(), on=False)
    tapes.note(message("a"), FAR, sent=False)
    tapes.hold("a")
    assert len(tapes) == 0


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"INVITE x SIP/2.0\r\nCall-ID: one@x\r\nVia: v\r\n\r\n", b"one@x"),
        (b"INVITE x SIP/2.0\r\ncall-id :  two\r\n\r\n", b"two"),
        (b"INVITE x SIP/2.0\ni: three\n\n", b"three"),
        (b"INVITE x SIP/2.0\r\nVia: v\r\n\r\n", b""),
        (b"\x00\x01\x02", b""),
    ],
)
def test_each_way_to_write_a_call_id_is_read(data: bytes, found: bytes) -> None:
    """Senders write the header in every way that RFC 3261 allows."""
    assert call_id_of(data) == found
