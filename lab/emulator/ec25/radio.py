"""Registration, operator, signal, serving cell."""

from simrack.lab.emulator.answers import OK, Answer, Cme, Refused, info
from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ec25.registry import command
from simrack.lab.emulator.line import Command, Form

OPERATOR_LONG, OPERATOR_SHORT, OPERATOR_CODE = "simrack lab", "lab", "00101"
#: A search for operators takes minutes on a real module; the port is blocked meanwhile.
SEARCH_S = 3.0


@command("+CREG", "+CGREG", "+CEREG")
def _registration(module: Module, command: Command) -> Answer:
    name = command.name[1:].lower()
    level: int = getattr(module.settings, name)
    match command.form:
        case Form.READ:
            return info(f"{command.name}: {level},{module.registration(name, level)}")
        case Form.TEST:
            return info(f"{command.name}: (0-2)")
        case Form.SET if command.text in ("0", "1", "2"):
            setattr(module.settings, name, int(command.text))
            return OK
        case Form.RUN:
            setattr(module.settings, name, 0)
            return OK
    raise Cme(50)


@command("+COPS")
def _operator(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return _operator_now(module)
        case Form.TEST:
            found = f'(2,"{OPERATOR_LONG}","{OPERATOR_SHORT}","{OPERATOR_CODE}",7)'
            return info(f"+COPS: {found},,(0,1,2,3,4),(0,1,2)")
    mode, form = command.number(0, 0), command.number(1, module.settings.cops_format)
    if mode not in (0, 1, 2, 3, 4) or form not in (0, 1, 2):
        raise Cme(50)
    module.settings.cops_format = form
    if mode == 2:
        module.no_service = True
        return Answer(then=module.search)
    if mode in (0, 1, 4) and module.no_service:
        module.no_service = False
        return Answer(then=module.search)
    return OK


def _operator_now(module: Module) -> Answer:
    if not module.registered:
        return info("+COPS: 0")
    form = module.settings.cops_format
    name = (OPERATOR_LONG, OPERATOR_SHORT, OPERATOR_CODE)[form]
    if module.settings.charset == "UCS2" and form != 2:
        name = name.encode("utf-16-be").hex().upper()
    return info(f'+COPS: 0,{form},"{name}",7')


@command("+CSQ")
def _signal(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info("+CSQ: (0-31,99),(0-7,99)")
    return info(f"+CSQ: {module.rssi if module.function == 1 else 99},99")


@command("+QNWINFO")
def _network(module: Module, command: Command) -> Answer:
    if not module.registered:
        return info("+QNWINFO: No Service")
    return info(f'+QNWINFO: "FDD LTE","{OPERATOR_CODE}","LTE BAND 3",1650')


@command("+QSPN")
def _names(module: Module, command: Command) -> Answer:
    if not module.registered:
        raise Cme(30)
    return info(f'+QSPN: "{OPERATOR_LONG}","{OPERATOR_SHORT}","",0,"{OPERATOR_CODE}"')


@command("+QENG")
def _cell(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info('+QENG: ("servingcell","neighbourcell")')
    if command.form is not Form.SET or command.args[0].lower() != "servingcell":
        raise Refused
    if not module.registered:
        return info('+QENG: "servingcell","SEARCH"')
    power = -113 + 2 * module.rssi
    cell = f"1C3D4{module.seat[1]:02X}"
    return info(
        f'+QENG: "servingcell","NOCONN","LTE","FDD",001,01,{cell},12,1650,3,5,5,1A2B,{power - 20},-9,{power},14,-'
    )
