"""Calls, records and events for the store's tests; each differs only where a test says so."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from simrack.controller.calls.ports import Dialogs, Finished, OpenCall
from simrack.controller.models import AttemptRow, Explanation, LadderLine, RecordRow
from simrack.sip.legs import DialogIds
from simrack.wire.messages import BoxEvent, CallPart, FlowFigures, MediaFigures

NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)


class FixedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def utc(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()


def an_open_call(call: str = "c1", **changes: Any) -> OpenCall:
    fields = OpenCall(
        call, "out", "trunk", f"{call}@host", "tag", "+4930111", "+4930222", "127.0.0.2:5060", NOW
    )
    return replace(fields, **changes)


def some_dialogs(attempt: str = "a1") -> Dialogs:
    ids = DialogIds(
        "x@y", "l", "r", "sip:a@b", "sip:c@d", "sip:c@d:5060", ("<sip:p;lr>",), 2, "127.0.0.1:5060"
    )
    return Dialogs(NOW, attempt, "lab-01", 3, "lab", ids, ids)


def a_record(call: str = "c1", **changes: Any) -> RecordRow:
    record = RecordRow(
        call=call, direction="out", sender="trunk", calling_received="030111", calling="+4930111",
        called_received="030222", called="+4930222", dialled="+4930222", started=NOW,
        alerting=NOW + timedelta(seconds=2), answered=NOW + timedelta(seconds=4),
        ended=NOW + timedelta(seconds=34), setup_ms=2000, ring_ms=2000, talk_network_ms=0,
        talk_sender_ms=30000, outcome="answered", cause=16, cause_original="", side="called",
        sip_status=200, refusal="", box="lab-01", channel=3, iccid="890010000000000001", imsi="",
        plan="lab", pattern="+49", ingress="127.0.0.2:5060", egress="127.0.0.1:7000", codec="PCMA",
        mos=None, attempts=1, estimated=True, marks=("test",),
    )  # fmt: skip
    return replace(record, **changes)


def an_attempt(attempt: str = "a1", number: int = 1, **changes: Any) -> AttemptRow:
    row = AttemptRow(attempt=attempt, number=number, box="lab-01", channel=3, started=NOW, outcome="answered")
    return row.model_copy(update=changes)


def finished(call: str = "c1", attempt: str = "a1", **changes: Any) -> Finished:
    explanation = Explanation(config_version=7, sender="trunk", called_received="030222", called="+4930222")
    ladder = (LadderLine(ms=0, source="sender", target="controller", label="INVITE"),)
    return Finished(a_record(call, **changes), explanation, ladder, (an_attempt(attempt),))


def a_part_event(call: str = "c1", attempt: str = "a1", seq: int = 1, talk_ms: int = 29950) -> BoxEvent:
    part = CallPart(
        call=call, attempt=attempt, channel=3, iccid="890010000000000001", imsi="001010000000001",
        number="+4930222", invited=NOW, connected=NOW + timedelta(seconds=4), released=NOW + timedelta(seconds=34),
        talk_ms=talk_ms, ring_ms=1900, cause=16, cause_text="normal call clearing", side="called",
        media=MediaFigures(codec="PCMA", to_network=FlowFigures(packets=1500), mos=4.1),
    )  # fmt: skip
    return BoxEvent(box="lab-01", boot="b1", seq=seq, at=NOW, body=part)
