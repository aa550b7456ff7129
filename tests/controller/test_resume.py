"""Answered calls over the death of the controller: neither side notices, and each call has its one record."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from controller_lives import ANSWER, lives
from controller_sim import until
from controller_world import ROUTING, Box, peer_at
from gateway_sip import Dialog, sdp_of

from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import LiveCall
from simrack.wire.mqtt import Stamp

pytestmark = pytest.mark.stack


def told(dialog: Dialog, method: str, count: int) -> bool:
    """Whether so many requests of a kind have reached a far end."""
    return sum(message.method == method for message in dialog.got) >= count


@pytest.mark.parametrize("who", ["sender", "box"])
async def test_hang_up_after_a_restart_reaches_the_other_side(tmp_path: Path, who: str) -> None:
    """The BYE of either side is answered and passed on; the one record tells both sides' talk."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die_and_rise()
        assert not call.request("BYE")
        assert not at_box.request("BYE")
        first, other = (call, at_box) if who == "sender" else (at_box, call)
        first.again("BYE", headers="Reason: Q.850;cause=16\r\n")
        await until(lambda: other.request("BYE"), "the BYE on the other side")
        await until(lambda: first.answer_to("BYE"), "its answer")
        await on.box.tell(at_box, talk_ms=1234, ring_ms=5, cause=16, side="calling" if who == "sender" else "called")
        row = await on.record()
        assert (row.outcome, row.cause, row.talk_network_ms, row.estimated) == ("answered", 16, 1234, False)
        assert row.side == ("calling" if who == "sender" else "called")
        assert row.marks[0] == "resumed"
        assert (row.plan, row.pattern, row.dialled, row.attempts) == ("lab", "lab numbers", "+882100000001", 1)
        assert 0 < row.talk_sender_ms < 60_000
        story = await on.story(row.call)
        assert story.explanation is not None
        labels = [line.label for line in story.ladder]
        assert labels.index("INVITE") < labels.index("200 OK") < labels.index("resumed after a restart")
        assert [line.ms for line in story.ladder] == sorted(line.ms for line in story.ladder)


async def test_session_changes_after_a_restart(tmp_path: Path) -> None:
    """Hold and resume go through both adopted legs."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die_and_rise()
        held = sdp_of(("127.0.0.1", 4000), direction="sendonly")
        call.again("INVITE", body=held)
        await until(lambda: sum(m.method == "INVITE" for m in at_box.got) == 2, "the re-INVITE at the box")
        offered = [m for m in at_box.got if m.method == "INVITE"][1]
        assert offered.body == held
        at_box.respond(offered, 200, "OK", body=ANSWER)
        number = f"{call.cseq} INVITE"
        await until(lambda: [m for m in call.got if m.status == 200 and m.headers["cseq"] == number], "its 200")
        call.again("INVITE")  # asks for our offer: the box's own description, which was on disk
        number = f"{call.cseq} INVITE"
        await until(lambda: [m for m in call.got if m.status == 200 and m.headers["cseq"] == number], "its 200")
        assert next(m for m in call.got if m.headers["cseq"] == number and m.status == 200).body == ANSWER
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        assert (await on.record()).cause == 16


async def test_commands_and_pages_know_a_resumed_call(tmp_path: Path) -> None:
    """Staff see it again, and can end it; its channel gets no second call meanwhile."""
    async with lives(tmp_path) as on:
        told: list[LiveCall] = []
        _call, at_box = await on.speaking()
        on.web.subscribe(topics.ALL_CALLS, lambda _t, p: told.append(LiveCall.decode(p)))
        await on.die_and_rise()
        await until(lambda: told, "a live call")
        assert (told[-1].state, told[-1].box, told[-1].answered is not None) == ("speaking", "box-1", True)
        assert at_box.invite is not None
        busy = int(at_box.invite.headers["x-simrack-channel"])
        second = on.invite()
        other = await on.box.invited()
        assert other.invite is not None
        assert int(other.invite.headers["x-simrack-channel"]) != busy
        second.cancel()
        await until(lambda: other.request("CANCEL"))
        assert (await on.commander().send(topics.controller_command(), "hang-up", {"call": told[0].call}, actor="ann")).ok
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        await on.box.tell(other)
        await on.record(2)


async def test_two_deaths_in_one_call(tmp_path: Path) -> None:
    """Request numbers go on upwards, so that the second run's BYE is no step back."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        for count in (1, 2):
            await on.die_and_rise()
            call.again("INFO", body=b"Signal=5\r\n", kind="application/dtmf-relay")
            await until(partial(told, at_box, "INFO", count), "the INFO")
        numbers = [int(m.headers["cseq"].split()[0]) for m in at_box.got if m.method == "INFO"]
        assert numbers[1] - numbers[0] >= 1000
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        assert (await on.record()).marks.count("resumed") == 1


async def test_call_that_the_box_released_in_the_outage(tmp_path: Path) -> None:
    """Its channel is free and its BYE was never heard: the sender is told, and the part makes the record whole."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die()
        assert at_box.invite is not None
        await on.box.report(int(at_box.invite.headers["x-simrack-channel"]))
        await on.start()
        event = await on.box.tell(at_box, talk_ms=777, cause=31, cause_text="network", side="called")
        await until(lambda: call.request("BYE"), "the BYE")
        bye = call.request("BYE")
        assert bye is not None
        assert bye.cause == 31
        row = await on.record()
        assert (row.cause, row.side, row.talk_network_ms, row.estimated) == (31, "called", 777, False)
        await until(lambda: on.box.acks)
        await on.box.send(event)
        assert (await on.record()).talk_network_ms == 777


async def test_call_that_nobody_tells_of_is_lost_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The channel is free and no part comes: cause 41, side rack, estimated; the sender is not left in silence."""
    monkeypatch.setattr("simrack.controller.calls.reconcile.SETTLE_S", 0.3)
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die()
        assert at_box.invite is not None
        await on.box.report(int(at_box.invite.headers["x-simrack-channel"]))
        await on.start()
        await until(lambda: call.request("BYE"), "the BYE")
        row = await on.record()
        assert (row.cause, row.side, row.estimated) == (41, "rack", True)
        assert set(row.marks) >= {"resumed", "lost"}


async def test_box_that_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a box is silent the call stands; after the named time both legs are released."""
    monkeypatch.setattr("simrack.controller.calls.reconcile.HEARD_WITHIN_S", 0.5)
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die()
        await on.forget()
        await on.start()
        await until(lambda: call.request("BYE") and at_box.request("BYE"), "BYE on both legs")
        row = await on.record()
        assert (row.cause, row.side, row.cause_original) == (41, "rack", "box did not come back")


async def test_broker_without_memory(tmp_path: Path) -> None:
    """Broker and controller died together: the call stands until the box has told all its state again."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die()
        await on.forget()
        await on.start()
        await on.box.publish()
        await on.box.carry(at_box)
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        assert (await on.record()).cause == 16


async def test_part_that_came_before_the_death(tmp_path: Path) -> None:
    """Killed while the record waited: the box's part is on disk already and is never sent again."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.box.tell(at_box, talk_ms=333, cause=31, side="called")
        await until(lambda: on.box.acks, "the part on disk")
        await on.die()
        assert at_box.invite is not None
        await on.box.report(int(at_box.invite.headers["x-simrack-channel"]))
        await on.start()
        await until(lambda: call.request("BYE"), "the BYE")
        row = await on.record()
        assert (row.talk_network_ms, row.cause, row.estimated) == (333, 31, False)


async def test_sender_that_hung_up_in_a_long_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its BYE has been given up by then: the call would stay up, and be paid for, until the longest duration."""
    monkeypatch.setattr("simrack.controller.calls.resumed.ACK_WITHIN_MS", 0)
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die_and_rise()
        await until(lambda: call.request("OPTIONS"), "the question to the sender")
        asked = call.request("OPTIONS")
        assert asked is not None
        call.respond(asked, 481, "Call/Transaction Does Not Exist")
        await until(lambda: at_box.request("BYE"), "the BYE at the box")
        await on.box.tell(at_box, talk_ms=1234)
        row = await on.record()
        assert (row.outcome, row.cause, row.side, row.talk_network_ms) == ("answered", 16, "calling", 1234)
        assert "sender-gone" in row.marks


async def test_longest_duration_holds_over_a_restart(tmp_path: Path) -> None:
    """A sender whose calls end after an hour does not get a second one from our restart."""
    (tmp_path / "routing.toml").write_text(ROUTING.replace("max_ring_s = 60", "max_ring_s = 60\nmax_call_s = 2"))
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        await on.die_and_rise()
        await until(lambda: call.request("BYE") and at_box.request("BYE"), "the end")
        await on.box.tell(at_box, talk_ms=2000)
        row = await on.record()
        assert "max-duration" in row.marks
        assert 1900 <= row.talk_sender_ms <= 4000


async def test_unanswered_call_is_closed_at_once_and_its_repeat_refused_over_two_deaths(tmp_path: Path) -> None:
    """Killed while it rang: one record, cause 41; the same INVITE gets 503 however often we die."""
    async with lives(tmp_path) as on:
        call = on.invite()
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 180, "Ringing")
        await until(lambda: 180 in call.statuses)
        for round_ in range(2):
            await on.die_and_rise()
            row = await on.record()
            assert (row.cause, row.side, row.outcome, row.marks) == (41, "rack", "failed", ("lost",))
            call.got.clear()
            call.remote_uri = call.remote_uri.partition(";tag=")[0]
            call.send("INVITE", cseq=1, body=call.sdp, branch=f"again{round_}")
            await until(lambda: call.final, "an answer")
            assert call.final is not None
            assert call.final.status == 503
        await on.record()


async def test_controller_hands_its_calls_over(tmp_path: Path) -> None:
    """A rolling upgrade: answered calls go on, those that ring end with their record, new ones go elsewhere."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        ringing = on.invite()
        waits = await on.box.invited()
        assert waits.invite is not None
        waits.respond(waits.invite, 180, "Ringing")
        await until(lambda: 180 in ringing.statuses)
        stopping = asyncio.create_task(on.stop(hand_over=True))
        await until(lambda: ringing.final, "the end of what rang")
        await on.box.tell(waits)
        await stopping
        assert not call.request("BYE")
        await on.start()
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        await on.record(2)
        assert {row.marks[0] for row in await on.records()} == {"controller-stopped", "resumed"}


async def test_channel_report_in_another_state_does_not_end_a_call(tmp_path: Path) -> None:
    """A held call of the module is still a call."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        assert at_box.invite is not None
        fields = at_box.invite.headers
        await on.box.report(int(fields["x-simrack-channel"]), ChannelState.HELD, fields["x-simrack-attempt"])
        await on.die_and_rise()
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=5)
        assert (await on.record()).side == "calling"


async def test_network_connected_a_call_that_died_unanswered(tmp_path: Path) -> None:
    """Killed between the box's 200 and the disk: the box's part makes an answered call of the lost one."""
    async with lives(tmp_path) as on:
        on.before_write = lambda name: on.shut_ports() if name == "connected" else None
        await on.die_and_rise()
        on.before_write = lambda _name: None
        call = on.invite()
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        await until(lambda: on.store and on.store.dead, "the death")
        await on.die()
        await on.start()
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        await until(lambda: at_box.request("BYE"), "the end of an answer that nobody waits for")
        await on.box.tell(at_box, talk_ms=250, ring_ms=9, connected=datetime.now(UTC), cause=41, side="rack")
        await until(lambda: on.box.acks, "the part on disk")
        row = await on.record()
        assert (row.outcome, row.talk_network_ms, row.attempts, row.box) == ("answered", 250, 1, "box-1")
        assert row.marks == ("lost",)
        assert not call.final


async def test_death_between_the_disk_and_the_200(tmp_path: Path) -> None:
    """The sender rings on; the next run gives it the answer that the dead one owed, and the call is a call."""
    async with lives(tmp_path) as on:
        on.before_write = lambda name: on.shut_ports() if name == "connected done" else None
        await on.die_and_rise()
        on.before_write = lambda _name: None
        call = on.invite()
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        await until(lambda: on.store and on.store.dead, "the death")
        await on.die()
        await on.box.carry(at_box)
        assert not call.final
        await on.start()
        await until(lambda: call.final and call.final.status == 200, "the answer")
        assert call.final is not None
        assert call.final.body == ANSWER
        call.again("BYE")
        await until(lambda: at_box.request("BYE"), "the BYE at the box")
        await on.box.tell(at_box, talk_ms=70)
        row = await on.record()
        assert (row.outcome, row.cause, row.talk_network_ms) == ("answered", 16, 70)


@pytest.mark.parametrize("point", ["open_call", "open_call done", "finish", "finish done"])
async def test_death_at_each_write(tmp_path: Path, point: str) -> None:
    """Wherever the disk is when we die: one call, one record, no leg left; a fresh call where nothing was on disk."""
    async with lives(tmp_path) as on:
        on.before_write = lambda name: on.shut_ports() if name == point else None
        await on.die_and_rise()
        on.before_write = lambda _name: None
        call = on.invite()
        if point.startswith("open"):
            await until(lambda: on.store and on.store.dead, "the death")
            assert not call.got
            await on.die_and_rise()
            call.send("INVITE", cseq=1, body=call.sdp)
            if point == "open_call":
                at_box = await on.box.invited()
                call.cancel()
                await until(lambda: at_box.request("CANCEL"))
                await on.box.tell(at_box)
                assert (await on.record()).outcome == "cancelled"
            else:
                await until(lambda: call.final, "an answer")
                assert call.final is not None
                assert call.final.status == 503
                assert (await on.record()).marks == ("lost",)
            return
        at_box = await on.box.invited()
        assert at_box.invite is not None
        at_box.respond(at_box.invite, 200, "OK", body=ANSWER)
        await until(lambda: call.final, "the answer")
        call.again("BYE")
        await until(lambda: at_box.request("BYE"))
        await on.box.tell(at_box, talk_ms=44)
        await until(lambda: on.store and on.store.dead, "the death")
        await on.die()
        await on.box.report(int(at_box.invite.headers["x-simrack-channel"]))
        await on.start()
        row = await on.record()
        assert (row.outcome, row.talk_network_ms, row.cause, row.estimated) == ("answered", 44, 16, False)


async def test_second_box_of_one_name_leaves_the_calls_of_the_first(tmp_path: Path) -> None:
    """A copied configuration must not cut off people: the first box answers for its call, and it goes on."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        peer = await peer_at("127.0.0.1")
        twin = Box(on.broker.bus("box-2"), peer)
        twin.stamp = Stamp("boot-of-the-other")
        work = asyncio.create_task(twin.bus.run())
        try:
            await until(lambda: at_box.request("OPTIONS"), "the question")
            options = at_box.request("OPTIONS")
            assert options is not None
            at_box.respond(options, 200, "OK")
            call.again("INFO", body=b"Signal=5\r\n", kind="application/dtmf-relay")
            await until(lambda: at_box.request("INFO"), "the call goes on")
            assert not call.request("BYE")
            call.again("BYE")
            await until(lambda: at_box.request("BYE"))
            await on.box.tell(at_box, talk_ms=5)
            assert "box-lost" not in (await on.record()).marks
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            peer.close()


async def test_box_that_was_restarted_has_lost_its_calls(tmp_path: Path) -> None:
    """Its new run knows no such call: the sender is told at once, and the part from the journal is a guess."""
    async with lives(tmp_path) as on:
        call, at_box = await on.speaking()
        on.box.stamp = Stamp("boot-again")
        await on.box.publish()
        await until(lambda: at_box.request("OPTIONS"), "the question")
        options = at_box.request("OPTIONS")
        assert options is not None
        at_box.respond(options, 481, "Call/Transaction Does Not Exist")
        await until(lambda: call.request("BYE"), "the BYE")
        first = await on.record()
        assert (first.cause, first.side, first.estimated) == (41, "rack", True)
        assert first.marks == ("box-lost",)
        await on.box.tell(at_box, talk_ms=4321, estimated=True, cause=41, side="rack")
        await until(lambda: on.box.acks, "the part on disk")
        row = await on.record()
        assert (row.talk_network_ms, row.estimated) == (4321, True)
        await on.box.tell(at_box, talk_ms=1, estimated=True)
        await until(lambda: len(on.box.acks) == 2)
        assert (await on.record()).talk_network_ms == 4321, "completed once"

