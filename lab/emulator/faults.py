"""Faults on demand and by seed: each is one act on one module, and most can be taken back."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.network import OUT_OF_ORDER
from simrack.lab.emulator.oddities import Fault

log = structlog.get_logger(__name__)

#: A module dropped from USB is back after so long, unless told.
DROP_S = 5.0
#: Of a storm: octets a second, in pieces so far apart.
STORM_OCTETS_S, GUST_S = 1_000_000, 0.01
FLOOD_LINE = '+QIND: "csq",31,99'
#: Octets that a babbling module puts out at once: less than what a port holds before it drops.
BABBLE_PIECE = 2048
#: The PIN of a card that the fault `sim_pin` locks.
PIN = "1234"


def begin(module: Module, fault: Fault) -> None:
    """Let one fault begin now; with `duration_s` it ends by itself."""
    log.info("fault begins", box=fault.box, channel=fault.channel, fault=fault.fault)
    _BEGIN[fault.fault](module, fault)
    if fault.duration_s is not None and fault.fault not in ("drop", "reset"):
        module.later(fault.duration_s, lambda: _end(module, fault.fault))


def clear(module: Module) -> None:
    """End every fault that can end."""
    for name in _END:
        _end(module, name)
    module.dial_errors = module.dial_silences = module.lost_answers = module.late_answers = 0


def _end(module: Module, name: str) -> None:
    if name in _END:
        _END[name](module)


def _hang(module: Module, fault: Fault) -> None:
    module.silent, module.cure = True, fault.cure


def _garbage(module: Module, fault: Fault) -> None:
    if fault.duration_s is None:
        module.at.write(module.dice.randbytes(fault.octets))
    else:
        module.garbled = True


def _storm(module: Module, fault: Fault) -> None:
    """Offer 1 MB of random octets a second, for as long as the port lives; what the host doesn't read is lost."""
    module.flooding = True

    def gust() -> None:
        if module.flooding:
            module.at.pour(module.dice.randbytes(round(STORM_OCTETS_S * GUST_S)))
            module.later(GUST_S, gust)

    gust()


def _flood(module: Module, fault: Fault) -> None:
    module.flooding = True
    per_burst, pause = max(1, round(fault.rate * 0.02)), max(0.02, 1 / fault.rate)

    def burst() -> None:
        if module.flooding:
            for _ in range(per_burst):
                module.urc(FLOOD_LINE)
            module.later(pause, burst)

    burst()


def _babble(module: Module, fault: Fault) -> None:
    """Random octets at a rate, in pieces that a port's buffer takes; the module answers nothing sensible meanwhile."""
    module.flooding = module.garbled = True
    piece = module.dice.randbytes(max(1, min(BABBLE_PIECE, fault.octets)))
    pause = len(piece) / fault.octets

    def burst() -> None:
        if module.flooding:
            module.at.write(piece)
            module.later(pause, burst)

    burst()


def _drop(module: Module, fault: Fault) -> None:
    if fault.cure == "power":
        module.cut_off()
        return
    module.take_down("fault: dropped from USB", fault.duration_s or DROP_S)


def _reset(module: Module, fault: Fault) -> None:
    module.take_down("fault: reset by itself", fault.duration_s or module.network.timing.usb_return_s)


def _dial_error(module: Module, fault: Fault) -> None:
    module.dial_errors, module.dial_error_code = fault.count, fault.code


def _dial_silent(module: Module, fault: Fault) -> None:
    module.dial_silences = fault.count


def _answer_lost(module: Module, fault: Fault) -> None:
    module.lost_answers = fault.count


def _late_answer(module: Module, fault: Fault) -> None:
    module.late_answers, module.late_s = fault.count, fault.delay_s


def _one_way(module: Module, fault: Fault) -> None:
    module.handset.one_way = fault.direction


def _denied(module: Module, fault: Fault) -> None:
    module.denied = True
    module.handset.lose_signal(OUT_OF_ORDER)
    module.search()


def _no_service(module: Module, fault: Fault) -> None:
    module.no_service = True
    module.handset.lose_signal(OUT_OF_ORDER)
    module.search()


def _sim_removed(module: Module, fault: Fault) -> None:
    module.insert(present=False)


def _sim_pin(module: Module, fault: Fault) -> None:
    module.pin, module.unlocked = PIN, False
    module.urc("+CPIN: SIM PIN")
    module.search()


def _call_drop(module: Module, fault: Fault) -> None:
    module.handset.lose_signal(fault.code or OUT_OF_ORDER)


_BEGIN: Mapping[str, Callable[[Module, Fault], None]] = {
    "hang": _hang, "garbage": _garbage, "storm": _storm, "flood": _flood, "drop": _drop, "reset": _reset,
    "dial_error": _dial_error, "dial_silent": _dial_silent, "answer_lost": _answer_lost,
    "late_answer": _late_answer, "one_way": _one_way, "denied": _denied, "no_service": _no_service,
    "sim_removed": _sim_removed, "sim_pin": _sim_pin, "call_drop": _call_drop, "babble": _babble,
}  # fmt: skip


def _speak(module: Module) -> None:
    module.silent, module.cure = False, "any"


def _clean(module: Module) -> None:
    module.garbled = False


def _calm(module: Module) -> None:
    module.flooding = False


def _quieten(module: Module) -> None:
    module.flooding = module.garbled = False


def _both_ways(module: Module) -> None:
    module.handset.one_way = ""


def _admit(module: Module) -> None:
    if module.denied or module.no_service:
        module.denied = module.no_service = False
        module.search()


def _insert(module: Module) -> None:
    module.insert(present=True)


def _unlock(module: Module) -> None:
    if module.pin:
        module.pin, module.unlocked = "", True
        module.card_up()


_END: Mapping[str, Callable[[Module], None]] = {
    "hang": _speak, "garbage": _clean, "storm": _calm, "flood": _calm, "one_way": _both_ways, "denied": _admit,
    "no_service": _admit, "sim_removed": _insert, "sim_pin": _unlock, "babble": _quieten,
}  # fmt: skip

#: Faults that the lab may begin by chance, with the time each of them lasts.
BY_CHANCE: Mapping[str, float | None] = {
    "hang": 8.0, "garbage": None, "drop": 3.0, "reset": None, "dial_error": None, "dial_silent": None,
    "answer_lost": None, "denied": 8.0, "call_drop": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chance:
    """Faults per module and hour, drawn from a seed so that a run can be repeated."""

    per_hour: float
    seed: int

    async def run(self, modules: Mapping[tuple[str, int], Module]) -> None:
        """Begin faults until cancelled."""
        dice = random.Random(f"faults {self.seed}")
        seats = sorted(modules)
        while True:
            await asyncio.sleep(dice.expovariate(self.per_hour * len(seats) / 3600))
            seat, name = dice.choice(seats), dice.choice(sorted(BY_CHANCE))
            fault = Fault.model_validate(
                {"box": seat[0], "channel": seat[1], "fault": name, "duration_s": BY_CHANCE[name]}
            )
            begin(modules[seat], fault)
