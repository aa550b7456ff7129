"""SMS commands as far as drivers send them at start-up; the lab's network has no message centre yet."""

from simrack.lab.emulator.answers import OK, Answer, Cms, info
from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ec25.registry import command
from simrack.lab.emulator.line import Command, Form

STORES = {"SM": 50, "ME": 255, "MT": 255, "SR": 25}
CENTRE = "+882109009999"
_DEFAULTS = {"+CPMS": "ME,ME,ME", "+CNMI": "2,1,0,0,0", "+CSMS": "0", "+CSMP": "17,167,0,0", "+CMMS": "0", "+CGSMS": "1"}


@command("+CMGF")
def _format(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            return info(f"+CMGF: {int(module.settings.sms_text)}")
        case Form.TEST:
            return info("+CMGF: (0,1)")
    if command.text not in ("0", "1"):
        raise Cms(302)
    module.settings.sms_text = command.text == "1"
    return OK


@command("+CPMS")
def _stores(module: Module, command: Command) -> Answer:
    now = module.kept.values.get("+CPMS", _DEFAULTS["+CPMS"]).split(",")
    match command.form:
        case Form.TEST:
            group = ",".join(f'"{name}"' for name in STORES)
            return info(f"+CPMS: ({group}),({group}),({group})")
        case Form.READ:
            return info("+CPMS: " + ",".join(f'"{name}",0,{STORES[name]}' for name in now))
    chosen = command.args
    if any(name not in STORES for name in chosen) or len(chosen) > 3:
        raise Cms(302)
    now = chosen + now[len(chosen) :]
    module.kept.values["+CPMS"] = ",".join(now)
    return info("+CPMS: " + ",".join(f"0,{STORES[name]}" for name in now))


@command("+CNMI", "+CSMP", "+CMMS", "+CGSMS")
def _stored(module: Module, command: Command) -> Answer:
    match command.form:
        case Form.READ:
            value = module.settings.plain.get(command.name, _DEFAULTS[command.name])
            return info(f"{command.name}: {value}")
        case Form.TEST if command.name == "+CNMI":
            return info("+CNMI: (0-2),(0-3),(0,2,3),(0-2),(0,1)")
        case Form.SET:
            module.settings.plain[command.name] = command.text
    return OK


@command("+CSMS")
def _service(module: Module, command: Command) -> Answer:
    value = module.settings.plain.get("+CSMS", "0")
    match command.form:
        case Form.READ:
            return info(f"+CSMS: {value},1,1,1")
        case Form.TEST:
            return info("+CSMS: (0,1)")
    module.settings.plain["+CSMS"] = command.text
    return info("+CSMS: 1,1,1")


@command("+CSCA")
def _centre(module: Module, command: Command) -> Answer:
    if command.form is Form.SET:
        module.kept.values["+CSCA"] = command.args[0]
        return OK
    return info(f'+CSCA: "{module.kept.values.get("+CSCA", CENTRE)}",145')


@command("+CMGL")
def _list(module: Module, command: Command) -> Answer:
    return OK


@command("+CMGR", "+CMSS")
def _read(module: Module, command: Command) -> Answer:
    raise Cms(321)


@command("+CMGD", "+CNMA")
def _done(module: Module, command: Command) -> Answer:
    return info("+CMGD: (),(0-4)") if command.form is Form.TEST and command.name == "+CMGD" else OK


@command("+CMGS", "+CMGW")
def _send(module: Module, command: Command) -> Answer:
    """Take a message after the prompt; ESC gives it up, Ctrl-Z meets a network without message service."""
    if command.form is not Form.SET:
        return OK
    module.prompt = _finish
    return Answer(final="PROMPT")


def _finish(body: bytes | None) -> Answer:
    if body is None:
        return OK
    raise Cms(331)
