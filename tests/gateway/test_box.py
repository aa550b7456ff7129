"""The whole box on emulated modules: raw SIP at one side, the network's own ledger at the other."""

import array
import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest
from gateway_rig import CLOCK, IDS, Rig, S
from gateway_sip import Controller, sdp_of
from gateway_support import until
from gateway_voice import power

from simrack.gateway.voice import AudioPort
from simrack.wire import topics
from simrack.wire.messages import (
    BoxStatus,
    CallPart,
    ChannelReport,
    CommandReply,
    ConsoleLines,
    ControllerTime,
)
from simrack.wire.mqtt import Commander

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
