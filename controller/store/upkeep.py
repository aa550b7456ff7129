"""Looking after the database: partitions for the months to come, and an alarm that follows its state."""

import asyncio
from typing import Protocol

import structlog

from simrack.controller.store.errors import StoreError
from simrack.controller.store.writer import Writer

log = structlog.get_logger(__name__)
# Months are made three ahead, so a day more or less is nothing.
EVERY_S = 24 * 3600.0
# After a lock or a fault: soon, yet not so soon that it would be felt.
AGAIN_S = 600.0
# A database that failed is tried this often: the alarm closes soon after it works again, without a call.
PROBE_S = 2.0


class Alarms(Protocol):
    """The alarm board's one function."""

    def set(self, kind: str, active: bool, subject: str = "", detail: str = "") -> None:
        """Open or close an alarm."""


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


async def watch(store: Writer, alarms: Alarms) -> None:
    """Have the alarm `store-down` open for as long as nothing can be written, until cancelled."""
    while True:
        await store.group.trouble.wait()
        alarms.set("store-down", active=True, detail=store.group.said)
        while not await _is_well(store, alarms):
            continue
        store.group.trouble.clear()
        alarms.set("store-down", active=False)
        log.info("the database works again")


async def _is_well(store: Writer, alarms: Alarms) -> bool:
    await asyncio.sleep(PROBE_S)
    try:
        await store.probe()
    except StoreError as error:
        alarms.set("store-down", active=True, detail=str(error))
        return False
    return True
