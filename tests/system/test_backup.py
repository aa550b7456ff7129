"""A copy that is made while calls go on brings back the very same records (invariant 10)."""

from pathlib import Path

import pytest
from sqlalchemy import select
from system import sipp as s
from system.rack import Rack, until
from system.sipp import Sipp

from simrack.controller.keeping import copying
from simrack.controller.models import RecordFilter, RecordRow
from simrack.controller.store import tables as t
from simrack.controller.store.engine import read_engine
from simrack.controller.store.queries import Queries
from simrack.wire.ports import SystemClock

CALLER = "+882109000999"
CALLS = 24
pytestmark = pytest.mark.timeout(120)


def rows_of(queries: Queries, number: str) -> dict[str, RecordRow]:
    return {row.call: row for row in queries.records(RecordFilter(text=number, per_page=500)).rows}


def written(url: str, calls: set[str]) -> list[tuple[object, ...]]:
    """Everything that stands about these calls, attempts and stories too, octet for octet."""
    engine = read_engine(url)
    try:
        with engine.connect() as connection:
            return [
                tuple(row)
                for table in (t.cdr, t.attempt, t.call_story)
                for row in connection.execute(select(table).where(table.c.call.in_(calls)).order_by(*table.primary_key.columns))
            ]
    finally:
        engine.dispose()


def test_a_copy_under_load_restores_equal_ledgers(rack: Rack, sipp: Sipp, tmp_path: Path) -> None:
    """After a disk has died, calls would lack, stand twice, or have other times than those that senders were billed by."""
    number = rack.number("answer", answer_after_s=0.1)
    talk = s.invite(number, CALLER) + s.PROVISIONAL + '<recv response="200" rrs="true"></recv>' + s.ack(number, CALLER) + s.pause(700) + s.bye(number, CALLER)
    load = sipp.start(talk, "-m", str(CALLS), "-r", "3", "-l", "5")
    until(lambda: len(rows_of(rack.queries, number)) >= 4 and rack.queries.open_calls(), "some calls are over and some go on")
    before, path = rows_of(rack.queries, number), tmp_path / "one.backup"
    copying.copy(rack.state["database"], path, SystemClock(), "test")
    assert len(rows_of(rack.queries, number)) < CALLS, "calls went on while the copy was made"
    assert load.result().ok
    after = until(lambda: not rack.queries.open_calls() and rows_of(rack.queries, number), "all calls over")
    assert len(after) == CALLS == len(rack.ended(number, CALLS))
    target = f"sqlite:///{tmp_path / 'new.db'}"
    copying.restore(path, target, SystemClock())
    restored = Queries(target)
    try:
        copied, going = rows_of(restored, number), {row.call for row in restored.open_calls()}
    finally:
        restored.close()
    assert set(before) <= set(copied), "what was over before is in it"
    assert not set(copied) & going, "no call is both over and going on"
    assert set(copied) | going <= set(after), "and none that never was"
    assert written(target, set(copied)) == written(rack.state["database"], set(copied))
    assert sum(row.talk_network_ms for row in copied.values()) == sum(after[call].talk_network_ms for call in copied)
