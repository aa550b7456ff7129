"""Storing a record, for as long as it takes."""

import asyncio

import structlog

from simrack.controller.calls.ports import Finished
from simrack.controller.calls.services import Services
from simrack.controller.store.errors import StoreError, StoreRefused

log = structlog.get_logger(__name__)


async def keep(on: Services, finished: Finished) -> None:
    """Store the record of a call that is over, count it, and try again while the database is down."""
    row = finished.record
    while True:
        try:
            await on.store.finish(finished)
            on.alarms.set("store-down", active=False)
            break
        except StoreRefused as error:
            log.error("the record was refused", call=row.call, error=str(error))
            break
        except StoreError as error:
            on.alarms.set("store-down", active=True, detail=str(error))
            log.warning("a record waits for the database", call=row.call, error=str(error))
        await asyncio.sleep(on.limits.store_retry_s)
    on.metrics.calls.labels(row.direction, row.outcome).inc()
    on.metrics.causes.labels(str(row.cause), row.side).inc()
    on.traffic.ended(row, on.clock.monotonic())
    if trouble := on.voice.ended(row, on.alarms):
        on.metrics.voice_troubles.labels(trouble).inc()
