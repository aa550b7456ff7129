"""A stored trace on its way out of the house: to the HEP3 collector of the settings."""

import asyncio
from typing import Any

from simrack.controller.calls.commands import CommandRefused
from simrack.controller.settings import TraceSettings
from simrack.controller.store.queries import Queries
from simrack.controller.tracing import hep
from simrack.wire.sections import parse_address


async def send_trace(settings: TraceSettings, database: str, call: str) -> dict[str, Any]:
    """Send one call's messages to the collector. Raises `CommandRefused`: none is set, or nothing is kept."""
    if not settings.hep:
        raise CommandRefused("no HEP collector is set: name one as `hep` in [trace] of the controller's settings")
    collector = parse_address(settings.hep)

    def work() -> int:
        queries = Queries(database)
        try:
            trace = queries.trace(call)
        finally:
            queries.close()
        if trace is None:
            raise CommandRefused(f"no messages are kept of call {call}")
        return hep.send(trace.messages, collector, agent=settings.agent, correlation=call)

    try:
        sent = await asyncio.to_thread(work)
    except OSError as error:
        raise CommandRefused(f"the collector {settings.hep} can't be reached: {error.strerror or error}") from None
    except ValueError as error:
        raise CommandRefused(str(error)) from None
    return {"messages": sent, "collector": settings.hep}
