"""`simrack lab`: the emulated network and its modules as one process."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from simrack.lab.emulator.network import Timing
    from simrack.lab.emulator.oddities import Quirk

app = typer.Typer(help="The lab: an emulated network with modules, and the rack on a virtual clock.", no_args_is_help=True)


@app.command()
def up(
    state: Annotated[Path, typer.Option(help="Where the addresses go (JSON), once everything runs.")],
    boxes: Annotated[int, typer.Option(min=1, max=99)] = 1,
    channels: Annotated[int, typer.Option(min=1, max=99)] = 2,
    seed: Annotated[int, typer.Option(help="The same seed gives the same timing, tones and faults.")] = 1,
    quirks: Annotated[
        list[str] | None, typer.Option(help="NAME,... for every module, or BOX/CHANNEL:NAME,... (repeatable).")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for the ports; default: beside the state file.")] = None,
    port: Annotated[int, typer.Option(help="HTTP port on 127.0.0.1; 0 takes a free one.")] = 0,
    setup: Annotated[str, typer.Option(help="Seconds from SETUP to ringing, LOW-HIGH.")] = "0.3-1.5",
    hardware_pace: Annotated[
        bool, typer.Option("--hardware-pace", help="Boot and register as slowly as real modules.")
    ] = False,
    boot: Annotated[float, typer.Option(min=0.01, max=10, help="Times of booting and registering, as a factor.")] = 1.0,
    faults: Annotated[float, typer.Option(min=0, help="Faults by chance, per module and hour.")] = 0.0,
) -> None:
    """Run network and modules alone, until SIGTERM or Ctrl-C."""
    import asyncio

    from simrack.lab.emulator.process import serve
    from simrack.lab.emulator.rack import Plan
    from simrack.wire import logs

    logs.configure("lab")
    folder = run or state.absolute().parent / f"{state.stem}.ports"
    timing = _timing(setup, boot, hardware_pace=hardware_pace)
    seats = [(box, channel) for box in range(1, boxes + 1) for channel in range(1, channels + 1)]
    plan = Plan(boxes, channels, folder, seed, timing, _quirks(quirks or [], seats))
    asyncio.run(serve(plan, state, port=port, faults_per_hour=faults))


@app.command()
def simulate(
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same run; default: a fresh one.")] = None,
    days: Annotated[float, typer.Option(min=0.01, max=3660, help="Simulated days.")] = 7.0,
    until_failure: Annotated[bool, typer.Option("--until-failure", help="Go on with the next seed until one fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per seed.")] = False,
    plant: Annotated[str, typer.Option(help="Plant a known bug, to see how it is found; `list` names them.")] = "",
) -> None:
    """Run a whole rack on a virtual clock with random faults, and check what must hold after every step."""
    import json
    import random

    _same_order_of_sets()
    from simrack.lab.simulate.run import simulate as run

    chosen = random.SystemRandom().randrange(1, 10**6) if seed is None else seed
    with _planted(plant):
        while True:
            result = run(chosen, days)
            typer.echo(json.dumps(result.as_json()) if as_json else result.text())
            if not result.ok:
                raise typer.Exit(1)
            if not until_failure:
                return
            chosen += 1


def _same_order_of_sets() -> None:
    """Begin again with fixed hashes: sets are walked in another order in each process otherwise, and a seed would
    not tell the same story twice.
    """
    import os
    import sys

    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same program, no shell


def _planted(name: str) -> "AbstractContextManager[object]":
    from contextlib import nullcontext

    from simrack.lab.simulate.planted import PLANTED

    if not name:
        return nullcontext()
    bugs = {bug.name: bug for bug in PLANTED}
    if name == "list":
        for bug in PLANTED:
            typer.echo(f"{bug.invariant}  {bug.name:28} {bug.what}")
        raise typer.Exit
    if name not in bugs:
        raise typer.BadParameter(f"{name!r} is no planted bug; `list` names them", param_hint="--plant")
    return bugs[name].plant()


def _timing(setup: str, boot: float, *, hardware_pace: bool) -> "Timing":
    from simrack.lab.emulator.network import Timing

    low, _, high = setup.partition("-")
    try:
        limits = (float(low), float(high or low))
    except ValueError:
        raise typer.BadParameter(f"{setup!r} is not LOW-HIGH, such as 0.3-1.5", param_hint="--setup") from None
    refuse = (min(limits[0], 0.3), min(limits[1], 0.8))
    timing = Timing(setup_s=limits, refuse_s=refuse)
    return (timing.at_hardware_pace() if hardware_pace else timing).booting(boot)


def _quirks(texts: list[str], seats: list[tuple[int, int]]) -> dict[tuple[int, int], "frozenset[Quirk]"]:
    chosen: dict[tuple[int, int], frozenset[Quirk]] = {}
    for text in texts:
        where, _, names = text.rpartition(":")
        found = _quirk_names(names)
        for seat in [_seat(where)] if where else seats:
            chosen[seat] = chosen.get(seat, frozenset()) | found
    return chosen


def _seat(text: str) -> tuple[int, int]:
    box, _, channel = text.partition("/")
    if not (box.isdecimal() and channel.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not BOX/CHANNEL, such as 1/2", param_hint="--quirks")
    return int(box), int(channel)


def _quirk_names(names: str) -> "frozenset[Quirk]":
    from simrack.lab.emulator.oddities import Quirk

    try:
        return frozenset(Quirk(name) for name in names.split(",") if name)
    except ValueError as error:
        allowed = ", ".join(Quirk)
        raise typer.BadParameter(f"{error}; there are: {allowed}", param_hint="--quirks") from None
