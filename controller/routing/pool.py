"""A route being looked for: the call, the table, the fleet, and what one candidate is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simrack.controller.config.models import Agreement, Pattern, Plan, Sender, Sim, Site, Target
from simrack.controller.fleet.view import BoxView, ChannelView, FleetView
from simrack.controller.routing.decision import CallFacts
from simrack.controller.routing.numbers import Number
from simrack.controller.routing.table import RoutingTable


@dataclass(frozen=True, slots=True)
class Search:
    """What every check and criterion may look at besides the candidate."""

    facts: CallFacts
    table: RoutingTable
    fleet: FleetView
    sender: Sender
    number: Number
    calling_country: str
    free_channels: Mapping[str, int]  # by box


class Card(Protocol):
    """A channel with its SIM and plan: what can be judged before any call comes."""

    @property
    def channel(self) -> ChannelView: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def sim(self) -> Sim | None: ...


class Option(NamedTuple):
    """One (channel, SIM) through one target of one pattern, not yet checked.

    A tuple, because a call on a large rack makes hundreds and a frozen dataclass takes four times as long.
    """

    channel: ChannelView
    box: BoxView | None
    site: Site | None
    plan: Plan
    agreement: Agreement
    sim: Sim | None
    pattern: Pattern
    prefix: str
    target: Target

    @property
    def label(self) -> str:
        return f"{self.channel.box} / {self.channel.channel}"
