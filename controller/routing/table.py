"""The compiled routing configuration: an immutable snapshot that the call path reads, swapped whole.

It answers who an address or a digest user is, which patterns a number matches, and which plan a SIM has. All
look-ups are by dictionary, so their cost doesn't grow with the number of entries.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from simrack.controller.config.catalogue import Values
from simrack.controller.config.models import (
    Agreement,
    Installation,
    Limits,
    Pattern,
    Plan,
    Sender,
    Sim,
    Site,
)
from simrack.controller.config.networks import Range, parse_range
from simrack.controller.config.secrets import secret_text

# A prefix is "+" and up to 15 digits (E.164), or a short code.
LONGEST_PREFIX = 16


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern that a number matches, by its longest prefix."""

    pattern: Pattern
    prefix: str


@dataclass(frozen=True)
class RoutingTable:
    """Everything that routing knows of the configuration, at one version."""

    version: int
    installation: Installation
    sites: Mapping[str, Site]
    agreements: Mapping[str, Agreement]
    plans: Mapping[str, Plan]
    sims: Mapping[str, Sim]
    senders: Mapping[str, Sender]
    prefixes: Mapping[str, tuple[Pattern, ...]]
    limits: Limits = field(default_factory=Limits)
    #: By label, as they stand in the version; each with its first prefix only.
    patterns: Mapping[str, Pattern] = field(default_factory=dict)
    options: Values = field(default_factory=Values)

    @cached_property
    def countries(self) -> frozenset[str]:
        """Countries of the sites, whose emergency numbers hold."""
        return frozenset(site.country for site in self.sites.values())

    # --- who sends -------------------------------------------------------------------------------------

    def by_address(self, source: tuple[str, int]) -> str | None:
        """The sender that this source address alone identifies."""
        return next((name for name, sender in self._at(source) if sender.digest is None), None)

    def may_challenge(self, source: tuple[str, int]) -> bool:
        """Whether some digest sender may come from this address."""
        return bool(self._roaming) or any(sender.digest for _, sender in self._at(source))

    def algorithms(self, source: tuple[str, int]) -> frozenset[str]:
        """Hash algorithms that the digest senders of this address may use."""
        here = [*self._roaming, *(sender for _, sender in self._at(source))]
        return frozenset(name for sender in here if sender.digest for name in sender.digest.algorithms)

    def secret_of(self, username: str, source: tuple[str, int]) -> str | None:
        """What checks the password of this user from this address (`config.secrets`), or None."""
        sender = self._users.get(username)
        if sender is None or sender.digest is None:
            return None
        if sender.addresses and not any(name == sender.name for name, _ in self._at(source)):
            return None
        return self._secrets[username]

    def by_user(self, username: str) -> str | None:
        """The sender of a digest user."""
        sender = self._users.get(username)
        return sender.name if sender is not None else None

    def knows(self, source: tuple[str, int]) -> bool:
        """Whether a sender names this address."""
        return next(self._at(source), None) is not None

    def _at(self, source: tuple[str, int]) -> Iterator[tuple[str, Sender]]:
        try:
            address = ipaddress.ip_address(source[0])
        except ValueError:
            return
        for entry, sender in (*self._hosts.get(address, ()), *self._networks):
            if entry.holds(address, source[1]):
                yield sender.name, sender

    @cached_property
    def _ranges(self) -> tuple[tuple[Range, Sender], ...]:
        return tuple(
            (parse_range(text), sender)
            for sender in self.senders.values()
            if sender.enabled
            for text in sender.addresses
        )

    @cached_property
    def _hosts(
        self,
    ) -> Mapping[ipaddress.IPv4Address | ipaddress.IPv6Address, list[tuple[Range, Sender]]]:
        hosts: dict[ipaddress.IPv4Address | ipaddress.IPv6Address, list[tuple[Range, Sender]]] = {}
        for entry, sender in self._ranges:
            if entry.network.num_addresses == 1:
                hosts.setdefault(entry.network.network_address, []).append((entry, sender))
        return hosts

    @cached_property
    def _networks(self) -> tuple[tuple[Range, Sender], ...]:
        return tuple(item for item in self._ranges if item[0].network.num_addresses > 1)

    @cached_property
    def _users(self) -> Mapping[str, Sender]:
        return {
            sender.digest.user: sender
            for sender in self.senders.values()
            if sender.enabled and sender.digest is not None
        }

    @cached_property
    def _roaming(self) -> tuple[Sender, ...]:
        return tuple(sender for sender in self._users.values() if not sender.addresses)

    @cached_property
    def _secrets(self) -> Mapping[str, str]:
        return {
            user: secret_text(sender.digest)
            for user, sender in self._users.items()
            if sender.digest is not None
        }

    # --- where to --------------------------------------------------------------------------------------

    def matches(self, number: str, sender: str) -> tuple[Match, ...]:
        """Patterns for this number and sender: by priority, then longest prefix, then the file's order.

        The search ends at a pattern that refuses or says `stop`.
        """
        found: dict[int, Match] = {}
        for length in range(min(len(number), LONGEST_PREFIX), 0, -1):
            for pattern in self.prefixes.get(number[:length], ()):
                if not pattern.senders or sender in pattern.senders:
                    found.setdefault(id(pattern), Match(pattern, number[:length]))
        ordered = sorted(found.values(), key=lambda match: -match.pattern.priority)
        return tuple(_until_stop(ordered))

    def plan_of(self, iccid: str, imsi: str) -> Plan | None:
        """The plan of a SIM: by its number, else by the longest IMSI prefix."""
        named = self._plan_by_iccid.get(iccid)
        if named is not None:
            return named
        for length in range(len(imsi), 2, -1):
            plan = self._plan_by_imsi.get(imsi[:length])
            if plan is not None:
                return plan
        return None

    @cached_property
    def _plan_by_iccid(self) -> Mapping[str, Plan]:
        listed = {iccid: plan for plan in self.plans.values() for iccid in plan.sims}
        return listed | {sim.iccid: self.plans[sim.plan] for sim in self.sims.values()}

    @cached_property
    def _plan_by_imsi(self) -> Mapping[str, Plan]:
        return {prefix: plan for plan in self.plans.values() for prefix in plan.imsi_prefixes}


def _until_stop(matches: Iterable[Match]) -> Iterator[Match]:
    for match in matches:
        yield match
        if match.pattern.stop or match.pattern.action == "refuse":
            return


def by_prefix(patterns: Iterable[Pattern]) -> dict[str, tuple[Pattern, ...]]:
    """Patterns under each of their prefixes, in the file's order."""
    found: dict[str, list[Pattern]] = {}
    for pattern in patterns:
        for prefix in pattern.prefixes:
            found.setdefault(prefix, []).append(pattern)
    return {prefix: tuple(listed) for prefix, listed in found.items()}
