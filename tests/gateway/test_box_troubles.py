"""The whole box when a module, the controller or the line fails: what goes on, and what comes back."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_lab import Lab
from gateway_rig import CLOCK, IDS, Rig, S
from gateway_sip import Controller
from gateway_support import until

from simrack.gateway.agent import OVERTAKEN_S
from simrack.wire import topics
from simrack.wire.messages import (
    ControllerTime,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
