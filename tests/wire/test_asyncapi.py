"""The AsyncAPI document tells integrators the truth about every topic and message."""

import inspect
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simrack.wire import asyncapi, messages, topics
from simrack.wire.channel import ChannelState
from simrack.wire.errors import BadMessage, UnknownVersion

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 21, 12, 0, 0, 123000, tzinfo=UTC)


def test_file_is_current() -> None:
    current = (ROOT / "docs/asyncapi.json").read_text()
    assert current == asyncapi.text(), "run `make docs`: the message models changed"


def test_every_topic_and_message_is_described() -> None:
    functions = {
        function
        for name, function in inspect.getmembers(topics, inspect.isfunction)
        if function.__module__ == topics.__name__ and name != "box_of"
    }
    assert {channel.topic for channel in asyncapi.CHANNELS} == functions
    assert {channel.message for channel in asyncapi.CHANNELS} == set(messages.MESSAGES)
    for channel in asyncapi.CHANNELS:
        assert channel.address.startswith("simrack/v1/")


def examples() -> list[messages.Message]:
    stamp: dict[str, Any] = {"boot": "b1", "seq": 7, "at": NOW}
    part = messages.CallPart(
        call="c1", attempt="a1", channel=3, invited=NOW, released=NOW, cause=16, side="calling",
        at_log=(messages.AtLine(ms=12, way=">", text="ATD+882101234567;"),),
    )  # fmt: skip
    return [
        messages.BoxStatus(box="lab-01", online=True, sip="127.0.0.1:5070", channels=4, **stamp),
        messages.ChannelReport(box="lab-01", channel=3, state=ChannelState.READY, since=NOW, **stamp),
        messages.BoxEvent(box="lab-01", body=part, **stamp),
        messages.EventAck(box="lab-01", ranges=(messages.AckRange(boot="b1", first=1, last=7),)),
        messages.Command(id="x", action="stop", actor="ann", deadline=NOW),
        messages.CommandReply(id="x", ok=False, error="too late"),
        messages.ControllerStatus(online=True, **stamp),
        messages.ControllerTime(boot="b1", seq=1, at=NOW),
        messages.LiveCall(call="c1", state="speaking", sender="pbx", started=NOW, **stamp),
        messages.AlarmSummary(critical=1, **stamp),
        messages.ConfigChanged(version=3, **stamp),
        messages.LogLines(
            process="box-lab-01", boot="b1", level="info",
            lines=(messages.LogLine(seq=1, at=NOW, level="info", event="dialled", call="c1", fields={"number": "1"}),),
        ),
        messages.LogWish(level="debug", seconds=60, actor="user:Ada"),
        messages.ConsoleLines(box="lab-01", channel=3, until=NOW, lines=(messages.ConsoleLine(at=NOW, way=">", text="AT"),)),
    ]


@pytest.mark.parametrize("message", examples(), ids=lambda m: type(m).__name__)
def test_message_survives_the_wire_and_fits_its_schema(message: messages.Message) -> None:
    payload = message.encode()
    assert type(message).decode(payload) == message
    schema = asyncapi.document()["components"]["schemas"][type(message).__name__]
    sent = set(message.model_dump(exclude_none=True))
    assert sent <= set(schema["properties"])
    assert set(schema.get("required", [])) <= sent


def test_unknown_fields_are_ignored_and_unknown_versions_refused() -> None:
    payload = messages.ConfigChanged(version=3, boot="b", seq=1, at=NOW).encode()
    newer = payload[:-1] + b',"later":"field"}'
    assert messages.ConfigChanged.decode(newer).version == 3
    with pytest.raises(UnknownVersion, match="version 2"):
        messages.ConfigChanged.decode(payload.replace(b'"v":1', b'"v":2'))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_garbage_is_refused_with_the_place(payload: bytes | str) -> None:
    for model in messages.MESSAGES:
        with pytest.raises((BadMessage, UnknownVersion)):
            model.decode(payload)


def test_refusal_names_the_field() -> None:
    with pytest.raises(BadMessage, match="channel"):
        messages.ChannelReport.decode(
            b'{"boot":"b","seq":1,"at":"2026-01-01T00:00:00Z","box":"lab-01","channel":0,'
            b'"state":"ready","since":"2026-01-01T00:00:00Z"}'
        )
