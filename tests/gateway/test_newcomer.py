"""A box that hears late of a new controller: whose calls it ends."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gateway_support import CountingIds, HandClock

from simrack.gateway import calls_logic as logic
from simrack.gateway.agent import Box
from simrack.gateway.call import Ticket
from simrack.gateway.settings import BoxSettings


class Carried:
    """A call that is on, as the box asks for it."""

    def __init__(self, run: str, *, answered: bool) -> None:
        self.ticket, self._answered = Ticket("c", run, "+88210", run=run), answered
        self.told: list[logic.Event] = []

    def invited_before(self, _mono: float) -> bool:
        return True

    def answered_before(self, _mono: float | None) -> bool:
        return self._answered

    def feed(self, event: logic.Event) -> None:
        self.told.append(event)


@pytest.mark.parametrize(
    ("run", "answered", "ends"), [("old", False, True), ("old", True, False), ("new", False, False), ("", False, True)]
)
async def test_calls_of_the_new_controller_go_on(tmp_path: Path, run: str, answered: bool, ends: bool) -> None:
    """Else a call is cut off because the box's link to the broker came back a minute after the restart."""
    settings = BoxSettings(box="lab-01", data=tmp_path)
    nothing: Any = SimpleNamespace()
    box = Box(settings, HandClock(), CountingIds(), nothing, nothing, nothing)
    call = Carried(run, answered=answered)
    box.modules[1] = cast("Any", SimpleNamespace(current=call))
    box._uplink = cast("Any", SimpleNamespace(controller="new"))
    box.end_unclaimed(None)
    await asyncio.sleep(0)
    assert bool(call.told) is ends
