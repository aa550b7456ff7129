"""Demo data of alarms and logs: a history, one alarm in somebody's hand, lines of four processes."""

import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, update
from web_demo import BOXES, SENDERS

from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.wire.messages import LogLine, LogLines

NOTE = "Technician is on the way, there by 15:30"
TARGETS: list[dict[str, Any]] = [
    {
        "name": "webhook", "kind": "webhook", "addresses": ["https://chat.example.com/hooks/simrack"], "least": "minor", "after_min": 0,
        "sent": 112, "failed": 0, "waiting": 0, "last_sent": "2026-11-20T14:18:07+00:00", "last_error": "", "last_error_at": "", "signed": True,
    },
    {
        "name": "mail", "kind": "email", "addresses": ["noc@example.com", "night@example.com"], "least": "major", "after_min": 0, "sent": 40,
        "failed": 2, "waiting": 3, "last_sent": "2026-11-20T09:02:00+00:00",
        "last_error": "the mail server answered 451 try again later", "last_error_at": "2026-11-20T14:30:11+00:00", "signed": False,
    },
    {
        "name": "escalation", "kind": "email", "addresses": ["duty-manager@example.com"], "least": "critical", "after_min": 30, "sent": 1,
        "failed": 0, "waiting": 0, "last_sent": "2026-11-14T03:31:00+00:00", "last_error": "", "last_error_at": "", "signed": False,
    },
]  # fmt: skip


def more_alarms(url: str, now: datetime, count: int = 120) -> None:
    """A week of alarms that came and went, and the dead module in somebody's hand."""
    pick = random.Random(5)
    engine = write_engine(url)
    with engine.begin() as connection:
        connection.execute(
            update(t.alarm)
            .where(t.alarm.c.cause.startswith("channel-fault"))
            .values(acknowledged=now - timedelta(minutes=40), acknowledged_by="Ada", note=NOTE)
        )
        closed = sorted((_closed(pick, now) for _ in range(count)), key=lambda row: str(row["opened"]))
        for row in closed:
            connection.execute(insert(t.alarm).values(**row))
    engine.dispose()


def _closed(pick: random.Random, now: datetime) -> dict[str, object]:
    kind = CATALOGUE[pick.choice(list(CATALOGUE))]
    subject = pick.choice(BOXES)[0] if "{subject}" in kind.title else ""
    subject = "mail" if kind.kind == "notice-failed" else subject
    opened = now - timedelta(minutes=pick.randrange(60, 10_000))
    taken = pick.random() < 0.4
    return {
        "cause": f"{kind.kind}:{subject}" if subject else kind.kind, "severity": kind.severity, "advice": kind.advice,
        "title": kind.title.format(subject=subject), "opened": opened, "last": opened, "count": pick.choice((1, 1, 1, 4)),
        "closed": opened + timedelta(minutes=pick.randrange(1, 50)), "acknowledged": opened + timedelta(minutes=1) if taken else None,
        "acknowledged_by": pick.choice(("Ada", "Grace")) if taken else "", "note": NOTE if taken and pick.random() < 0.5 else "",
    }  # fmt: skip


_EVENTS = (
    ("info", "call answered", {"call": "c0ffee0000000001", "sender": "alpine", "codec": "PCMA"}),
    ("info", "attempt failed, next candidate", {"call": "c0ffee0000000010", "box": "vienna-01", "channel": "3", "cause": "34"}),
    ("warning", "module does not answer", {"box": "vienna-02", "channel": "5", "command": "AT+CREG?", "timeout_s": "2.0"}),
    ("info", "registered", {"box": "brno-01", "channel": "7", "operator": "Test Mobil", "technology": "LTE"}),
    ("debug", "RTP stream begun", {"call": "c0ffee0000000001", "ssrc": "6f2a11c9"}),
    ("error", "page without database", {"path": "/records", "error": "the database can't be read: timeout"}),
    ("info", "command", {"action": "restart-module", "actor": "user:Ada"}),
)
TRACE = "Traceback (most recent call last):\n  File \"calls/desk.py\", line 324, in _serve\n    await call.run()\nValueError: no such codec"


def log_lines(now: datetime, count: int = 260) -> list[LogLines]:
    """Lines of all processes, as they would come."""
    pick = random.Random(3)
    names = ("controller", "web", *(f"box-{box}" for box, *_ in BOXES))
    lines: dict[str, list[LogLine]] = {name: [] for name in names}
    for number in range(count):
        level, event, fields = pick.choice(_EVENTS)
        process = f"box-{fields['box']}" if "box" in fields else "web" if "path" in fields else "controller"
        ids = {name: fields[name] for name in ("box", "channel", "call", "sender") if name in fields}
        rest = {name: value for name, value in fields.items() if name not in ids}
        at = now - timedelta(seconds=(count - number) * 1.7 + pick.random())
        lines[process].append(LogLine(seq=number + 1, at=at, level=level, event=event, fields=rest, **ids))
    crash = LogLine(seq=count + 1, at=now - timedelta(seconds=1), level="error", event="call task failed", call="c0ffee0000000012",
                    sender=next(iter(SENDERS)), fields={"exception": TRACE})  # fmt: skip
    lines["controller"].append(crash)
    until = {"box-vienna-02": ("debug", now + timedelta(minutes=42))}
    return [
        LogLines(process=name, boot="b1", level=until.get(name, ("info", None))[0], level_until=until.get(name, ("", None))[1], lines=tuple(found))
        for name, found in lines.items()
    ]  # fmt: skip
