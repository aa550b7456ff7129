"""What the database needs from time to time: partitions for the months to come."""

import asyncio

import structlog

from simrack.controller.store.errors import StoreError
from simrack.controller.store.writer import Writer

log = structlog.get_logger(__name__)
# Months are made three ahead, so a day more or less is nothing.
EVERY_S = 24 * 3600.0
# After a lock or a fault: soon, yet not so soon that it would be felt.
AGAIN_S = 600.0


async def keep_up(store: Writer) -> None:
    """Make partitions ahead until cancelled; returns at once where records are not kept by month."""
    if not store.by_month:
        return
    while True:
        try:
            made = await store.make_partitions()
        except StoreError as error:
            log.warning("no partitions could be made ahead; the default one takes records", error=str(error))
            await asyncio.sleep(AGAIN_S)
            continue
        if made:
            log.info("partitions made", months=made)
        await asyncio.sleep(EVERY_S)
