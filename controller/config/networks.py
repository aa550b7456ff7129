"""Source addresses of senders: which one a packet comes from, and whether two could be mistaken."""

import ipaddress
from dataclasses import dataclass

from simrack.controller.config.models import split_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """An address or network, perhaps one port of it."""

    network: Network
    port: int | None

    def holds(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        return (self.port is None or self.port == port) and address in self.network


def parse_range(text: str) -> Range:
    """A `Range` of checked text."""
    host, port = split_address(text)
    return Range(ipaddress.ip_network(host, strict=False), port)


def ranges_overlap(first: str, second: str) -> bool:
    """Whether a packet could come from both."""
    one, two = parse_range(first), parse_range(second)
    if one.network.version != two.network.version:
        return False
    ports_meet = one.port is None or two.port is None or one.port == two.port
    return ports_meet and one.network.overlaps(two.network)
