"""A hung module of the emulated rack comes back by the rung that cures it, and no weaker one does."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gateway_lab import Lab
from gateway_support import CountingIds, until

from simrack.drivers.at import chat
from simrack.drivers.board.command import CommandBoard
from simrack.drivers.modems.base import LeftOver
from simrack.drivers.modems.generic import service
from simrack.gateway import ladder, ports
from simrack.gateway import module as module_file
from simrack.gateway.attempts import OpenAttempt
from simrack.gateway.channel import Channel
from simrack.gateway.discovery import locate
from simrack.gateway.hands import SiteHands
from simrack.gateway.hardware import Hardware
from simrack.gateway.ladder import Rung
from simrack.gateway.module import Module
from simrack.gateway.settings import BoxSettings
from simrack.sip.codecs import available
from simrack.sip.legs import Dial, OutgoingLeg
from simrack.wire.channel import ChannelState
from simrack.wire.messages import CallPart, FaultPart, RecoveryInfo
from simrack.wire.ports import SystemClock

S = ChannelState
CLOCK = SystemClock()
# Looked up before any loop runs, as the command does.
available()

# The site's program: here it reaches the lab over HTTP, elsewhere a socket strip.
_PROGRAM = """#!{python}
import json, sys, urllib.request
act, channel = sys.argv[1:3]
body = json.dumps({{"box": "lab-01", "channel": int(channel), "act": act}}).encode()
request = urllib.request.Request({url!r}, data=body, headers={{"Content-Type": "application/json"}})
urllib.request.urlopen(request, timeout=10).read()
"""


@dataclass
class Books:
    """Facts; there are no calls here, so no attempts either."""

    facts: list[CallPart | FaultPart] = field(default_factory=list)

    async def put(self, body: CallPart | FaultPart) -> None:
        self.facts.append(body)

    async def remember(self, row: OpenAttempt) -> bool:
        raise AssertionError(f"a call: {row}")

    async def note(self, row: OpenAttempt) -> None:
        raise AssertionError(f"a call: {row}")

    async def forget(self, attempt: str) -> None:
        raise AssertionError(f"a call: {attempt}")

    async def settle(self, channel: int, imei: str, held: LeftOver | None) -> None:
        assert held is None


def no_call(dial: Dial) -> OutgoingLeg:
    raise AssertionError(f"a call: {dial}")


@dataclass
class Rig:
    """Module 1 of the lab in service, without a box around it."""

    lab: Lab
    module: Module
    books: Books

    @property
    def recovery(self) -> RecoveryInfo:
        return self.module.channel.recovery or RecoveryInfo()

    async def is_ready(self) -> None:
        await until(lambda: self.module.channel.state is S.READY, "ready", 40)


@pytest.fixture
async def rig(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    # The lab is local and boots in a fifth of the time; everything else takes its course.
    monkeypatch.setattr(chat, "RESYNC_ANSWER_S", 0.2)
    monkeypatch.setattr(service, "LIFE_EVERY_S", 0.3)
    monkeypatch.setattr(ladder, "BACKOFF_S", (0.1,))
    monkeypatch.setattr(module_file, "LOOK_S", 0.05)
    monkeypatch.setattr(module_file, "GONE_S", 1.0)
    monkeypatch.setattr(module_file, "ABSENT_S", 1.0)
    program = tmp_path / "strip"
    program.write_text(_PROGRAM.format(python=sys.executable, url=f"{lab.url}/board"))
    program.chmod(0o700)
    board = CommandBoard((str(program),))
    hands = SiteHands(board, board, off_s=0.1, anywhere=frozenset({Rung.USB, Rung.POWER}))
    row = {key: lab.modules[0][key] for key in ("channel", "at", "audio")}
    settings = BoxSettings.model_validate({"box": "lab-01", "data": tmp_path, "module": [row]})
    hardware, books = Hardware(settings.rtp, 30.0, CLOCK, CountingIds()), Books()
    tools = ports.Tools(
        settings, CLOCK, CountingIds(), books, books, hardware, locate, hardware.open_module, no_call,
        ("127.0.0.1", 9), hands,
    )  # fmt: skip
    made = Rig(lab, Module(settings.module[0], Channel("lab-01", 1, CLOCK, lambda _: None, strict=True), tools), books)
    task = asyncio.create_task(made.module.run())
    await made.is_ready()
    yield made
    task.cancel()
    await asyncio.wait([task])
    await lab.ask("POST", "/board", {"box": "lab-01", "channel": 1, "act": "on"})
    await lab.ask("DELETE", "/faults")


@pytest.mark.parametrize(
    ("cure", "failed"),
    [("reset", ["reopen"]), ("usb", ["reopen", "reset"]), ("power", ["reopen", "reset", "usb"])],
)
async def test_a_hung_module_comes_back_by_the_weakest_rung_that_cures_it(
    rig: Rig, cure: str, failed: list[str]
) -> None:
    """Nobody has to drive to the rack; and no power is cut where a restart is enough."""
    await rig.lab.fault(1, "hang", cure=cure)
    await until(lambda: rig.module.channel.state is S.FAULT, "fault", 20)
    await until(lambda: rig.module.cured[cure], f"cured by {cure}", 40)
    await rig.is_ready()
    assert [fact.rung for fact in rig.books.facts if isinstance(fact, FaultPart) and fact.rung] == failed
    told = [fact for fact in rig.books.facts if isinstance(fact, FaultPart) and not fact.rung]
    assert [fact.cleared for fact in told][-1]
    figures = {row.rung: (row.tries, row.cured, row.failed) for row in rig.recovery.figures}
    assert figures.pop(cure) == (1, 1, 0)
    assert all(cured == 0 and tries == failures for tries, cured, failures in figures.values())
    assert (rig.recovery.rung, rig.recovery.failed, rig.recovery.out) == ("", (), False)


async def test_a_module_that_vanished_for_good_gets_its_power_switched(rig: Rig) -> None:
    """EC25 after a warm boot: not on the bus, and only cold power brings it back."""
    await rig.lab.fault(1, "drop", cure="power")
    await until(lambda: rig.module.cured["power"], "cured by power", 40)
    await rig.is_ready()
    assert rig.module.tries["usb"] == rig.module.tries["reset"] == 0


async def test_a_module_that_nothing_helps_is_out_of_service_until_it_answers_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as such, and whoever mends it needs to tell the box nothing."""
    monkeypatch.setattr(ladder, "OUT_S", 0.5)
    monkeypatch.setattr(SiteHands, "able", lambda *_: frozenset({Rung.REOPEN, Rung.RESET}))
    await rig.lab.fault(1, "hang", cure="power")
    await until(lambda: rig.recovery.out, "out of service", 40)
    assert rig.recovery.failed[:2] == ("reopen", "reset")
    await rig.lab.ask("DELETE", "/faults")
    await rig.is_ready()
    assert not rig.recovery.out
    assert rig.module.cured["out"] == 1
    assert json.loads(rig.module.channel.report("b", 1).encode())["recovery"]["figures"]
