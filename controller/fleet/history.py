"""What the records tell a controller that starts: the SIMs' counters, and the calls whose INVITEs may still be repeated."""

from datetime import datetime

from sqlalchemy import func, select

from simrack.controller.fleet.usage import SimUsage
from simrack.controller.store import tables as t
from simrack.controller.store.engine import read_engine


def usage_from_records(url: str, now: datetime) -> dict[str, SimUsage]:
    """Answered calls and talk time of this day and month (UTC) by ICCID. Blocks: run it in a thread."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = today.replace(day=1)
    engine = read_engine(url)
    columns, talked = t.cdr.c, t.cdr.c.talk_network_ms > 0
    of_today = columns.ended >= today
    statement = (
        select(
            columns.iccid,
            func.count().filter(talked & of_today).label("calls_today"),
            func.coalesce(func.sum(columns.talk_network_ms).filter(of_today), 0).label("talk_ms_today"),
            func.count().filter(talked).label("calls_month"),
            func.coalesce(func.sum(columns.talk_network_ms), 0).label("talk_ms_month"),
            func.max(columns.ended).label("last_ended"),
        )
        .where(columns.ended >= month, columns.iccid != "")
        .group_by(columns.iccid)
    )
    try:
        with engine.connect() as connection:
            return {
                row.iccid: SimUsage(
                    row.calls_today, row.talk_ms_today, row.calls_month, row.talk_ms_month, row.last_ended
                )
                for row in connection.execute(statement)
            }
    finally:
        engine.dispose()


def recent_keys(url: str, since: datetime) -> frozenset[tuple[str, str, str]]:
    """(sender, Call-ID, From tag) of the calls that ended since a moment: what tells one call from another. Blocks."""
    engine = read_engine(url)
    columns = t.cdr.c
    statement = select(columns.sender, columns.sip_call_id, columns.from_tag).where(columns.ended >= since)
    try:
        with engine.connect() as connection:
            return frozenset(
                (row.sender, row.sip_call_id, row.from_tag) for row in connection.execute(statement)
            )
    finally:
        engine.dispose()
