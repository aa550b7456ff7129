"""The whole lab: network, modules, interface, and the state file that tells others where everything is."""

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from simrack.lab.emulator.ec25.module import Module
from simrack.lab.emulator.ec25.state import Identity
from simrack.lab.emulator.network import Network, Subscriber, Timing
from simrack.lab.emulator.numbers import Numbers
from simrack.lab.emulator.oddities import Quirk
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)

STATE_VERSION = 1
SUBSCRIBERS = "+88210100"  # then box and channel, two digits each
#: Type allocation code of test equipment (3GPP TS 23.003, 6.2: reporting body 00).
TEST_TAC = "00100100"
ISSUER = "8988210"  # ICCID: telecom, +882 10
MAX_BOXES = MAX_CHANNELS = 99


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build. `quirks` by (box number, channel)."""

    boxes: int
    channels: int
    folder: Path
    seed: int = 1
    timing: Timing = field(default_factory=Timing)
    quirks: Mapping[tuple[int, int], frozenset[Quirk]] = field(default_factory=dict)


def luhn(digits: str) -> str:
    """Append the check digit of ISO/IEC 7812 that IMEI and ICCID carry."""
    doubled = (int(d) * (2 if n % 2 == 0 else 1) for n, d in enumerate(reversed(digits)))
    return digits + str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def subscriber_of(box: int, channel: int) -> Subscriber:
    """Make the SIM of a seat: always the same one, in MCC 001."""
    return Subscriber(
        imsi=f"00101{box:05d}{channel:05d}",
        iccid=luhn(f"{ISSUER}{box:05d}{channel:06d}"),
        msisdn=f"{SUBSCRIBERS}{box:02d}{channel:02d}",
        home=f"lab-{box:02d}/{channel}",
    )


class Lab:
    """Network, numbers and modules of one plan."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan = plan
        self.network = Network(clock, plan.timing, plan.seed)
        self.numbers = Numbers(self.network.dice)
        self.network.landline = self.numbers.far_end
        self.modules: dict[tuple[str, int], Module] = {}
        for box in range(1, plan.boxes + 1):
            for channel in range(1, plan.channels + 1):
                self._add(box, channel)

    def _add(self, box: int, channel: int) -> None:
        subscriber = subscriber_of(box, channel)
        self.network.add(subscriber)
        seat = (f"lab-{box:02d}", channel)
        self.modules[seat] = Module(
            self.network,
            subscriber,
            Identity(luhn(f"{TEST_TAC}{box:03d}{channel:03d}")),
            self.plan.folder,
            seat,
            quirks=self.plan.quirks.get((box, channel), frozenset()),
            seed=f"{self.plan.seed}/{box}/{channel}",
        )

    async def run(self, ready: asyncio.Event) -> None:
        """Run network and modules until cancelled; sets `ready` once every port exists."""
        await asyncio.to_thread(self.plan.folder.mkdir, parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.network.run(), name="lab network")
            group.create_task(self.network.ledger.run(), name="lab ledger")
            for module in self.modules.values():
                group.create_task(module.run(), name=f"lab module {module.seat}")
            for module in self.modules.values():
                await module.up.wait()
            ready.set()

    def sweep(self) -> None:
        """Take the links and their folder away, once nothing runs any more; foreign files stay."""
        for module in self.modules.values():
            module.at.link.unlink(missing_ok=True)
            module.audio.link.unlink(missing_ok=True)
        with suppress(OSError):
            self.plan.folder.rmdir()

    def state(self, ledger: str) -> dict[str, Any]:
        """Return the content of the state file."""
        boxes: dict[str, list[dict[str, Any]]] = {}
        for (box, _), module in self.modules.items():
            boxes.setdefault(box, []).append(_module_state(module))
        return {
            "version": STATE_VERSION,
            "boxes": [{"box": box, "modules": modules} for box, modules in boxes.items()],
            "numbers": self.numbers.names(),
            "ledger": ledger,
        }


def _module_state(module: Module) -> dict[str, Any]:
    return {
        "channel": module.seat[1],
        "at": str(module.at.link),
        "audio": str(module.audio.link),
        "imei": module.identity.imei,
        "iccid": module.subscriber.iccid,
        "imsi": module.subscriber.imsi,
        "msisdn": module.subscriber.msisdn,
    }


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_text(json.dumps(state, indent=1) + "\n")
    fresh.replace(path)
