"""Calls from a module, seen at the port by a client that shares no code with the product, and in the ledger."""

import asyncio

import pytest
from lab.bench import Bench, Maker, speak, tone

from simrack.lab.emulator.ledger import Row
from simrack.lab.emulator.listen import judge
from simrack.lab.emulator.numbers import STANDARD, UNALLOCATED_NUMBER, Behaviour

ANSWER = STANDARD["answer"][0]


def only_row(bench: Bench) -> Row:
    (row,) = bench.lab.network.ledger.rows
    return row


async def released(bench: Bench) -> Row:
    row = only_row(bench)
    await bench.until(lambda: row.released is not None, "the call is released")
    return row


async def test_an_answered_call_goes_through_its_states_in_order(bench: Bench) -> None:
    """Without the order dialling, alerting, active the box would answer calls that nobody answered."""
    bench.lab.numbers.set(ANSWER, Behaviour(answer_after_s=0.05))
    port = await bench.ready_at()
    port.write(f"ATD{ANSWER};\r".encode())
    await port.match("\r\nOK\r\n")
    for state in (2, 3, 0):
        await port.match(f'\r\n\\+QIND: "ccinfo",2,0,{state},0,0,"\\{ANSWER}",145\r\n')
    assert await port.ask("AT+CLCC") == ['+CLCC: 1,0,0,1,0,"",128', f'+CLCC: 2,0,0,0,0,"{ANSWER}",145']
    await port.ask("ATH")
    await port.match('"ccinfo",2,0,-1')
    row = await released(bench)
    assert (row.cause, row.released_by, row.called) == (16, "calling", ANSWER)
    assert row.alerting
    assert row.answered
    assert row.setup.mono <= row.alerting.mono <= row.answered.mono


@pytest.mark.parametrize(
    ("number", "result", "cause", "words"),
    [
        (STANDARD["busy"][0], "BUSY", 17, "User busy"),
        (STANDARD["reject"][0], "NO CARRIER", 21, "Call rejected"),
        (STANDARD["congestion"][0], "NO CARRIER", 42, "Switching equipment congestion"),
        (UNALLOCATED_NUMBER, "NO CARRIER", 1, "Unassigned (unallocated) number"),
        ("0123456", "NO CARRIER", 28, "Invalid number format (incomplete number)"),
    ],
)
async def test_a_refused_call_ends_with_its_result_and_cause(
    bench: Bench, number: str, result: str, cause: int, words: str
) -> None:
    """A wrong cause here would send callers the wrong SIP status."""
    port = await bench.ready_at()
    await port.ask(f"ATD{number};")
    await port.match(f'"ccinfo",2,0,-1.*?\r\n{result}\r\n')
    assert await port.ask("AT+CEER") == [f"+CEER: {words}"]
    row = await released(bench)
    assert (row.cause, row.answered, row.talk_ms) == (cause, None, 0)


async def test_nobody_answers(bench: Bench) -> None:
    """The network gives up by its timer with cause 19; the product must not call that an answer."""
    number = bench.lab.numbers.set("", Behaviour(behaviour="no_answer", ring_s=0.1))
    port = await bench.ready_at()
    await port.ask(f"ATD{number};")
    await port.match('"ccinfo",2,0,3')
    await port.match("\r\nNO ANSWER\r\n")
    row = await released(bench)
    assert (row.cause, row.released_by) == (19, "network")


async def test_talk_time_is_the_time_between_answer_and_release(bench: Bench) -> None:
    """Records are held against this figure, so it has to be right to a few ms."""
    number = bench.lab.numbers.set("", Behaviour(answer_after_s=0, hang_up_after_s=0.3))
    port = await bench.ready_at()
    await port.ask(f"ATD{number};")
    await port.match("\r\nNO CARRIER\r\n")
    row = await released(bench)
    assert 295 <= row.talk_ms <= 400
    assert (row.cause, row.released_by) == (16, "called")


async def test_voice_flows_both_ways_in_real_time(bench: Bench) -> None:
    """Silence, noise or a wrong pace in one direction would make every voice test meaningless."""
    number = bench.lab.numbers.set("", Behaviour(tone_hz=1230, answer_after_s=0))
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{number};")
    await port.match('"ccinfo",2,0,0')
    audio.got.clear()
    begin = asyncio.get_running_loop().time()
    await speak(audio, tone(870, 30))
    pace = len(audio.got) / 16000 / (asyncio.get_running_loop().time() - begin)
    assert 0.9 < pace < 1.1
    heard = judge(bytes(audio.got[-8000:]))
    assert heard.hz == pytest.approx(1230, abs=1)
    await port.ask("ATH")
    up, down = await (await released(bench)).heard()
    assert up.hz == pytest.approx(870, abs=1)
    assert down.hz == pytest.approx(1230, abs=1)
    assert up.dbfs == pytest.approx(-15.3, abs=1.5)


async def test_an_announcement_is_heard_before_any_answer(bench: Bench) -> None:
    """Early media must reach the module although nobody answers, and must not count as talk."""
    number = bench.lab.numbers.set("", Behaviour(behaviour="announcement", announcement_s=0.6))
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{number};")
    await audio.until(lambda: len(audio.got) > 3200, "0.2 s of voice")
    assert judge(bytes(audio.got[:3200])).hz == pytest.approx(950, abs=2)
    await port.match("\r\nNO CARRIER\r\n")
    row = await released(bench)
    assert (row.answered, row.talk_ms, row.cause) == (None, 0, 31)


async def test_the_network_plays_ringing_tone_while_it_rings(bench: Bench) -> None:
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{STANDARD['no_answer'][0]};")
    await audio.until(lambda: len(audio.got) > 3200, "0.2 s of voice")
    assert judge(bytes(audio.got[:3200])).hz == pytest.approx(425, abs=2)
    await port.ask("AT+CHUP")
    assert (await released(bench)).cause == 16


async def test_echo_returns_what_was_said(bench: Bench) -> None:
    number = bench.lab.numbers.set("", Behaviour(behaviour="echo", answer_after_s=0))
    port, audio = await bench.ready_at(), bench.audio()
    await port.ask(f"ATD{number};")
    await port.match('"ccinfo",2,0,0')
    await speak(audio, tone(660, 30))
    assert judge(bytes(audio.got[-3200:])).hz == pytest.approx(660, abs=2)


async def test_keys_go_both_ways(bench: Bench) -> None:
    """+VTS must reach the ledger and the far side's keys must come as +QTONEDET in decimal."""
    number = bench.lab.numbers.set("", Behaviour(behaviour="dtmf", dtmf="8#", answer_after_s=0))
    port = await bench.ready_at()
    await port.ask(f"ATD{number};")
    await port.match(r"\+QTONEDET: 56\r\n.*?\+QTONEDET: 35\r\n")
    await port.ask('AT+VTS="5"')
    await port.ask("AT+VTS=*")
    await port.ask("ATH")
    row = await released(bench)
    assert row.dtmf_from_mobile == "5*"
    assert row.dtmf_to_mobile == "8#"


async def test_module_calls_module(make_bench: Maker) -> None:
    """Incoming calls are tested by calling another module: RING, +CLIP, ATA, voice, release."""
    bench = await make_bench(2)
    one, two = await bench.ready_at(1), await bench.ready_at(2)
    await one.ask(f"ATD{bench.msisdn(2)};")
    clip = await two.match(r'\r\nRING\r\n\r\n\+CLIP: "(\+\d+)",145,,,,0\r\n')
    assert clip[1].decode() == bench.msisdn(1)
    await two.match(r"\r\nRING\r\n")
    await two.ask("ATA")
    await one.match('"ccinfo",2,0,0')
    audio = bench.audio(2)
    sender = bench.audio(1)
    await speak(sender, tone(1510, 20))
    assert judge(bytes(audio.got[-3200:])).hz == pytest.approx(1510, abs=2)
    await two.ask("ATH")
    await one.match("\r\nNO CARRIER\r\n")
    row = await released(bench)
    assert (row.direction, row.released_by, row.cause) == ("between", "called", 16)


async def test_a_hidden_number_is_not_shown(make_bench: Maker) -> None:
    bench = await make_bench(2)
    one, two = await bench.ready_at(1), await bench.ready_at(2)
    await one.ask(f"ATD{bench.msisdn(2)}I;")
    await two.match(r'\+CLIP: "",128,,,,1\r\n')
    await one.ask("ATH")
    await two.match("\r\nNO CARRIER\r\n")


async def test_a_second_call_meets_busy(make_bench: Maker) -> None:
    """Call waiting is off as a module starts: the network refuses the second caller with 17."""
    bench = await make_bench(2)
    one, two = await bench.ready_at(1), await bench.ready_at(2)
    await two.ask(f"ATD{STANDARD['no_answer'][0]};")
    await two.match('"ccinfo",2,0,3')
    await one.ask(f"ATD{bench.msisdn(2)};")
    await one.match("\r\nBUSY\r\n")
