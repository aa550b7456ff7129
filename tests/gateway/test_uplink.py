"""The box's side of MQTT over the broker in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gateway_support import NOON, CountingIds, HandClock, part, until

from simrack.gateway.channel import Channel
from simrack.gateway.errors import CommandRefused
from simrack.gateway.outbox import Outbox
from simrack.gateway.uplink import RESEND_S, Self, Uplink, will
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import (
    AckRange,
    BoxEvent,
    BoxStatus,
    ChannelReport,
    Command,
    CommandReply,
    ControllerStatus,
    ControllerTime,
    EventAck,
)
from simrack.wire.mqtt import MemoryBroker, MemoryBus


class Centre:
    """A stand-in for the controller: hears everything, says what the test wants."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.bus = broker.bus("controller")
        self.statuses: list[BoxStatus] = []
        self.reports: list[ChannelReport] = []
        self.events: list[BoxEvent] = []
        self.replies: list[CommandReply] = []
        self.seq = 0
        take = self.bus.subscribe
        take(topics.ALL_BOX_STATUS, lambda _, p: self.statuses.append(BoxStatus.decode(p)))
        take(topics.ALL_CHANNEL_STATE, lambda _, p: self.reports.append(ChannelReport.decode(p)))
        take(topics.ALL_BOX_EVENTS, lambda _, p: self.events.append(BoxEvent.decode(p)))
        take(topics.reply("me"), lambda _, p: self.replies.append(CommandReply.decode(p)))

    async def alive(self, boot: str, *, online: bool = True) -> None:
        self.seq += 1
        status = ControllerStatus(boot=boot, seq=self.seq, at=NOON, online=online)
        await self.bus.publish(topics.controller_status(), status.encode(), retain=True)

    async def time(self, ahead_s: float = 0.0, boot: str = "c") -> None:
        self.seq += 1
        message = ControllerTime(boot=boot, seq=self.seq, at=NOON + timedelta(seconds=ahead_s))
        await self.bus.publish(topics.controller_time(), message.encode())

    async def acknowledge(self, boot: str, first: int, last: int) -> None:
        ack = EventAck(box="lab-01", ranges=(AckRange(boot=boot, first=first, last=last),))
        await self.bus.publish(topics.box_event_ack("lab-01"), ack.encode())

    async def command(self, action: str, *, id_: str = "k1", late_s: float = 5.0, **args: Any) -> CommandReply:
        command = Command(
            id=id_, action=action, actor="test", deadline=NOON + timedelta(seconds=late_s), reply_to=topics.reply("me"),
            args=args,
        )  # fmt: skip
        count = len(self.replies)
        await self.bus.publish(topics.box_command("lab-01"), command.encode())
        await until(lambda: len(self.replies) > count, f"reply to {action}")
        return self.replies[-1]


class Rig:
    """An uplink with one channel, its broker and its controller."""

    def __init__(self, outbox: Outbox, clock: HandClock) -> None:
        self.broker, self.outbox, self.clock = MemoryBroker(), outbox, clock
        self.done: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bus: MemoryBus = self.broker.bus("box", will=will("lab-01", outbox.boot, clock.utc()))
        self.channel = Channel("lab-01", 1, clock, lambda c: self.uplink.channel_changed(c))
        self.uplink = Uplink(
            Self("lab-01", "site", "127.0.0.1:5070"), self.bus, outbox, (self.channel,), clock,
            {"hang-up": self.act, "stop": self.act, "fail": self.fail, "break": self.crash},
        )  # fmt: skip
        self.centre = Centre(self.broker)

    async def act(self, args: Any) -> dict[str, Any]:
        await self.gate.wait()
        self.done.append(dict(args))
        return {"count": len(self.done)}

    async def fail(self, _args: Any) -> dict[str, Any]:
        raise CommandRefused("no such call")

    async def crash(self, _args: Any) -> dict[str, Any]:
        raise ZeroDivisionError


@pytest.fixture
async def rig(tmp_path: Path, run_tasks: Callable[..., Any]) -> AsyncIterator[Rig]:
    clock = HandClock()
    outbox = await Outbox.open("lab-01", tmp_path, clock, CountingIds())
    made = Rig(outbox, clock)
    for coroutine in (made.centre.bus.run(), made.bus.run(), made.uplink.run()):
        run_tasks(coroutine)
    await until(lambda: made.centre.statuses and made.centre.reports, "birth")
    yield made
    await outbox.close()


async def test_birth_and_channel_states_come_with_each_connect(rig: Rig) -> None:
    """The broker's memory is never needed: it is emptied here."""
    assert rig.centre.statuses[-1].online
    assert rig.centre.statuses[-1].sip == "127.0.0.1:5070"
    rig.broker.forget()
    rig.bus.cut()
    await until(lambda: topics.channel_state("lab-01", 1) in rig.broker.retained, "state after reconnect")
    await until(lambda: rig.centre.statuses[-1].online, "birth after reconnect")
    assert [status.online for status in rig.centre.statuses].count(False) == 1


async def test_a_change_is_reported_once_with_a_higher_sequence(rig: Rig) -> None:
    before = len(rig.centre.reports)
    rig.channel.set_state(ChannelState.STARTING)
    rig.channel.set_state(ChannelState.SEARCHING)
    await until(lambda: rig.centre.reports[-1].state is ChannelState.SEARCHING, "state")
    assert len(rig.centre.reports) == before + 1
    numbers = [(report.boot, report.seq) for report in rig.centre.reports]
    assert numbers == sorted(numbers)


async def test_facts_are_sent_until_acknowledged_then_forgotten(rig: Rig) -> None:
    await rig.uplink.put(part("a1"))
    await until(lambda: len(rig.centre.events) == 1, "first sending")
    await rig.centre.time()
    rig.bus.cut()
    await until(lambda: len(rig.centre.events) == 2, "second sending after reconnect")
    assert rig.centre.events[0] == rig.centre.events[1]
    await rig.centre.acknowledge(rig.outbox.boot, 1, 1)
    await until(lambda: rig.outbox.waiting == 0, "acknowledged")
    rig.clock.now += RESEND_S + 1
    rig.outbox.news.set()
    await rig.uplink.put(part("a2"))
    await until(lambda: len(rig.centre.events) == 3, "only the new one")
    assert rig.centre.events[-1].seq == 2


async def test_facts_made_without_a_broker_come_in_order_later(rig: Rig, run_tasks: Callable[..., Any]) -> None:
    for number in range(5):
        await rig.uplink.put(part(f"a{number}"))
    await until(lambda: len(rig.centre.events) == 5, "all")
    assert [event.seq for event in rig.centre.events] == [1, 2, 3, 4, 5]


async def test_a_command_is_done_once_however_often_it_comes(rig: Rig) -> None:
    """A doubled `hang-up` must not hang up the next call."""
    await rig.centre.time()
    await until(lambda: rig.uplink.offset is not None, "offset")
    first = await rig.centre.command("hang-up", channel=1)
    again = await rig.centre.command("hang-up", channel=1)
    assert first.ok
    assert again == first
    assert rig.done == [{"channel": 1}]
    await rig.centre.command("hang-up", id_="k2", channel=2)
    assert len(rig.done) == 2


async def test_a_doubled_command_waits_for_the_first_one(rig: Rig) -> None:
    await rig.centre.time()
    await until(lambda: rig.uplink.offset is not None, "offset")
    rig.gate.clear()
    both = [asyncio.ensure_future(rig.centre.command("hang-up", channel=1)) for _ in range(2)]
    await asyncio.sleep(0.02)
    rig.gate.set()
    await asyncio.gather(*both)
    assert len(rig.done) == 1


async def test_without_the_controllers_time_only_stop_is_taken(rig: Rig) -> None:
    refused = await rig.centre.command("hang-up", channel=1)
    assert not refused.ok
    assert "time" in refused.error
    assert (await rig.centre.command("stop", id_="k2")).ok
    assert rig.done == [{}]


async def test_a_command_after_its_deadline_is_refused_in_the_controllers_time(rig: Rig) -> None:
    await rig.centre.time(ahead_s=60)
    await until(lambda: rig.uplink.offset_ms == 60_000, "offset")
    assert "deadline" in (await rig.centre.command("hang-up", late_s=59, channel=1)).error
    assert (await rig.centre.command("hang-up", id_="k2", late_s=61, channel=1)).ok


async def test_refusals_and_faults_of_a_command_are_answered(rig: Rig) -> None:
    await rig.centre.time()
    await until(lambda: rig.uplink.offset is not None, "offset")
    assert (await rig.centre.command("fail", id_="1")).error == "no such call"
    assert (await rig.centre.command("break", id_="2")).error == "internal: ZeroDivisionError"
    assert "unknown action" in (await rig.centre.command("format", id_="3")).error
    assert (await rig.centre.command("hang-up", id_="4", channel=1)).ok


async def test_garbage_from_the_broker_disturbs_nothing(rig: Rig) -> None:
    for topic in (topics.box_command("lab-01"), topics.controller_time(), topics.box_event_ack("lab-01")):
        await rig.centre.bus.publish(topic, b"\xff{")
        await rig.centre.bus.publish(topic, b'{"v": 99}')
    await rig.centre.time()
    await until(lambda: rig.uplink.offset is not None, "offset")


async def test_the_status_tells_the_clock_offset_and_the_waiting_facts(rig: Rig) -> None:
    await rig.centre.time(ahead_s=2)
    await until(lambda: rig.centre.statuses[-1].clock_offset_ms == 2000, "offset in the status")
    assert rig.uplink.silent_s() == 0
    rig.clock.now += 7200
    assert rig.uplink.silent_s() == 7200


async def test_a_box_that_stops_says_so(rig: Rig) -> None:
    await rig.uplink.farewell()
    await until(lambda: not rig.centre.statuses[-1].online, "farewell")


async def test_a_restart_of_the_controller_is_told_once_and_with_the_moment_of_its_death(rig: Rig) -> None:
    """Calls that the dead controller had not answered for would ring on for nobody."""
    told: list[float | None] = []
    rig.uplink.on_new_controller = told.append
    await rig.centre.alive("c1")
    await rig.centre.time(boot="c1")
    await until(lambda: rig.uplink.offset is not None, "time")
    assert told == [], "the first controller is nobody's successor"
    rig.clock.now = 140.0
    await rig.centre.alive("c1", online=False)
    await until(lambda: rig.uplink._gone is not None, "death")
    rig.clock.now = 150.0
    await rig.centre.alive("c2")
    await rig.centre.time(boot="c2")
    await until(lambda: told, "successor")
    # A broker that gives back what it had kept must not look like another restart.
    await rig.centre.alive("c1")
    await rig.centre.time(boot="c1")
    await rig.centre.time(boot="c3")
    await until(lambda: len(told) == 2, "next successor")
    assert told == [140.0, None]


@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_a_wall_clock_that_jumps_an_hour_changes_no_deadline(rig: Rig, jump_s: int) -> None:
    """Else a box whose clock was set would refuse every command, or obey one of an hour ago."""
    await rig.centre.time()
    await until(lambda: rig.uplink.offset is not None, "offset")
    rig.clock.set_s = jump_s
    assert (await rig.centre.command("hang-up", id_="in time")).ok
    assert "deadline" in (await rig.centre.command("hang-up", id_="too late", late_s=-1)).error
    assert rig.uplink.offset_ms == -1000 * jump_s, "facts from now on carry the new difference"
    await rig.centre.time()
    await until(lambda: rig.centre.statuses[-1].clock_offset_ms == -1000 * jump_s, "the status tells")


async def test_messages_of_the_next_release_are_read_as_far_as_they_are_known(rig: Rig) -> None:
    """Boxes and controller may differ by one release while a rack is upgraded."""
    await rig.centre.time()
    await until(lambda: rig.uplink.offset is not None, "offset")
    command = Command(
        id="new", action="hang-up", actor="test", deadline=NOON + timedelta(seconds=5), reply_to=topics.reply("me")
    )
    wider = json.loads(command.encode()) | {"priority": "high", "args": {"channel": 1, "gently": True}}
    await rig.centre.bus.publish(topics.box_command("lab-01"), json.dumps(wider).encode())
    await until(lambda: rig.centre.replies, "reply")
    assert rig.centre.replies[-1].ok
    await rig.centre.bus.publish(
        topics.box_command("lab-01"), json.dumps(wider | {"v": 2, "id": "other"}).encode()
    )
    await until(lambda: len(rig.centre.replies) == 2, "refusal")
    refusal = rig.centre.replies[-1]
    assert (refusal.id, refusal.ok) == ("other", False)
    assert "version 2" in refusal.error
