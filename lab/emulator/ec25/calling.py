"""Call control, supplementary services, DTMF and the voice path."""

import asyncio
import re

from simrack.lab.emulator.answers import OK, Answer, Cme, Refused, info
from simrack.lab.emulator.ec25.calls import Leg
from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ec25.registry import command
from simrack.lab.emulator.ec25.state import Card
from simrack.lab.emulator.line import Command, Form
from simrack.lab.emulator.oddities import Quirk

#: V.250 dial modifiers that a mobile ignores, then the number, then I/i (CLIR) and G/g (CUG) of 27.007, 6.2.
_DIAL = re.compile(r"[TPW,@!]*([+0-9*#A-C]+)([Ii]?)[Gg]?;")
MAX_CALLS = 6
QHUP_CAUSES = (1, 16, 17, 18, 21, 27, 31, 88)
#: Time that the module takes to tell a call's first state after its OK.
PROGRESS_S = 0.02
_KEY = re.compile(r"[0-9A-D*#]")


@command("D")
async def _dial(module: Module, command: Command) -> Answer:
    if module.dial_errors:
        module.dial_errors -= 1
        raise Refused if module.dial_error_code is None else Cme(module.dial_error_code)
    if module.dial_silences:
        module.dial_silences -= 1
        return Answer(final="SILENT")
    match = _DIAL.fullmatch(command.text)
    if match is None:
        # Without the semicolon it is a data call, and this network carries none.
        return Answer(final="ERROR" if command.text.endswith(";") else "NO CARRIER")
    _refuse_dial(module)
    leg = module.handset.dial(match[1])
    hide = match[2] == "I" or (match[2] != "i" and module.settings.clir == 1)
    if module.settings.colp:
        return await _dial_and_wait(module, leg, hide=hide)
    return Answer(then=lambda: module.later(PROGRESS_S, lambda: module.handset.set_up(leg, hide=hide)))


def _refuse_dial(module: Module) -> None:
    if module.card() is Card.ABSENT:
        raise Cme(10)
    if module.card() is not Card.READY:
        raise Cme(11 if module.function else 13)
    if not module.registered:
        raise Cme(30)
    # A ringing call must be answered or refused first.
    if module.handset.ringing or len(module.handset.legs) >= MAX_CALLS:
        raise Cme(3)


async def _dial_and_wait(module: Module, leg: Leg, *, hide: bool) -> Answer:
    """+COLP=1: the answer to ATD comes when the call is answered or has failed (27.007, 7.8)."""
    leg.waiting_result = asyncio.get_running_loop().create_future()
    module.waiting_dial = leg
    module.handset.set_up(leg, hide=hide)
    try:
        result = await leg.waiting_result
    finally:
        module.waiting_dial = None
    lines = (f'+COLP: "{leg.number}",{leg.kind},,,',) if result == "OK" else ()
    return Answer(lines, result)


@command("A")
def _answer(module: Module, command: Command) -> Answer:
    if not module.handset.ringing:
        return Answer(final="NO CARRIER")
    return Answer(then=module.handset.answer)


@command("H", "+CHUP")
def _hang_up(module: Module, command: Command) -> Answer:
    module.handset.hang_up()
    return OK


@command("+QHUP")
def _hang_up_with_cause(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info("+QHUP: (1,16,17,18,21,27,31,88),(0-7)")
    cause, index = command.number(0, 16), command.number(1, 0)
    if command.form is not Form.SET or cause not in QHUP_CAUSES:
        raise Refused
    if index == 0:
        module.handset.hang_up(cause)
        return OK
    leg = module.handset.leg(index)
    if leg is None:
        raise Cme(21)
    module.handset.end(leg, cause)
    return OK


@command("+CHLD")
def _hold(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info("+CHLD: (0,1,1x,2,2x)")
    handset, choice = module.handset, command.text
    if not handset.legs:
        raise Cme(3)
    match choice[:1], choice[1:]:
        case "0", "":
            handset.release_held()
        case "1", "":
            handset.release_active()
        case "2", "":
            handset.swap()
        case ("1", index) if index.isdecimal() and (leg := handset.leg(int(index))) is not None:
            handset.end(leg, 16)
        case _:
            raise Cme(3)
    return OK


@command("+CLCC")
def _list_calls(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return OK
    if command.form is not Form.RUN:
        raise Refused
    return info(*module.handset.rows())


@command("+CPAS")
def _activity(module: Module, command: Command) -> Answer:
    return info(f"+CPAS: {module.handset.activity()}")


@command("+CEER")
def _last_cause(module: Module, command: Command) -> Answer:
    if Quirk.CEER_NUMBERS in module.quirks:
        return info(f"+CEER: 0,{module.handset.last_number}")
    return info(f"+CEER: {module.handset.last_cause}")


def _flag(module: Module, command: Command, name: str) -> Answer:
    """Read or set a yes/no setting."""
    match command.form:
        case Form.READ:
            return info(f"{command.name}: {int(getattr(module.settings, name))}")
        case Form.TEST:
            return info(f"{command.name}: (0,1)")
        case Form.SET if command.args[0] in ("0", "1"):
            setattr(module.settings, name, command.args[0] == "1")
            return OK
    raise Cme(50)


@command("+CRC")
def _cring(module: Module, command: Command) -> Answer:
    return _flag(module, command, "cring")


@command("^DSCI")
def _dsci(module: Module, command: Command) -> Answer:
    return _flag(module, command, "dsci")


@command("+QTONEDET")
def _tone_detection(module: Module, command: Command) -> Answer:
    return _flag(module, command, "tone_detection")


@command("+CLIP")
def _clip(module: Module, command: Command) -> Answer:
    if command.form is Form.READ:
        return info(f"+CLIP: {int(module.settings.clip)},1")
    return _flag(module, command, "clip")


@command("+COLP")
def _colp(module: Module, command: Command) -> Answer:
    if command.form is Form.READ:
        return info(f"+COLP: {int(module.settings.colp)},1")
    return _flag(module, command, "colp")


@command("+CLIR")
def _clir(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+CLIR: {module.settings.clir},4")
        case Form.TEST:
            return info("+CLIR: (0-2)")
        case Form.SET if command.text in ("0", "1", "2"):
            module.settings.clir = int(command.text)
            return OK
    raise Cme(50)


@command("+CCWA")
def _call_waiting(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.TEST:
            return info("+CCWA: (0,1)")
        case Form.READ:
            return info(f"+CCWA: {int(module.settings.call_waiting)}")
    mode = command.number(1, -1)
    if mode == 2:
        return info(f"+CCWA: {int(module.settings.call_waiting)},1")
    if mode in (0, 1):
        module.settings.call_waiting = mode == 1
    return OK


@command("+VTS")
def _send_tones(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info("+VTS: (0-9,A-D,*,#),(0-255)")
    keys = command.args[0].upper() if command.form is Form.SET else ""
    if not _KEY.match(keys) or len(keys) > 31:
        raise Cme(50)
    for key in keys.replace(",", ""):
        if not _KEY.fullmatch(key) or not module.handset.press(key):
            raise Cme(3)
    return OK


@command("+QPCMV")
def _voice_port(module: Module, command: Command) -> Answer:
    settings = module.settings
    match command.form:
        case Form.TEST:
            return info("+QPCMV: (0,1),(0-2)")
        case Form.READ:
            return info("+QPCMV: 1,0" if settings.pcm else "+QPCMV: 0")
    on, port = command.number(0, -1), command.number(1, 0)
    if on == 0:
        settings.pcm = 0
        return OK
    # The NMEA port carries voice only while the GPS output is elsewhere; there is no sound card in this
    # composition and no debug UART on USB (at-dialects, 5.1).
    if on != 1 or port != 0 or module.kept.gps_port == "usbnmea":
        raise Refused
    settings.pcm = 1
    return OK


@command("+QGPSCFG")
def _gps(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info('+QGPSCFG: "outport",("none","usbnmea","uartdebug")')
    args = command.args
    if args[0].lower() != "outport":
        return OK
    if len(args) == 1:
        return info(f'+QGPSCFG: "outport","{module.kept.gps_port}"')
    if args[1] not in ("none", "usbnmea", "uartdebug"):
        raise Refused
    module.kept.gps_port = args[1]
    return OK


@command("+QAUDMOD")
def _audio_mode(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+QAUDMOD: {module.kept.audio_mode}")
        case Form.TEST:
            return info("+QAUDMOD: (0-5)")
    if not 0 <= (mode := command.number(0, -1)) <= 5:
        raise Cme(50)
    module.kept.audio_mode = mode
    return OK
