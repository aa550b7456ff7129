"""Addresses that are not answered: why, since when, until when, how much they sent meanwhile. No I/O.

Times are those of the wall clock, so that a ban outlives the process (`banfile.py`). Who decides that an address
is banned is the guard; who must never be (senders, boxes) is asked of the desk at every packet, so that a ban
which the configuration has overtaken has no effect.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from simrack.wire.ports import iso_ms

#: Bans kept; beyond that the one that ends first makes room. The kernel's set (docs/overload.md) holds as many.
MOST_BANS = 10_000


@dataclass(frozen=True, slots=True)
class Ban:
    """One address that is not answered; `count` is what it sent since."""

    address: str
    reason: str
    since: datetime
    until: datetime
    count: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "address": self.address, "reason": self.reason, "since": iso_ms(self.since), "until": iso_ms(self.until),
            "count": self.count,
        }  # fmt: skip

    @staticmethod
    def from_json(value: object) -> "Ban":
        """Read what `to_json` wrote. ValueError: it is something else."""
        try:
            if not isinstance(value, dict):
                raise TypeError(type(value).__name__)
            since, until = (datetime.fromisoformat(str(value[name])).astimezone(UTC) for name in ("since", "until"))
            address = str(ipaddress.ip_address(str(value["address"])))
            return Ban(address, str(value["reason"])[:80], since, until, int(value["count"]))
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a ban: {error!r}") from error


class BanList:
    """All bans in force; `changed` is called at each new or lifted one."""

    def __init__(self) -> None:
        self._bans: dict[str, Ban] = {}
        self.changed: Callable[[], None] = lambda: None

    def __contains__(self, address: str) -> bool:
        return address in self._bans

    def __len__(self) -> int:
        return len(self._bans)

    def add(self, address: str, reason: str, now: datetime, seconds: float) -> Ban:
        """Ban an address; one that is banned already stays so until the later moment."""
        until = now + timedelta(seconds=seconds)
        old = self._bans.get(address)
        ban = Ban(address, reason, now, until) if old is None else replace(old, until=max(old.until, until))
        self._put(ban)
        self.changed()
        return ban

    def holds(self, address: str, now: datetime) -> bool:
        """Whether this address is banned now; a packet of it is counted."""
        ban = self._bans.get(address)
        if ban is None:
            return False
        if now >= ban.until:
            self.lift(address)
            return False
        self._bans[address] = replace(ban, count=ban.count + 1)
        return True

    def lift(self, address: str) -> bool:
        """End a ban; False when there is none."""
        if self._bans.pop(address, None) is None:
            return False
        self.changed()
        return True

    def all(self, now: datetime) -> tuple[Ban, ...]:
        """The bans in force, the newest first."""
        for address in [ban.address for ban in self._bans.values() if now >= ban.until]:
            self.lift(address)
        return tuple(sorted(self._bans.values(), key=lambda ban: ban.since, reverse=True))

    def load(self, bans: tuple[Ban, ...], now: datetime) -> None:
        """Take over the bans of an earlier run."""
        for ban in bans:
            if ban.until > now:
                self._put(ban)

    def _put(self, ban: Ban) -> None:
        self._bans[ban.address] = ban
        if len(self._bans) > MOST_BANS:
            del self._bans[min(self._bans.values(), key=lambda one: one.until).address]
