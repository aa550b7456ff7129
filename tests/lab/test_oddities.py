"""Quirks and faults: each must be visible at the port, or the tests that use them prove nothing."""

import asyncio

import pytest
from lab.bench import Bench, Maker, speak, tone

from simrack.lab.emulator import faults
from simrack.lab.emulator.listen import judge
from simrack.lab.emulator.network import Timing
from simrack.lab.emulator.numbers import STANDARD, Behaviour
from simrack.lab.emulator.oddities import Fault, Quirk

TONE = STANDARD["tone"][0]


def begin(bench: Bench, fault: str, **fields: object) -> None:
    order = Fault.model_validate({"box": "lab-01", "channel": 1, "fault": fault, **fields})
    faults.begin(bench.lab.modules["lab-01", 1], order)


async def test_ccinfo_unsupported_leaves_dsci(make_bench: Maker) -> None:
    bench = await make_bench(quirks=frozenset({Quirk.NO_CCINFO}))
    port = bench.at()
    await port.ask("ATE0")
    await port.ask('AT+QINDCFG="ccinfo",1', "ERROR")
    await port.ask("AT^DSCI=1")


async def test_no_alerting_jumps_from_dialling_to_active(make_bench: Maker) -> None:
    bench = await make_bench(quirks=frozenset({Quirk.NO_ALERTING}))
    port = await bench.ready_at()
    await port.ask(f"ATD{TONE};")
    await port.match(r'"ccinfo",2,0,2,[^\r]*\r\n\r\n\+QIND: "ccinfo",2,0,0')


async def test_urc_inside_an_answer(make_bench: Maker) -> None:
    bench = await make_bench(quirks=frozenset({Quirk.URC_INSIDE}))
    port = bench.at()
    await port.ask("ATE0")
    lines = await port.ask("AT+CIMI")
    assert lines[0] == "001010000100001"
    assert lines[1].startswith('+QIND: "csq",')


async def test_drip_and_doubled_cr(make_bench: Maker) -> None:
    bench = await make_bench(quirks=frozenset({Quirk.DRIP, Quirk.DOUBLED_CR}))
    port = bench.at()
    port.write(b"ATE0\r")
    await port.match("\r\r\nOK\r\r\n")
    port.write(b"AT+CGMM\r")
    await port.match("\r\r\nEC25\r\r\n\r\r\nOK\r\r\n")


async def test_late_answers(make_bench: Maker) -> None:
    bench = await make_bench(quirks=frozenset({Quirk.LATE}))
    port = bench.at()
    start = asyncio.get_running_loop().time()
    await port.ask("AT")
    assert asyncio.get_running_loop().time() - start >= 0.19


async def test_no_carrier_missing(make_bench: Maker) -> None:
    bench = await make_bench(quirks=frozenset({Quirk.NO_NO_CARRIER}))
    port = await bench.ready_at()
    await port.ask(f"ATD{STANDARD['busy'][0]};")
    await port.match('"ccinfo",2,0,-1[^\r]*\r\n')
    await port.ask("AT")
    assert b"BUSY" not in port.got


async def test_hang_swallows_everything_until_cleared(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    begin(bench, "hang")
    port.write(b"AT\r")
    await asyncio.sleep(0.1)
    assert port.got == b""
    faults.clear(bench.lab.modules["lab-01", 1])
    await port.ask("AT")


async def test_garbage_is_no_answer(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    begin(bench, "garbage", octets=50)
    await port.until(lambda: len(port.got) == 50, "50 octets")


async def test_drop_ends_the_call_and_the_module_returns(bench: Bench) -> None:
    """A module pulled out in a call: the host loses both ports, the network ends the call with 27."""
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{TONE};")
    await port.match('"ccinfo",2,0,0')
    begin(bench, "drop", duration_s=0.1)
    await port.until(lambda: port.lost, "the AT port's end")
    await audio.until(lambda: audio.lost, "the audio port's end")
    (row,) = bench.lab.network.ledger.rows
    await bench.until(lambda: row.released is not None, "the call is released")
    assert (row.cause, row.released_by) == (27, "network")
    module = bench.lab.modules["lab-01", 1]
    await bench.until(lambda: module.registered and module.at.link.exists(), "the module's return")
    await bench.at().ask("AT+CLCC")


async def test_dial_fails_as_ordered(bench: Bench) -> None:
    port = await bench.ready_at()
    begin(bench, "dial_error")
    await port.ask(f"ATD{TONE};", "ERROR")
    begin(bench, "dial_error", code=3)
    await port.ask(f"ATD{TONE};", "+CME ERROR: 3")
    begin(bench, "dial_silent")
    port.write(f"ATD{TONE};\r".encode())
    await port.ask("AT")
    assert not bench.lab.network.ledger.rows
    await port.ask(f"ATD{TONE};")


async def test_a_lost_answer_is_lost_once(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    begin(bench, "answer_lost")
    port.write(b"AT+CMEE=2\r")
    assert await port.ask("AT+CMEE?") == ["+CMEE: 2"]


@pytest.mark.parametrize(("direction", "up", "down"), [("from_mobile", 870, None), ("to_mobile", None, 1230)])
async def test_one_way_voice(bench: Bench, direction: str, up: int | None, down: int | None) -> None:
    number = bench.lab.numbers.set("", Behaviour(tone_hz=1230, answer_after_s=0))
    port, audio = await bench.ready_at(), bench.audio()
    begin(bench, "one_way", direction=direction)
    await port.ask(f"ATD{number};")
    await port.match('"ccinfo",2,0,0')
    audio.got.clear()
    await speak(audio, tone(870, 15))
    await port.ask("ATH")
    (row,) = bench.lab.network.ledger.rows
    heard, _ = await row.heard()
    assert heard.hz == (up and pytest.approx(up, abs=2))
    assert judge(bytes(audio.got)).hz == (down and pytest.approx(down, abs=2))


async def test_denied_and_admitted_again(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    await port.ask("AT+CREG=1")
    begin(bench, "denied", duration_s=0.3)
    await port.match(r"\+CREG: 2\r\n.*\+CREG: 3\r\n")
    await port.ask(f"ATD{TONE};", "+CME ERROR: 30")
    await port.match(r"\+CREG: 1\r\n")


async def test_card_taken_out_in_a_call(bench: Bench) -> None:
    port = await bench.ready_at()
    await port.ask("AT+QSIMSTAT=1")
    await port.ask("AT+CREG=1")
    await port.ask(f"ATD{TONE};")
    await port.match('"ccinfo",2,0,0')
    begin(bench, "sim_removed")
    await port.match(r"\+QSIMSTAT: 1,0\r\n.*NO CARRIER\r\n.*\+CPIN: NOT READY\r\n.*\+CREG: 0\r\n")
    await port.ask("AT+CIMI", "+CME ERROR: 10")
    faults.clear(bench.lab.modules["lab-01", 1])
    await port.match(r"\+QSIMSTAT: 1,1\r\n.*\+CPIN: READY\r\n.*\+CREG: 1\r\n")


async def test_flood_does_not_stop_the_answers(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    begin(bench, "flood", rate=1000, duration_s=0.3)
    await port.match(r'(\+QIND: "csq",31,99\r\n\r\n){20}')
    await port.ask("AT+CGMM")


async def test_host_that_is_late_with_reading_loses_voice_and_nothing_else(bench: Bench) -> None:
    """A stuck reader must cost the lab neither memory nor the other calls' pace."""
    number = bench.lab.numbers.set("", Behaviour(tone_hz=1230, answer_after_s=0))
    port = await bench.ready_at()
    await port.ask(f"ATD{number};")
    handset = bench.lab.modules["lab-01", 1].handset
    await bench.until(lambda: handset.dropped_frames > 3, "frames are dropped")


async def test_too_much_voice_is_answered_by_flow_control(bench: Bench) -> None:
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{TONE};")
    await port.match('"ccinfo",2,0,0')
    for frame in tone(870, 12):
        audio.write(frame)
    await port.match(r"\+QPCMV: 0,0\r\n.*\+QPCMV: 1,0\r\n")


async def test_voice_before_the_answer_fills_no_buffer(bench: Bench) -> None:
    """A host feeds from the dial on; the module plays that into the void at once and has no need to stop it."""
    number = bench.lab.numbers.set("", Behaviour(tone_hz=1230, answer_after_s=0.1))
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{number};")
    for frame in tone(870, 12):
        audio.write(frame)
    said = (await port.match('.*"ccinfo",2,0,0'))[0].decode()
    await speak(audio, tone(870, 15))
    said += "".join(await port.ask("ATH"))
    assert "+QPCMV" not in said
    (row,) = bench.lab.network.ledger.rows
    assert (await row.heard())[0].hz == pytest.approx(870, abs=2)


async def test_a_call_put_on_hold_takes_a_pause_back(bench: Bench) -> None:
    """Else the next call of a host that keeps to the pause is silent."""
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{TONE};")
    await port.match('"ccinfo",2,0,0')
    for frame in tone(870, 12):
        audio.write(frame)
    await port.match(r"\+QPCMV: 0,0\r\n")
    await port.ask("AT+CHLD=2")
    await bench.until(lambda: not bench.lab.modules["lab-01", 1].handset._paused, "no pause")


def test_hardware_pace_is_slower_than_the_lab() -> None:
    assert Timing().at_hardware_pace().usb_return_s > Timing().usb_return_s


async def test_babble_is_a_flood_of_octets_that_ends_when_told(bench: Bench) -> None:
    """The host must have read 100 kB of nonsense within a second or two, and the module answers again afterwards."""
    port = bench.at()
    await port.ask("ATE0")
    begin(bench, "babble", octets=1_000_000)
    await port.match(r"(?s).{100000}")
    faults.clear(bench.lab.modules["lab-01", 1])
    await bench.until(lambda: bench.lab.modules["lab-01", 1].at.backlog() == 0, "the port is quiet")
    port.write(b"AT+CGMM\r")
    await port.match(r"EC25\r\n\r\nOK\r\n")
