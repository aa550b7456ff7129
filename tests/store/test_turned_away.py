"""Calls that a box refused by itself stand in the records, once."""

import asyncio

import pytest
from store.values import NOW

from simrack.controller.models import RecordFilter
from simrack.controller.store.queries import Queries
from simrack.controller.store.writer import Writer
from simrack.wire.messages import BoxEvent, CallPart


@pytest.mark.stack
async def test_a_call_to_a_disabled_channel_is_in_the_records_once(writer: Writer, queries: Queries) -> None:
    """Else nobody can say to a caller who complains that his call ever came."""
    part = CallPart(
        call="x1", attempt="x1", channel=3, iccid="8900", imsi="00101", direction="in", number="+4930111",
        invited=NOW, released=NOW, cause=21, cause_text="the channel is disabled", side="rack", turned_away=True,
    )  # fmt: skip
    event = BoxEvent(box="lab-01", boot="b1", seq=1, at=NOW, body=part)
    await writer.take_events([event, event])
    await writer.take_events([event.model_copy(update={"seq": 2})])
    page = await asyncio.to_thread(queries.records, RecordFilter())
    (record,) = page.rows
    assert (record.direction, record.outcome, record.cause, record.side) == ("in", "refused", 21, "rack")
    assert (record.calling, record.box, record.channel, record.estimated) == ("+4930111", "lab-01", 3, False)
    assert record.cause_original == "the channel is disabled"
    story = await asyncio.to_thread(queries.story, "x1")
    assert story is not None
    assert [(row.attempt, row.outcome, row.cause) for row in story.attempts] == [("x1", "refused", 21)]
