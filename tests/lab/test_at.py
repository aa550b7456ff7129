"""The AT interpreter: what drivers and gammu send at start-up, and how answers look on the wire."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.bench import FAST, Bench, Maker, Port

from simrack.lab.emulator.ec25.registry import COMMANDS
from simrack.lab.emulator.line import BadLine, Form, split
from simrack.lab.emulator.numbers import STANDARD
from simrack.lab.emulator.oddities import Quirk

NO_ANSWER = STANDARD["no_answer"][0]


async def test_echo_and_framing_are_as_on_a_real_port(bench: Bench) -> None:
    """gammu and drivers count on the echo at boot and on CR LF around every line."""
    port = bench.at()
    port.write(b"AT+CGMM\r")
    await port.match(r"^AT\+CGMM\r\r\nEC25\r\n\r\nOK\r\n$")
    port.write(b"ATE0\r")
    await port.match(r"^ATE0\r\r\nOK\r\n$")
    port.write(b"at+cgmm\r\n")
    await port.match(r"^\r\nEC25\r\n\r\nOK\r\n$")


async def test_numeric_results(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    port.write(b"ATV0\r")
    await port.match(r"^0\r$")
    port.write(b"AT+CGMM;+NOSUCH\r")
    await port.match(r"^EC25\r\n4\r$")
    port.write(b"ATV1\r")
    await port.match(r"^\r\nOK\r\n$")


async def test_joined_commands_stop_at_the_first_error(bench: Bench) -> None:
    """smstools joins commands; what comes after an error must not run."""
    port = bench.at()
    await port.ask("ATE0+CMEE=1;+CREG=2")
    assert await port.ask("AT+CREG?;+CMEE?") == ['+CREG: 2,1,"1A2B","01C3D401",7', "+CMEE: 1"]
    assert await port.ask("AT+CMEE?;+CHLD=2;+CMEE=2", "+CME ERROR: 3") == ["+CMEE: 1"]
    assert await port.ask("AT+CMEE?") == ["+CMEE: 1"]


async def test_errors_are_worded_as_cmee_asks(bench: Bench) -> None:
    bench.lab.modules["lab-01", 1].insert(present=False)
    port = bench.at()
    await port.ask("ATE0")
    for level, words in (("0", "ERROR"), ("1", "+CME ERROR: 10"), ("2", "+CME ERROR: SIM not inserted")):
        await port.ask(f"AT+CMEE={level}")
        await port.ask("AT+CIMI", words)


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("ATI", ["Quectel", "EC25", "Revision: EC25EFAR06A04M4G"]),
        ("AT+CGMI", ["Quectel"]),
        ("AT+CGMR", ["EC25EFAR06A04M4G"]),
        ("AT+CGSN", ["001001000010014"]),
        ("AT+CIMI", ["001010000100001"]),
        ("AT+QCCID", ["+QCCID: 8988210000010000010"]),
        ("AT+CNUM", ['+CNUM: ,"+882101000101",145']),
        ("AT+CPIN?", ["+CPIN: READY"]),
        ("AT+CREG?", ["+CREG: 0,1"]),
        ("AT+CEREG?", ["+CEREG: 0,1"]),
        ("AT+COPS?", ['+COPS: 0,0,"simrack lab",7']),
        ("AT+QNWINFO", ['+QNWINFO: "FDD LTE","00101","LTE BAND 3",1650']),
        ("AT+CPMS?", ['+CPMS: "ME",0,255,"ME",0,255,"ME",0,255']),
        ("AT+CLCC", ['+CLCC: 1,0,0,1,0,"",128']),
        ("AT+QSIMSTAT?", ["+QSIMSTAT: 0,1"]),
        ("AT+CPAS", ["+CPAS: 0"]),
        ("AT+CMGL=4", []),
        ("AT+QHUP=16", []),
        ("AT+CHUP", []),
        ("AT+QINDCFG=\"ccinfo\",1,0", []),
        ("AT^DSCI=1", []),
        ('AT+QURCCFG="urcport","usbat"', []),
        ("AT+CEER", ["+CEER: No cause information available"]),
        ("AT", []),
    ],
)
async def test_commands_that_drivers_send(bench: Bench, command: str, lines: list[str]) -> None:
    """A start-up list with one unknown command would keep a whole family from starting."""
    port = bench.at()
    await port.ask("ATE0")
    assert await port.ask(command) == lines


async def test_no_command_changes_the_imei(bench: Bench) -> None:
    """lawful-use.md: nothing in the product or in its lab writes an IMEI."""
    port = bench.at()
    await port.ask("ATE0")
    for attempt in ('AT+EGMR=1,7,"490154203237518"', "AT+CGSN=490154203237518", "AT+GSN=1", 'AT+SIMEI="490154203237518"'):
        await port.ask(attempt, "ERROR")
    assert await port.ask("AT+CGSN") == ["001001000010014"]
    assert not {"+EGMR", "+SIMEI"} & COMMANDS.keys()


async def test_voice_port_needs_the_gps_output_elsewhere(bench: Bench) -> None:
    """An EC25 refuses +QPCMV while its NMEA port carries GPS; a driver has to move that first."""
    port = bench.at()
    await port.ask("ATE0")
    await port.ask("AT+QPCMV=1,0", "ERROR")
    await port.ask('AT+QGPSCFG="outport","none"')
    await port.ask("AT+QPCMV=1,0")
    assert await port.ask("AT+QPCMV?") == ["+QPCMV: 1,0"]


async def test_reset_takes_the_ports_away_and_boots_again(bench: Bench) -> None:
    """After +CFUN=1,1 the host must see the port vanish and later the boot lines and factory settings."""
    port = bench.at()
    await port.ask("ATE0")
    await port.ask('AT+QGPSCFG="outport","none"')
    await port.ask("AT+CFUN=1,1")
    await port.until(lambda: port.lost, "the port's end")
    module = bench.lab.modules["lab-01", 1]
    await bench.until(lambda: module.up.is_set() and module.at.link.exists(), "the module's return")
    again = bench.at()
    await again.match(r"\+CPIN: READY\r\n.*PB DONE\r\n")
    await bench.until(lambda: module.registered, "registration")
    again.write(b"AT\r")
    await again.match(r"AT\r\r\nOK\r\n")
    assert await again.ask('AT+QGPSCFG="outport"') == ['+QGPSCFG: "outport","none"']


async def test_radio_off_and_on_is_told(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    await port.ask("AT+CREG=1")
    await port.ask("AT+CFUN=4")
    await port.match(r"\+CREG: 0\r\n")
    await port.ask(f"ATD{NO_ANSWER};", "+CME ERROR: 30")
    await port.ask("AT+CFUN=1")
    await port.match(r"\+CREG: 2\r\n.*\+CREG: 1\r\n")


async def test_pin(bench: Bench) -> None:
    """A locked card must be opened by +CPIN, and three wrong numbers block it."""
    module = bench.lab.modules["lab-01", 1]
    module.pin, module.unlocked = "1234", False
    port = bench.at()
    await port.ask("ATE0")
    assert await port.ask("AT+CPIN?") == ["+CPIN: SIM PIN"]
    await port.ask("AT+CIMI", "+CME ERROR: 11")
    await port.ask('AT+CPIN="9999"', "+CME ERROR: 16")
    assert await port.ask("AT+QPINC?") == ['+QPINC: "SC",2,10', '+QPINC: "P2",3,10']
    await port.ask('AT+CPIN="1234"')
    await port.match(r"\+CPIN: READY\r\n")


async def test_colp_withholds_the_result_of_the_dial_command(bench: Bench) -> None:
    """With +COLP=1 the port is blocked until the answer, and any character gives the call up."""
    port = await bench.ready_at()
    await port.ask("AT+COLP=1")
    port.write(f"ATD{NO_ANSWER};\r".encode())
    await port.match('"ccinfo",2,0,3')
    port.write(b"x")
    await port.match("\r\nNO CARRIER\r\n")
    await port.ask(f"ATD{STANDARD['busy'][0]};", "BUSY")
    await bench.until(lambda: not bench.lab.network.calls, "no call left")


async def states(port: Port) -> dict[str, str]:
    """Return the states of the voice calls by their index."""
    rows = [line[7:].split(",") for line in await port.ask("AT+CLCC") if line.startswith("+CLCC: ")]
    return {row[0]: row[2] for row in rows if row[3] == "0"}


async def test_hold_swap_and_release(make_bench: Maker) -> None:
    """A second dial holds the first call; +CHLD swaps and ends them one by one."""
    bench = await make_bench(1)
    port = await bench.ready_at()
    for index in (2, 3):
        await port.ask(f"ATD{STANDARD['tone'][0]};")
        await port.match(f'"ccinfo",{index},0,0')
    assert await states(port) == {"2": "1", "3": "0"}
    await port.ask("AT+CHLD=2")
    assert await states(port) == {"2": "0", "3": "1"}
    await port.ask("AT+CHLD=13")
    assert await states(port) == {"2": "0"}
    await port.ask("AT+CHUP")
    assert await states(port) == {}


async def test_call_waiting_when_switched_on(make_bench: Maker) -> None:
    bench = await make_bench(2)
    one, two = await bench.ready_at(1), await bench.ready_at(2)
    await two.ask("AT+CCWA=1,1,1")
    await two.ask(f"ATD{STANDARD['tone'][0]};")
    await two.match('"ccinfo",2,0,0')
    await one.ask(f"ATD{bench.msisdn(2)};")
    await two.match(rf'\+CCWA: "\{bench.msisdn(1)}",145,1\r\n')
    await two.ask("AT+CHLD=0")
    await one.match("\r\nBUSY\r\n")


async def test_dsci_traces_match_the_manual(make_bench: Maker) -> None:
    bench = await make_bench(1, quirks=frozenset({Quirk.NO_DATA_ROW}))
    port = bench.at()
    await port.ask("ATE0")
    await port.ask("AT^DSCI=1")
    await port.ask(f"ATD{STANDARD['tone'][0]};")
    for state in (2, 7, 3):
        await port.match(rf"\r\n\^DSCI: 1,0,{state},0,\{STANDARD['tone'][0]},145,1\r\n")
    await port.ask("ATH")
    await port.match(r"\r\n\^DSCI: 1,0,6,0,")


async def test_message_prompt_can_be_left(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    port.write(b"AT+CMGS=20\r")
    await port.match("\r\n> $")
    port.write(b"0011000B\x1b")
    await port.match("\r\nOK\r\n")
    assert await port.ask("AT+CMGF?") == ["+CMGF: 0"]


async def test_last_line_is_repeated(bench: Bench) -> None:
    port = bench.at()
    await port.ask("ATE0")
    await port.ask("AT+CGMM")
    port.write(b"A/")
    await port.match("\r\nEC25\r\n\r\nOK\r\n")


@given(st.text(alphabet="+^&AT;=?\",DHEV019 ICSQ", max_size=40))
def test_any_line_is_split_or_refused(line: str) -> None:
    """A line that crashes the interpreter would look like a module that died."""
    try:
        commands = split(line)
    except BadLine:
        return
    assert all(command.name == command.name.upper() for command in commands)


def test_quoted_semicolons_and_commas_do_not_separate() -> None:
    first, second = split('+CPBW=1,"a;b,c",129;+CSQ')
    assert (first.form, first.args) == (Form.SET, ["1", "a;b,c", "129"])
    assert second.name == "+CSQ"


QUIET_TIMING = replace(FAST, answer_s=0.0)
# They change how answers look, take the module down, or ask for text.
SPECIAL = {"E", "V", "Q", "Z", "&F", "D", "+CFUN", "+QPOWD", "+CMGS", "+CMGW"}


async def test_every_command_survives_every_form(make_bench: Maker) -> None:
    """A handler that trips over odd parameters would take the whole lab down, not one answer."""
    bench = await make_bench(timing=QUIET_TIMING)
    port = bench.at()
    await port.ask("ATE0")
    forms = ("", "?", "=?", "=", "=x", "=1", "=0,9", '="a",9,,"', "=99999999999", '="SC",2')
    for name in sorted(COMMANDS.keys() - SPECIAL):
        for form in forms:
            port.write(f"AT{name}{form}\r".encode())
            await port.match(r"\r\n(OK|ERROR|NO CARRIER|\+CM[ES] ERROR: [^\r]*)\r\n")
            port.got.clear()
    assert bench.lab.modules["lab-01", 1].up.is_set()
