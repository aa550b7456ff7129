"""General commands: result format, identity, functionality, power, stored values."""

from simrack.lab.emulator.answers import OK, Answer, Cme, Refused, info
from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ec25.registry import COMMANDS, command
from simrack.lab.emulator.line import Command, Form
from simrack.lab.emulator.oddities import Quirk


@command("E", "V", "Q")
def _switch(module: Module, command: Command) -> Answer:
    if command.text not in ("", "0", "1"):
        raise Refused
    on = command.text == "1"
    match command.name:
        case "E":
            module.settings.echo = on
        case "V":
            module.settings.verbose = on
        case _:
            module.settings.quiet = on
    return OK


@command("Z", "&F")
def _profile(module: Module, command: Command) -> Answer:
    settings = module.settings
    settings.verbose, settings.quiet, settings.cmee = True, False, 1
    if Quirk.ECHO_OFF_LOST in module.quirks or command.name == "&F":
        settings.echo = True
    return OK


@command("X", "&C", "&D", "&W", "&K", "&S", "L", "M", "P", "T", "O")
def _accepted(module: Module, command: Command) -> Answer:
    return OK


@command("S0", "S3", "S4", "S5", "S6", "S7", "S8", "S10")
def _register(module: Module, command: Command) -> Answer:
    if command.form is Form.READ:
        return info(module.settings.plain.get(command.name, "0").zfill(3))
    module.settings.plain[command.name] = command.text
    return OK


@command("I")
def _who(module: Module, command: Command) -> Answer:
    one = module.identity
    return info(one.manufacturer, one.model, f"Revision: {one.firmware}")


@command("+CGMI", "+GMI")
def _manufacturer(module: Module, command: Command) -> Answer:
    return _bare(command, module.identity.manufacturer)


@command("+CGMM", "+GMM")
def _model(module: Module, command: Command) -> Answer:
    return _bare(command, module.identity.model)


@command("+CGMR", "+GMR", "+QGMR")
def _revision(module: Module, command: Command) -> Answer:
    return _bare(command, module.identity.firmware)


@command("+CGSN", "+GSN")
def _serial(module: Module, command: Command) -> Answer:
    """Show the IMEI; every form that would carry a value is refused."""
    return _bare(command, module.identity.imei)


def _bare(command: Command, text: str) -> Answer:
    if command.form is Form.TEST:
        return OK
    if command.form is not Form.RUN:
        raise Refused
    return info(text)


@command("+GCAP")
def _capabilities(module: Module, command: Command) -> Answer:
    return info("+GCAP: +CGSM")


@command("+CLAC")
def _list(module: Module, command: Command) -> Answer:
    return info(*(f"AT{name}" for name in sorted(COMMANDS)))


@command("+CMEE")
def _errors(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+CMEE: {module.settings.cmee}")
        case Form.TEST:
            return info("+CMEE: (0-2)")
        case Form.SET if command.text in ("0", "1", "2"):
            module.settings.cmee = int(command.text)
            return OK
    raise Cme(50)


@command("+CSCS")
def _charset(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f'+CSCS: "{module.settings.charset}"')
        case Form.TEST:
            return info('+CSCS: ("GSM","IRA","UCS2")')
        case Form.SET if command.args[0] in ("GSM", "IRA", "UCS2"):
            module.settings.charset = command.args[0]
            return OK
    raise Cme(50)


@command("+CFUN")
def _functionality(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+CFUN: {module.function}")
        case Form.TEST:
            return info("+CFUN: (0,1,4),(0,1)")
        case Form.RUN:
            raise Refused
    function, reset = command.number(0, 1), command.number(1, 0)
    if function not in (0, 1, 4) or reset not in (0, 1):
        raise Cme(50)
    if reset:
        return Answer(then=lambda: module.later(0.1, lambda: _reboot(module)))
    return _set_function(module, function)


def _reboot(module: Module) -> None:
    module.take_down("AT+CFUN=1,1", module.network.timing.usb_return_s)


def _set_function(module: Module, function: int) -> Answer:
    before, module.function = module.function, function
    if function == before:
        return OK
    if function != 1:
        module.handset.lose_signal(27)
        return Answer(then=module.search)
    return Answer(then=module.card_up if before == 0 else module.search)


@command("+QPOWD")
def _power_off(module: Module, command: Command) -> Answer:
    def off() -> None:
        module.urc("POWERED DOWN")
        module.later(0.1, lambda: module.take_down("AT+QPOWD", module.network.timing.usb_return_s))

    return Answer(then=lambda: module.later(0.2, off))


# Values that a module stores and shows; nothing of the lab depends on them.
_PLAIN = {
    "+IPR": "115200", "+IFC": "0,0", "+ICF": "3,3", "+CMUT": "0", "+QMIC": "20577,16001",
    "+QRXGAIN": "20577", "+QSIDET": "0", "+CTZU": "0", "+CTZR": "0", "+CSSN": "0,0", "+CVHU": "0", "+CVMOD": "3",
    "+CGATT": "1", "+CGACT": "1,1", "+CEMODE": "2", "+QSIMDET": "0,0", "+CSTA": "129", "+CMOD": "0",
    "+CBST": "0,0,1", "+CR": "0", "+VTD": "0", "+CSDH": "0", "+QEEC": "1", "+CUSD": "0", "+CPSMS": "0",
    "+CSVM": '0,"",129', "+CGDCONT": '1,"IPV4V6","internet","0.0.0.0",0,0,0,0', "+CALM": "0", "+CGEREP": "0,0",
}  # fmt: skip


@command(*_PLAIN)
def _plain(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            value = module.settings.plain.get(command.name, _PLAIN[command.name])
            return info(f"{command.name}: {value}")
        case Form.SET:
            module.settings.plain[command.name] = command.text
    return OK


@command("+CLVL")
def _volume(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+CLVL: {module.kept.clvl}")
        case Form.TEST:
            return info("+CLVL: (0-5)")
    if not 0 <= (level := command.number(0, -1)) <= 5:
        raise Cme(50)
    module.kept.clvl = level
    return OK


@command("+CBC")
def _battery(module: Module, command: Command) -> Answer:
    return info("+CBC: 0,93,3980")


@command("+CCLK", "+QLTS")
def _clock(module: Module, command: Command) -> Answer:
    now = module.network.clock.utc()
    if command.name == "+QLTS":
        return info(f'+QLTS: "{now:%Y/%m/%d,%H:%M:%S}+00,0"')
    return OK if command.form is Form.SET else info(f'+CCLK: "{now:%y/%m/%d,%H:%M:%S}+00"')


@command("+QTEMP")
def _temperature(module: Module, command: Command) -> Answer:
    return info("+QTEMP: 31,30,29")


@command("+QURCCFG")
def _urc_port(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info('+QURCCFG: "urcport",("usbat","usbmodem","uart1","all")')
    args = command.args
    if args[0] != "urcport":
        raise Refused
    if len(args) == 1:
        return info(f'+QURCCFG: "urcport","{module.kept.urc_port}"')
    if args[1] not in ("usbat", "usbmodem", "uart1", "all"):
        raise Refused
    module.kept.urc_port = args[1]
    return OK


@command("+QCFG")
def _config(module: Module, command: Command) -> Answer:
    if command.form is Form.TEST:
        return info('+QCFG: "ims",(0-2)', '+QCFG: "usbcfg",(vid),(pid),(0,1),(0,1),(0,1),(0,1),(0,1),(0,1),(0,1)')
    key, values = command.args[0].lower(), command.args[1:]
    if not values:
        return info(f'+QCFG: "{key}",{_config_value(module, key)}')
    if key == "usbcfg" and len(values) < 2:
        raise Refused
    module.kept.values[key] = ",".join(values)
    return OK


def _config_value(module: Module, key: str) -> str:
    kept = module.kept.values.get(key)
    if key == "ims":
        return f"{kept or 0},1"
    fallback = {"usbcfg": module.kept.usb_config, "nwscanmode": "0", "servicedomain": "2", "iotopmode": "0"}
    if kept is None and key not in fallback:
        raise Refused
    return kept if kept is not None else fallback[key]


@command("+QINDCFG")
def _indications(module: Module, command: Command) -> Answer:
    table = module.settings.indications
    if command.form is Form.TEST:
        names = ",".join(f'"{name}"' for name in table)
        return info(f"+QINDCFG: ({names}),(0,1),(0,1)")
    args = command.args
    if args[0] not in table or (args[0] == "ccinfo" and Quirk.NO_CCINFO in module.quirks):
        raise Refused
    if len(args) == 1:
        return info(f'+QINDCFG: "{args[0]}",{table[args[0]]}')
    if args[1] not in ("0", "1"):
        raise Refused
    table[args[0]] = int(args[1])
    if args[2:3] == ["1"]:
        module.kept.indications[args[0]] = int(args[1])
    return OK
