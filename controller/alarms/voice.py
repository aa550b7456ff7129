"""Calls without voice, or with voice one way only, become one alarm for each box and plan.

A call that was released for want of media is a fault by itself. One way alone may be a mute key; several in a row over the
same box and plan are not.
"""

from collections import Counter
from typing import Protocol

from simrack.controller.models import RecordRow

#: The alarm stays for this long after the last such call: long enough to be seen, short enough to tell that it is over.
HOLD_S = 900.0
#: One-way calls in a row, over one box and plan, that are no accident any more.
ONE_WAY_CALLS = 3
NO_MEDIA, ONE_WAY = "no-media", "one-way"


class Alarms(Protocol):
    """The one function that opens and closes alarms."""

    def set(
        self, kind: str, active: bool, subject: str = "", detail: str = "", hold_s: float | None = None
    ) -> None:
        """Open or close an alarm."""


class VoiceTroubles:
    """Judges each record as it is stored."""

    def __init__(self) -> None:
        self._one_way = Counter[str]()

    def ended(self, row: RecordRow, alarms: Alarms) -> str:
        """The voice trouble of a call that is over, "" when it had none."""
        subject = f"{row.box}, plan {row.plan}" if row.plan else row.box
        if NO_MEDIA in row.marks:
            alarms.set(NO_MEDIA, active=True, subject=subject, hold_s=HOLD_S)
            return NO_MEDIA
        if ONE_WAY in row.marks:
            self._one_way[subject] += 1
            if self._one_way[subject] >= ONE_WAY_CALLS:
                alarms.set(ONE_WAY, active=True, subject=subject, hold_s=HOLD_S)
            return ONE_WAY
        # Only a call that could have shown the fault tells that it is gone.
        if row.mos is not None and row.answered:
            self._one_way.pop(subject, None)
        return ""
