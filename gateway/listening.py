"""The command `listen`: a person at the control room hears a call of this box for a bounded time."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from simrack.gateway.call import LiveCall
from simrack.gateway.errors import CommandRefused
from simrack.gateway.voice.bridge import Bridge
from simrack.gateway.voice.ear import MOST_S
from simrack.wire.ports import Ids
from simrack.wire.sections import parse_address

SEED_OCTETS = 12
#: This machine, private networks (RFC 1918, RFC 6598, RFC 4193); the tunnel's addresses are of one of them.
NEAR = tuple(map(ipaddress.ip_network, (
    "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7",
)))  # fmt: skip


def listen(call: LiveCall | None, args: Mapping[str, Any], ids: Ids) -> dict[str, Any]:
    """Copy the call's voice to `said` and `heard` ("address:port") for `seconds`; 0 ends it.

    Raises:
        CommandRefused: no such call, no voice yet, or an address that is no neighbour's.
    """
    seconds = args.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_S:
        raise CommandRefused(f"seconds is a number from 0 to {MOST_S:g}")
    if call is None or call.ticket.attempt != args.get("attempt"):
        raise CommandRefused("the channel has another call, or none")
    bridge = call.bridge
    if not isinstance(bridge, Bridge) or bridge.closed:
        raise CommandRefused("the call has no voice yet")
    if not seconds:
        bridge.unlisten()
    else:
        seeds = (ids.token(SEED_OCTETS), ids.token(SEED_OCTETS))
        bridge.listen(_near(args, "said"), _near(args, "heard"), seeds, float(seconds))
    return {"source": "{}:{}".format(*call.rtp.address)}


def _near(args: Mapping[str, Any], name: str) -> tuple[str, int]:
    """Where voice may go: this machine or a private network (the tunnel), never out into the world."""
    try:
        host, port = parse_address(str(args.get(name) or ""))
        address = ipaddress.ip_address(host)
    except ValueError:
        raise CommandRefused(f"the command needs {name}, an address:port") from None
    if not port or not any(address in network for network in NEAR if network.version == address.version):
        raise CommandRefused(f"{name} must be this machine or in a private network")
    return str(address), port
