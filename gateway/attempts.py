"""Attempts that are under way, as the box's file keeps them, and what becomes of one that a kill cut off.

A row is on disk before the module is told to dial or to answer, and goes in the transaction that keeps the
attempt's part. A row that a new run of the box finds was cut off: the module is hung up, and the part is made
from the row and from what the module still held. Decisions only; `journal.py` does the work.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from simrack.drivers.modems.base import LeftOver, Progress
from simrack.gateway.channel import Channel
from simrack.wire.causes import Cause
from simrack.wire.messages import CallPart, Part

# NTP slews by 0.5 ms a second; two clocks that disagree by this much over one call were set in it.
JUMP_S = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class When(Part):
    """One instant on both clocks; the monotonic one goes on over a restart of the box, not of the machine."""

    mono: float
    utc: datetime


class OpenAttempt(Part):
    """One attempt under way. `machine` is the boot id of the machine whose monotonic clock was read."""

    call: str
    attempt: str
    channel: int
    iccid: str = ""
    imsi: str = ""
    imei: str = ""
    direction: Literal["out", "in"] = "out"
    number: str = ""
    machine: str = ""
    invited: When
    dialled: When | None = None
    connected: When | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a new run saw: `at` is when the module was on-hook, `held` the call that it still had until then."""

    at: When
    machine: str
    held: LeftOver | None = None
    imei: str = ""


def machine_boot() -> str:
    """The id of this machine's boot; "" where the kernel does not tell, so that no clock outlives a process."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def opening(
    *, call: str, attempt: str, number: str, direction: Literal["out", "in"], number_of_channel: int,
    channel: Channel | None, invited: When,
) -> OpenAttempt:  # fmt: skip
    """The row of an attempt that begins; module and card are noted as they are now."""
    sim, module = (channel.sim, channel.module) if channel is not None else (None, None)
    return OpenAttempt(
        call=call,
        attempt=attempt,
        channel=number_of_channel,
        iccid=sim.iccid if sim else "",
        imsi=sim.imsi if sim else "",
        imei=module.imei if module else "",
        direction=direction,
        number=number,
        invited=invited,
    )


def is_its_call(row: OpenAttempt, found: Found) -> bool:
    """Whether the call that the module held is the row's: same module, same direction."""
    if found.held is None or (row.imei and found.imei and row.imei != found.imei):
        return False
    return found.held.outgoing is (row.direction == "out")


def part_of(row: OpenAttempt, found: Found, *, max_call_s: float) -> CallPart:
    """The part of an attempt that was cut off.

    Exact when the module held the call until the box ended it and the clocks agree; else `estimated`. A call
    that is gone has ended at some moment since: the record then takes the longest that it can have lasted.
    """
    held = is_its_call(row, found)
    spoke = found.held is not None and found.held.state in (Progress.ACTIVE, Progress.HELD)
    # Answered behind the box's back, at a moment that nobody saw.
    unseen = held and spoke and row.connected is None
    connected = found.at if unseen else row.connected
    span = _Span(row.machine == found.machine != "")
    span.between(row.invited, found.at)
    talk = span.between(connected, found.at)
    if not held:
        talk = min(talk, max_call_s)
    released = _after(connected or row.dialled or row.invited, found.at, talk if connected else None)
    return CallPart(
        call=row.call,
        attempt=row.attempt,
        channel=row.channel,
        iccid=row.iccid,
        imsi=row.imsi,
        imei=row.imei,
        direction=row.direction,
        number=row.number,
        invited=row.invited.utc,
        dialled=row.dialled.utc if row.dialled else None,
        connected=connected.utc if connected else None,
        released=released,
        talk_ms=round(talk * 1000),
        ring_ms=round(span.between(row.dialled, connected or found.at) * 1000),
        dial_delay_ms=round(span.between(row.invited, row.dialled) * 1000),
        cause=Cause.TEMPORARY_FAILURE,
        cause_text="the box was restarted in the call",
        side="rack",
        estimated=not held or unseen or not span.sure,
    )


def turned_away(row: OpenAttempt, at: datetime, why: str) -> CallPart:
    """The part of an incoming call that the box refused by itself."""
    return CallPart(
        call=row.call,
        attempt=row.attempt,
        channel=row.channel,
        iccid=row.iccid,
        imsi=row.imsi,
        imei=row.imei,
        direction="in",
        number=row.number,
        invited=row.invited.utc,
        released=max(at, row.invited.utc),
        cause=Cause.REJECTED,
        cause_text=why,
        side="rack",
        turned_away=True,
    )


def _after(start: When, end: When, talk_s: float | None) -> datetime:
    """The end on the wall clock of the run that saw the start, so that the times of one record agree."""
    return max(end.utc, start.utc) if talk_s is None else start.utc + timedelta(seconds=talk_s)


class _Span:
    """Measures over a restart; `sure` falls when the clocks contradict each other or only one can be read."""

    def __init__(self, same_machine: bool) -> None:
        self._same = self.sure = same_machine

    def between(self, start: When | None, end: When | None) -> float:
        """Seconds, never negative."""
        if start is None or end is None:
            return 0.0
        wall = (end.utc - start.utc).total_seconds()
        mono = end.mono - start.mono
        if not self._same or mono < 0:
            self.sure = False
            return max(wall, 0.0)
        self.sure = self.sure and abs(wall - mono) < JUMP_S
        return mono
