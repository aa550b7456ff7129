"""The live model, the ring of changes, the thread that joins them with the bus, and what browsers get of it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_demo import messages
from web_helpers import NOW, Hands, Stand, take, wait_until

from simrack.controller.models import Names
from simrack.web import cells
from simrack.web.accounts import Who
from simrack.web.feed import Feed, Item
from simrack.web.rack import EVENTS_KEPT, RackModel
from simrack.wire import topics
from simrack.wire.channel import ChannelState
from simrack.wire.messages import (
    AlarmSummary,
    BoxStatus,
    CallInfo,
    ChannelReport,
    Command,
    CommandReply,
    ControllerStatus,
    LiveCall,
    Message,
)

S = ChannelState


def status(seq: int = 1, boot: str = "b1", **fields: object) -> BoxStatus:
    return BoxStatus.model_validate(
        {"boot": boot, "seq": seq, "at": NOW, "box": "lab-01", "online": True, "channels": 4, "site": "lab", **fields}
    )


def report(seq: int = 1, state: S = S.READY, channel: int = 1, **fields: object) -> ChannelReport:
    return ChannelReport.model_validate(
        {"boot": "b1", "seq": seq, "at": NOW, "box": "lab-01", "channel": channel, "state": state, "since": NOW, **fields}
    )


def live_call(seq: int = 1, state: str = "speaking", **fields: object) -> LiveCall:
    return LiveCall.model_validate(
        {"boot": "c1", "seq": seq, "at": NOW, "call": "c-1", "state": state, "sender": "s", "started": NOW, **fields}
    )


def talking(seq: int = 2, channel: int = 1) -> ChannelReport:
    call = CallInfo(call="c-1", attempt="a-1", direction="out", number="+882100000001", since=NOW, connected=NOW)
    return report(seq, S.ACTIVE, channel, call=call)


def model_of(*told: Message) -> RackModel:
    model = RackModel(Hands())
    for message in told:
        take(model, message)
    return model


def test_older_messages_do_not_turn_the_page_back() -> None:
    """A redelivered message would show a channel ready that is in a call."""
    model = model_of(status(), talking(5), report(4))
    assert model.snapshot().channels["lab-01", 1].state == S.ACTIVE
    take(model, report(1).model_copy(update={"boot": "b2"}))
    assert model.snapshot().channels["lab-01", 1].state == S.READY


@given(st.permutations(range(1, 9)))
def test_any_order_of_delivery_ends_at_the_newest(order: list[int]) -> None:
    """What a page shows would depend on the broker's mood."""
    states = list(S)
    model = model_of(status(), *(report(seq, states[seq]) for seq in order))
    assert model.snapshot().channels["lab-01", 1].state == states[8]


def test_last_will_of_a_box_is_one_change_of_its_cells() -> None:
    """Sixteen cells would stay blue on a box that is gone."""
    model = model_of(status(), talking(), report(1, channel=2))
    model.take_changes()
    take(model, status(2, online=False))
    changes = model.take_changes()
    assert changes.channels == {("lab-01", 1), ("lab-01", 2)}
    assert changes.boxes == {"lab-01"}
    assert not changes.layout
    cell = cells.cell(("lab-01", 1), model.snapshot(), Names(), NOW)
    assert (cell.tone, cell.word, cell.sub) == ("unknown", "Unknown", "was busy")


def test_a_new_box_and_a_new_channel_change_the_layout() -> None:
    """A box that was plugged in would not show until somebody reloads."""
    model = model_of(status())
    assert model.take_changes().layout
    take(model, report(1))
    assert not model.take_changes().layout
    take(model, report(1, channel=9))
    assert model.take_changes().layout
    model.forget_box("lab-01")
    assert model.take_changes().layout
    assert not model.snapshot().channels


def test_events_of_a_channel_are_kept_newest_first_and_bounded() -> None:
    """The drawer would show the oldest news, or the memory would grow for months."""
    model = model_of(status())
    states = (S.READY, S.DIALLING)
    for seq in range(1, 80):
        take(model, report(seq, states[seq % 2]))
    events = model.events(("lab-01", 1))
    assert len(events) == EVENTS_KEPT
    assert events[0].state == states[79 % 2]


def test_an_ended_call_leaves_and_does_not_come_back() -> None:
    """Dead calls would fill the Calls page."""
    model = model_of(live_call(1), live_call(2, "ended"))
    assert not model.snapshot().calls
    model.seed_calls((), ())
    assert not model.snapshot().calls


def test_alarm_count_and_controller_reach_the_top_of_every_page() -> None:
    """A new alarm would be seen only on the next page."""
    model = model_of(
        AlarmSummary(boot="c", seq=1, at=NOW, critical=1), ControllerStatus(boot="c", seq=1, at=NOW, online=True)
    )
    assert model.take_changes().top
    assert not model.controller(ControllerStatus(boot="c", seq=2, at=NOW, online=False))
    assert model.controller(ControllerStatus(boot="d", seq=1, at=NOW, online=True))


# --- the ring


def read_until(feed: Feed, place: str, names: set[str]) -> list[Item]:
    found = []
    for item in feed.read(place, frozenset({"rack"}), silence_s=0.05):
        if item is None:
            break
        found.append(item)
        if item.name in names:
            break
    return found


def test_a_page_gets_what_changed_after_it_was_drawn() -> None:
    """A change between drawing and listening would be lost."""
    feed = Feed("e")
    place = feed.place
    feed.publish("rack", "rack", "one")
    feed.publish("calls", "calls", "not for this page")
    feed.publish("*", "top", "for all")
    assert [item.data for item in read_until(feed, place, {"top"})] == ["one", "for all"]


@pytest.mark.parametrize("place", ["", "other-0", "e-99", "e-x", "nonsense"])
def test_an_unknown_place_starts_anew(place: str) -> None:
    """After a restart of the control room, browsers would show the old run's state."""
    feed = Feed("e")
    assert next(item.name for item in feed.read(place, frozenset(), silence_s=0.01) if item) == "resync"


def test_a_stream_that_fell_behind_is_told_to_fetch_again() -> None:
    """A laptop that slept would miss changes for ever."""
    feed = Feed("e", size=4)
    place = feed.place
    for number in range(10):
        feed.publish("rack", "rack", str(number))
    stream = feed.read(place, frozenset({"rack"}), silence_s=0.01)
    first = next(stream)
    assert first is not None
    assert first.name == "resync"
    feed.publish("rack", "rack", "after")
    second = next(stream)
    assert second is not None
    assert second.data == "after"


def test_changes_that_nobody_watched_make_the_next_page_fetch_again() -> None:
    """The change between drawing a page and its first listening would be lost while nobody else listens."""
    feed = Feed("e")
    place = feed.place
    feed.skip()
    first = next(feed.read(place, frozenset(), silence_s=0.01))
    assert first is not None
    assert first.name == "resync"


def test_a_topic_that_nobody_watched_is_fetched_again_though_others_were_watched() -> None:
    """The rack of whoever lost the line for a moment would stay wrong, because somebody else watched only the calls."""
    feed, rack, calls = Feed("e"), frozenset({"rack"}), frozenset({"calls"})
    feed.enter(9, rack | calls)
    place = feed.place
    feed.leave(rack)
    feed.touch()
    feed.publish("calls", "calls", "what the others get")
    assert feed.enter(9, rack)
    assert [item.name for item in read_until(feed, place, {"resync"})] == ["resync"]
    here = feed.place
    feed.publish("rack", "rack", "after")
    assert [item.data for item in read_until(feed, here, {"rack"})] == ["after"], "who is up to date goes on"


def test_some_of_the_feed_ends_and_says_up_to_where() -> None:
    """Behind a proxy that gathers, the next request would bring everything again, or skip something."""
    feed, rack = Feed("e"), frozenset({"rack"})
    place = feed.place
    feed.publish("rack", "rack", "one")
    feed.publish("calls", "calls", "not for this page")
    items, seq = feed.some(place, rack, 0.01)
    assert ([item.data for item in items], f"e-{seq}") == (["one"], feed.place)
    assert feed.some(feed.place, rack, 0.01) == ([], seq)
    assert [item.name for item in feed.some("old-1", rack, 0.01)[0]] == ["resync"]


def test_streams_are_counted_and_limited() -> None:
    """One more browser than threads would hang the whole control room."""
    feed = Feed("e")
    assert feed.enter(1)
    assert not feed.enter(1)
    feed.leave()
    assert feed.enter(1)


def test_closing_ends_waiting_streams() -> None:
    """The process would not end while a browser is open."""
    feed = Feed("e")
    done = threading.Event()

    def listen() -> None:
        list(feed.read(feed.place, frozenset(), silence_s=30))
        done.set()

    thread = threading.Thread(target=listen)
    thread.start()
    feed.close()
    assert done.wait(5)
    thread.join(5)


# --- the thread


@pytest.fixture
def running(demo: Stand) -> Iterator[Stand]:
    """The demo with its live thread over an in-memory broker."""
    demo.room.live.start()
    wait_until(lambda: demo.model.snapshot().broker, what="the link to the broker")
    yield demo
    demo.room.live.stop()


def publish(stand: Stand, topic: str, message: Message | bytes, *, retain: bool = True) -> None:
    payload = message if isinstance(message, bytes) else message.encode()
    assert stand.room.live.loop is not None
    stand.room.live.loop.call_soon_threadsafe(lambda: stand.broker.route(topic, payload, retain=retain))


@dataclass
class Listener:
    """A browser's event stream, read in a thread of its own."""

    stand: Stand
    topic: str = "rack"
    events: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        browser = self.stand.signed_in()
        place = self.stand.room.feed.place
        self.answer = browser.client.get(f"/stream?since={place}&topic={self.topic}")
        assert self.answer.mimetype == "text/event-stream"
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stand.room.feed.close()
        self.thread.join(5)
        self.answer.close()

    def _read(self) -> None:
        for block in self.answer.response:
            text = block.decode() if isinstance(block, bytes) else block
            name = text.partition("event: ")[2].partition("\n")[0]
            self.events.append((name, text))

    def wait(self, name: str, word: str) -> str:
        def found() -> list[str]:
            return [text for event, text in list(self.events) if event == name and word in text]

        wait_until(lambda: bool(found()), what=f"event {name} with {word!r}")
        return found()[0]


@pytest.mark.stack
def test_a_change_at_a_channel_reaches_the_browser_as_its_cell(running: Stand) -> None:
    """The Rack page would need a reload."""
    now = running.clock.utc()
    with Listener(running) as page:
        call = CallInfo(call="c-9", attempt="a", direction="out", number="+882100000009", since=now, connected=now)
        changed = running.model.snapshot().channels["vienna-01", 6].model_copy(
            update={"state": S.ACTIVE, "call": call, "seq": 99, "since": now}
        )
        publish(running, topics.channel_state("vienna-01", 6), changed)
        event = page.wait("rack", 'id="ch-vienna-01-6"')
    assert 'class="ch speaking"' in event
    assert 'hx-swap-oob="true"' in event
    assert 'id="head-vienna-01"' in event
    assert "<!doctype" not in event
    assert page.events[0][0] == "beat"


@pytest.mark.stack
def test_the_drawer_and_the_calls_page_are_told(running: Stand) -> None:
    """An open drawer or the list of calls would show the past."""
    with Listener(running, topic="calls") as page:
        publish(running, topics.controller_call("c-77"), live_call(call="c-77", seq=5), retain=False)
        page.wait("calls", "changed")
        page.wait("top", "alarm-pill")
        assert not any(name == "rack" for name, _ in page.events)
    assert "c-77" in running.model.snapshot().calls


@pytest.mark.stack
def test_a_new_box_makes_the_grid_fetch_again(running: Stand) -> None:
    """A new box would stay invisible."""
    with Listener(running) as page:
        publish(running, topics.box_status("lab-01"), status())
        page.wait("layout", "again")
        publish(running, topics.box_status("lab-01"), b"")
        wait_until(lambda: "lab-01" not in running.model.snapshot().boxes, what="the box to leave")


@pytest.mark.stack
def test_garbage_on_the_bus_stops_nothing(running: Stand) -> None:
    """One bad payload would blind the control room."""
    publish(running, topics.channel_state("vienna-01", 1), b"\x00 garbage")
    publish(running, topics.box_status("lab-01"), b'{"v": 9}')
    publish(running, topics.controller_call("x"), b"[]", retain=False)
    publish(running, topics.box_status("lab-01"), status(7))
    wait_until(lambda: "lab-01" in running.model.snapshot().boxes, what="the good message after the bad ones")


@pytest.mark.stack
def test_a_lost_broker_is_said_and_comes_back(running: Stand) -> None:
    """People would trust a page that nothing feeds."""
    assert running.room.live.loop is not None
    bus = running.bus
    with Listener(running) as page:
        running.room.live.loop.call_soon_threadsafe(bus.pause)
        page.wait("top", 'data-broker="0"')
        assert running.signed_in().get("/healthz").json == {"ok": True, "broker": False}
        running.room.live.loop.call_soon_threadsafe(bus.resume)
        page.wait("top", 'data-broker="1"')


@pytest.mark.stack
def test_commands_go_out_with_the_persons_name_and_bring_the_answer(running: Stand) -> None:
    """Nobody would know who ended a call, or whether it was ended."""
    heard: list[Command] = []

    def controller(_topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        heard.append(command)
        answer = CommandReply(id=command.id, ok=command.args["call"] == "c-1", error="" if command.args["call"] == "c-1" else "no such call")
        running.broker.route(command.reply_to, answer.encode(), retain=False)

    assert running.room.live.loop is not None
    running.room.live.loop.call_soon_threadsafe(
        lambda: running.bus.subscribe(topics.controller_command(), controller)
    )
    reply = running.room.live.command(topics.controller_command(), "hang-up", {"call": "c-1"}, actor="Ada")
    assert reply.ok
    assert (heard[0].action, heard[0].actor) == ("hang-up", "Ada")
    assert heard[0].deadline - running.clock.utc() <= timedelta(seconds=5)
    assert not running.room.live.command(topics.controller_command(), "hang-up", {"call": "x"}, actor="Ada").ok


@pytest.mark.stack
def test_a_new_run_of_the_controller_brings_its_calls_from_the_database(running: Stand) -> None:
    """After a restart of the controller its calls would be missing until they change."""
    for call in list(running.model.snapshot().calls):
        running.model.call(live_call(call=call, seq=2, state="speaking"))
    running.model.seed_calls((), list(running.model.snapshot().calls))
    assert not running.model.snapshot().calls
    publish(running, topics.controller_status(), ControllerStatus(boot="c2", seq=1, at=NOW, online=True))
    wait_until(lambda: len(running.model.snapshot().calls) > 5, what="the calls from the database")


@pytest.mark.stack
def test_a_stream_ends_with_its_session(running: Stand) -> None:
    """A browser that signed out would go on showing the rack."""
    browser = running.signed_in()
    browser.get("/rack")
    answer = browser.client.get(f"/stream?since={running.room.feed.place}&topic=rack")
    events = iter(answer.response)
    assert b"beat" in next(events)
    browser.post("/sign-out")
    running.clock.forward(10)
    running.room.feed.publish("*", "beat", "now")
    assert any(b"signed-out" in block for block in events)
    answer.close()
    wait_until(lambda: running.room.feed.streams == 0, what="the stream to be given back")


def test_a_short_stream_ends_by_itself_with_what_there_was(demo: Stand) -> None:
    """Behind a proxy that passes nothing on before the end, a page would stand still for ever."""
    browser, feed = demo.signed_in(), demo.room.feed
    place = feed.place
    feed.publish("rack", "rack", "<i>one</i>")
    answer = browser.client.get(f"/stream?since={place}&topic=rack&short=1", buffered=True)
    assert f"id: {feed.place}\nevent: rack\ndata: <i>one</i>" in answer.text
    assert f"id: {feed.place}\nevent: beat" in answer.text
    assert "no-transform" in answer.headers["Cache-Control"]
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert feed.streams == 0
    lost = browser.client.get("/stream?since=another-run-5&topic=rack&short=1", buffered=True).text
    assert [line for line in lost.splitlines() if line.startswith("event:")] == ["event: resync", "event: rack", "event: top", "event: beat"]


@pytest.mark.stack
def test_a_stream_of_a_session_that_is_over_leads_to_the_door(demo: Stand) -> None:
    """A laptop that slept longer than its session would say "reconnecting" for ever."""
    browser, sessions = demo.signed_in(), demo.room.accounts.sessions
    for row in sessions.listed():
        sessions.revoke(Who("cli:test"), row.public)
    answer = browser.client.get("/stream?topic=rack", buffered=True)
    assert answer.text == "event: signed-out\ndata: now\n\n"


@pytest.mark.stack
def test_more_streams_than_allowed_are_refused(running: Stand) -> None:
    """Streams would take the threads that pages need."""
    browser = running.signed_in()
    for _ in range(running.room.settings.streams):
        assert running.room.feed.enter(running.room.settings.streams)
    answer = browser.get("/stream?topic=rack")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert running.room.settings.threads > running.room.settings.streams


@pytest.mark.stack
def test_a_busy_rack_is_drawn_in_time(running: Stand) -> None:
    """On a rack of 1,000 channels the page would lag behind (quality: S8)."""
    model = running.model
    for channel in range(1, 1001):
        take(model, report(1, channel=channel))
    take(model, status(3, channels=1000))
    begun = time.perf_counter()
    page = running.signed_in().get("/rack")
    assert page.text.count('class="ch ') == 1064
    assert time.perf_counter() - begun < 5


async def test_demo_messages_survive_the_wire() -> None:
    """The demo would show what no bus can bring."""
    for message in messages(NOW):
        assert type(message).decode(message.encode()) == message
    await asyncio.sleep(0)
