"""From a call on the wire to its messages in the database, through the whole controller."""

import asyncio
import socket
from pathlib import Path

import pytest
from controller_sim import until
from controller_world import NUMBER, World, authorize, world
from gateway_sip import sdp_of

from simrack.controller.settings import TraceSettings
from simrack.controller.tracing.messages import Trace

ANSWER = sdp_of(("127.0.0.1", 20000), kinds="0 101")


async def trace_of(on: World, call: str) -> Trace:
    """The messages, once they are stored."""
    for _ in range(1000):
        found = await asyncio.to_thread(on.queries.trace, call)
        if found is not None:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"no trace of {call}")


@pytest.mark.stack
async def test_both_legs_of_a_call_are_kept_from_challenge_to_the_last_answer(tmp_path: Path) -> None:
    """Who looks into a call sees each message of both legs, and not the password's digest."""
    async with world(tmp_path) as on:
        call = on.invite(peer=on.sender)
        assert await on.final(call) == 401
        authorize(call, "only-for-tests")
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 180, "Ringing")
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        assert await on.final(call) == 200
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        trace = await trace_of(on, (await on.record()).call)
    legs = {leg: [m.start.split()[0] for m in trace.messages if m.leg == leg] for leg in (0, 1)}
    assert legs[0] == ["INVITE", "401", "ACK", "INVITE", "100", "180", "200", "ACK", "BYE", "200"]
    assert legs[1] == ["INVITE", "100", "180", "200", "ACK", "BYE", "200"]
    assert {m.call_id for m in trace.messages if m.leg == 0} == {call.call_id}
    assert {m.remote for m in trace.messages if m.leg == 1} == {("127.0.0.1", on.box.peer.port)}
    assert {m.local for m in trace.messages} == {on.sip}
    text = b"".join(m.data for m in trace.messages)
    assert b'username="pbx"' in text
    assert b'response="xxxxxxxxxxxxxxxx' in text


@pytest.mark.stack
async def test_a_refused_call_keeps_its_ack(tmp_path: Path) -> None:
    """The ACK comes after the record is stored; without it people would look for a lost one."""
    async with world(tmp_path) as on:
        call = on.invite("+4930123")
        assert await on.final(call) == 404
        trace = await trace_of(on, (await on.record()).call)
    assert [m.start.split()[0] for m in trace.messages] == ["INVITE", "100", "404", "ACK"]


async def test_only_failures_are_kept_when_that_is_set(tmp_path: Path) -> None:
    """`trace.keep = failed` keeps what somebody will ask about, and nothing of the rest."""
    async with world(tmp_path, trace=TraceSettings(keep="failed")) as on:
        good = on.invite()
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        assert await on.final(good) == 200
        good.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        answered = await on.record()
        bad = on.invite("+4930123")
        await until(lambda: bad.final)
        failed = await on.record(2)
        await trace_of(on, failed.call)
        assert await asyncio.to_thread(on.queries.trace, answered.call) is None


async def test_nothing_is_kept_when_it_is_off(tmp_path: Path) -> None:
    """An operator who may not keep messages keeps none, neither on disk nor in memory."""
    async with world(tmp_path, trace=TraceSettings(keep="off")) as on:
        call = on.invite("+4930123")
        await until(lambda: call.final)
        row = await on.record()
    # The controller has stopped, which writes whatever waits.
    assert await asyncio.to_thread(on.queries.trace, row.call) is None


async def test_a_call_goes_to_the_collector_on_command(tmp_path: Path) -> None:
    """The NOC's own Homer gets one call's messages when somebody asks for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.setblocking(False)
        port = collector.getsockname()[1]
        async with world(tmp_path, trace=TraceSettings(hep=f"127.0.0.1:{port}")) as on:
            call = on.invite("+4930123")
            await until(lambda: call.final)
            row = await on.record()
            nothing = await on.command("send-trace", call="nobody")
            assert "no messages are kept" in nothing.error
            await trace_of(on, row.call)
            reply = await on.command("send-trace", call=row.call)
            assert reply.result["messages"] == 4
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                got = [await loop.sock_recv(collector, 65535) for _ in range(4)]
    assert all(each.startswith(b"HEP3") and row.call.encode() in each for each in got)


async def test_without_a_collector_the_command_says_what_to_do(tmp_path: Path) -> None:
    """A button that can't work says why."""
    async with world(tmp_path) as on:
        reply = await on.command("send-trace", call="any")
        assert "hep" in reply.error
        assert NUMBER not in reply.error
