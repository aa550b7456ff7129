"""A night's audit log for the demo: every kind of entry that people meet, and those that strain the page."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from simrack.controller.audit.chain import Fact
from simrack.controller.store.audit import append

_ROWS: tuple[tuple[int, str, str, str, str, dict[str, Any]], ...] = (
    (900, "cli:root", "", "reload-config", "", {"command": "a1"}),
    (610, "controller", "", "retention", "", {
        "records": {"days": 1095, "before": "2023-11-21T02:00:00+00:00", "removed": 12_480},
        "stories": {"days": 180, "before": "2026-05-24T02:00:00+00:00", "removed": 26_114},
        "traces": {"days": 14, "before": "2026-11-06T02:00:00+00:00", "removed": 25_971},
    }),
    (420, "user:Bo Lindqvist", "198.51.100.23", "sign-in", "Bo Lindqvist", {}),
    (395, "user:Bo Lindqvist", "", "disable-channel", "vienna-02/5", {"box": "vienna-02", "channel": 5, "note": "module swapped tomorrow"}),
    (394, "user:Bo Lindqvist", "", "restart-module", "vienna-02/5", {"box": "vienna-02", "channel": 5, "mode": "calls-end"}),
    (393, "user:Bo Lindqvist", "", "restart-module", "vienna-02/5", {"failed": "vienna-02: the module does not come back", "command": "a2"}),
    (240, "controller", "", "call-refused", "c0ffee0000000011", {
        "reason": "calling-number", "sender": "alpine", "ingress": "203.0.113.8:5060", "sip": 403, "cause": 21,
    }),
    (222, "user:Moravia NOC", "198.51.100.77", "hang-up", "c0ffee0000000001", {"call": "c0ffee0000000001", "refused": "no right to this (end a call): the role sender may not"}),
    (180, "user:Ada", "", "test-call", "", {"called": "+882100000017", "box": "brno-01"}),
    (60, "user:Ada", "", "ban", "192.0.2.99", {"address": "192.0.2.99", "hours": 12, "reason": "scans for extensions"}),
    (31, "user:Ada", "", "entry-apply", "alpine", {"changes": [{"kind": "sender", "name": "alpine", "op": "set", "body": {"max_calls": 60, "digest": "(hidden)"}}]}),
    (12, "user:Wilhelmina van den Broek-Østergård, second shift", "2001:db8:85a3:8d3:1319:8a2e:370:7348", "token-made", "Wilhelmina van den Broek-Østergård", {"name": "nightly report to the accounting department of the Upper Danube route"}),
    (3, "controller", "", "call-refused", "c0ffee0000000012", {"reason": "agreement-valid", "sender": "own", "pattern": "AT mobile, weekday"}),
)  # fmt: skip


def fill(connection: Connection, now: datetime, telling_call: str) -> None:
    """Write the log as the controller does; `telling_call`: a call that somebody ended."""
    facts = [
        Fact(now - timedelta(minutes=minutes), actor, action, subject, detail, address)
        for minutes, actor, address, action, subject, detail in _ROWS
    ]
    facts.append(Fact(now - timedelta(minutes=1), "user:Ada", "hang-up", telling_call, {"call": telling_call}))
    append(connection, facts, "demo", now - timedelta(days=40))
