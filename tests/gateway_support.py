"""Shared by the box's tests."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from simrack.wire.messages import CallPart

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class HandClock:
    """A clock that tests move; the loop's own time goes on as it will."""

    def __init__(self) -> None:
        self.now = 100.0
        #: How far somebody set the wall clock, in seconds.
        self.set_s = 0.0

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=self.now - 100.0 + self.set_s)


class CountingIds:
    """Ids that tests can tell apart."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def token(self, octets: int = 12) -> str:
        return f"{next(self._numbers):0{octets * 2}x}"


async def until(condition: Callable[[], object], what: str = "", limit_s: float = 15.0) -> None:
    """Wait until `condition` holds; fails with `what` after `limit_s`."""
    for _ in range(round(limit_s / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"never came: {what or condition}")


def part(attempt: str = "a1", **more: object) -> CallPart:
    """A call's part that says little."""
    fields: dict[str, object] = {
        "call": "c1", "attempt": attempt, "channel": 1, "invited": NOON, "released": NOON, "cause": 16, "side": "called",
    }  # fmt: skip
    return CallPart.model_validate({**fields, **more})
