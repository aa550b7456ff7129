"""The card as the module shows it: PIN, identities, presence."""

from simrack.lab.emulator.answers import OK, Answer, Cme, Refused, info
from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ec25.registry import command
from simrack.lab.emulator.ec25.state import Card
from simrack.lab.emulator.line import Command, Form
from simrack.lab.emulator.oddities import Quirk

PIN_TRIES = 3


def _need_card(module: Module) -> None:
    match module.card():
        case Card.ABSENT:
            raise Cme(10)
        case Card.BUSY:
            raise Cme(13)
        case Card.PIN:
            raise Cme(11)
        case Card.PUK:
            raise Cme(12)


@command("+CPIN")
def _pin(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.TEST:
            return OK
        case Form.READ:
            return _pin_state(module)
        case Form.SET if module.card() is Card.PIN:
            return _enter_pin(module, command.args[0])
    raise Cme(3)


def _pin_state(module: Module) -> Answer:
    match module.card():
        case Card.ABSENT:
            raise Cme(10)
        case Card.BUSY:
            raise Cme(13)
    return info(f"+CPIN: {module.card()}")


def _enter_pin(module: Module, pin: str) -> Answer:
    if pin != module.pin:
        module.tries -= 1
        raise Cme(16 if module.tries else 12)
    module.unlocked, module.tries = True, PIN_TRIES
    return Answer(then=lambda: module.later(module.network.timing.sim_ready_s, module.card_up))


@command("+QPINC")
def _tries(module: Module, command: Command) -> Answer:
    return info(f'+QPINC: "SC",{module.tries},10', '+QPINC: "P2",3,10')


@command("+CIMI")
def _imsi(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return OK
    if command.form is not Form.RUN:
        raise Refused
    _need_card(module)
    return info(module.subscriber.imsi)


@command("+QCCID", "+CCID")
def _iccid(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return OK
    if not module.inserted:
        raise Cme(10)
    if module.function == 0:
        raise Cme(13)
    pad = "F" if Quirk.ICCID_PAD in module.quirks else ""
    return info(f"{command.name}: {module.subscriber.iccid}{pad}")


@command("+CNUM")
def _own_number(module: Module, command: Command) -> Answer:
    _need_card(module)
    if Quirk.NO_NUMBER in module.quirks or command.form is Form.TEST:
        return OK
    return info(f'+CNUM: ,"{module.subscriber.msisdn}",145')


@command("+QSIMSTAT")
def _presence(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+QSIMSTAT: {int(module.settings.sim_notices)},{int(module.inserted)}")
        case Form.TEST:
            return info("+QSIMSTAT: (0,1)")
        case Form.SET if command.text in ("0", "1"):
            module.settings.sim_notices = command.text == "1"
            return OK
    raise Cme(50)


@command("+QINISTAT")
def _ready_parts(module: Module, command: Command) -> Answer:
    return info(f"+QINISTAT: {7 if module.card() is Card.READY else 0}")


@command("+CLCK")
def _lock(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info('+CLCK: ("SC","AO","OI","OX","AI","IR")')
    _need_card(module)
    if command.number(1, -1) == 2:
        return info(f"+CLCK: {int(bool(module.pin) and command.args[0] == 'SC')}")
    raise Cme(3)
