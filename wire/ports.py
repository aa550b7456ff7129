"""Clock and randomness as objects that are passed in, so that tests and the simulation can replace them.

Nothing else in simrack reads a clock or draws a random number (ruff bans the functions elsewhere).
"""

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for durations, one for the calendar."""

    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean anything."""

    def utc(self) -> datetime:
        """The wall clock, aware, in UTC."""


class Ids(Protocol):
    """Source of everything random: ids, nonces, tokens."""

    def token(self, octets: int = 12) -> str:
        """Lower-case hexadecimal text of `octets` random octets."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> datetime:
        return datetime.now(UTC)


class SystemIds:
    """Randomness of the operating system, fit for secrets."""

    def token(self, octets: int = 12) -> str:
        return secrets.token_hex(octets)


def iso_ms(moment: datetime) -> str:
    """RFC 3339 text in UTC with milliseconds, as the records and the API show times."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
