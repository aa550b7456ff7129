"""Calls from dial to release over a real PTY, whatever the octets go through on their way."""

import asyncio

import pytest
from drivers_bench import Begin
from drivers_transcript import Way

from simrack.drivers.at import chat
from simrack.drivers.modems.base import (
    AudioFlow,
    CallProgress,
    CardChanged,
    ModemRefused,
    ModemUnsure,
    NetworkChanged,
    Progress,
)
from simrack.drivers.modems.generic import driver as generic_driver
from simrack.drivers.modems.quectel import driver as quectel_driver

NUMBER = "+88210123456"
DIALLING, ALERTING, ACTIVE, RELEASED = (
    Progress.DIALLING,
    Progress.ALERTING,
    Progress.ACTIVE,
    Progress.RELEASED,
)
every_way = pytest.mark.parametrize("way", list(Way))


@pytest.mark.parametrize("name", ["ec25_answered", "ep06_answered"])
@every_way
async def test_answered_call_reports_each_state_and_its_cause(bench: Begin, name: str, way: Way) -> None:
    """Else a call would ring for ever, be billed too early, or lack its cause in the record."""
    module = await bench(name, way)
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING)
    for gate, state in (("alerting", ALERTING), ("answer", ACTIVE)):
        module.module.go(gate)
        await module.progress(state)
    module.module.go("release")
    released = await module.progress(RELEASED)
    assert (released.cause, released.text) == (16, "Normal call clearing")
    assert released.at > 0
    assert not await module.driver.in_call()


@every_way
async def test_start_reads_module_card_and_network(bench: Begin, way: Way) -> None:
    """Else the rack page shows a channel without identity, or calls leave by a SIM that is not ready."""
    module = await bench("ec25_answered", way)
    assert module.info.imei == "860000000000015"
    assert (module.info.model, module.info.driver, module.info.answer_safe) == ("EC25", "quectel", True)
    card = await module.next(CardChanged)
    assert card.sim is not None
    assert (card.sim.iccid, card.sim.msisdn) == ("8988211000000000017", "+88210000017")
    network = (await module.next(NetworkChanged)).network
    assert (network.stat, network.operator, network.technology) == (1, "Lab Mobile", "LTE")
    assert (network.signal_dbm, network.cell) == (-57, "1A2B-01C3D4E5")


@pytest.mark.parametrize(
    ("name", "cause"), [("ec25_busy", 17), ("ec25_no_answer", 19), ("ec25_unallocated", 1)]
)
@every_way
async def test_failed_call_carries_the_best_cause(bench: Begin, name: str, cause: int, way: Way) -> None:
    """Else the sender hears "temporary failure" for a busy line, and the call is tried again elsewhere."""
    module = await bench(name, way)
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING)
    module.module.go("end")
    released = await module.next(CallProgress, lambda event: event.state is RELEASED)
    assert released.cause == cause
    assert module.progresses().count(RELEASED) == 1


@every_way
async def test_fast_answer_skips_alerting(bench: Begin, way: Way) -> None:
    """Else an answered call would wait for a ringing that never comes, or show an invented one."""
    module = await bench("ec25_fast_answer", way)
    await module.driver.dial(NUMBER)
    module.module.go("answer")
    await module.progress(DIALLING, ACTIVE)
    module.module.go("release")
    await module.progress(RELEASED)


@pytest.mark.parametrize(("name", "cause"), [("ec25_dial_refused", 41), ("ec25_dial_no_carrier", 21)])
@every_way
async def test_refused_dial_raises_with_its_cause(bench: Begin, name: str, cause: int, way: Way) -> None:
    """Else a channel that cannot call at all would look like a busy subscriber."""
    module = await bench(name, way)
    with pytest.raises(ModemRefused) as refused:
        await module.driver.dial(NUMBER)
    assert refused.value.cause == cause
    with pytest.raises(ModemRefused):
        await module.driver.dial(NUMBER)
    assert module.progresses() == []


async def test_hide_is_asked_for_in_the_dial_itself(bench: Begin) -> None:
    """Else CLIR set for one caller would stay on for the next."""
    module = await bench("ec25_dial_refused")
    for hide, suffix in ((True, "I"), (False, "i"), (None, "")):
        with pytest.raises(ModemRefused):
            await module.driver.dial(NUMBER, hide=hide)
        assert module.module.matching("ATD*")[-1] == f"ATD{NUMBER}{suffix};"


@pytest.fixture
def quick_fate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quectel_driver.QuectelDriver, "dial_s", 0.2)
    monkeypatch.setattr(generic_driver, "GHOST_S", 0.01)


@every_way
async def test_a_dial_whose_answer_is_lost_goes_on_if_the_module_has_the_call(
    bench: Begin, way: Way, quick_fate: None
) -> None:
    """Else the next candidate would ring the called party a second time."""
    module = await bench("ec25_dial_answer_lost", way)
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING)
    assert not module.module.matching("AT+QHUP=*")


async def test_a_dial_that_came_to_nothing_is_refused_only_once_that_is_proved(
    bench: Begin, quick_fate: None
) -> None:
    """Two lists without a call and without garbage; then the next candidate may be tried."""
    module = await bench("ec25_dial_came_to_nothing")
    with pytest.raises(ModemRefused) as refused:
        await module.driver.dial(NUMBER)
    assert refused.value.cause == 41
    assert len(module.module.matching("AT+CLCC")) >= 4


@pytest.mark.parametrize("name", ["ec25_dial_in_garbage", "ec25_dial_error_and_call"])
async def test_a_dial_that_nobody_can_tell_of_is_unsure(bench: Begin, name: str, quick_fate: None) -> None:
    """Else the called party is rung twice, by two SIMs."""
    module = await bench(name)
    with pytest.raises(ModemUnsure):
        await module.driver.dial(NUMBER)


async def test_a_module_that_falls_silent_at_the_dial_leaves_it_unsure(
    bench: Begin, quick_fate: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have dialled before it fell silent."""
    monkeypatch.setattr(chat, "RESYNC_ANSWER_S", 0.05)
    module = await bench("ec25_dial_in_garbage")
    dial = asyncio.create_task(module.driver.dial(NUMBER))
    await module.module.received("ATD*")
    module.module.deaf = True
    with pytest.raises(ModemUnsure):
        await dial


@pytest.mark.parametrize("number", ["", "+", "*100#", "123;+EGMR=1", "12\r34", "abc", "1" * 21])
async def test_only_numbers_are_dialled(bench: Begin, number: str) -> None:
    """Else a service code or a second command could be smuggled in as a number."""
    module = await bench("ec25_dial_refused")
    with pytest.raises(ModemRefused) as refused:
        await module.driver.dial(number)
    assert refused.value.cause == 28
    assert not module.module.matching("ATD*")


@every_way
async def test_hang_up_while_ringing_sends_its_cause(bench: Begin, way: Way) -> None:
    """Else a cancelled call would go on ringing at the other end."""
    module = await bench("ec25_hang_up", way)
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING, ALERTING)
    await module.driver.hang_up(19)
    assert module.module.matching("AT+QHUP=*") == ["AT+QHUP=18"]
    assert (await module.progress(RELEASED)).cause == 19
    await module.driver.hang_up()
    assert module.progresses() == [DIALLING, ALERTING, RELEASED]


@every_way
async def test_hang_up_tries_every_way_until_the_list_is_empty(bench: Begin, way: Way) -> None:
    """Else a module that refuses one hang-up command would stay off-hook."""
    module = await bench("ec25_hang_up_refused", way)
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING, ALERTING)
    await module.driver.hang_up()
    await module.progress(RELEASED)
    order = [text for text in module.module.sent if text in ("AT+QHUP=16", "AT+CHUP", "ATH")]
    assert order == ["AT+QHUP=16", "AT+CHUP", "ATH"]


async def test_who_rings_in_the_moment_after_a_call_is_not_hung_up_with_it(bench: Begin) -> None:
    """Else the next caller would be cut off, and the call before would last until the ring was gone."""
    module = await bench("ec25_hang_up_then_ring")
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING, ACTIVE)
    await module.driver.hang_up()
    await module.progress(RELEASED)
    assert (await module.progress(Progress.INCOMING)).number == "+88210777"
    assert [text for text in module.module.sent if text in ("AT+QHUP=16", "AT+CHUP", "ATH")] == ["AT+QHUP=16"]
    assert (await module.driver.in_call(), await module.driver.in_call(ringing=False)) == (True, False)


@pytest.mark.parametrize("cancelled", [True, False], ids=["dial cancelled", "hang-up beside it"])
async def test_cancel_while_the_dial_is_outstanding(
    bench: Begin, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """Else a caller who gives up early would leave the module in a call that nobody knows."""
    monkeypatch.setattr(generic_driver, "DIAL_GRACE_S", 0.05)
    module = await bench("ec25_slow_dial")
    dial = asyncio.create_task(module.driver.dial(NUMBER))
    await module.module.received("ATD*")
    if cancelled:
        dial.cancel()
    module.module.go("taken")
    await module.driver.hang_up()
    with pytest.raises((ModemRefused, asyncio.CancelledError)):
        await dial
    assert not await module.driver.in_call()
    assert DIALLING not in module.progresses()
    with pytest.raises(ModemRefused, match="NO CARRIER"):
        await module.driver.dial(NUMBER)


async def test_a_given_up_dial_that_comes_to_life_is_ended(
    bench: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the network would hold a call that no record claims."""
    monkeypatch.setattr(generic_driver, "DIAL_GRACE_S", 0.05)
    module = await bench("ec25_late_ghost")
    dial = asyncio.create_task(module.driver.dial(NUMBER))
    await module.module.received("ATD*")
    await module.driver.hang_up()
    with pytest.raises(ModemRefused):
        await dial
    await module.next(CallProgress, lambda event: event.state is RELEASED)
    before = len(module.module.matching("AT+QHUP=*"))
    module.module.go("taken")
    await module.module.received("AT+QHUP=*", before + 1)
    assert module.progresses() == [RELEASED]


async def test_lost_end_of_a_call_is_found_by_asking(bench: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a channel stays "speaking" for ever when the module forgets to say that the call ended."""
    monkeypatch.setattr(quectel_driver, "ZOMBIE_POLL_S", 0.05)
    module = await bench("ec25_zombie")
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING)
    before = len(module.module.matching("AT+CLCC"))
    await module.progress(RELEASED)
    assert len(module.module.matching("AT+CLCC")) >= before + 1
    assert module.progresses() == [DIALLING, RELEASED]


@every_way
async def test_incoming_call_names_its_caller_and_is_answered(bench: Begin, way: Way) -> None:
    """Else a ring at a module would never reach the controller, or twice."""
    module = await bench("ec25_incoming", way)
    for line in (
        "RING",
        '+CLIP: "+88210123456",145,,,,0',
        '+QIND: "ccinfo",2,1,4,0,0,"+88210123456",145',
        "RING",
    ):
        await module.module.line(line)
    assert (await module.progress(Progress.INCOMING)).number == NUMBER
    await module.driver.answer()
    await module.progress(ACTIVE)
    module.module.go("release")
    await module.progress(RELEASED)
    assert module.progresses() == [Progress.INCOMING, ACTIVE, RELEASED]


@every_way
async def test_second_call_is_refused_busy(bench: Begin, way: Way) -> None:
    """Else a second caller would hold the module's one voice path."""
    module = await bench("ec25_second_call", way)
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING, ACTIVE)
    await module.module.line('+QIND: "ccinfo",3,1,5,0,0,"+88210777",145')
    assert (await module.progress(Progress.WAITING)).number == "+88210777"
    await module.module.received("AT+CHLD=0")


@pytest.mark.parametrize("family", ["", "generic"])
@every_way
async def test_a_dial_refused_for_an_incoming_call_leaves_that_call_alone(
    bench: Begin, way: Way, family: str
) -> None:
    """Else the caller who came first would be cut off by a dial that never was."""
    module = await bench("ec25_glare", way, family=family)
    dial = asyncio.create_task(module.driver.dial(NUMBER))
    await module.module.received("ATD*")
    module.module.go("result")
    with pytest.raises(ModemRefused, match="came first") as refused:
        await dial
    assert refused.value.cause == 44
    assert (await module.progress(Progress.INCOMING)).number == "+88210777"
    await module.driver.answer()
    assert not [text for text in module.module.sent if text.startswith(("AT+QHUP", "AT+CHUP", "ATH", "AT+CHLD"))]


@every_way
async def test_a_call_that_rings_during_a_dial_that_is_taken_is_refused_busy(bench: Begin, way: Way) -> None:
    """Else two calls would share the module's one voice path."""
    module = await bench("ec25_glare_taken", way)
    dial = asyncio.create_task(module.driver.dial(NUMBER))
    await module.module.received("ATD*")
    module.module.go("result")
    await dial
    await module.progress(DIALLING, Progress.WAITING)
    await module.module.received("AT+CHLD=0")
    assert not module.module.matching("AT+QHUP=*")


async def test_an_old_no_carrier_does_not_end_the_new_call(bench: Begin) -> None:
    """Else the late end of one call would cut the record of the next."""
    module = await bench("ec25_answered")
    await module.driver.dial(NUMBER)
    await module.module.line('+QIND: "ccinfo",2,0,-1,0,0,"+88210999999",145')
    module.module.go("alerting")
    await module.progress(DIALLING, ALERTING)


@every_way
async def test_standard_module_is_followed_by_asking(
    bench: Begin, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a module of no known family could not call at all."""
    monkeypatch.setattr(generic_driver.GenericDriver, "poll_setup_s", 0.01)
    module = await bench("generic_answered", way)
    assert not module.info.answer_safe
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING, ALERTING, ACTIVE)
    module.module.go("release")


@every_way
async def test_standard_module_is_rung_and_answered(bench: Begin, way: Way) -> None:
    """Else incoming calls need a vendor's own lines."""
    module = await bench("generic_incoming", way)
    await module.module.line("RING")
    assert (await module.progress(Progress.INCOMING)).number == "+88210999"
    await module.driver.answer()
    await module.progress(ACTIVE)


async def test_dtmf_both_ways(bench: Begin) -> None:
    """Else menus of the called party cannot be used."""
    module = await bench("ec25_answered")
    for digit in "09*#AD":
        await module.driver.send_dtmf(digit)
    assert module.module.matching("AT+VTS=*") == [f'AT+VTS="{digit}"' for digit in "09*#AD"]
    with pytest.raises(ModemRefused):
        await module.driver.send_dtmf("12")


@every_way
async def test_flow_control_of_the_voice_is_an_event(bench: Begin, way: Way) -> None:
    """Else a module with a full buffer drops what the caller says."""
    module = await bench("ec25_answered", way)
    for line in ("+QPCMV: 0,0", "+QPCMV: 7", "+QPCMV: 1,2", "+QPCMV: 1,0"):
        await module.module.line(line)
    assert [await module.next(AudioFlow), await module.next(AudioFlow)] == [AudioFlow(False), AudioFlow(True)]


async def test_audio_goes_on_once_and_off(bench: Begin) -> None:
    """Else the voice port carries GNSS sentences, or stays open between calls."""
    module = await bench("ec25_answered")
    assert (await module.driver.audio_on()).rate == 8000
    await module.driver.audio_on()
    await module.driver.audio_off()
    sent = [text for text in module.module.sent if "QPCMV" in text or "QGPS" in text]
    assert sent == ['AT+QGPSCFG="outport","none"', "AT+QPCMV=1,0", "AT+QPCMV=0"]


async def test_release_lies_between_the_order_and_the_modules_word(bench: Begin) -> None:
    """Else the question by which the driver makes sure of it, or a module that answers late, would be billed as talk time."""
    module = await bench("ec25_hang_up_checked")
    now = asyncio.get_running_loop().time
    await module.driver.dial(NUMBER)
    await module.progress(DIALLING, ALERTING)
    asked = len(module.module.matching("AT+CLCC"))
    ordered = now()
    hanging_up = asyncio.create_task(module.driver.hang_up())
    await module.module.received("AT+QHUP=*")
    module.module.go("taken")
    await module.module.received("AT+CLCC", asked + 1)
    taken = now()
    module.module.go("list")
    middle = (ordered + taken) / 2
    assert ordered <= await hanging_up <= taken
    released = (await module.progress(RELEASED)).at
    assert ordered <= released <= taken
    assert abs(released - middle) <= (taken - ordered) / 2
