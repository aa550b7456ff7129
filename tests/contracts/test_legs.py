"""SIP legs: the real stack over UDP and the simulation's twin pass the same contract, against the same peer.

If the twin fails one, the simulation proves things of calls that no SIP call does; if the real one fails, senders
hear something else than the call logic meant.
"""

import asyncio
import random
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from gateway_sip import Controller as Peer
from gateway_sip import Dialog, cut, sdp_of

from simrack.lab.simulate.loop import Incarnation, VirtualLoop
from simrack.lab.simulate.ports import SimClock, SimIds
from simrack.lab.simulate.sip import SimStack
from simrack.lab.simulate.wire import Address, Message, SipWire
from simrack.sip.legs import (
    Connected,
    Dial,
    Disconnected,
    Failed,
    IncomingLeg,
    Info,
    Leg,
    Progress,
    Ringing,
    Trying,
    Update,
)
from simrack.sip.stack import Admission, SipStack
from simrack.wire.ports import SystemClock, SystemIds

SDP = sdp_of(("127.0.0.1", 4000))
HELD = sdp_of(("127.0.0.1", 4000), direction="sendonly")


@dataclass
class World:
    """One stack and one peer; `again` makes another stack in the place of a dead one."""

    stack: SipStack
    peer: Any
    legs: asyncio.Queue[IncomingLeg]
    again: Callable[[], Coroutine[Any, Any, SipStack]]

    def invite(self) -> Dialog:
        dialog: Dialog = self.peer.invite(self.stack.address, "+882100000001", SDP, {})
        return dialog

    def dial(self, **more: Any) -> Leg:
        to = (self.peer.host, self.peer.port)
        return self.stack.dial(Dial(to, "+882100000001", "+88210", SDP, {"X-Simrack-Channel": "1"}, **more))

    async def offered(self) -> Dialog:
        async with asyncio.timeout(5):
            dialog: Dialog = await self.peer.offered.get()
        return dialog


Scenario = Callable[[World], Coroutine[Any, Any, None]]


def settings(listen: Address, legs: asyncio.Queue[IncomingLeg]) -> dict[str, Any]:
    return {
        "listen": listen, "on_invite": legs.put_nowait, "trusted": lambda _source: True,
        "admit": lambda _source: Admission.ACCEPT,
    }  # fmt: skip


class Real:
    """SipStack over loopback UDP."""

    def run(self, scenario: Scenario) -> None:
        asyncio.run(self._run(scenario))

    async def _run(self, scenario: Scenario) -> None:
        legs: asyncio.Queue[IncomingLeg] = asyncio.Queue()

        async def begin(listen: Address = ("127.0.0.1", 0)) -> SipStack:
            made = SipStack(**settings(listen, legs), clock=SystemClock(), ids=SystemIds())
            await made.start()
            return made

        peer = await Peer.open()
        stack = await begin()

        async def again() -> SipStack:
            address = world.stack.address
            await world.stack.stop()
            world.stack = await begin(address)
            return world.stack

        world = World(stack, peer, legs, again)
        try:
            await scenario(world)
        finally:
            await world.stack.stop()
            peer.close()


class _Wire(asyncio.DatagramTransport):
    """The peer's socket on the simulated wire: its text becomes messages, and messages become text."""

    def __init__(self, wire: SipWire, peer: Peer, address: Address) -> None:
        super().__init__()
        self._wire, self._peer, self._address = wire, peer, address

    def sendto(self, data: Any, addr: Any = None) -> None:
        message = cut(bytes(data), self._address)
        fields = message.headers
        branch = _tagged(fields["via"], "branch")
        number, method = fields["cseq"].split()
        known = ("via", "from", "to", "call-id", "cseq", "contact", "content-type", "content-length", "max-forwards")
        more = tuple((name, value) for name, value in fields.items() if name not in known)
        self._wire.send(
            self._address, addr,
            Message(
                method, message.status, fields["call-id"], _tagged(fields["from"], "tag"),
                _tagged(fields["to"], "tag"), branch, int(number), "+882100000001", "tester", message.body,
                fields.get("content-type", ""), "", more,
            ),
        )  # fmt: skip

    def receive(self, message: Message, source: Address) -> None:
        start = f"SIP/2.0 {message.status} {message.phrase}" if message.status else f"{message.method} sip:x@rack SIP/2.0"
        tag = f";tag={message.to_tag}" if message.to_tag else ""
        lines = [
            start, f"Via: SIP/2.0/UDP {source[0]};branch={message.branch}", f"From: <sip:a@rack>;tag={message.from_tag}",
            f"To: <sip:b@rack>{tag}", f"Call-ID: {message.call_id}", f"CSeq: {message.cseq} {message.method}",
            f"Contact: <sip:b@{source[0]}:{source[1]}>", f"Content-Type: {message.content_type}",
            *(f"{name}: {value}" for name, value in message.headers),
        ]  # fmt: skip
        self._peer.datagram_received("\r\n".join(lines).encode() + b"\r\n\r\n" + message.body, source)

    def close(self) -> None:
        """Nothing is held."""


class Twin:
    """SimStack on the virtual clock."""

    def run(self, scenario: Scenario) -> None:
        loop = VirtualLoop()
        wire = SipWire(loop, random.Random(1))
        ids, clock = SimIds(random.Random(2)), SimClock(loop)
        legs: asyncio.Queue[IncomingLeg] = asyncio.Queue()

        async def body() -> None:
            address: Address = ("127.0.0.50", 5060)
            peer = Peer()
            peer.host, peer.port = address
            far = Incarnation(loop, "peer")
            peer.transport = _Wire(wire, peer, address)
            wire.open(address, far, peer.transport.receive)

            async def begin() -> SipStack:
                made = SimStack(wire, Incarnation(loop, "stack"), **settings(("127.0.0.1", 5060), legs), clock=clock, ids=ids)
                await made.start()
                return made

            async def again() -> SipStack:
                await world.stack.stop()
                world.stack = await begin()
                return world.stack

            world = World(await begin(), peer, legs, again)
            await scenario(world)

        try:
            loop.run_until_complete(body())
        finally:
            loop.close()


def _tagged(value: str, name: str) -> str:
    found = re.search(rf";{name}=([^;>\s]+)", value)
    return found.group(1) if found else ""


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


async def event(leg: Leg, kind: type[Any]) -> Any:
    """The next event of a kind; others before it are passed over."""
    async with asyncio.timeout(10):
        while True:
            got = await leg.events.get()
            if isinstance(got, kind):
                return got


async def talking(world: World) -> tuple[IncomingLeg, Dialog]:
    dialog = world.invite()
    leg = await world.legs.get()
    leg.trying()
    leg.answer(SDP)
    await event(leg, Connected)
    await until(lambda: dialog.final, "200")
    return leg, dialog


# --- the contract -------------------------------------------------------------------------------------------


async def answered_and_ended_by_the_caller(world: World) -> None:
    dialog = world.invite()
    leg = await world.legs.get()
    assert leg.request.called == "+882100000001"
    assert leg.request.sdp == SDP
    leg.trying()
    leg.ring()
    leg.progress(SDP)
    leg.answer(SDP)
    connected = await event(leg, Connected)
    assert connected.ids.call_id == dialog.call_id
    assert connected.ids.complete
    await until(lambda: dialog.final, "200")
    assert dialog.statuses[:3] == [180, 183, 200]
    dialog.again("BYE")
    assert (await event(leg, Disconnected)).side == "remote"
    await until(lambda: dialog.answer_to("BYE"), "200 of BYE")


async def refused_with_cause(world: World) -> None:
    dialog = world.invite()
    leg = await world.legs.get()
    leg.reject(486, 17, "busy", (("X-Simrack-Refusal", "taken"),))
    failed = await event(leg, Failed)
    assert (failed.status, failed.cause, failed.side) == (486, 17, "local")
    await until(lambda: dialog.final, "486")
    assert dialog.final is not None
    assert "cause=17" in dialog.final.headers["reason"]
    assert dialog.final.headers["x-simrack-refusal"] == "taken"


async def cancelled_by_the_caller(world: World) -> None:
    dialog = world.invite()
    leg = await world.legs.get()
    leg.trying()
    leg.ring()
    await until(lambda: 180 in dialog.statuses, "180")
    dialog.cancel()
    failed = await event(leg, Failed)
    assert (failed.status, failed.side) == (487, "remote")
    await until(lambda: dialog.final and dialog.answer_to("CANCEL"), "487 and 200 of CANCEL")
    assert dialog.statuses[-1] == 487


async def placed_answered_and_hung_up(world: World) -> None:
    leg = world.dial()
    far = await world.offered()
    assert far.invite is not None
    assert far.invite.headers["x-simrack-channel"] == "1"
    far.respond(far.invite, 100, "Trying")
    await event(leg, Trying)
    far.respond(far.invite, 180, "Ringing")
    await event(leg, Ringing)
    far.respond(far.invite, 183, "Session Progress", body=SDP)
    assert (await event(leg, Progress)).sdp == SDP
    far.respond(far.invite, 200, "OK", body=SDP)
    assert (await event(leg, Connected)).sdp == SDP
    await until(lambda: far.request("ACK"), "ACK")
    leg.hang_up(16, "done")
    assert (await event(leg, Disconnected)).side == "local"
    await until(lambda: far.request("BYE"), "BYE")


async def placed_and_refused(world: World) -> None:
    leg = world.dial()
    far = await world.offered()
    assert far.invite is not None
    far.respond(far.invite, 100, "Trying")
    far.respond(far.invite, 503, "Service Unavailable", headers='Reason: Q.850;cause=34;text="no circuit"\r\n')
    failed = await event(leg, Failed)
    assert (failed.status, failed.cause, failed.no_response) == (503, 34, False)


async def silent_host(world: World) -> None:
    leg = world.dial(no_response_s=0.3)
    far = await world.offered()
    failed = await event(leg, Failed)
    assert failed.no_response
    await until(lambda: far.request("CANCEL"), "CANCEL towards the silent host")


async def cancelled_before_the_answer(world: World) -> None:
    leg = world.dial()
    far = await world.offered()
    assert far.invite is not None
    far.respond(far.invite, 180, "Ringing")
    await event(leg, Ringing)
    leg.hang_up(16, "caller gave up")
    failed = await event(leg, Failed)
    assert failed.side == "local"
    await until(lambda: far.request("CANCEL"), "CANCEL")


async def answer_crosses_the_cancel(world: World) -> None:
    leg = world.dial()
    far = await world.offered()
    assert far.invite is not None
    far.respond(far.invite, 180, "Ringing")
    await event(leg, Ringing)
    far.respond(far.invite, 200, "OK", body=SDP)
    leg.hang_up(16, "caller gave up")
    await event(leg, Connected)
    await event(leg, Disconnected)
    await until(lambda: far.request("ACK") and far.request("BYE"), "ACK and BYE")


async def hold_and_digits(world: World) -> None:
    leg, dialog = await talking(world)
    await asyncio.sleep(0.1)
    dialog.got.clear()
    dialog.again("INVITE", body=HELD)
    assert (await event(leg, Update)).sdp == HELD
    leg.accept_update(SDP)
    await until(lambda: dialog.final, "200 of the re-INVITE")
    await asyncio.sleep(0.1)
    dialog.again("INFO", body=b"Signal=5\r\n", kind="application/dtmf-relay")
    assert (await event(leg, Info)).body == b"Signal=5\r\n"
    await until(lambda: dialog.answer_to("INFO"), "200 of INFO")


async def adopted_and_ended_by_the_caller(world: World) -> None:
    leg, dialog = await talking(world)
    await asyncio.sleep(0.1)
    ids = leg.ids
    stack = await world.again()
    adopted = stack.adopt(ids)
    dialog.again("OPTIONS")
    await until(lambda: dialog.answer_to("OPTIONS"), "an answer to OPTIONS")
    dialog.again("BYE")
    assert (await event(adopted, Disconnected)).side == "remote"
    await until(lambda: dialog.answer_to("BYE"), "200 of BYE")


async def adopted_and_hung_up(world: World) -> None:
    leg = world.dial()
    far = await world.offered()
    assert far.invite is not None
    far.respond(far.invite, 200, "OK", body=SDP)
    ids = (await event(leg, Connected)).ids
    await until(lambda: far.request("ACK"), "ACK")
    stack = await world.again()
    adopted = stack.adopt(ids)
    adopted.hang_up(41, "too late")
    await event(adopted, Disconnected)
    await until(lambda: far.request("BYE"), "BYE")
    bye = far.request("BYE")
    assert bye is not None
    assert int(bye.headers["cseq"].split()[0]) >= ids.local_cseq + 1000


async def request_of_no_dialog(world: World) -> None:
    _leg, dialog = await talking(world)
    await asyncio.sleep(0.1)
    await world.again()
    dialog.again("BYE")
    await until(lambda: dialog.answer_to("BYE"), "an answer to BYE")
    answer = dialog.answer_to("BYE")
    assert answer is not None
    assert answer.status == 481


SCENARIOS = (
    answered_and_ended_by_the_caller, refused_with_cause, cancelled_by_the_caller, placed_answered_and_hung_up,
    placed_and_refused, silent_host, cancelled_before_the_answer, answer_crosses_the_cancel, hold_and_digits,
    adopted_and_ended_by_the_caller, adopted_and_hung_up, request_of_no_dialog,
)  # fmt: skip


@pytest.mark.parametrize("part", [Real, Twin])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_leg(part: type[Real] | type[Twin], scenario: Scenario) -> None:
    part().run(scenario)
