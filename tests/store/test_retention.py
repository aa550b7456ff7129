"""Retention: what is too old goes, all of it and nothing else; the audit log tells what went; calls don't wait."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection
from store.values import NOW, FixedClock, a_part_event, a_record, an_attempt, an_open_call, finished

from simrack.controller.config.catalogue import CATALOGUE, Values
from simrack.controller.models import RecordFilter
from simrack.controller.store import retention
from simrack.controller.store import tables as t
from simrack.controller.store.audit import AuditFilter, AuditQueries
from simrack.controller.store.queries import Queries
from simrack.controller.store.retention import KINDS, Retention
from simrack.controller.store.writer import Writer
from simrack.wire.messages import AtLine

ask = asyncio.to_thread
DAY = timedelta(days=1)


class Night:
    """A retention run under a test's hand."""

    def __init__(self, url: str, writer: Writer, clock: FixedClock) -> None:
        self.values: dict[str, int] = {}
        self.writer, self.clock = writer, clock
        self.job = Retention(writer, url, clock, lambda: Values(self.values))

    async def rows(self, table: str) -> int:
        """How many rows a table has."""

        def count(connection: Connection) -> int:
            return int(connection.execute(select(func.count()).select_from(t.metadata.tables[table])).scalar_one())

        return await self.writer.group.do(count)


@pytest.fixture
async def night(url: str, writer: Writer, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Night]:
    # The pause is for calls beside it; here there are none.
    monkeypatch.setattr(retention, "PAUSE_S", 0.0)
    on = Night(url, writer, clock)
    yield on
    on.job.close()


async def calls(writer: Writer, *ages: int) -> None:
    """One whole call for each age in days."""
    for age in ages:
        name, began = f"c{age}", NOW - age * DAY
        await writer.open_call(an_open_call(name))
        attempt = an_attempt(f"a{age}", at_log=(AtLine(ms=1, way=">", text="ATD+49;"),))
        record = a_record(name, started=began, ended=began + timedelta(seconds=34))
        await writer.finish(replace(finished(), record=record, attempts=(attempt,)))


@pytest.mark.stack
async def test_records_go_whole_and_by_age(night: Night, writer: Writer, queries: Queries) -> None:
    """A record older than its class is gone with story, attempt and trace; a younger one is as it was."""
    await calls(writer, 1, 1094, 1096, 2000)
    told = await night.job.once()
    assert told["records"]["removed"] == 2
    rows = (await ask(queries.records, RecordFilter())).rows
    assert {row.call for row in rows} == {"c1", "c1094"}
    assert await night.rows("attempt") == 2
    assert await ask(queries.story, "c1096") is None


@pytest.mark.stack
async def test_stories_go_before_their_records(night: Night, writer: Writer, queries: Queries) -> None:
    """The record of a year ago still counts in statistics, without the subscriber's details around it."""
    await calls(writer, 1, 400, 500)
    for _ in range(2):
        await night.job.once()
    story = await ask(queries.story, "c400")
    assert story is not None
    assert (story.ladder, story.explanation) == ((), None)
    assert [attempt.at_log for attempt in story.attempts] == [()]
    young = await ask(queries.story, "c1")
    assert young is not None
    assert young.ladder
    assert young.attempts[0].at_log


@pytest.mark.stack
async def test_what_became_too_old_since_the_last_night_goes_with_the_next(night: Night, writer: Writer) -> None:
    """Night after night, also when somebody shortens the time, and when more is there than fits one batch."""
    await calls(writer, *range(100, 320))
    assert (await night.job.once())["stories"]["removed"] == 139
    night.clock.now += 10 * DAY
    assert (await night.job.once())["stories"]["removed"] == 10
    night.values["retention.stories_days"] = 150
    assert (await night.job.once())["stories"]["removed"] == 30
    night.values["retention.stories_days"] = 36_500
    assert (await night.job.once())["stories"]["removed"] == 0
    night.values["retention.records_days"] = 200
    assert (await night.job.once())["records"]["removed"] == 129


@pytest.mark.stack
async def test_traces_facts_and_closed_alarms_go_by_age(night: Night, writer: Writer, url: str) -> None:
    """Each class has its own time; an open alarm stays for ever, and so does the last word of each box's run."""

    def fill(connection: Connection) -> None:
        for age in (1, 13, 15, 40):
            row = {"call": f"t{age}", "started": NOW - age * DAY, "messages": b"x"}
            connection.execute(insert(t.call_trace).values(**row))
        for number, age in enumerate((1, 729, 731)):
            row = {"cause": f"k{number}", "severity": "minor", "title": "t", "opened": NOW - 800 * DAY, "last": NOW}
            connection.execute(insert(t.alarm).values(**row, count=1, closed=NOW - age * DAY))
        connection.execute(insert(t.alarm).values(cause="open", severity="minor", title="t", opened=NOW - 900 * DAY, last=NOW, count=1))

    await writer.group.do(fill)
    night.clock.now -= 91 * DAY
    await writer.take_events([a_part_event(seq=seq) for seq in (1, 2, 3)])
    night.clock.now += 91 * DAY
    await writer.take_events([a_part_event(seq=4)])
    told = await night.job.once()
    assert {name: row["removed"] for name, row in told.items()} == {"records": 0, "stories": 0, "traces": 2, "events": 3, "alarms": 1, "versions": 0}
    assert await writer.last_event("lab-01", "b1") == 4
    night.clock.now += 200 * DAY
    await night.job.once()
    assert await writer.last_event("lab-01", "b1") == 4


@pytest.mark.stack
async def test_the_audit_log_tells_what_was_removed_and_stays_itself(night: Night, writer: Writer, url: str) -> None:
    """An auditor sees that data was deleted when the law said so; nothing of the log itself is ever removed."""
    await calls(writer, 2000)
    await night.job.once()
    log = AuditQueries(url)
    (entry,) = (await ask(log.audit_page, AuditFilter(action="retention"))).entries
    assert json.loads(entry.detail)["records"] == {
        "before": (NOW - 1095 * DAY).isoformat(), "days": 1095, "removed": 1,
    }  # fmt: skip
    night.clock.now += 10_000 * DAY
    await night.job.once()
    verdict = await ask(log.verify_audit)
    log.close()
    assert verdict.ok
    assert verdict.entries == 3


async def test_it_runs_at_its_hour_and_makes_up_for_a_night_that_was_missed(night: Night, writer: Writer) -> None:
    """Once a night; a rack that is switched off at night is tidied ten minutes after its start, not at its start."""
    clock = night.clock
    assert not await night.job._is_due()
    clock.now += timedelta(minutes=11)
    assert await night.job._is_due()
    await night.job.once()
    due = []
    for _ in range(72):
        clock.now += timedelta(minutes=30)
        if await night.job._is_due():
            due.append(clock.now.hour)
            await night.job.once()
    assert due == [2]


def test_every_class_has_its_option() -> None:
    """A class without a time that people can see and set would be kept or removed behind their backs."""
    for kind in KINDS:
        option = CATALOGUE[kind.option]
        assert option.unit == "days"
        assert isinstance(option.default, int)
    assert CATALOGUE["retention.events_days"].least == 8, "a box that stood apart for a week still finds its facts known"
