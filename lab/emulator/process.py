"""The lab as a process: interface, state file, readiness line, orderly end."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from aiohttp import web

from simrack.lab.emulator.api import make_app
from simrack.lab.emulator.faults import Chance
from simrack.lab.emulator.rack import Lab, Plan, write_state
from simrack.wire import tuning
from simrack.wire.ports import SystemClock


async def serve(plan: Plan, state: Path, *, port: int = 0, faults_per_hour: float = 0.0) -> None:
    """Run the lab until SIGTERM or SIGINT; the state file is there exactly while it runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lab, ready = Lab(plan, SystemClock()), asyncio.Event()
    runner = web.AppRunner(make_app(lab), access_log=None)
    work = asyncio.create_task(_all(lab, ready, Chance(faults_per_hour, plan.seed)), name="lab")
    try:
        await _first(work, ready)
        address = await _listen(runner, port)
        await asyncio.to_thread(write_state, state, lab.state(address))
        tuning.settle()
        _announce(state, address)
        await _first(work, stop)
    finally:
        work.cancel()
        await asyncio.wait((work,))
        await runner.cleanup()
        await asyncio.to_thread(_sweep, lab, state)


async def _all(lab: Lab, ready: asyncio.Event, chance: Chance) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(lab.run(ready), name="lab rack")
        if chance.per_hour > 0:
            await ready.wait()
            group.create_task(chance.run(lab.modules), name="lab faults")


async def _first(work: "asyncio.Task[None]", event: asyncio.Event) -> None:
    """Wait for the event; a lab that dies first takes the process with it."""
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait((work, waiter), return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if work.done():
        work.result()


async def _listen(runner: web.AppRunner, port: int) -> str:
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, chosen = runner.addresses[0][:2]
    return f"http://{host}:{chosen}"


def _sweep(lab: Lab, state: Path) -> None:
    state.unlink(missing_ok=True)
    lab.sweep()


def _announce(state: Path, address: str) -> None:
    sys.stdout.write(json.dumps({"ready": True, "state": str(state), "ledger": address}) + "\n")
    sys.stdout.flush()
