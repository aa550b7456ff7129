"""A whole box in this loop, between the emulated network and a raw SIP controller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from gateway_lab import Lab
from gateway_sip import Controller, Dialog, sdp_of
from gateway_support import until
from gateway_voice import Phone

from simrack.gateway.agent import Box
from simrack.gateway.hands import SiteHands
from simrack.gateway.hardware import Hardware
from simrack.gateway.outbox import Outbox
from simrack.gateway.settings import BoxSettings
from simrack.sip.codecs import available
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import (
    BoxEvent,
    CallPart,
    EventAck,
    FaultPart,
)
from simrack.wire.mqtt import MemoryBroker, MemoryBus
from simrack.wire.ports import SystemClock, SystemIds

S = ChannelState
CLOCK, IDS = SystemClock(), SystemIds()
# Looked up before any loop runs, as the command does.
available()


class Rig:
    """A box in this loop, with a raw controller and a phone."""

    phone: Phone
    metrics: str

    def __init__(
        self, lab: Lab, box: Box, sip: tuple[str, int], controller: Controller, centre: MemoryBus
    ) -> None:
        self.lab, self.box, self.sip, self.controller, self.centre = lab, box, sip, controller, centre
        self.events: list[BoxEvent] = []
        self.attempts = 0
        self.acks: asyncio.Queue[BoxEvent] = asyncio.Queue()
        centre.subscribe(topics.ALL_BOX_EVENTS, self._take)

    def _take(self, _topic: str, payload: bytes) -> None:
        event = BoxEvent.decode(payload)
        self.events.append(event)
        self.acks.put_nowait(event)

    async def acknowledge(self) -> None:
        """What the controller does with each fact that it has stored."""
        while True:
            event = await self.acks.get()
            ranges = [{"boot": event.boot, "first": event.seq, "last": event.seq}]
            ack = EventAck.model_validate({"box": "lab-01", "ranges": ranges})
            await self.centre.publish(topics.box_event_ack("lab-01"), ack.encode())

    @property
    def outbox(self) -> Outbox:
        assert self.box._uplink
        return self.box._uplink.outbox

    @property
    def parts(self) -> list[CallPart]:
        return [event.body for event in self.events if isinstance(event.body, CallPart)]

    @property
    def faults(self) -> list[FaultPart]:
        return [event.body for event in self.events if isinstance(event.body, FaultPart)]

    def state(self, channel: int = 1) -> ChannelState:
        return self.box.modules[channel].channel.state

    def call(self, number: str, *, channel: int = 1, **more: str) -> Dialog:
        self.attempts += 1
        headers = {
            "X-Simrack-Call": f"call{self.attempts}", "X-Simrack-Attempt": f"attempt{self.attempts}",
            "X-Simrack-Channel": str(channel), "X-Simrack-ICCID": self.lab.modules[channel - 1]["iccid"],
            **{"X-Simrack-" + key.replace("_", "-"): value for key, value in more.items()},
        }  # fmt: skip
        return self.controller.invite(self.sip, number, sdp_of(self.phone.address), headers)

    async def final(self, dialog: Dialog) -> int:
        await until(lambda: dialog.final, "final answer", 15)
        assert dialog.final
        return dialog.final.status

    async def refused(self, dialog: Dialog, why: str) -> None:
        assert await self.final(dialog) == 503
        assert dialog.final
        assert dialog.final.cause == 44
        assert dialog.final.headers["x-simrack-refusal"] == why

    async def part(self, count: int = 1) -> CallPart:
        await until(lambda: len(self.parts) >= count, "the call's part", 10)
        await until(lambda: all(self.state(n) not in _BUSY for n in self.box.modules), "rest", 10)
        return self.parts[count - 1]

    async def figures(self) -> dict[str, float]:
        async with aiohttp.ClientSession() as session, session.get(self.metrics) as page:
            lines = (await page.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def network_heard(self, digits: str) -> None:
        row: dict[str, Any] = {}
        for _ in range(100):
            row = await self.lab.last_call()
            if row["heard"]["dtmf"] == digits:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the network heard {row['heard']}, not {digits}")


_BUSY = {S.DIALLING, S.ALERTING, S.ACTIVE, S.INCOMING, S.HELD, S.RELEASING}


def _settings(lab: Lab, folder: Path, controller: Controller) -> BoxSettings:
    modules = [{key: module[key] for key in ("channel", "at", "audio")} for module in lab.modules]
    sip = {"controller": f"127.0.0.1:{controller.port}"}
    rtp = {"first": 30000, "last": 39999}
    metrics = {"listen": "127.0.0.1:0"}
    return BoxSettings.model_validate(
        {"box": "lab-01", "data": folder / "box", "sip": sip, "rtp": rtp, "module": modules, "metrics": metrics}
    )


@asynccontextmanager
async def serving(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One box; starting it anew for each test would cost most of their time."""
    controller, broker = await Controller.open(), MemoryBroker()
    settings = _settings(lab, tmp_path_factory.mktemp("box"), controller)
    hardware = Hardware(settings.rtp, settings.calls.no_media_s, CLOCK, IDS)
    box = Box(
        settings, CLOCK, IDS, lambda name, will: broker.bus(name, will=will), hardware, hardware.open_module,
        (hardware.run,), hardware.ticker, strict=True, hands=SiteHands(),
    )  # fmt: skip
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    centre = broker.bus("controller")
    tasks = [asyncio.ensure_future(centre.run()), asyncio.ensure_future(box.run(ready.set_result))]
    try:
        await asyncio.wait([*tasks, ready], return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done():
            await tasks[1]
        host, port = ready.result()["sip"].split(":")
        made = Rig(lab, box, (host, int(port)), controller, centre)
        made.metrics = ready.result()["metrics"]
        tasks.append(asyncio.ensure_future(made.acknowledge()))
        await until(lambda: all(made.state(n) is S.READY for n in box.modules), "modules ready", 20)
        yield made
    finally:
        box.stop()
        async with asyncio.timeout(15):
            await tasks[1]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        controller.close()


