"""The story's SIP messages: read, taken away, sent on, each only by those who may."""

import struct
from typing import Any

import pytest
import web_demo as demo_data
import web_trace
from sqlalchemy import update
from web_helpers import Stand

from simrack.controller.store import tables as t
from simrack.controller.store.engine import write_engine
from simrack.controller.tracing.messages import unpack

CALL = demo_data.TELLING_CALL


@pytest.mark.stack
def test_the_story_shows_each_message(demo: Stand) -> None:
    """Who looks into a call's signalling would have to ask for a capture from the network."""
    page = demo.signed_in().get(f"/records/{CALL}").text
    section = page[page.index('id="messages"') :]
    assert f"{len(web_trace.messages(demo.clock.utc()))} as they went over the wire" in section
    for words in ("503 Service Unavailable", "alpine → controller", "controller → vienna-02", "7.439 s", "repeated"):
        assert words in section
    assert web_trace.SCRIPT not in page
    assert "&lt;script&gt;" in section
    assert "0" * 32 not in section, "the digest answer"
    assert "2 more came than is kept" in section


@pytest.mark.stack
def test_a_capture_is_downloaded_with_every_message(demo: Stand) -> None:
    """The file that is sent to the operator holds what the page shows."""
    browser = demo.signed_in()
    for path in (f"/records/{CALL}/messages.pcap", f"/api/v1/records/{CALL}/messages.pcap"):
        answer = browser.get(path)
        assert answer.status_code == 200
        file, count, place = answer.data, 0, 24
        assert file[:4] == b"\xa1\xb2\xc3\xd4"
        while place < len(file):
            place += 16 + struct.unpack("!I", file[place + 8 : place + 12])[0]
            count += 1
        assert count == len(web_trace.messages(demo.clock.utc()))


@pytest.mark.stack
def test_the_api_tells_the_same_as_the_page(demo: Stand) -> None:
    """Scripts read messages without scraping pages."""
    answer = demo.signed_in().get(f"/api/v1/records/{CALL}/messages").get_json()
    assert [each["start"] for each in answer["messages"]][:2] == ["INVITE sip:882101234567@10.20.0.2", "100 Trying"]
    assert answer["left_out"] == 2


def test_a_call_without_messages_says_why(demo: Stand) -> None:
    """An empty card would look like a fault of the page."""
    browser, call = demo.signed_in(), next(iter(demo_data.HARD_CALLS.values()))
    assert "No messages are kept of this call" in browser.get(f"/records/{call}").text
    assert browser.get(f"/records/{call}/messages.pcap").status_code == 404
    assert browser.get(f"/api/v1/records/{call}/messages").status_code == 404
    assert browser.get("/records/none-such/messages.pcap").status_code == 404
    assert browser.get("/api/v1/records/none-such/messages").status_code == 404


def test_a_damaged_row_ends_no_page(demo: Stand) -> None:
    """One bad row must not hide the rest of the story."""
    engine = write_engine(str(demo.room.settings.database))
    with engine.begin() as connection:
        connection.execute(update(t.call_trace).values(messages=b"\x00broken"))
    engine.dispose()
    browser = demo.signed_in()
    page = browser.get(f"/records/{CALL}")
    assert page.status_code == 200
    assert "can&#39;t be read" in page.text
    assert browser.get(f"/records/{CALL}/messages.pcap").status_code == 404


class Answers:
    """The controller's end of the command."""

    def __init__(self, stand: Stand, monkeypatch: pytest.MonkeyPatch, **reply: Any) -> None:
        from simrack.wire.messages import CommandReply

        self.asked: list[tuple[str, dict[str, Any], str]] = []

        def command(_topic: str, action: str, args: dict[str, Any], *, actor: str) -> CommandReply:
            self.asked.append((action, args, actor))
            return CommandReply(id="1", **reply)

        monkeypatch.setattr(stand.room.live, "command", command)


def test_sending_on_is_a_command_with_a_name(demo: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves the house is done by the controller, which checks and writes down who asked."""
    answers = Answers(demo, monkeypatch, ok=True, result={"messages": 19, "collector": "192.0.2.1:9060"})
    browser = demo.signed_in()
    browser.get(f"/records/{CALL}")
    said = browser.post(f"/records/{CALL}/messages/send", target="messages-said")
    assert "19 messages sent to 192.0.2.1:9060." in said.text
    action, args, actor = answers.asked[0]
    assert (action, args) == ("send-trace", {"call": CALL})
    assert actor.startswith("user:")


def test_a_refused_sending_says_what_to_do(demo: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """No collector is set: the button says so instead of pretending."""
    Answers(demo, monkeypatch, ok=False, error="no HEP collector is set")
    browser = demo.signed_in()
    browser.get(f"/records/{CALL}")
    part = browser.post(f"/records/{CALL}/messages/send", target="messages-said")
    assert "Not sent: no HEP collector is set." in part.text
    browser.get(f"/records/{CALL}")
    assert browser.post(f"/records/{CALL}/messages/send").status_code == 409
    browser.get(f"/records/{CALL}")
    assert browser.post("/records/none-such/messages/send").status_code == 404


def test_the_demo_trace_is_one(demo: Stand) -> None:
    """The pictures of the docs are made of it."""
    kept = unpack(web_trace.stored(demo.clock.utc()))
    assert len(kept.messages) == len(web_trace.messages(demo.clock.utc()))
