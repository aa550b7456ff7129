"""The signalling ladder of one call: who told whom what, in milliseconds since the INVITE came in."""

from collections.abc import Iterable
from datetime import datetime

from simrack.controller.models import Actor, LadderLine
from simrack.wire.messages import CallPart
from simrack.wire.ports import Clock

#: A re-INVITE storm must not blow up a record.
MOST_LINES = 200


class Ladder:
    """Collects the arrows of one call; one of an earlier run begins with its lines, so long after the INVITE."""

    def __init__(self, clock: Clock, lines: Iterable[LadderLine] = (), begun_ms: int = 0) -> None:
        self._clock = clock
        self._zero = clock.monotonic() - begun_ms / 1000
        self._lines: list[LadderLine] = list(lines)

    def ms(self) -> int:
        """Milliseconds since the call came in."""
        return round((self._clock.monotonic() - self._zero) * 1000)

    def add(self, source: Actor, target: Actor, label: str, attempt: int = 0) -> None:
        if len(self._lines) < MOST_LINES:
            self._lines.append(
                LadderLine(ms=self.ms(), source=source, target=target, label=label, attempt=attempt)
            )

    def add_part(self, part: CallPart, attempt: int, invited_ms: int) -> None:
        """Add what the box tells of its side; its times are placed by its own clock's differences."""
        moments: tuple[tuple[datetime | None, Actor, Actor, str], ...] = (
            (part.dialled, "box", "module", f"ATD {part.number}"),
            (part.alerting, "network", "module", "alerting"),
            (part.connected, "network", "module", "connected"),
            (part.released, "network" if part.side == "called" else "box", "module", _released(part)),
        )
        for moment, source, target, label in moments:
            if moment is None:
                continue
            ms = invited_ms + round((moment - part.invited).total_seconds() * 1000)
            self._lines.append(LadderLine(ms=ms, source=source, target=target, label=label, attempt=attempt))

    def lines(self) -> tuple[LadderLine, ...]:
        """All arrows in order of time."""
        return tuple(sorted(self._lines, key=lambda line: line.ms))


def _released(part: CallPart) -> str:
    return f"released, cause {part.cause}" + (f" ({part.cause_text})" if part.cause_text else "")
