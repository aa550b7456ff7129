"""Rack, drawer, calls, alarms, search, errors: what people read on them, full, empty and in trouble."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from web_demo import TELLING_CALL, messages
from web_helpers import Hands, Stand, stand, text_of

from simrack.controller.config.reading import ConfigReader
from simrack.controller.figures import Counts, Peak, Statistics
from simrack.controller.models import (
    AlarmFilter,
    AlarmPage,
    AlarmRow,
    Figures,
    Names,
    OpenCallRow,
    Own,
    RecordFilter,
    RecordPage,
    Story,
)
from simrack.controller.store.audit import AuditQueries
from simrack.controller.store.errors import StoreDown
from simrack.controller.store.queries import Queries
from simrack.controller.store.statistics import Question
from simrack.controller.tracing.messages import Trace
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import CommandReply

EVERYTHING = Own()


class Switch:
    """Queries over a database that can be pulled out."""

    def __init__(self, url: str) -> None:
        self._queries, self.down = Queries(url), False

    def _ask(self) -> Queries:
        if self.down:
            raise StoreDown("the database can't be read: gone")
        return self._queries

    @property
    def config(self) -> ConfigReader:
        return self._ask().config

    @property
    def audit(self) -> AuditQueries:
        return self._ask().audit

    def records(self, wanted: RecordFilter, own: Own = EVERYTHING) -> RecordPage:
        return self._ask().records(wanted, own)

    def call_of(self, sender: str, sip_call_id: str, since: datetime) -> str:
        return self._ask().call_of(sender, sip_call_id, since)

    def story(self, call: str, own: Own = EVERYTHING) -> Story | None:
        return self._ask().story(call, own)

    def trace(self, call: str) -> Trace | None:
        return self._ask().trace(call)

    def groups(self, asked: Question, own: Own = EVERYTHING) -> Statistics:
        return self._ask().groups(asked, own)

    def times(self, asked: Question, own: Own = EVERYTHING, *, minutes: bool = False) -> dict[datetime, Counts]:
        return self._ask().times(asked, own, minutes=minutes)

    def both(
        self, asked: Question, own: Own = EVERYTHING, *, minutes: bool = False
    ) -> tuple[Statistics, dict[datetime, Counts]]:
        return self._ask().both(asked, own, minutes=minutes)

    def peaks(self, wanted: RecordFilter, own: Own = EVERYTHING) -> Peak | None:
        return self._ask().peaks(wanted, own)

    def causes(self, wanted: RecordFilter, own: Own = EVERYTHING) -> list[tuple[str, str, int, int, int]]:
        return self._ask().causes(wanted, own)

    def open_calls(self) -> tuple[OpenCallRow, ...]:
        return self._ask().open_calls()

    def alarms(self, open_only: bool = True) -> tuple[AlarmRow, ...]:
        return self._ask().alarms(open_only)

    def alarm_page(self, wanted: AlarmFilter) -> AlarmPage:
        return self._ask().alarm_page(wanted)

    def alarm(self, alarm: int) -> AlarmRow | None:
        return self._ask().alarm(alarm)

    def figures(self, now: datetime) -> Figures:
        return self._ask().figures(now)

    def names(self) -> Names:
        return self._ask().names()

    def close(self) -> None:
        self._queries.close()


@pytest.fixture
def pulled(demo: Stand) -> Iterator[tuple[Stand, Switch]]:
    """The demo with a database that can be pulled out."""
    switch = Switch(demo.room.settings.database)
    room = stand(demo.room.settings.database, queries=switch, clock=demo.clock)
    room.feed(*messages(demo.clock.utc()))
    yield room, switch
    room.close()
    switch.close()


@pytest.mark.stack
def test_rack_shows_sites_boxes_channels_and_figures(demo: Stand) -> None:
    """The first look at the rack would not tell what goes on."""
    page = demo.signed_in().get("/rack").text
    words = text_of(page)
    for expected in ("Vienna DC2", "Brno", "vienna-01", "Nova Biz", "Calls now", "ASR, last hour", "week ago", "p95"):
        assert expected in words
    assert page.count('class="ch ') == 64
    assert "brno-02" in words
    assert page.count("box-head dead") == 1
    assert "ch fault" not in page.split('id="box-brno-02"')[1].split('id="box-')[0]


@pytest.mark.stack
def test_a_missing_channel_and_its_box_stand_out(demo: Stand) -> None:
    """A channel that never reported would look as if it did not exist."""
    page = demo.signed_in().get("/rack").text
    assert 'class="ch missing" id="ch-brno-01-11"' in page
    assert "1 channel missing" in page


@pytest.mark.stack
def test_empty_rack_says_what_to_do(empty: Stand) -> None:
    """A newcomer would see a blank page."""
    words = text_of(empty.signed_in().get("/rack").text)
    assert "No box has reported yet" in words
    assert "simrack box --config" in words
    assert "no link to the broker" in words


@pytest.mark.stack
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/calls", "No call in progress"), ("/records", "No call on record yet"), ("/alarms", "Nothing needs a hand"),
        ("/alarms?all", "No alarm was ever opened"),
    ],
)  # fmt: skip
def test_empty_pages_say_what_they_will_show(empty: Stand, path: str, words: str) -> None:
    """An empty table would leave people wondering whether it works."""
    assert words in text_of(empty.signed_in().get(path).text)


@pytest.mark.stack
def test_drawer_opens_by_its_own_address(demo: Stand) -> None:
    """A colleague could not be sent to one channel."""
    browser = demo.signed_in()
    whole = browser.get("/rack/vienna-01/3").text
    words = text_of(whole)
    for expected in ("vienna-01 / 3", "Speaking", "IMSI", "EC25", "Last events", "Last calls", "End this call"):
        assert expected in words
    part = browser.get("/rack/vienna-01/3", HX_Request="true", HX_Target="drawer").text
    assert "<html" not in part
    assert "vienna-01 / 3" in text_of(part)


@pytest.mark.stack
def test_drawer_of_a_missing_and_of_a_faulty_channel(demo: Stand) -> None:
    """The channels that need a hand would be the ones without a page."""
    browser = demo.signed_in()
    assert "has not reported this channel" in text_of(browser.get("/rack/brno-01/11").text)
    faulty = text_of(browser.get("/rack/vienna-02/5").text)
    for expected in ("no answer to AT", "Recovery", "USB reset", "tried 2, helped 0, failed 2"):
        assert expected in faulty
    assert browser.get("/rack/vienna-02/99").status_code == 404
    assert browser.get("/rack/nowhere/1").status_code == 404


@pytest.mark.stack
def test_calls_page_lists_groups_and_finds(demo: Stand) -> None:
    """People could not see who talks over which channel."""
    browser = demo.signed_in()
    words = text_of(browser.get("/calls").text)
    count = len(demo.model.snapshot().calls)
    assert f"{count} calls in progress" in words
    assert "Moravia Voice" in words
    grouped = browser.get("/calls?group=sender").text
    assert grouped.count('class="group"') == 4
    call = next(iter(demo.model.snapshot().calls.values()))
    found = text_of(browser.get(f"/calls?text={call.called.lstrip('+')}").text)
    assert "1 call in progress" in found
    assert "No call matches" in text_of(browser.get("/calls?text=nobody").text)


@pytest.mark.stack
def test_calls_known_only_to_the_database_are_shown_and_ended_ones_are_not(demo: Stand) -> None:
    """After a restart of the control room, calls in progress would be missing, or dead ones would come back."""
    fresh = stand(demo.room.settings.database, clock=demo.clock)
    fresh.room.desk.seed()
    known = len(fresh.model.snapshot().calls)
    assert known == len(demo.model.snapshot().calls) > 0
    call = next(iter(fresh.model.snapshot().calls.values()))
    fresh.model.call(call.model_copy(update={"state": "ended", "boot": "c1", "seq": 9}))
    fresh.room.desk.seed()
    assert len(fresh.model.snapshot().calls) == known - 1
    fresh.close()


@pytest.mark.stack
def test_a_call_that_began_while_the_database_was_asked_stays(demo: Stand) -> None:
    """A young call would vanish from the page for its whole life."""
    calls = demo.model.snapshot().calls
    demo.model.seed_calls((), before=[call for call in calls if call != min(calls)])
    assert set(demo.model.snapshot().calls) == {min(calls)}


def answer_commands(room: Stand, reply: CommandReply | CommandFailed, seen: list[object]) -> None:
    """Stand in for the controller at the other end of the live link."""

    def command(
        topic: str, action: str, args: dict[str, object], *, actor: str, timeout_s: float = 5.0
    ) -> CommandReply:
        seen.append((topic, action, args, actor))
        if isinstance(reply, CommandFailed):
            raise reply
        return reply

    room.room.live.command = command  # type: ignore[method-assign]


@pytest.mark.stack
def test_ending_a_call_says_what_it_touches_and_sends_the_command(demo: Stand) -> None:
    """A slip of the mouse would cut people off, or the button would do nothing."""
    seen: list[object] = []
    answer_commands(demo, CommandReply(id="1", ok=True), seen)
    browser = demo.signed_in()
    call = next(iter(demo.model.snapshot().calls))
    asked = text_of(browser.get(f"/calls/{call}/hang-up").text)
    assert "Ends 1 call now" in asked
    assert seen == []
    answer = browser.post(f"/calls/{call}/hang-up")
    assert answer.location == "/calls?done=1"
    assert seen == [("simrack/v1/controller/command", "hang-up", {"call": call}, "user:Ada")]
    browser.get(f"/calls/{call}/hang-up")
    part = browser.post(f"/calls/{call}/hang-up", target="dialog")
    assert part.status_code == 204
    assert "1 call ended" in part.headers["HX-Trigger"]


@pytest.mark.stack
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (CommandReply(id="1", ok=False, error="no such call"), "no such call"),
        (CommandFailed("hang-up: no answer within 5 s"), "no answer within 5 s"),
    ],
)
def test_a_call_that_could_not_be_ended_is_said(demo: Stand, reply: CommandReply | CommandFailed, words: str) -> None:
    """People would believe that the call is over."""
    answer_commands(demo, reply, [])
    browser = demo.signed_in()
    call = next(iter(demo.model.snapshot().calls))
    browser.get(f"/calls/{call}/hang-up")
    answer = browser.post(f"/calls/{call}/hang-up")
    assert answer.status_code == 502
    assert f"It was not ended: {'hang-up: ' if 'within' in words else ''}{words}" in text_of(answer.text)


@pytest.mark.stack
def test_ending_a_call_that_is_over(demo: Stand) -> None:
    """A late click would be a server error."""
    assert demo.signed_in().get("/calls/feedfeed/hang-up").status_code == 404


@pytest.mark.stack
def test_story_page_tells_the_whole_call(demo: Stand) -> None:
    """A complaint could not be answered from one page."""
    page = demo.signed_in().get(f"/records/{TELLING_CALL}").text
    words = text_of(page)
    for expected in (
        "Alpine Tel → +882 101234567", "3:42.314", "sender 3:42.278", "calling side", "MOS 4.2",
        "INVITE, attempt 2", "AT+QHUP=16", "ALERTING", "speaking 3:42", "Channels with their SIMs",
        "vienna-02 / 7", "daily minutes reached", "+CME ERROR: 30", "drift 38 ppm", "8988 2100 2070 0004 410",
    ):  # fmt: skip
        assert expected in words, expected
    assert page.count('class="voice"') == 2
    assert "6.120 s" not in words
    assert "7.437 s" in words


@pytest.mark.stack
def test_story_of_a_refused_call_shows_the_refusal(demo: Stand) -> None:
    """Nobody could say why a call was turned away."""
    row = demo.room.desk.queries.records(RecordFilter(cause=34, sort="started")).rows
    pages = [text_of(demo.signed_in().get(f"/records/{one.call}").text) for one in row]
    assert any("Refused: every channel that could carry it is busy" in page for page in pages)


@pytest.mark.stack
def test_story_of_a_call_in_progress_and_of_none(demo: Stand) -> None:
    """A link from the Calls page would end in an error."""
    browser = demo.signed_in()
    call = next(iter(demo.model.snapshot().calls))
    assert "This call is still going on" in text_of(browser.get(f"/records/{call}").text)
    assert browser.get("/records/none").status_code == 404


@pytest.mark.stack
def test_alarms_open_and_all(demo: Stand) -> None:
    """People would not know what needs a hand, or what to do about it."""
    browser = demo.signed_in()
    words = text_of(browser.get("/alarms").text)
    assert "Box brno-02 is unreachable" in words
    assert "Look at its power and uplink" in words
    assert "3 facts of brno-01" not in words
    assert "3 facts of brno-01" in text_of(browser.get("/alarms?all").text)


@pytest.mark.stack
def test_search_goes_where_the_thing_is(demo: Stand) -> None:
    """One field would need to be told what was typed into it."""
    browser = demo.signed_in()
    report = demo.model.snapshot().channels["vienna-01", 3]
    assert report.sim is not None
    assert browser.get("/search?q=vienna-02").location == "/rack#box-vienna-02"
    assert browser.get(f"/search?q={report.sim.iccid}").location == "/rack/vienna-01/3"
    assert browser.get("/search?q=%2B882 10 12345").location == "/records?text=%2B8821012345"
    assert browser.get("/search?q=").location == "/records?text="


def test_rack_without_database_stays_and_says_what_is_missing(pulled: tuple[Stand, Switch]) -> None:
    """An outage of the database would blind the people who mend it."""
    room, switch = pulled
    browser = room.signed_in()
    switch.down = True
    page = browser.get("/rack")
    assert page.status_code == 200
    assert "records can't be read" in text_of(page.text)
    assert page.text.count('class="ch ') == 64
    assert "The records can't be read now" in text_of(browser.get("/rack/vienna-01/3").text)
    assert browser.get("/calls").status_code == 200


@pytest.mark.parametrize("path", ["/records", "/records.csv", f"/records/{TELLING_CALL}", "/alarms"])
def test_pages_of_the_database_say_that_it_is_gone(pulled: tuple[Stand, Switch], path: str) -> None:
    """A stack trace, or an empty table that looks like no calls."""
    room, switch = pulled
    browser = room.signed_in()
    switch.down = True
    answer = browser.get(path)
    assert answer.status_code == 503
    assert "The database can't be read now" in text_of(answer.text)
    switch.down = False
    assert browser.get(path).status_code == 200


def test_signed_in_people_stay_so_for_a_while_without_database(demo: Stand, tmp_path: Path) -> None:
    """With the database gone, nobody could look at the rack any more; later, a revoked session would live on."""
    browser = demo.signed_in()
    assert browser.get("/rack").status_code == 200
    demo.room.accounts.close()
    (tmp_path / "web.db").rename(tmp_path / "away.db")
    (tmp_path / "web.db").mkdir()
    demo.clock.forward(600)
    assert browser.get("/rack").status_code == 200
    demo.clock.forward(600)
    assert browser.get("/rack").status_code == 503


@pytest.mark.stack
def test_a_page_that_is_not_there(demo: Stand) -> None:
    """A mistyped address would end in a bare error."""
    answer = demo.signed_in().get("/nothing-here")
    assert answer.status_code == 404
    assert "There is nothing at this address" in text_of(answer.text)
    assert 'aria-label="Main"' in answer.text


@pytest.mark.stack
def test_a_body_larger_than_any_form_is_refused(demo: Stand) -> None:
    """One request could fill the memory."""
    answer = demo.browser().client.post("/sign-in", data={"name": "x" * 600_000})
    assert answer.status_code == 413


@pytest.mark.stack
def test_theme_and_wall_come_from_the_address_and_a_cookie(demo: Stand) -> None:
    """The page would flash in the wrong colours, or the wall would show a menu."""
    browser = demo.signed_in()
    assert "data-theme" not in browser.get("/rack").text
    browser.client.set_cookie("theme", "dark")
    assert 'data-theme="dark"' in browser.get("/rack").text
    browser.client.set_cookie("theme", '"><script>')
    assert "data-theme" not in browser.get("/rack").text
    assert 'class="wall"' in browser.get("/rack?wall").text


@pytest.mark.stack
def test_names_stand_where_ids_are(demo: Stand) -> None:
    """People would have to know ids by heart."""
    browser = demo.signed_in()
    for path in ("/calls", "/records", "/rack"):
        words = f" {text_of(browser.get(path).text)} "
        assert " alpine " not in words
        assert " nova " not in words


@pytest.mark.stack
def test_times_are_in_the_chosen_zone_with_utc_on_hover(demo: Stand) -> None:
    """A time could be read an hour off."""
    vienna = stand(demo.room.settings.database, clock=Hands(demo.clock.utc()), time_zone="Europe/Vienna")
    vienna.feed(*messages(vienna.clock.utc()))
    page = vienna.signed_in().get("/rack").text
    since = vienna.model.snapshot().boxes["brno-02"].at
    assert f"{since + timedelta(hours=1):%H:%M:%S}</time>" in page
    assert f'title="{since:%Y-%m-%d %H:%M:%S} UTC"' in page
    vienna.close()


@pytest.mark.stack
def test_health_needs_no_account(empty: Stand) -> None:
    """A watchdog would need a password."""
    assert empty.browser().get("/healthz").json == {"ok": True, "broker": False}


@pytest.mark.stack
async def test_page_threads_get_a_clear_error_when_the_live_link_is_down(empty: Stand) -> None:
    """A click would hang for ever."""
    with pytest.raises(CommandFailed):
        await asyncio.to_thread(empty.room.live.command, "t", "hang-up", {}, actor="Ada")
