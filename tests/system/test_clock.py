"""Somebody sets the wall clock in the middle of calls: no call ends for it, and no talk is measured by it."""

import sys
import time
from pathlib import Path

import pytest
from production_parts import Broker
from system.floor import Size, open_floor, outside
from system.judge import read_product
from system.kills import CLOCK, Kill, channels_for, run_round

from simrack.controller.store.engine import read_engine

JUMPING = Path(__file__).with_name("jumping.py")
FEW = 2
HOUR = 3600


@pytest.mark.timeout(300)
async def test_wall_clocks_jump_an_hour_either_way(tmp_path: Path, broker: Broker, database_url: str) -> None:
    """Controller and box jump in opposite ways, then back: two hours between them, and every record still exact."""
    async with open_floor(tmp_path, Size(2, channels_for(FEW)), parts=outside(broker, database_url)) as floor:
        for proc, first in ((floor.controller, HOUR), (floor.boxes[0], -HOUR)):
            await proc.stop()
            proc.wrap = (str(JUMPING), f"{first},{-2 * first},{first}")
            await proc.start()
        engine = read_engine(floor.parts.database)
        results = [await run_round(floor, engine, Kill(CLOCK, jitter_s=0.1), FEW)]
        ahead = max(record.ended for record in read_product(engine, 0).records) - time.time()
        assert HOUR - 60 < ahead < HOUR + 60, "the clock did not jump"
        results += [await run_round(floor, engine, Kill(CLOCK, jitter_s=0.1), FEW) for _ in range(2)]
        engine.dispose()
    told = [result.line() for result in results]
    sys.stdout.write("\n".join(told) + "\n")
    assert not [line for result in results for line in result.findings.lines()], told
