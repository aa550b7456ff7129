"""The whole box on emulated modules: raw SIP at one side, the network's own ledger at the other."""

import array
import asyncio
import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from gateway_lab import Lab
from gateway_sip import Controller, Dialog, sdp_of
from gateway_support import until
from gateway_voice import Phone, power

from simrack.drivers.modems.generic import service
from simrack.gateway import calls_logic as logic
from simrack.gateway import ladder
from simrack.gateway import module as module_file
from simrack.gateway.agent import OVERTAKEN_S, Box
from simrack.gateway.hands import SiteHands
from simrack.gateway.hardware import Hardware
from simrack.gateway.outbox import Outbox
from simrack.gateway.settings import BoxSettings
from simrack.gateway.voice import AudioPort
from simrack.sip.codecs import available
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import (
    BoxEvent,
    BoxStatus,
    CallPart,
    ChannelReport,
    CommandReply,
    ConsoleLines,
    ControllerTime,
    EventAck,
    FaultPart,
)
from simrack.wire.mqtt import Commander, MemoryBroker, MemoryBus
from simrack.wire.ports import SystemClock, SystemIds

pytestmark = pytest.mark.asyncio(loop_scope="module")

S = ChannelState
CLOCK, IDS = SystemClock(), SystemIds()
# Looked up before any loop runs, as the command does.
available()


class Rig:
    """A box in this loop, with a raw controller and a phone."""

    phone: Phone
    metrics: str

    def __init__(
        self, lab: Lab, box: Box, sip: tuple[str, int], controller: Controller, centre: MemoryBus
    ) -> None:
        self.lab, self.box, self.sip, self.controller, self.centre = lab, box, sip, controller, centre
        self.events: list[BoxEvent] = []
        self.attempts = 0
        self.acks: asyncio.Queue[BoxEvent] = asyncio.Queue()
        centre.subscribe(topics.ALL_BOX_EVENTS, self._take)

    def _take(self, _topic: str, payload: bytes) -> None:
        event = BoxEvent.decode(payload)
        self.events.append(event)
        self.acks.put_nowait(event)

    async def acknowledge(self) -> None:
        """What the controller does with each fact that it has stored."""
        while True:
            event = await self.acks.get()
            ranges = [{"boot": event.boot, "first": event.seq, "last": event.seq}]
            ack = EventAck.model_validate({"box": "lab-01", "ranges": ranges})
            await self.centre.publish(topics.box_event_ack("lab-01"), ack.encode())

    @property
    def outbox(self) -> Outbox:
        assert self.box._uplink
        return self.box._uplink.outbox

    @property
    def parts(self) -> list[CallPart]:
        return [event.body for event in self.events if isinstance(event.body, CallPart)]

    @property
    def faults(self) -> list[FaultPart]:
        return [event.body for event in self.events if isinstance(event.body, FaultPart)]

    def state(self, channel: int = 1) -> ChannelState:
        return self.box.modules[channel].channel.state

    def call(self, number: str, *, channel: int = 1, **more: str) -> Dialog:
        self.attempts += 1
        headers = {
            "X-Simrack-Call": f"call{self.attempts}", "X-Simrack-Attempt": f"attempt{self.attempts}",
            "X-Simrack-Channel": str(channel), "X-Simrack-ICCID": self.lab.modules[channel - 1]["iccid"],
            **{"X-Simrack-" + key.replace("_", "-"): value for key, value in more.items()},
        }  # fmt: skip
        return self.controller.invite(self.sip, number, sdp_of(self.phone.address), headers)

    async def final(self, dialog: Dialog) -> int:
        await until(lambda: dialog.final, "final answer", 15)
        assert dialog.final
        return dialog.final.status

    async def refused(self, dialog: Dialog, why: str) -> None:
        assert await self.final(dialog) == 503
        assert dialog.final
        assert dialog.final.cause == 44
        assert dialog.final.headers["x-simrack-refusal"] == why

    async def part(self, count: int = 1) -> CallPart:
        await until(lambda: len(self.parts) >= count, "the call's part", 10)
        await until(lambda: all(self.state(n) not in _BUSY for n in self.box.modules), "rest", 10)
        return self.parts[count - 1]

    async def figures(self) -> dict[str, float]:
        async with aiohttp.ClientSession() as session, session.get(self.metrics) as page:
            lines = (await page.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def network_heard(self, digits: str) -> None:
        row: dict[str, Any] = {}
        for _ in range(100):
            row = await self.lab.last_call()
            if row["heard"]["dtmf"] == digits:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the network heard {row['heard']}, not {digits}")


_BUSY = {S.DIALLING, S.ALERTING, S.ACTIVE, S.INCOMING, S.HELD, S.RELEASING}


def _settings(lab: Lab, folder: Path, controller: Controller) -> BoxSettings:
    modules = [{key: module[key] for key in ("channel", "at", "audio")} for module in lab.modules]
    sip = {"controller": f"127.0.0.1:{controller.port}"}
    rtp = {"first": 30000, "last": 39999}
    metrics = {"listen": "127.0.0.1:0"}
    return BoxSettings.model_validate(
        {"box": "lab-01", "data": folder / "box", "sip": sip, "rtp": rtp, "module": modules, "metrics": metrics}
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One box for all tests of this file; starting it anew for each would cost most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        # The emulated modules come back in a fifth of the time, too.
        patch.setattr(ladder, "BACKOFF_S", (0.2,))
        # One module goes through many troubles here, and no minute in service between them.
        patch.setattr(ladder, "OUT_S", 0.2)
        patch.setattr(module_file, "LOOK_S", 0.1)
        # A tenth of the time until a hang is looked for.
        patch.setattr(service, "LIFE_EVERY_S", 1.0)
        async for made in _served(lab, tmp_path_factory):
            yield made


async def _served(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    controller, broker = await Controller.open(), MemoryBroker()
    settings = _settings(lab, tmp_path_factory.mktemp("box"), controller)
    hardware = Hardware(settings.rtp, settings.calls.no_media_s, CLOCK, IDS)
    box = Box(
        settings, CLOCK, IDS, lambda name, will: broker.bus(name, will=will), hardware, hardware.open_module,
        (hardware.run,), hardware.ticker, strict=True, hands=SiteHands(),
    )  # fmt: skip
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    centre = broker.bus("controller")
    tasks = [asyncio.ensure_future(centre.run()), asyncio.ensure_future(box.run(ready.set_result))]
    try:
        await asyncio.wait([*tasks, ready], return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done():
            await tasks[1]
        host, port = ready.result()["sip"].split(":")
        made = Rig(lab, box, (host, int(port)), controller, centre)
        made.metrics = ready.result()["metrics"]
        tasks.append(asyncio.ensure_future(made.acknowledge()))
        await until(lambda: all(made.state(n) is S.READY for n in box.modules), "modules ready", 20)
        yield made
    finally:
        box.stop()
        async with asyncio.timeout(15):
            await tasks[1]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        controller.close()


@pytest_asyncio.fixture(loop_scope="module")
async def rig(served: Rig) -> AsyncIterator[Rig]:
    served.phone = await Phone.open()
    served.events.clear()
    await until(lambda: all(served.state(n) is S.READY for n in served.box.modules), "modules ready", 20)
    yield served
    for module in served.box.modules.values():
        if module.current is not None:
            module.current.feed(logic.Ordered(16, "test over"))
    served.phone.close()
    # A part that came late would be taken for the next test's.
    await until(lambda: all(module.current is None for module in served.box.modules.values()), "no call", 20)
    await until(lambda: served.outbox.waiting == 0, "empty outbox", 10)
    await served.lab.ask("DELETE", "/faults")


async def test_an_answered_call_carries_a_tone_each_way_and_its_part_equals_the_ledger(rig: Rig) -> None:
    """Voice passes SIP <-> module: both tones are drawn at random and measured at the far ends."""
    to_sip, to_gsm = random.sample(range(500, 1900, 50), 2)
    number = await rig.lab.number(behaviour="tone", tone_hz=to_sip)
    dialog = rig.call(number)
    assert await rig.final(dialog) == 200
    assert dialog.final
    rig.phone.say(dialog.final.body, to_gsm)
    await until(lambda: rig.phone.hears(to_sip), f"{to_sip} Hz at the SIP side", 10)
    assert rig.state() is S.ACTIVE
    await until(lambda: len(rig.phone.heard) > 20000, "more than a second of voice", 10)
    dialog.again("BYE")
    part = await rig.part()
    assert dialog.answer_to("BYE")
    row = await rig.lab.last_call()
    assert (row["called"], row["cause"], row["released_by"]) == (number, 16, "calling")
    assert abs(part.talk_ms - row["talk_ms"]) < 100
    assert abs(row["heard"]["from_mobile_hz"] - to_gsm) < 20
    assert (part.cause, part.side, part.number) == (16, "calling", number)
    assert part.media.codec == "PCMU"
    assert part.media.from_network.packets > 50
    assert part.dial_delay_ms < 500
    assert any(line.text.startswith("ATD") for line in part.at_log)
    assert flow_lines(part) == [], "an ordinary call is fed at the module's own pace"


def flow_lines(part: CallPart) -> list[str]:
    return [line.text for line in part.at_log if line.way == "<" and line.text.startswith("+QPCMV")]


async def test_a_module_whose_buffer_is_full_gets_a_pause_and_then_the_voice_goes_on(rig: Rig) -> None:
    dialog = rig.call(await rig.lab.number(behaviour="echo"))
    assert await rig.final(dialog) == 200
    assert dialog.final
    rig.phone.say(dialog.final.body, 750)
    await until(lambda: rig.phone.hears(750), "echo", 10)
    audio = rig.box.modules[1].audio
    assert isinstance(audio, AudioPort)
    audio.write(bytes(3200))
    await until(lambda: audio.paused, "pause")
    await until(lambda: not audio.paused, "go on")
    rig.phone.heard.clear()
    await until(lambda: rig.phone.hears(750), "echo again", 10)
    dialog.again("BYE")
    assert flow_lines(await rig.part()) == ["+QPCMV: 0,0", "+QPCMV: 1,0"]


@pytest.mark.parametrize(
    ("name", "status", "cause"),
    [("busy", 486, 17), ("unallocated", 404, 1), ("no_answer", 480, 19), ("reject", 403, 21), ("congestion", 503, 42)],
)
async def test_a_call_that_is_not_answered_ends_with_the_networks_cause(
    rig: Rig, name: str, status: int, cause: int
) -> None:
    number = rig.lab.numbers[name]
    if name == "no_answer":
        number = await rig.lab.number(behaviour="no_answer", ring_s=0.3)
    dialog = rig.call(number)
    assert await rig.final(dialog) == status
    assert dialog.final
    assert dialog.final.cause == cause
    part = await rig.part()
    assert (part.cause, part.side, part.connected, part.talk_ms) == (cause, "called", None, 0)
    await rig.lab.on_hook()


async def test_early_media_is_heard_before_the_answer_and_not_billed(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="announcement", announcement_s=0.8)
    dialog = rig.call(number, Early_Media="auto")
    await until(lambda: 183 in dialog.statuses, "183", 10)
    await until(lambda: len(rig.phone.heard) > 8000, "announcement", 10)
    status = await rig.final(dialog)
    part = await rig.part() if status >= 300 else None
    assert dialog.statuses.count(183) == 1
    assert 180 not in dialog.statuses
    if part:
        assert part.early_media
        assert part.talk_ms == 0


async def test_under_never_the_sender_gets_180_and_no_voice_before_the_answer(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700, answer_after_s=0.4)
    dialog = rig.call(number, Early_Media="never")
    assert await rig.final(dialog) == 200
    assert dialog.statuses == [180, 200]
    dialog.again("BYE")
    part = await rig.part()
    assert not part.early_media


async def test_under_always_the_path_opens_when_the_module_took_the_number(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700, answer_after_s=0.4)
    dialog = rig.call(number, Early_Media="always")
    await until(lambda: 183 in dialog.statuses, "183")
    assert await rig.final(dialog) == 200
    assert dialog.statuses == [183, 200]
    dialog.again("BYE")
    await rig.part()


@pytest.mark.parametrize("when", ["at once", "dialling", "ringing"])
async def test_cancel_at_any_moment_leaves_the_module_on_hook(rig: Rig, when: str) -> None:
    number = await rig.lab.number(behaviour="no_answer", ring_s=30)
    dialog = rig.call(number)
    if when == "dialling":
        await until(lambda: rig.state() is S.DIALLING, "dialling")
    elif when == "ringing":
        await until(lambda: rig.state() is S.ALERTING, "ringing", 10)
    dialog.cancel()
    assert await rig.final(dialog) == 487
    part = await rig.part()
    assert part.side == "calling"
    assert part.talk_ms == 0
    assert rig.state() is S.READY
    await rig.lab.on_hook()


async def test_the_network_hangs_up_and_the_sender_gets_bye_with_its_cause(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700, hang_up_after_s=0.5)
    dialog = rig.call(number)
    assert await rig.final(dialog) == 200
    await until(lambda: dialog.request("BYE"), "BYE", 10)
    bye = dialog.request("BYE")
    assert bye
    assert bye.cause == 16
    part = await rig.part()
    row = await rig.lab.last_call()
    assert (part.cause, part.side) == (16, "called")
    assert abs(part.talk_ms - row["talk_ms"]) < 100


async def test_a_taken_channel_another_card_and_an_unknown_channel_are_refused_at_once(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700)
    first = rig.call(number)
    assert await rig.final(first) == 200
    await rig.refused(rig.call(number), "taken")
    await rig.refused(rig.call(number, channel=2, ICCID="8900"), "other-sim")
    await rig.refused(rig.call(number, Channel="9"), "not-ready")
    first.again("BYE")
    await rig.part()


async def test_a_repeated_attempt_is_never_dialled_twice(rig: Rig) -> None:
    busy = rig.lab.numbers["busy"]
    assert await rig.final(rig.call(busy, Attempt="same")) == 486
    await rig.part()
    assert await rig.final(rig.call(busy, Attempt="same")) == 482
    assert len(rig.parts) == 1


async def test_requests_that_make_no_sense_are_refused_without_a_word_to_the_module(rig: Rig) -> None:
    assert await rig.final(rig.call("12a4")) == 484
    assert await rig.final(rig.call("123", Channel="x")) == 400
    rig.phone.address = ("127.0.0.1", 0)
    assert await rig.final(rig.call("123")) == 488
    assert rig.parts == []


async def test_only_the_controllers_address_is_answered(rig: Rig) -> None:
    stranger = await Controller.open()
    dialog = stranger.invite(rig.sip, "123", sdp_of(rig.phone.address), {"X-Simrack-Channel": "1"})
    friend = rig.call(rig.lab.numbers["busy"])
    await rig.final(friend)
    await rig.part()
    assert dialog.got == []
    stranger.close()


async def test_a_module_that_vanishes_ends_its_call_with_41_and_comes_back(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700)
    other_number = await rig.lab.number(behaviour="tone", tone_hz=900)
    dialog, other = rig.call(number), rig.call(other_number, channel=2)
    assert await rig.final(dialog) == 200
    assert await rig.final(other) == 200
    await rig.lab.fault(1, "drop", duration_s=0.4)
    await until(lambda: dialog.request("BYE"), "BYE", 10)
    bye = dialog.request("BYE")
    assert bye
    assert bye.cause == 41
    await until(lambda: rig.parts, "part")
    assert (rig.parts[0].cause, rig.parts[0].side) == (41, "rack")
    assert rig.state(1) in (S.ABSENT, S.STARTING, S.FAULT)
    assert rig.state(2) is S.ACTIVE
    await until(lambda: rig.state(1) is S.READY, "module back", 20)
    await until(lambda: rig.phone.hears(900), "the other call's voice", 5)
    await until(lambda: rig.faults and rig.faults[-1].cleared, "fault cleared")
    other.again("BYE")
    await rig.part(2)


async def test_digits_go_both_ways(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="dtmf", dtmf="42")
    dialog = rig.call(number)
    assert await rig.final(dialog) == 200
    assert dialog.final
    rig.phone.say(dialog.final.body, 600)
    await until(lambda: rig.phone.events == [4, 2], "digits from the network", 15)
    rig.phone.press(7)
    await rig.network_heard("7")
    dialog.again("INFO", body=b"Signal=9\r\nDuration=160\r\n", kind="application/dtmf-relay")
    await until(lambda: dialog.answer_to("INFO"), "INFO answered")
    await rig.network_heard("79")
    dialog.again("BYE")
    await rig.part()


async def test_hold_and_resume_by_reinvite(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700)
    dialog = rig.call(number)
    assert await rig.final(dialog) == 200
    dialog.got.clear()
    dialog.again("INVITE", body=sdp_of(rig.phone.address, direction="inactive"))
    await until(lambda: rig.state() is S.HELD, "held")
    assert await rig.final(dialog) == 200
    assert dialog.final
    assert b"a=inactive" in dialog.final.body
    dialog.got.clear()
    dialog.again("INVITE", body=sdp_of(rig.phone.address))
    assert await rig.final(dialog) == 200
    rig.phone.heard.clear()
    await until(lambda: rig.phone.hears(700), "voice again", 5)
    assert rig.state() is S.ACTIVE
    dialog.again("BYE")
    await rig.part()


async def test_an_incoming_call_is_offered_and_its_refusal_reaches_the_caller(rig: Rig) -> None:
    module = rig.lab.modules[0]
    placed = await rig.lab.ask("POST", "/calls", {"to_msisdn": module["msisdn"], "from": "+882109005001", "ring_s": 20})
    async with asyncio.timeout(10):
        dialog = await rig.controller.offered.get()
    assert dialog.invite
    assert dialog.invite.headers["x-simrack-box"] == "lab-01"
    assert dialog.invite.headers["x-simrack-channel"] == "1"
    assert dialog.invite.headers["x-simrack-iccid"] == module["iccid"]
    assert module["msisdn"] in dialog.invite.start
    assert "882109005001" in dialog.invite.headers["from"]
    assert rig.state() is S.INCOMING
    dialog.respond(dialog.invite, 404, "Not Found", headers='Reason: Q.850;cause=27;text="no receiver"\r\n')
    part = await rig.part()
    assert (part.direction, part.cause, part.side) == ("in", 27, "called")
    assert part.attempt == dialog.invite.headers["x-simrack-attempt"]
    assert rig.state() is S.READY
    await rig.lab.on_hook()
    assert placed["id"]


async def test_an_incoming_call_is_answered_only_when_the_far_side_answers(rig: Rig) -> None:
    module = rig.lab.modules[0]
    order = {"to_msisdn": module["msisdn"], "from": "+882109005001", "voice": "tone", "tone_hz": 850}
    await rig.lab.ask("POST", "/calls", order)
    async with asyncio.timeout(10):
        dialog = await rig.controller.offered.get()
    assert dialog.invite
    row = await rig.lab.last_call()
    assert row["answered_at"] is None
    dialog.respond(dialog.invite, 200, "OK", body=sdp_of(rig.phone.address))
    await until(lambda: rig.state() is S.ACTIVE, "active", 10)
    rig.phone.say(dialog.invite.body, 1250)
    await until(lambda: rig.phone.hears(850), "the caller's tone", 10)
    dialog.again("BYE")
    part = await rig.part()
    row = await rig.lab.last_call()
    assert part.connected
    assert abs(part.talk_ms - row["talk_ms"]) < 100


async def test_glare_refuses_the_invite_and_offers_the_call_that_came_first(rig: Rig) -> None:
    """An INVITE at the moment of the ring: 503 with 44 and "taken", and the caller still rings."""
    number, module = await rig.lab.number(behaviour="tone", tone_hz=700), rig.lab.modules[0]
    rig.lab.ring_now(module["msisdn"])
    await rig.refused(rig.call(number), "taken")
    async with asyncio.timeout(10):
        dialog = await rig.controller.offered.get()
    assert dialog.invite
    row = await rig.lab.last_call()
    assert (row["direction"], row["released_at"]) == ("in", None)
    dialog.respond(dialog.invite, 404, "Not Found", headers='Reason: Q.850;cause=27;text="no receiver"\r\n')
    await until(lambda: [part for part in rig.parts if part.direction == "in"], "the call's part", 10)
    await rig.lab.on_hook()


async def test_the_caller_gives_up_and_the_controller_gets_cancel(rig: Rig) -> None:
    module = rig.lab.modules[0]
    await rig.lab.ask("POST", "/calls", {"to_msisdn": module["msisdn"], "from": "+882109005001", "ring_s": 0.4})
    async with asyncio.timeout(10):
        dialog = await rig.controller.offered.get()
    assert dialog.invite
    dialog.respond(dialog.invite, 180, "Ringing")
    await until(lambda: dialog.request("CANCEL"), "CANCEL", 10)
    part = await rig.part()
    assert (part.direction, part.side, part.connected) == ("in", "calling", None)


async def test_a_module_that_refuses_to_dial_fails_the_call_and_stays_in_service(rig: Rig) -> None:
    await rig.lab.fault(1, "dial_error", count=1)
    dialog = rig.call(rig.lab.numbers["answer"])
    assert await rig.final(dialog) == 503
    part = await rig.part()
    assert part.side == "rack"
    await rig.lab.on_hook()
    assert rig.state() is S.READY


async def test_a_maximum_ring_time_and_a_maximum_call_time_are_kept(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="no_answer", ring_s=30)
    talked = await rig.lab.number(behaviour="tone", tone_hz=700, answer_after_s=0.1)
    dialog, talk = rig.call(number, Max_Ring="1"), rig.call(talked, channel=2, Max_Call="1")
    assert await rig.final(dialog) == 480
    assert dialog.final
    assert dialog.final.cause == 19
    assert await rig.final(talk) == 200
    await until(lambda: talk.request("BYE"), "BYE", 10)
    await rig.part(2)
    rung, part = sorted(rig.parts, key=lambda part: part.channel)
    assert rung.side == "rack"
    assert (part.cause, part.side) == (16, "rack")
    assert 900 <= part.talk_ms < 2500
    await rig.lab.on_hook()


async def test_facts_that_the_controller_acknowledged_leave_the_box(rig: Rig) -> None:
    await rig.final(rig.call(rig.lab.numbers["busy"]))
    await rig.part()
    await until(lambda: rig.outbox.waiting == 0, "acknowledged")
    statuses: list[BoxStatus] = []
    stop = rig.centre.subscribe(topics.ALL_BOX_STATUS, lambda _, payload: statuses.append(BoxStatus.decode(payload)))
    time = ControllerTime(boot=IDS.token(), seq=1, at=CLOCK.utc() + timedelta(hours=1))
    await rig.centre.publish(topics.controller_time(), time.encode())
    await until(lambda: statuses and statuses[-1].clock_offset_ms and statuses[-1].outbox == 0, "empty outbox")
    stop()


async def test_a_box_that_lost_its_controller_for_hours_ends_its_calls(rig: Rig) -> None:
    dialog = rig.call(await rig.lab.number(behaviour="tone", tone_hz=700))
    assert await rig.final(dialog) == 200
    rig.box.end_if_alone()
    assert rig.state() is S.ACTIVE
    assert rig.box._uplink
    rig.box._uplink.heard -= 2 * 3600
    rig.box.end_if_alone()
    await until(lambda: dialog.request("BYE"), "BYE", 10)
    part = await rig.part()
    assert (part.cause, part.cause_text, part.side) == (41, "no controller", "rack")
    rig.box._uplink.heard = CLOCK.monotonic()
    await rig.lab.on_hook()


async def test_a_restarted_module_comes_back_by_itself(rig: Rig) -> None:
    first = rig.box.modules[1].driver
    await rig.box.modules[1].restart("restarted by a person")
    await until(lambda: rig.state() is S.FAULT, "restart", 10)
    await until(lambda: rig.state() is S.READY, "back", 20)
    assert rig.box.modules[1].driver is not first
    figures = await rig.figures()
    assert figures['simrack_box_recovery_steps_total{channel="1",step="reset"}'] >= 1


async def test_prometheus_reads_states_calls_and_the_pace_of_the_voice(rig: Rig) -> None:
    """Whoever watches the rack from outside sees a box that stands still, or facts that pile up."""
    before = await rig.figures()
    assert await rig.final(rig.call(rig.lab.numbers["busy"])) == 486
    await rig.part()
    assert await rig.final(rig.call(rig.lab.numbers["busy"], ICCID="8900")) == 503
    await until(lambda: rig.outbox.waiting == 0, "acknowledged")
    after = await rig.figures()

    def grown(name: str) -> float:
        return after["simrack_box_" + name] - before.get("simrack_box_" + name, 0)

    assert grown('calls_total{direction="out",outcome="unanswered"}') == 1
    assert grown('call_causes_total{cause="17",side="called"}') == 1
    assert grown('attempts_total{result="accepted"}') == 1
    assert grown('attempts_total{result="other-sim"}') == 1
    assert grown("voice_ticks_total") > 0
    assert after['simrack_box_channels{state="ready"}'] == 2
    assert after['simrack_box_channels{state="active"}'] == after["simrack_box_outbox"] == 0
    assert {"simrack_box_voice_ticks_late_total", 'simrack_box_at_timeouts_total{channel="2"}'} <= after.keys()


async def test_garbage_from_one_module_disturbs_no_other_call(rig: Rig) -> None:
    other = rig.call(await rig.lab.number(behaviour="tone", tone_hz=900), channel=2)
    assert await rig.final(other) == 200
    await until(lambda: rig.phone.hears(900), "voice", 10)
    await rig.lab.fault(1, "flood", rate=2000, duration_s=1.0)
    rig.phone.heard.clear()
    await until(lambda: len(rig.phone.heard) > 16000, "a second of voice")
    assert rig.phone.share(900) >= 0.9
    other.again("BYE")
    await rig.part()


async def test_a_megabyte_a_second_of_garbage_disturbs_no_neighbour_and_ends_by_the_ladder(rig: Rig) -> None:
    """The box stays quick, the neighbour's voice whole, memory where it was, and the module comes back by itself."""
    other = rig.call(await rig.lab.number(behaviour="tone", tone_hz=900), channel=2)
    assert await rig.final(other) == 200
    await until(lambda: rig.phone.hears(900), "voice", 10)
    before = resident_kb()
    await rig.lab.fault(1, "storm")
    await until(lambda: rig.state() is S.FAULT, "fault", 40)
    rig.phone.heard.clear()
    await until(lambda: len(rig.phone.heard) > 24000, "three seconds of voice", 10)
    assert rig.phone.share(900) >= 0.9
    begun = CLOCK.monotonic()
    await rig.figures()
    assert CLOCK.monotonic() - begun < 2
    await until(lambda: rig.box.modules[1].cured["reset"], "brought back by a restart", 60)
    await until(lambda: rig.state() is S.READY, "ready", 20)
    assert resident_kb() - before < 20_000
    assert rig.state(2) is S.ACTIVE
    other.again("BYE")
    await rig.part()


def resident_kb() -> int:
    """Resident memory of this process, the box's among it."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0])


async def test_a_module_that_hangs_in_a_call_is_noticed_and_its_call_released(rig: Rig) -> None:
    """The caller would listen to nothing; 8 s by the constants, and some for a loaded machine."""
    dialog = rig.call(await rig.lab.number(behaviour="tone", tone_hz=700))
    assert await rig.final(dialog) == 200
    await rig.lab.fault(1, "hang", duration_s=20)
    await until(lambda: dialog.request("BYE"), "BYE", 16)
    part = await rig.part()
    assert (part.cause, part.side, part.estimated) == (41, "rack", True)
    await rig.lab.ask("DELETE", "/faults")
    await rig.lab.on_hook()


async def test_a_dial_whose_answer_is_lost_rings_the_called_party_once(rig: Rig) -> None:
    number = await rig.lab.number(behaviour="tone", tone_hz=700)
    await rig.lab.fault(1, "answer_lost")
    dialog = rig.call(number)
    assert await rig.final(dialog) == 200
    dialog.again("BYE")
    await rig.part()
    rows = await rig.lab.ask("GET", "/ledger/calls")
    assert len([row for row in rows if row["called"] == number]) == 1


async def test_garbage_at_the_dial_never_makes_the_controller_ring_the_called_party_again(rig: Rig) -> None:
    """The module has dialled, and nobody can read what it says of it."""
    number = await rig.lab.number(behaviour="no_answer")
    await rig.lab.fault(1, "garbage", duration_s=60)
    dialog = rig.call(number)
    await until(lambda: dialog.final, "final answer", 25)
    assert dialog.final
    assert (dialog.final.status, dialog.final.cause) == (503, 41)
    assert dialog.final.headers["x-simrack-refusal"] == "unsure"
    await rig.lab.ask("DELETE", "/faults")
    rows = await rig.lab.ask("GET", "/ledger/calls")
    assert len([row for row in rows if row["called"] == number]) == 1
    await until(lambda: rig.state() is S.READY, "ready", 30)
    await rig.lab.on_hook()
    assert (await rig.part()).attempt == f"attempt{rig.attempts}"


async def test_commands_reach_the_channel(rig: Rig) -> None:
    commander = Commander(rig.centre, "test", CLOCK, IDS)

    async def send(action: str, **args: Any) -> CommandReply:
        return await commander.send(topics.box_command("lab-01"), action, args, actor="test")

    seq = round(CLOCK.monotonic() * 1000)
    await rig.centre.publish(
        topics.controller_time(), ControllerTime(boot="d", seq=seq, at=CLOCK.utc()).encode()
    )
    answer = await send("at", channel=1, text="AT+CSQ")
    assert answer.ok
    assert any("+CSQ" in line for line in answer.result["lines"])
    assert "not allowed" in (await send("at", channel=1, text='AT+EGMR=1,7,"1"')).error
    assert (await send("disable-channel", channel=1)).result == {"marks": ["disabled"]}
    await rig.refused(rig.call(rig.lab.numbers["answer"]), "not-ready")
    assert (await send("enable-channel", channel=1)).result == {"marks": []}
    assert "no call" in (await send("hang-up", channel=1)).error
    assert "no channel 7" in (await send("hang-up", channel=7)).error
    dialog = rig.call(await rig.lab.number(behaviour="tone", tone_hz=700))
    assert await rig.final(dialog) == 200
    assert (await send("hang-up", channel=1)).ok
    await until(lambda: dialog.request("BYE"), "BYE", 10)
    assert (await rig.part()).side == "rack"
    await rig.lab.on_hook()


async def test_a_module_restarts_when_its_call_has_ended(rig: Rig) -> None:
    """Nobody is cut off by a restart that can wait, nobody comes in between, and what passes at the port is seen."""
    commander = Commander(rig.centre, "test", CLOCK, IDS)
    lines: list[str] = []
    shown: list[ChannelReport] = []
    undo = [
        rig.centre.subscribe(topics.ALL_CONSOLES, lambda _, data: lines.extend(x.text for x in ConsoleLines.decode(data).lines)),
        rig.centre.subscribe(topics.channel_state("lab-01", 1), lambda _, data: shown.append(ChannelReport.decode(data))),
    ]  # fmt: skip

    async def send(action: str, **args: Any) -> CommandReply:
        return await commander.send(topics.box_command("lab-01"), action, {"channel": 1, **args}, actor="test")

    message = ControllerTime(boot="d", seq=round(CLOCK.monotonic() * 1000), at=CLOCK.utc())
    await rig.centre.publish(topics.controller_time(), message.encode())
    assert (await send("console", seconds=60)).ok
    dialog = rig.call(await rig.lab.number(behaviour="tone", tone_hz=700))
    assert await rig.final(dialog) == 200
    first = rig.box.modules[1].driver
    assert (await send("restart-module", mode="when-calls-end", limit_s=600)).result["calls"] == 1
    await until(lambda: shown and shown[-1].drain and shown[-1].marks == ("draining",), "the rack is told")
    assert rig.state() is S.ACTIVE
    dialog.again("BYE")
    await until(lambda: rig.box.modules[1].channel.starts and rig.state() is S.READY and not rig.box.modules[1].channel.marks, "back", 30)
    assert rig.box.modules[1].driver is not first
    assert any(line.startswith("ATD") for line in lines)
    assert "AT+CFUN=1,1" in lines
    for end in undo:
        end()
    await rig.part()
    await rig.lab.on_hook()


async def test_a_new_controller_finds_no_unanswered_call_and_all_answered_ones(rig: Rig, lab: Lab) -> None:
    """Its predecessor's INVITEs died with it; what was answered goes on, and is adopted."""
    first, second = IDS.token(), IDS.token()

    async def word(boot: str) -> None:
        message = ControllerTime(boot=boot, seq=1, at=CLOCK.utc())
        await rig.centre.publish(topics.controller_time(), message.encode())

    await word(first)
    speaking = rig.call(await lab.number(behaviour="tone", tone_hz=800))
    assert await rig.final(speaking) == 200
    ringing = rig.call(await lab.number(behaviour="no_answer"), channel=2)
    await until(lambda: rig.state(2) is S.ALERTING, "ringing", 10)
    call = rig.box.modules[2].current
    assert call
    # Calls of the new controller itself may be a second ahead of its word.
    call.moments.invited = replace(call.moments.invited, mono=call.moments.invited.mono - OVERTAKEN_S)
    await word(second)
    assert await rig.final(ringing) == 503
    await until(lambda: rig.parts, "part", 10)
    assert (rig.parts[0].cause, rig.parts[0].side, rig.parts[0].channel) == (41, "rack", 2)
    assert rig.state(1) is S.ACTIVE
    speaking.again("BYE")
    await rig.part(2)
    assert speaking.answer_to("BYE")


async def test_a_call_whose_bye_nobody_answers_is_over_all_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller is down: the network released the call, so that its part and its channel wait for nobody."""
    number = await rig.lab.number(behaviour="tone", tone_hz=700, hang_up_after_s=0.5)
    dialog = rig.call(number)
    assert await rig.final(dialog) == 200
    heard: list[bytes] = []
    monkeypatch.setattr(Controller, "datagram_received", lambda _self, data, _addr: heard.append(data))
    part = await rig.part()
    assert (part.cause, part.side, part.estimated) == (16, "called", False)
    assert rig.state() is S.READY
    assert abs(part.talk_ms - (await rig.lab.last_call())["talk_ms"]) < 100
    await until(lambda: any(data.startswith(b"BYE") for data in heard), "BYE")
    monkeypatch.undo()
    await until(lambda: dialog.request("BYE"), "its repetition is answered", 10)


async def test_a_person_listens_to_a_call(rig: Rig) -> None:
    """Both directions come to the listener apart; another call, no call and an address in the world are refused."""
    to_sip, to_gsm = random.sample(range(500, 1900, 50), 2)
    commander = Commander(rig.centre, "listener", CLOCK, IDS)
    seq = round(CLOCK.monotonic() * 1000)
    await rig.centre.publish(topics.controller_time(), ControllerTime(boot="d", seq=seq, at=CLOCK.utc()).encode())
    ears = [await asyncio.get_running_loop().create_datagram_endpoint(Ear, local_addr=("127.0.0.1", 0)) for _ in range(2)]
    said, heard = (ear for _, ear in ears)

    async def listen(**changed: Any) -> CommandReply:
        args = {
            "channel": 1, "attempt": f"attempt{rig.attempts}", "seconds": 60,
            "said": "{}:{}".format(*said.address), "heard": "{}:{}".format(*heard.address),
        }  # fmt: skip
        return await commander.send(topics.box_command("lab-01"), "listen", {**args, **changed}, actor="test")

    assert "another call, or none" in (await listen()).error
    dialog = rig.call(await rig.lab.number(behaviour="tone", tone_hz=to_sip))
    assert await rig.final(dialog) == 200
    assert dialog.final
    rig.phone.say(dialog.final.body, to_gsm)
    assert "another call, or none" in (await listen(attempt="attempt0")).error
    for wrong in ({"said": "198.51.100.1:4000"}, {"heard": "127.0.0.1:0"}, {"heard": "224.0.0.1:9"}, {"said": "no"}):
        assert not (await listen(**wrong)).ok
    assert "seconds" in (await listen(seconds=601)).error
    reply = await listen()
    assert reply.ok, reply.error
    await until(lambda: said.hears(to_gsm), f"{to_gsm} Hz of the sender", 10)
    await until(lambda: heard.hears(to_sip), f"{to_sip} Hz of the network", 10)
    assert said.sources == heard.sources == {reply.result["source"]}
    assert (await listen(seconds=0)).ok
    dialog.again("BYE")
    await rig.part()
    for transport, _ in ears:
        transport.close()


class Ear(asyncio.DatagramProtocol):
    """A control room's port: decodes PCMA by the tables of its own."""

    def __init__(self) -> None:
        self.pcm, self.sources = bytearray(), set[str]()
        self.address: tuple[str, int]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.sources.add(f"{addr[0]}:{addr[1]}")
        self.pcm += b"".join(expanded(octet).to_bytes(2, "little", signed=True) for octet in data[12:])

    def hears(self, hz: float) -> bool:
        line = self.pcm[-16 * 240 :]
        samples = array.array("h", bytes(line))
        return len(line) == 16 * 240 and power(samples, hz) > 0.35 * sum(v * v for v in samples) / len(samples) > 3e4


def expanded(octet: int) -> int:
    """One A-law octet as a sample (ITU-T G.711, table 2a)."""
    code = octet ^ 0x55
    segment, step = (code & 0x70) >> 4, code & 0x0F
    height = (step << 4) + 8 if segment == 0 else ((step << 4) + 0x108) << (segment - 1)
    return height if code & 0x80 else -height
