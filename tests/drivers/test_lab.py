"""The Quectel driver against the lab's modules, whose network keeps its own books."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Self

import pytest
from drivers_bench import WAIT_S, Bench
from support import processes

from simrack.drivers.modems.base import CallProgress, ModemDriver, ModemRefused, NetworkChanged, Progress
from simrack.drivers.registry import open_module
from simrack.wire.ports import SystemClock

pytestmark = pytest.mark.system
State = dict[str, Any]
QUIRKS = ("", "no-ccinfo", "drip,urc-inside,doubled-cr,plain-no-carrier,ceer-numbers")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """One lab for all tests here, with a module for each set of quirks."""
    folder = tmp_path_factory.mktemp("lab")
    quirks = [word for at, names in enumerate(QUIRKS, 1) for word in ("--quirks", f"1/{at}:{names}")]
    with processes(folder) as start:
        start(
            "lab", "up", "--state", str(folder / "lab.json"), "--channels", str(len(QUIRKS)),
            "--setup", "0.05-0.1", *quirks,
        )  # fmt: skip
        made: State = json.loads((folder / "lab.json").read_text())
        ask(made, "/numbers", b'{"behaviour": "answer", "number": "%s", "answer_after_s": 0.1}' % made["numbers"]["answer"].encode())
        yield made


class Watched(Bench):
    """A driver at a module of the lab."""

    def __init__(self, driver: ModemDriver) -> None:
        self.driver = driver
        self.lines, self.seen = [], []
        driver.trace = self.lines.append

    async def end(self) -> CallProgress:
        return await self.next(CallProgress, lambda event: event.state is Progress.RELEASED)


def ask(state: State, path: str, order: bytes) -> Any:
    request = urllib.request.Request(state["ledger"] + path, order, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return json.load(reply)


def calls(state: State) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{state['ledger']}/ledger/calls", timeout=5) as reply:
        found: list[dict[str, Any]] = json.load(reply)
        return found


class Behind:
    """What this machine was late by, added up while a block runs: a line that drips comes later by each octet's share."""

    EVERY_S, NOTHING_S = 0.005, 0.002  # each wake-up is up to 2 ms late on a machine that has nothing else to do

    async def __aenter__(self) -> Self:
        self.ms = 0.0
        self._watch = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await asyncio.wait({self._watch})

    async def _run(self) -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(self.EVERY_S)
            self.ms += 1000 * max(0.0, time.monotonic() - begun - self.EVERY_S - self.NOTHING_S)


async def test_glare_in_the_lab_leaves_the_incoming_call_ringing(state: State) -> None:
    """Else a caller is cut off whenever the box dials at the moment of the ring."""
    seat = state["boxes"][0]["modules"][0]
    driver = await open_module(seat["at"], clock=SystemClock())
    lab = Watched(driver)
    try:
        await driver.start()
        await lab.next(NetworkChanged, lambda event: event.network.stat == 1)
        ring(state, seat["msisdn"])
        with pytest.raises(ModemRefused, match="came first") as refused:
            await driver.dial(state["numbers"]["answer"])
        assert refused.value.cause == 44
        assert [line.text for line in lab.lines if line.text.startswith("ATD")]
        await lab.next(CallProgress, lambda event: event.state is Progress.INCOMING)
        await driver.answer()
        await lab.next(CallProgress, lambda event: event.state is Progress.ACTIVE)
        row = (await asyncio.to_thread(calls, state))[-1]
        assert row["answered_at"]
        assert not row["released_at"]
        await driver.hang_up()
    finally:
        await driver.close()


def ring(state: State, msisdn: str) -> None:
    """Call the module and block the loop until it rings: the driver can't have read of it when it dials."""
    order = json.dumps({"to_msisdn": msisdn, "from": "+882109005001", "ring_s": 20}).encode()
    ask(state, "/calls", order)
    limit = time.monotonic() + WAIT_S
    while not calls(state)[-1]["alerting_at"]:
        assert time.monotonic() < limit


@pytest.mark.parametrize("channel", range(1, len(QUIRKS) + 1), ids=lambda channel: QUIRKS[channel - 1] or "plain")
async def test_calls_through_the_lab(state: State, channel: int) -> None:
    """Else the driver knows its own transcripts only; the network's books say what really happened."""
    seat = state["boxes"][0]["modules"][channel - 1]
    driver = await open_module(seat["at"], clock=SystemClock())
    lab = Watched(driver)
    try:
        assert (await driver.start()).driver == "quectel"
        await lab.next(NetworkChanged, lambda event: event.network.stat == 1)
        causes = {}
        for name in ("busy", "unallocated", "reject"):
            await driver.dial(state["numbers"][name])
            causes[name] = (await lab.end()).cause
        assert causes == {"busy": 17, "unallocated": 1, "reject": 21}
        await driver.dial(state["numbers"]["no_answer"])
        await lab.next(CallProgress, lambda event: event.state is Progress.ALERTING)
        await driver.hang_up()
        await lab.end()
        async with Behind() as behind:
            await driver.dial(state["numbers"]["answer"])
            answered = await lab.next(CallProgress, lambda event: event.state is Progress.ACTIVE)
            await driver.hang_up()
            released = await lab.end()
        talk_ms = 1000 * (released.at - answered.at)
        book = [row for row in await asyncio.to_thread(calls, state) if row["calling_imsi"] == seat["imsi"]]
        assert [call["released_at"] is None for call in book] == [False] * 5
        # A port that puts out an octet a turn tells of the answer when its line is through the emulator's busy loop.
        late_ms = 300 if "drip" in QUIRKS[channel - 1] else 0
        assert abs(book[-1]["talk_ms"] - talk_ms) < 100 + behind.ms + late_ms
        # Cancelled at once after the dial: nothing may stay in the network.
        dial = asyncio.create_task(driver.dial(state["numbers"]["answer"]))
        await asyncio.sleep(0)
        dial.cancel()
        await driver.hang_up()
        assert not await driver.in_call()
        assert all(call["released_at"] for call in await asyncio.to_thread(calls, state))
    finally:
        await driver.close()
