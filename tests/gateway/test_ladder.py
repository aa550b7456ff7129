"""The recovery ladder: which rung comes next, what each is allowed to touch, and what is counted and told."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gateway_support import until
from hypothesis import given
from hypothesis import strategies as st

from simrack.drivers.board.base import BoardError, HubPort, Place
from simrack.gateway.hands import SiteHands
from simrack.gateway.ladder import Rung, next_step
from simrack.gateway.settings import BoxSettings, ModuleSettings

R = Rung
ALL = frozenset(Rung)


def climbed(able: frozenset[Rung], steps: int) -> list[str]:
    tried: list[Rung] = []
    for _ in range(steps):
        tried.append(next_step(tried, able).rung)
    return [rung.value for rung in tried]


def test_each_rung_is_tried_before_a_stronger_one_and_the_last_is_out_of_service() -> None:
    assert climbed(ALL, 8) == ["reopen", "reopen", "reset", "usb", "power", "power", "out", "out"]
    assert climbed(frozenset({R.REOPEN}), 4) == ["reopen", "reopen", "out", "out"]
    assert climbed(frozenset({R.REOPEN, R.RESET, R.POWER}), 6) == [
        "reopen", "reopen", "reset", "power", "power", "out",
    ]  # fmt: skip


def test_pauses_grow_and_a_module_out_of_service_is_left_alone_for_minutes() -> None:
    """A dead module must not fill the log, nor keep its hub busy."""
    tried: list[Rung] = []
    pauses = []
    for _ in range(8):
        step = next_step(tried, ALL)
        tried.append(step.rung)
        pauses.append(step.pause_s)
    assert pauses == [1, 2, 4, 8, 16, 30, 60, 300]


@given(st.lists(st.sampled_from(list(Rung)), max_size=20), st.frozensets(st.sampled_from(list(Rung))))
def test_it_never_steps_down_and_never_does_what_the_site_cant(tried: list[Rung], able: frozenset[Rung]) -> None:
    step = next_step(tried, able)
    order = list(Rung)
    assert step.rung is R.OUT or step.rung in able
    assert order.index(step.rung) >= max((order.index(rung) for rung in tried), default=0)
    assert step.pause_s >= 1


# --- what the site can do -----------------------------------------------------------------------------------


@dataclass
class Recorder:
    """USB reset and power that note what they were told."""

    told: list[str] = field(default_factory=list)
    error: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def reset(self, place: Place) -> None:
        self.told.append(f"reset {place.socket}")
        if self.error:
            raise BoardError(self.error)

    async def switch(self, place: Place, *, on: bool) -> None:
        ports = " ".join(f"{port.hub}:{port.port}" for port in place.power)
        self.told.append(f"{'on' if on else 'off'} {ports}")
        if not on:
            await self.gate.wait()


def row(channel: int, **more: Any) -> ModuleSettings:
    return ModuleSettings.model_validate({"channel": channel, **more})


async def test_power_comes_back_on_whatever_happens_in_between() -> None:
    """A module that stays dark because the box was stopped meanwhile is lost until somebody drives there."""
    told = Recorder()
    hands = SiteHands(told, told, off_s=60)
    task = asyncio.create_task(hands.climb(R.POWER, row(1, usb="1-1.4", power_ports=("1-1.4", "2-1.4"))))
    await until(lambda: told.told, "off")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.told == ["off 1-1:4 2-1:4", "on 1-1:4 2-1:4"]


async def test_modules_of_one_hub_are_switched_one_after_the_other_those_of_others_beside_them() -> None:
    hands = SiteHands(off_s=0)
    order: list[str] = []

    async def switch(channel: int, socket: str) -> None:
        async with hands.turn(row(channel, usb=socket)):
            order.append(f"{channel} begins")
            await asyncio.sleep(0.02)
            order.append(f"{channel} ends")

    await asyncio.gather(switch(1, "1-1.1"), switch(2, "1-1.2"), switch(3, "1-2.1"))
    assert order.index("1 ends") < order.index("2 begins")
    assert order.index("3 begins") < order.index("1 ends")


def test_a_rung_needs_a_place_that_is_known() -> None:
    told = Recorder()
    hands = SiteHands(told, told)
    assert hands.able(row(1, usb="1-1.4")) == {R.REOPEN, R.RESET, R.USB, R.POWER}
    assert hands.able(row(1, at="/dev/ttyS1")) == {R.REOPEN, R.RESET}
    assert hands.able(row(1, at="/dev/ttyS1", power_ports=("1-1.4",))) == {R.REOPEN, R.RESET, R.POWER}
    program = SiteHands(told, told, anywhere=frozenset({R.USB, R.POWER}))
    assert program.able(row(1, at="/dev/ttyS1")) == {R.REOPEN, R.RESET, R.USB, R.POWER}


@pytest.mark.parametrize(
    ("socket", "hub", "port"), [("1-4", "usb1", 4), ("1-1.4", "1-1", 4), ("2-1.3.2", "2-1.3", 2)]
)
def test_a_socket_names_its_hub_and_port(socket: str, hub: str, port: int) -> None:
    found = HubPort.of_socket(socket)
    assert (found.hub, found.port) == (hub, port)


def test_a_program_must_be_named_where_it_is_to_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the program"):
        BoxSettings.model_validate({"box": "a", "data": tmp_path, "board": {"power": "command"}})
