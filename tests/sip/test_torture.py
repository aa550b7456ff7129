"""The 49 messages of RFC 4475 against the running stack over UDP, and 10,000 mutations of them."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from sip_peer import SDP, Message, OpenPeer, Peer, Rig, age, event, until

from simrack.sip.legs import Connected, IncomingLeg
from simrack.sip.replies import MOST_KEPT

FOLDER = Path(__file__).parent / "torture"
CALL = 0  # becomes a call
SILENCE = -1
#: What must come, and the clause; a comment where the RFC lets an element choose, or where we do otherwise.
TABLE: dict[str, tuple[int, str]] = {
    "wsinv": (481, "3.1.1.1"),  # right in every way, but its To tag names a dialog that we don't have
    "intmeth": (400, "3.1.1.2"),  # control characters, quoted ones too, never reach logs and records; 405 else
    "esc01": (CALL, "3.1.1.3"),
    "escnull": (405, "3.1.1.4"),  # we register nobody
    "esc02": (405, "3.1.1.5"),
    "lwsdisp": (200, "3.1.1.6"),
    "longreq": (CALL, "3.1.1.7"),
    "dblreq": (405, "3.1.1.8"),  # the INVITE behind it is not looked at
    "semiuri": (200, "3.1.1.9"),
    "transports": (200, "3.1.1.10"),
    "mpart01": (405, "3.1.1.11"),
    "unreason": (SILENCE, "3.1.1.12"),  # responses to nothing that we sent
    "noreason": (SILENCE, "3.1.1.13"),
    "badinv01": (400, "3.1.2.1"),
    "clerr": (400, "3.1.2.2"),
    "ncl": (400, "3.1.2.3"),
    "scalar02": (400, "3.1.2.4"),
    "scalarlg": (SILENCE, "3.1.2.5"),
    "quotbal": (400, "3.1.2.6"),
    "ltgtruri": (400, "3.1.2.7"),
    "lwsruri": (400, "3.1.2.8"),
    "lwsstart": (CALL, "3.1.2.9"),  # may be refused, or understood
    "trws": (200, "3.1.2.10"),  # likewise
    "escruri": (400, "3.1.2.11"),
    "baddate": (CALL, "3.1.2.12"),  # we read no Date
    "regbadct": (405, "3.1.2.13"),
    "badaspec": (200, "3.1.2.14"),  # may be refused, or understood
    "baddn": (200, "3.1.2.15"),  # likewise
    "badvers": (505, "3.1.2.16"),
    "mismatch01": (400, "3.1.2.17"),
    "mismatch02": (400, "3.1.2.18"),
    "bigcode": (SILENCE, "3.1.2.19"),
    "badbranch": (200, "3.2.1"),
    "insuf": (SILENCE, "3.3.1"),  # no Call-ID: an answer would find no transaction
    "unkscm": (416, "3.3.2"),
    "novelsc": (416, "3.3.3"),
    "unksm2": (405, "3.3.4"),
    "bext01": (420, "3.3.5"),
    "invut": (415, "3.3.6"),
    "regaut01": (405, "3.3.7"),
    "multi01": (400, "3.3.8"),
    "mcl01": (400, "3.3.9"),
    "bcast": (SILENCE, "3.3.10"),
    "zeromf": (200, "3.3.11"),  # it ends here: an endpoint answers, only who passes on counts hops
    "cparam01": (405, "3.3.12"),
    "cparam02": (405, "3.3.13"),
    "regescrt": (405, "3.3.14"),
    "sdp01": (406, "3.3.15"),
    "inv2543": (400, "3.4.1"),  # RFC 2543 clients without From tag and Contact can't form a dialog; 20 years gone
}  # fmt: skip


def load(name: str) -> bytes:
    """The message, its top Via with `rport`, so that the answer comes to the test's port and not to 5060."""
    data = (FOLDER / f"{name}.dat").read_bytes()
    top = re.search(rb"(?im)^v(?:ia)?[ \t]*:(?:[^\r\n]|\r\n[ \t])*", data)
    if top is None or b"rport" in top.group():
        return data
    value = top.group()
    branch = re.search(rb"(?i)branch\s*=", value)
    at = branch.start() if branch else re.search(rb";|$", value).start()  # type: ignore[union-attr]
    marked = value[:at] + (b"rport;" if branch else b";rport") + value[at:]
    return data[: top.start()] + marked + data[top.end() :]


def test_every_message_of_the_rfc_stands_in_the_table() -> None:
    assert sorted(TABLE) == sorted(path.stem for path in FOLDER.glob("*.dat"))
    assert len(TABLE) == 49


@pytest.mark.parametrize("name", TABLE)
async def test_torture(rig: Rig, peer: Peer, name: str) -> None:
    """A valid oddity is understood, a broken message gets the right refusal or silence, and nothing breaks."""
    expected, _clause = TABLE[name]
    peer.send(load(name))
    await peer.fence()
    answers = [message.status for message in peer.heard[:-1]]
    assert answers == ([expected] if expected > 0 else [])
    assert rig.offered.empty() == (expected != CALL)
    if expected == CALL:
        leg = await rig.leg()
        leg.trying()
        assert (await peer.status(100)).one("call-id") == leg.request.call_id
    peer.invite()
    assert (await rig.leg()).request.called == "+4930123"


# --- mutations ------------------------------------------------------------------------------------------------

ROUNDS = 10_000
BATCH = 100
_BITS = (b"\r\n", b"\r\n ", b"\r\n\r\n", b":", b";", b"=", b",", b"<", b">", b'"', b"\\", b"\x00", b"\xff", b"%", b"@", b"SIP/2.0")


def mutate(dice: random.Random, data: bytes) -> bytes:
    """One to four changes: octets, pieces, lines, doublings, cuts, numbers."""
    for _ in range(dice.randint(1, 4)):
        at, to = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        lines = data.split(b"\r\n")
        line = dice.randrange(len(lines))
        match dice.randrange(8):
            case 0:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + dice.choice(_BITS) + data[at:]
            case 2:
                data = data[:at] + data[min(to, at + 20) :]
            case 3:
                data = b"\r\n".join(lines[:line] + [lines[line]] * 2 + lines[line + 1 :])
            case 4:
                data = b"\r\n".join(lines[:line] + lines[line + 1 :])
            case 5:
                other = dice.randrange(len(lines))
                lines[line], lines[other] = lines[other], lines[line]
                data = b"\r\n".join(lines)
            case 6:
                data = re.sub(rb"[0-9]+", lambda _: str(dice.choice((0, -1, 2**31, 2**64, 10**30))).encode(), data, count=1)
            case 7:
                data = data[: max(at, 1)]
        data = data or b"\r\n"
    return data


def seeds(peer: Peer) -> list[bytes]:
    """All of the RFC's, and a good dialog's messages with the peer's own address."""
    call = peer.new_call()
    good = [peer.build(method, call, body=SDP if method == "INVITE" else b"") for method in ("INVITE", "ACK", "BYE", "CANCEL", "INFO")]
    return [load(name) for name in TABLE] + good * 6


async def take_all(rig: Rig, dice: random.Random) -> int:
    """What the application does with the calls that come: refuses, or answers and ends them."""
    taken = 0
    while not rig.offered.empty():
        taken += 1
        leg: IncomingLeg = rig.offered.get_nowait()
        if dice.random() < 0.5:
            leg.reject(486, 17)
            continue
        leg.ring()
        leg.answer(SDP)
        leg.hang_up(16)
    return taken


async def let_all_timers_end(rig: Rig) -> None:
    """After 64 T1, and the Expires of what was never answered, nothing of the mutations may be held."""
    manager = rig.stack._engine.manager

    def over() -> bool:
        age(40)
        return not (manager.tserver or manager.tclient or manager.req_consumers)

    await until(over)


async def test_ten_thousand_mutations_break_and_leave_nothing(rig: Rig, peer: Peer, open_peer: OpenPeer) -> None:
    """No crash, no leak of legs, transactions or memory, and a call passes afterwards."""
    dice, originals, calls = random.Random(4475), seeds(peer), 0
    manager = rig.stack._engine.manager
    for _ in range(ROUNDS // BATCH):
        for _ in range(BATCH):
            peer.send(mutate(dice, dice.choice(originals)))
        await peer.fence()
        calls += await take_all(rig, dice)
        peer.heard.clear()
        peer.unread.clear()
    assert calls > 100, "too few mutations were still calls to prove anything"
    assert len(manager._replies) <= 2 * MOST_KEPT
    await let_all_timers_end(rig)
    assert (rig.stack.legs, rig.stack._taken, len(manager.req_consumers)) == (0, {}, 0)
    await a_call_passes(rig, await open_peer())


async def a_call_passes(rig: Rig, peer: Peer) -> None:
    call = peer.invite()
    leg = await rig.leg()
    assert leg.request.call_id == call.call_id
    leg.answer(SDP)
    assert isinstance(await event(leg), Connected)
    answer: Message = await peer.status(200)
    peer.ack(call, answer)
    peer.within("BYE", call)
    await peer.status(200, "BYE")
