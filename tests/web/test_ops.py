"""Alarms, Analyse and Logs: what people read on them, what they do there, and nonsense in every field."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from web_helpers import Browser, Stand, text_of, wait_until
from web_ops import NOTE, TARGETS, log_lines, more_alarms

from simrack.controller.alarms.catalogue import CATALOGUE
from simrack.controller.models import AlarmFilter, AlarmRow, Names
from simrack.web.logs import KEPT, LogFilter, LogRing
from simrack.web.pages_analyse import facts_now
from simrack.web.services import analyse
from simrack.wire import topics
from simrack.wire.messages import Command, CommandReply, LogLine, LogLines

NONSENSE = ("<script>alert(1)</script>", "x" * 4000, "'; drop table alarm; --", "\x00", "٣", "-1", "1e9", "%", "{{7*7}}", "9" * 30)


class Controller:
    """The other end of commands; answers as told and remembers what it heard."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.heard: list[Command] = []
        self.answer: Callable[[Command], CommandReply] = lambda command: CommandReply(id=command.id, ok=True)

    def start(self) -> None:
        loop = self.stand.room.live
        loop.start()
        wait_until(lambda: self.stand.broker is not None and self.stand.bus.connected, what="the broker")
        assert loop.loop is not None
        loop.loop.call_soon_threadsafe(lambda: self.stand.bus.subscribe(topics.controller_command(), self._take))

    def _take(self, _topic: str, payload: bytes) -> None:
        command = Command.decode(payload)
        self.heard.append(command)
        self.stand.broker.route(command.reply_to, self.answer(command).encode(), retain=False)


@pytest.fixture
def ops(demo: Stand) -> Stand:
    """A control room in full work, with a week of alarms and minutes of logs."""
    more_alarms(demo.room.settings.database, demo.clock.utc())
    for message in log_lines(demo.clock.utc()):
        demo.room.live.logs.take(message, demo.clock.utc())
    return demo


@pytest.fixture
def controller(ops: Stand) -> Controller:
    made = Controller(ops)
    made.start()
    return made


def opened(stand: Stand) -> AlarmRow:
    return stand.room.desk.queries.alarms()[0]


# --- alarms -------------------------------------------------------------------------------------------------


def test_open_alarms_say_who_has_them_in_hand(ops: Stand) -> None:
    """Two people would drive to the same box."""
    words = text_of(ops.signed_in().get("/alarms").text)
    assert "Box brno-02 is unreachable" in words
    assert f"In the hand of Ada since 20 Nov, 13:52:07 : {NOTE}" in words


def test_acknowledging_asks_first_then_commands(ops: Stand, controller: Controller) -> None:
    """The night shift could not say that it is on it; or a slip would silence an alarm."""
    browser, alarm = ops.signed_in(), opened(ops)
    page = browser.get(f"/alarms/{alarm.id}/acknowledge")
    assert "turns quiet under the name of Ada" in text_of(page.text)
    assert controller.heard == []
    done = browser.post(f"/alarms/{alarm.id}/acknowledge", note="on it")
    assert done.status_code == 303
    (command,) = controller.heard
    assert (command.action, command.args, command.actor) == (
        "acknowledge-alarm", {"alarm": alarm.id, "note": "on it"}, "user:Ada"
    )  # fmt: skip


def test_release_is_a_command_too(ops: Stand, controller: Controller) -> None:
    alarm = next(row for row in ops.room.desk.queries.alarms() if row.acknowledged)
    browser = ops.signed_in()
    browser.get("/alarms")
    assert browser.post(f"/alarms/{alarm.id}/release").status_code == 303
    assert controller.heard[0].args == {"alarm": alarm.id, "note": "", "release": True}


def test_refusal_of_the_controller_is_shown_and_the_note_is_kept(ops: Stand, controller: Controller) -> None:
    """What was written would be lost with the first hiccup."""
    controller.answer = lambda command: CommandReply(id=command.id, ok=False, error="alarm 1 is not open (any more)")
    browser, alarm = ops.signed_in(), opened(ops)
    browser.get(f"/alarms/{alarm.id}/acknowledge")
    answer = browser.post(f"/alarms/{alarm.id}/acknowledge", note="keep these words")
    assert answer.status_code == 502
    assert "not open (any more)" in answer.text
    assert "keep these words" in answer.text


def test_note_that_is_too_long_is_said_beside_it(ops: Stand, controller: Controller) -> None:
    browser, alarm = ops.signed_in(), opened(ops)
    browser.get(f"/alarms/{alarm.id}/acknowledge")
    answer = browser.post(f"/alarms/{alarm.id}/acknowledge", note="<script>" * 500)
    assert answer.status_code == 422
    assert "this has 4000" in answer.text
    assert "<script>" not in answer.text.replace('<script src="', "").replace("<script defer", "")
    assert controller.heard == []


def test_an_alarm_that_is_not_open_is_not_found(ops: Stand) -> None:
    browser = ops.signed_in()
    for alarm in ("999999", "9" * 30, "x", "-1"):
        assert browser.get(f"/alarms/{alarm}/acknowledge").status_code == 404


def test_history_pages_by_key_and_exports_all_that_matches(ops: Stand) -> None:
    """A report over last week would lack rows, or have some twice."""
    queries = ops.room.desk.queries
    seen: list[int] = []
    wanted = AlarmFilter(state="closed", per_page=50)
    while True:
        page = queries.alarm_page(wanted)
        seen += [row.id for row in page.rows]
        if not page.next:
            break
        wanted = replace(wanted, after=page.next)
    assert len(seen) == len(set(seen)) == 121
    rows = list(csv.reader(io.StringIO(ops.signed_in().get("/alarms.csv?state=closed").text)))
    assert [int(row[0]) for row in rows[1:]] == seen


def test_history_filters_stand_in_the_address(ops: Stand) -> None:
    browser = ops.signed_in()
    page = browser.get("/alarms?state=closed&severity=critical&kind=broker-down")
    assert "No session with the MQTT broker" in page.text
    assert "Box " not in text_of(page.text).partition("Newest first")[2]
    words = text_of(browser.get("/alarms?state=acknowledged&text=technician").text)
    assert "Module of vienna-02 / 5" in words
    assert "No alarm matches" in browser.get("/alarms?state=&text=zzz").text


def test_nonsense_in_the_filters_is_said_and_never_an_error(ops: Stand) -> None:
    client = ops.signed_in().client
    for field in ("state", "severity", "kind", "text", "since", "until", "after"):
        for value in NONSENSE:
            page = client.get("/alarms", query_string={"state": "", field: value})
            assert page.status_code == 200, (field, value)
            assert "<script>alert" not in page.text


def test_catalogue_shows_every_kind_with_its_threshold(ops: Stand) -> None:
    words = text_of(ops.signed_in().get("/alarms/kinds").text)
    for kind in CATALOGUE:
        assert kind in words
    assert "10 %" in words
    assert "80 °C" in words


def test_notices_show_how_delivery_goes(ops: Stand, controller: Controller) -> None:
    """People would believe that they are told."""
    controller.answer = lambda command: CommandReply(id=command.id, ok=True, result={"targets": TARGETS, "held": 2})
    words = text_of(ops.signed_in().get("/alarms/notices").text)
    assert "451 try again later" in words
    assert "when nobody has acknowledged for 30 min" in words
    assert "2 notices held back" in words


def test_notices_without_targets_say_what_to_do(ops: Stand, controller: Controller) -> None:
    controller.answer = lambda command: CommandReply(id=command.id, ok=True, result={"targets": [], "held": 0})
    assert "Nobody is told of alarms" in ops.signed_in().get("/alarms/notices").text


def test_notices_without_a_controller_say_so(ops: Stand, controller: Controller) -> None:
    controller.answer = lambda command: CommandReply(id=command.id, ok=False, error="nobody is here")
    page = ops.signed_in().get("/alarms/notices")
    assert page.status_code == 200
    assert "nobody is here" in page.text


def test_test_notice_says_what_happened(ops: Stand, controller: Controller) -> None:
    browser = ops.signed_in()
    browser.get("/alarms/1/acknowledge")
    assert "It arrived" in browser.post("/alarms/notices/webhook/test").text
    controller.answer = lambda command: CommandReply(id=command.id, ok=False, error="the test did not arrive: 403")
    assert "403" in browser.post("/alarms/notices/webhook/test").text
    assert [command.args for command in controller.heard] == [{"target": "webhook"}] * 2


# --- analyse ------------------------------------------------------------------------------------------------


def facts(stand: Stand) -> analyse.Facts:
    with stand.app.test_request_context():
        return facts_now()


def test_analyse_is_worst_first_and_tells_one_trouble_once(ops: Stand) -> None:
    """People would mend a disabled channel while calls are lost; or count one dead box as seventeen troubles."""
    found = analyse.findings(facts(ops))
    ranks = [analyse.RANKS.index(one.rank) for one in found if not one.hand]
    assert ranks == sorted(ranks)
    assert sum("brno-02" in one.title for one in found) == 1
    assert all(one.todo for one in found)
    titles = [one.title for one in found]
    assert any(title.startswith("1 channel of brno-01 never reported") for title in titles)
    assert "The agreement brno-only ends on 2026-12-01" in titles
    assert "Nobody is told of alarms" in titles
    assert found[-1].hand == "Ada"


def test_every_link_of_analyse_leads_somewhere(ops: Stand) -> None:
    """What to do would end at a page that isn't there."""
    browser = ops.signed_in()
    known = ops.app.url_map.bind("localhost")
    for one in analyse.findings(facts(ops)):
        for path in (one.href, *(address for _, address in one.where)):
            if path and not path.startswith(("/settings", "/set-up")):
                assert known.test(path.partition("?")[0].partition("#")[0], "GET"), path
    assert "Go there" in browser.get("/analyse").text


def test_analyse_page_filters_by_area(ops: Stand) -> None:
    browser = ops.signed_in()
    assert "never reported" in browser.get("/analyse?area=rack").text
    assert "never reported" not in browser.get("/analyse?area=configuration").text
    assert browser.get("/analyse?area=<script>").status_code == 200


def test_empty_installation_is_led_to_its_set_up(empty: Stand) -> None:
    browser = empty.signed_in()
    words = text_of(browser.get("/analyse").text)
    assert "Set-up is not finished" in words
    assert "The control room has no session with the broker" in words


def test_a_pattern_without_a_channel_in_service_is_found(ops: Stand) -> None:
    """All SIMs of a plan are out, and the first word of it is a customer's."""
    now = facts(ops)
    moved = Names(now.names.senders, now.names.plans, now.names.sites, {}, {"0010": "nova"})
    found = analyse.findings(replace(now, names=moved))
    assert any("have no channel in service" in one.title for one in found)


# --- logs ---------------------------------------------------------------------------------------------------


def line(seq: int, at_s: float = 0.0, **fields: Any) -> LogLine:
    from web_helpers import NOW

    return LogLine(seq=seq, at=NOW + timedelta(seconds=at_s), **{"level": "info", "event": f"line {seq}", **fields})


def lines_of(*lines: LogLine, process: str = "controller", boot: str = "b1") -> LogLines:
    return LogLines(process=process, boot=boot, level="info", lines=lines)


def test_lines_that_come_twice_or_late_stand_once_in_order() -> None:
    """Lines that were asked for again would stand twice, or at the end."""
    from web_helpers import NOW

    ring = LogRing()
    ring.take(lines_of(line(5, 5), line(6, 6)), NOW)
    ring.take(lines_of(line(4, 4), line(5, 5)), NOW)
    ring.take(lines_of(line(5, 1), boot="b2"), NOW)
    assert [kept.line.seq for kept in ring.find(LogFilter()).lines] == [6, 5, 4, 5]


def test_memory_is_bounded() -> None:
    from web_helpers import NOW

    ring = LogRing(kept=100)
    for start in range(0, 1000, 50):
        ring.take(lines_of(*(line(start + number, start + number) for number in range(50))), NOW)
    page = ring.find(LogFilter(), KEPT)
    assert (len(page.lines), page.kept, len(ring._known)) == (100, 100, 100)
    assert page.lines[0].line.seq == 999


def test_pages_of_lines_go_on_where_the_last_ended() -> None:
    from web_helpers import NOW

    ring = LogRing()
    ring.take(lines_of(*(line(number, number // 3) for number in range(100))), NOW)
    seen, wanted = [], LogFilter()
    while True:
        page = ring.find(wanted, 7)
        seen += [kept.line.seq for kept in page.lines]
        if page.next is None:
            break
        wanted = replace(wanted, before=page.next)
    assert seen == list(reversed(range(100)))


def test_logs_page_finds_by_severity_box_call_and_words(ops: Stand) -> None:
    """One call's trouble drowns in the lines of all others."""
    browser = ops.signed_in()
    assert "module does not answer" in browser.get("/logs").text
    errors = text_of(browser.get("/logs?level=error").text)
    assert "call task failed" in errors
    assert "registered" not in errors.partition("newest first")[2]
    box = text_of(browser.get("/logs?box=vienna-02&channel=5").text).partition("newest first")[2]
    assert "module does not answer" in box
    assert "call answered" not in box
    assert "no such codec" in browser.get("/logs?call=c0ffee0000000012").text
    assert "restart-module" in browser.get("/logs?text=RESTART-mod").text
    assert "No line matches" in browser.get("/logs?process=box-brno-02&text=nothing").text


def test_level_that_ends_by_itself_is_on_the_page(ops: Stand) -> None:
    assert "debug until 15:14:07" in text_of(ops.signed_in().get("/logs").text)


def test_logs_of_the_first_minute_say_what_is_missing(empty: Stand) -> None:
    assert "No line has come yet" in empty.signed_in().get("/logs").text


def test_lines_download_as_json_in_the_order_of_time(ops: Stand) -> None:
    found = [json.loads(text) for text in ops.signed_in().get("/logs.jsonl?level=warning").text.splitlines()]
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)
    assert {one["level"] for one in found} == {"warning", "error"}


def test_nonsense_in_log_filters_is_no_error(ops: Stand) -> None:
    client = ops.signed_in().client
    for field in ("level", "process", "box", "channel", "call", "sender", "text", "since", "until", "before"):
        for value in NONSENSE:
            page = client.get("/logs", query_string={field: value})
            assert page.status_code == 200, (field, value)
            assert "<script>alert" not in page.text
            assert client.get("/logs.jsonl", query_string={field: value}).status_code in (200, 400)


def test_a_hostile_line_is_words_on_the_page(demo: Stand) -> None:
    """Whoever can make a box log something could run a script in the browser of the NOC."""
    hostile = "<script>alert(1)</script>"
    demo.room.live.logs.take(
        lines_of(line(1, event=hostile, box=hostile, call=hostile, sender=hostile, fields={hostile: hostile, "exception": hostile})), demo.clock.utc()
    )
    assert "<script>alert" not in demo.signed_in().get("/logs").text


def test_log_level_is_a_command_with_a_limit(ops: Stand, controller: Controller) -> None:
    browser = ops.signed_in()
    assert "comes back by itself" in browser.get("/logs/controller/level").text
    assert browser.post("/logs/controller/level", level="debug", minutes="60").status_code == 303
    assert controller.heard[0].args == {"process": "controller", "level": "debug", "minutes": 60}
    browser.get("/logs/controller/level")
    wrong = browser.post("/logs/controller/level", level="silly", minutes="9999999")
    assert wrong.status_code == 422
    assert "Choose one of" in wrong.text
    assert len(controller.heard) == 1
    assert browser.get("/logs/nobody/level").status_code == 404


def test_processes_are_asked_for_earlier_lines_once(demo: Stand) -> None:
    """After a restart of the control room the minutes before it would be gone."""
    asked: list[bytes] = []
    bus = demo.broker.bus("ear")
    bus._up = True
    bus.subscribe(topics.log_wish(topics.EVERY_PROCESS), lambda _, data: asked.append(data))
    demo.room.live.start()
    wait_until(lambda: len(asked) == 1, what="the wish")


# --- API ----------------------------------------------------------------------------------------------------


def test_api_lists_and_acts_as_the_pages_do(ops: Stand, controller: Controller) -> None:
    browser, alarm = ops.signed_in(), opened(ops)
    assert browser.get("/api/v1/alarms?open_only=false&state=closed&limit=10").json["next"] > 0  # type: ignore[index]
    assert browser.get(f"/api/v1/alarms/{alarm.id}").json["title"] == alarm.title  # type: ignore[index]
    assert browser.get("/api/v1/alarms/999999").status_code == 404
    assert len(browser.get("/api/v1/alarms/kinds").json["kinds"]) == len(CATALOGUE)  # type: ignore[index]
    csrf = _csrf(browser)
    done = browser.client.post(f"/api/v1/alarms/{alarm.id}/acknowledge", json={"note": "by script"}, headers=csrf)
    assert done.status_code == 200
    assert controller.heard[-1].args["note"] == "by script"
    wrong = browser.client.post(f"/api/v1/alarms/{alarm.id}/acknowledge", json={"note": "x" * 501}, headers=csrf)
    assert wrong.status_code == 422
    found = browser.get("/api/v1/analyse").json["findings"]  # type: ignore[index]
    assert found[0]["rank"] == "critical"
    page = browser.get("/api/v1/logs?level=error&limit=5").json
    assert page is not None
    assert {one["level"] for one in page["lines"]} == {"error"}
    assert "controller" in {one["name"] for one in page["processes"]}
    assert browser.get("/api/v1/logs?before=nonsense").status_code == 400
    until = "2026-11-20T15:32:07+00:00"
    controller.answer = lambda command: CommandReply(id=command.id, ok=True, result={**command.args, "until": until})
    level = browser.client.put("/api/v1/logs/controller/level", json={"level": "debug"}, headers=csrf)
    assert (level.status_code, level.json["until"]) == (200, "2026-11-20T15:32:07Z")  # type: ignore[index]
    assert browser.client.put("/api/v1/logs/nobody/level", json={"level": "debug"}, headers=csrf).status_code == 404


def _csrf(browser: Browser) -> dict[str, str]:
    browser.get("/alarms/1/acknowledge")
    return {"X-CSRF-Token": browser.csrf()}


def test_a_line_feed_in_an_address_is_no_line_of_the_answers_head(ops: Stand, controller: Controller) -> None:
    """It was a 500, and without the server's own check one could write headers into the answer."""
    browser = ops.signed_in()
    answer = browser.client.post("/api/v1/alarms/notices/hall%0D%0AX-Own:%201/test", headers=_csrf(browser))
    assert answer.status_code in (200, 404, 422, 502), answer.text
    assert controller.heard
    assert "X-Own" not in answer.headers
