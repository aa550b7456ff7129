"""The event stream for programs: what changed, to whom it is shown, and what a broken line or a proxy does to it."""

import json
from collections.abc import Iterator
from typing import Any, cast

from web_helpers import Hands, Stand, wait_until

from simrack.web.accounts import PersonForm, Who
from simrack.web.draw import TOP_BARE
from simrack.wire.messages import BoxStatus, ChannelReport, LiveCall

EVENTS = "/api/v1/events"


def token(stand: Stand, role: str = "", **scope: Any) -> dict[str, str]:
    """A program's token, of a role if one is named."""
    if stand.room.accounts.empty():
        stand.signed_in()
    if not role:
        return {"Authorization": f"Bearer {stand.room.accounts.new_token('script')}"}
    cli = Who("cli:test")
    first = stand.room.accounts.people.make(cli, role, PersonForm(role, scope=frozenset(scope["scope"])))
    browser = stand.browser()
    browser.sign_in(role, first)
    browser.get("/account/password")
    browser.post("/account/password", old=first, new="five slow yellow tractors", again="five slow yellow tractors")
    cookie = browser.client.get_cookie("simrack")
    assert cookie is not None
    return {"Cookie": f"simrack={cookie.value}"}


def parsed(text: str) -> list[tuple[str, str, Any]]:
    """(id, name, data) of each event."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found


def short(stand: Stand, headers: dict[str, str], since: str = "") -> list[tuple[str, str, Any]]:
    answer = stand.app.test_client(use_cookies=False).get(f"{EVENTS}?short=true&since={since}", headers=headers, buffered=True)
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)


def change(stand: Stand, clock: Hands, *channels: tuple[str, int]) -> None:
    """Something happens on these channels, and the live thread tells of it."""
    reports = stand.model.snapshot().channels
    for key in channels or sorted(reports)[:1]:
        stand.feed(reports[key].model_copy(update={"seq": reports[key].seq + 1, "fault": "no network", "at": clock.utc()}))
    stand.room.feed.publish(TOP_BARE, "top", "x")


def test_a_program_gets_what_changed_since_it_last_heard(demo: Stand) -> None:
    """A program would have to fetch the whole rack each second, or would miss what happened while its line was down."""
    bearer = token(demo)
    first = short(demo, bearer)
    assert [name for _, name, _ in first] == ["begin", "beat"]
    place = first[-1][0]
    key = sorted(demo.model.snapshot().channels)[3]
    change(demo, demo.clock, key)
    found = short(demo, bearer, place)
    assert [name for _, name, _ in found] == ["channel", "beat"]
    report = ChannelReport.model_validate(found[0][2])
    assert ((report.box, report.channel), report.fault) == (key, "no network")
    assert found[0][0] != place
    assert [name for _, name, _ in short(demo, bearer, place)] == ["channel", "beat"], "asked again it is told again"
    assert [name for _, name, _ in short(demo, bearer, "run-999999")] == ["begin", "beat"]


def test_what_goes_is_told_by_its_name(demo: Stand) -> None:
    """A program would show calls and boxes for ever that are gone."""
    bearer = token(demo)
    place = short(demo, bearer)[-1][0]
    seen = demo.model.snapshot()
    call, box = next(iter(seen.calls.values())), max(seen.boxes)
    demo.feed(call.model_copy(update={"seq": call.seq + 1, "state": "ended"}))
    demo.model.forget_box(box)
    demo.room.feed.publish(TOP_BARE, "top", "x")
    found = short(demo, bearer, place)
    told = {name: data for _, name, data in found}
    assert told["call-over"] == {"call": call.call}
    assert told["box-gone"] == {"box": box}
    assert {data["box"] for _, name, data in found if name == "channel-gone"} <= {box}


def test_nobody_hears_of_others(demo: Stand) -> None:
    """A sender would follow its competitor's calls as they happen."""
    seen = demo.model.snapshot()
    mine = min(call.sender for call in seen.calls.values())
    cookie = token(demo, "sender", scope={mine})
    place = short(demo, cookie)[-1][0]
    for call in seen.calls.values():
        demo.feed(call.model_copy(update={"seq": call.seq + 1}))
    change(demo, demo.clock, *sorted(seen.channels)[:4])
    found = short(demo, cookie, place)
    calls = [LiveCall.model_validate(data) for _, name, data in found if name == "call"]
    assert {call.sender for call in calls} == {mine}
    assert {name for _, name, _ in found} == {"call", "beat"}


def test_an_owner_sees_boxes_without_what_is_others(demo: Stand) -> None:
    """An owner would read of a box's disk, modules and other owners' cards."""
    cookie = token(demo, "owner", scope={"somebody"})
    place = short(demo, cookie)[-1][0]
    for status in demo.model.snapshot().boxes.values():
        demo.feed(status.model_copy(update={"seq": status.seq + 1}))
    change(demo, demo.clock)
    assert [BoxStatus.model_validate(data) for _, name, data in short(demo, cookie, place) if name == "box"] == []


def test_a_stream_goes_on_until_its_token_ends(demo: Stand) -> None:
    """A stolen token would go on to listen after it was taken back."""
    bearer = token(demo)
    answer = demo.app.test_client().get(EVENTS, headers=bearer)
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "no-transform" in answer.headers["Cache-Control"]
    blocks = cast(Iterator[bytes], iter(answer.response))
    assert b"retry" in next(blocks)
    assert b"event: begin" in next(blocks)
    change(demo, demo.clock)
    assert b"event: channel" in next(blocks)
    demo.room.feed.publish("*", "beat", "now")
    assert b"event: beat" in next(blocks)
    accounts = demo.room.accounts
    for one in accounts.sessions.listed():
        assert accounts.sessions.revoke(Who("cli:test"), one.public)
    demo.clock.forward(60)
    demo.room.feed.publish("*", "beat", "now")
    assert any(b"signed-out" in block for block in blocks)
    answer.close()
    wait_until(lambda: demo.room.feed.streams == 0, what="the stream to be given back")


def test_more_streams_than_allowed_are_refused(demo: Stand) -> None:
    """Programs would take the threads that pages need."""
    bearer = token(demo)
    for _ in range(demo.room.settings.streams):
        assert demo.room.feed.enter(demo.room.settings.streams)
    answer = demo.app.test_client().get(EVENTS, headers=bearer)
    assert (answer.status_code, answer.mimetype, answer.headers["Retry-After"]) == (503, "application/problem+json", "10")
