"""Calls at a box that nobody claims: they cost money until somebody ends them."""

import asyncio
from typing import Any

from simrack.controller.calls.strays import Strays
from simrack.wire import topics
from simrack.wire.messages import CommandReply

CARRIED = ("lab-01", 2, "a1")


class Orders:
    """Takes down what is sent to boxes."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    async def send(
        self, topic: str, action: str, args: dict[str, Any], *, actor: str, timeout_s: float = 5.0
    ) -> CommandReply:
        assert actor == "controller"
        self.sent.append((topic, action, args))
        return CommandReply(id="x", ok=True)


def strays(carried: list[tuple[str, int, str]], claimed: set[str], orders: Orders) -> Strays:
    return Strays(lambda: carried, lambda: claimed, orders)  # type: ignore[arg-type]  # all that it asks of a commander


def test_call_that_nobody_claims_twice_is_a_stray() -> None:
    """One look is not enough: a call's end and the box's report cross."""
    looks = strays([CARRIED], set(), Orders())
    assert looks.look() == []
    assert looks.look() == [CARRIED]


def test_claimed_call_is_left_alone() -> None:
    """Else the rack ends its own calls."""
    looks = strays([CARRIED], {"a1"}, Orders())
    assert looks.look() == looks.look() == []


def test_call_that_was_claimed_in_between_is_left_alone() -> None:
    claimed: set[str] = set()
    looks = strays([CARRIED], claimed, Orders())
    assert looks.look() == []
    claimed.add("a1")
    assert looks.look() == []
    claimed.clear()
    assert looks.look() == []


async def test_box_is_told_to_end_that_attempt_and_no_other() -> None:
    """The channel may carry another call by the time the order comes."""
    orders = Orders()
    looks = strays([CARRIED], set(), orders)
    looks.look()
    for stray in looks.look():
        await looks._end(*stray)
    ((topic, action, args),) = orders.sent
    assert (topic, action) == (topics.box_command("lab-01"), "hang-up")
    assert (args["channel"], args["attempt"]) == (2, "a1")
    await asyncio.sleep(0)
