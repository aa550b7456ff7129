"""S4: routing decisions per second with the explanation that a record keeps, and how they grow.

One process, no I/O: the controller's own `Routing` over a fleet of which one channel changes between two decisions,
as it does when calls come and go. Figures are CPU time. Reference: looking the same numbers up in a dictionary.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import scenarios
from common import Figure, keep, spread

from simrack.controller.config.models import Pattern, RoutingFile, Target
from simrack.controller.fleet.view import BoxView, ChannelView, FleetView
from simrack.controller.routing.current import Routing
from simrack.controller.routing.decision import CallFacts
from simrack.controller.routing.table import RoutingTable, by_prefix
from simrack.wire.channel import ChannelState

CHANNELS_A_BOX, BUSY = 25, 0.4
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ROUNDS = ((10_000, 1_000), (10_000, 2_000), (100_000, 1_000), (100_000, 2_000))


def table(prefixes: int) -> RoutingTable:
    """The configuration of S1 with so many prefixes, compiled."""
    import tomllib

    file = RoutingFile.model_validate(tomllib.loads(scenarios.routing("127.0.0.2", 1, 1)))
    patterns = [
        Pattern(name=f"p{n}", prefixes=(f"+88210{n:06}",), targets=(Target(plan="lab", priority=100),)) for n in range(prefixes)
    ]
    return RoutingTable(
        version=1, installation=file.installation, limits=file.limits,
        sites={entry.name: entry for entry in file.site}, agreements={entry.name: entry for entry in file.agreement},
        plans={entry.name: entry for entry in file.plan}, sims={}, senders={entry.name: entry for entry in file.sender},
        prefixes=by_prefix(patterns),
    )  # fmt: skip


def channels(count: int, draw: random.Random) -> list[ChannelView]:
    """Channels with their SIMs, two in five in a call."""
    return [
        ChannelView(
            box=f"box-{n // CHANNELS_A_BOX:03}", channel=n % CHANNELS_A_BOX + 1, marks=(), registered=True, answer_safe=True,
            state=ChannelState.ACTIVE if draw.random() < BUSY else ChannelState.READY, reserved=False,
            iccid=f"89001{n:014}", imsi=f"00101{n:010}", signal_dbm=-60 - draw.randrange(40),
            talk_ms_today=draw.randrange(3_600_000), calls_month=draw.randrange(100), talk_ms_month=draw.randrange(10**8),
        )
        for n in range(count)
    ]  # fmt: skip


def decide(prefixes: int, count: int, calls: int) -> tuple[list[float], list[str]]:
    """CPU milliseconds of each decision, and the numbers that were routed."""
    draw = random.Random(count)
    routing, listed = Routing(table(prefixes)), channels(count, draw)
    boxes = {view.box: BoxView(view.box, "lab", ("127.0.0.1", 7000), reachable=True, silent_s=1.0) for view in listed}
    numbers = [f"+88210{draw.randrange(prefixes):06}12" for _ in range(calls)]
    spent = []
    for number in numbers:
        place = draw.randrange(count)
        listed[place] = replace(listed[place], talk_ms_today=listed[place].talk_ms_today + 1)
        fleet = FleetView(boxes, tuple(listed))
        began = time.process_time()
        decision = routing.decide(CallFacts("trunk", number, "+882109000999", NOW), fleet)
        spent.append((time.process_time() - began) * 1000)
        assert decision.candidates
    return spent[1:], numbers


def look_up_us(prefixes: int, numbers: Sequence[str]) -> float:
    """The same keys in a dictionary, in microseconds each."""
    known = {f"+88210{n:06}": n for n in range(prefixes)}
    began = time.process_time()
    for _ in range(100):
        for number in numbers:
            known.get(number[:12])
    return (time.process_time() - began) * 1e6 / (100 * len(numbers))


def main() -> None:
    """Measure and keep the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    means: dict[tuple[int, int], float] = {}
    for prefixes, count in ROUNDS:
        spent, numbers = decide(prefixes, count, calls)
        means[prefixes, count] = sum(spent) / len(spent)
        print(f"{prefixes:,} prefixes, {count:,} channels: {means[prefixes, count]:.3f} ms", file=sys.stderr)
    reference = look_up_us(100_000, numbers)
    mean = means[100_000, 2_000]
    keep(
        Figure(
            id="s4_routing", what="a routing decision with the explanation that its record keeps, 100,000 prefixes and 2,000 channels, one core",
            unit="ms",
            figure={
                "per_second": round(1000 / mean), "mean": round(mean, 3),
                "growth_prefixes_x10": round(mean / means[10_000, 2_000], 2),
                "growth_channels_x2": round(mean / means[100_000, 1_000], 2),
            },
            reference={"mean": round(reference / 1000, 6)}, reference_what="dictionary look-up of the same keys",
            ratio=round(mean * 1000 / reference, 1),
            limited_by="the order of the candidates that are left (columns of figures over all of them), "
            "then the explanation's own objects and the boxes, which are each looked at once a call",
            samples=len(spent), spread=spread(spent),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
