"""Gateways, acts on boxes and channels, a large rack in parts, whose rows an owner sees."""

from dataclasses import replace
from datetime import timedelta

import pytest
import web_demo as demo_data
from web_helpers import NOW, Hands, Stand, take, text_of

from simrack.controller.models import Names, Own
from simrack.web import cells, health
from simrack.web.draw import MOST_TILES, Drawer
from simrack.web.masks import Mask
from simrack.web.overview import MOST_CELLS, Scope, sheet, tile
from simrack.web.rack import Changes, Rack, RackModel
from simrack.web.services import fleet
from simrack.wire.drain import MODES
from simrack.wire.errors import CommandFailed
from simrack.wire.messages import BoxStatus, CommandReply, ConsoleLine, ConsoleLines, HostFigures

NAMES = Names(sites={"vienna": "Vienna DC2", "brno": "Brno"}, plans={"nova": "Nova Biz"}, imsi_plans={"00101": "nova"})


def hall(boxes: int = 100) -> RackModel:
    model = RackModel(Hands())
    for message in demo_data.hall(NOW, boxes, 16):
        take(model, message)
    return model


def answer(stand: Stand, reply: CommandReply | CommandFailed) -> list[tuple[str, dict[str, object], str]]:
    """Stand in for the controller at the other end of the live link."""
    seen: list[tuple[str, dict[str, object], str]] = []

    def command(
        topic: str, action: str, args: dict[str, object], *, actor: str, timeout_s: float = 5.0
    ) -> CommandReply:
        seen.append((action, args, actor))
        if isinstance(reply, CommandFailed):
            raise reply
        return reply

    stand.room.live.command = command  # type: ignore[method-assign]
    return seen


# --- a large rack ---------------------------------------------------------------------------------------------


def test_a_large_rack_is_drawn_in_parts() -> None:
    """16,000 cells at once would freeze the browser of whoever must act."""
    rack = hall().snapshot()
    whole = sheet(rack, NAMES, NOW, Scope())
    assert (whole.kind, whole.whole, [site.title for site in whole.tiles]) == ("tiles", 1600, ["Brno", "Vienna DC2"])
    assert sum(len(site.tiles) for site in whole.tiles) == 100
    one = sheet(rack, NAMES, NOW, Scope(box="vienna-007"))
    assert (one.kind, one.shown, one.sites[0].boxes[0].box) == ("cells", 16, "vienna-007")
    assert sheet(rack, NAMES, NOW, Scope(site="brno")).shown == 34 * 16 < MOST_CELLS
    trouble = sheet(rack, NAMES, NOW, Scope(trouble=True))
    named = {box.box for site in trouble.sites for box in site.boxes}
    assert named == {"vienna-007", "vienna-013", "vienna-020", "vienna-040", "brno-099"}
    assert sheet(rack, NAMES, NOW, Scope(box="nowhere")).shown == 0


def test_a_tile_says_what_a_person_should_know_first() -> None:
    """One dead box among a thousand must be seen at a glance, and a wanted restart must not look like it."""
    rack = hall().snapshot()
    dead, back, draining, fault = (tile(box, rack, NOW) for box in ("vienna-040", "vienna-020", "vienna-007", "vienna-013"))
    assert (dead.tone, dead.state) == ("dead", "unreachable")
    assert (back.tone, back.state) == ("warn", "restarting")
    assert draining.state.endswith("calls left")
    assert fault.troubles == 1
    assert "1 fault" in fault.label
    pieces = (
        ("speaking", 0.0, 37.5), ("ready", 37.5, 25.0), ("searching", 62.5, 12.5), ("empty", 75.0, 18.8), ("fault", 93.8, 6.2),
    )  # fmt: skip
    assert fault.bar == "".join(f'<rect class="t-{tone}" x="{x}" width="{width}" height="6"/>' for tone, x, width in pieces)
    # Bars are drawn once for all boxes alike: what a box says next must not leave it with the old one.
    healed = replace(rack, kinds={**rack.kinds, "vienna-013": rack.kinds["vienna-001"]})
    assert tile("vienna-013", healed, NOW).bar == tile("vienna-001", rack, NOW).bar != fault.bar
    assert tile("vienna-013", rack, NOW) == fault
    late = tile("vienna-020", rack, NOW + timedelta(seconds=cells.RESTART_S + 1))
    assert late.tone == "dead", "a restart that does not come back is a dead box"


def test_live_changes_are_drawn_for_what_is_looked_at_and_no_more() -> None:
    """5,000 changes a second would flood every browser, or the loop that must answer them all."""
    model = hall(400)
    clock = Hands()
    drawn: list[list[tuple[str, str, str]]] = []

    class Desk:
        opened = frozenset({("vienna-007", 3)})

        def __init__(self) -> None:
            self.model, self.clock = model, clock

        def known_names(self) -> Names:
            return NAMES

        def known_figures(self) -> None:
            return None

    class Paper:
        def get_template(self, name: str) -> "Paper":
            self.name = name
            return self

        def render(self, values: dict[str, object]) -> str:
            return f"{self.name}:{len(values.get('tiles', values.get('cells', ())))}"  # type: ignore[arg-type]

    boxes = set(model.snapshot().boxes)
    changes = Changes(boxes=boxes, channels={(box, n) for box in boxes for n in range(1, 17)})
    for watched in ({"overview"}, {"box:vienna-007", "open"}, {"pulse"}, {"rack"}):
        drawer = Drawer(Paper, Desk(), lambda watched=watched: frozenset(watched))  # type: ignore[arg-type, misc]
        drawn.append([piece for piece in drawer(changes) if piece[0] in watched])
        again = [piece for piece in drawer(changes) if piece[0] in watched]
        assert all(topic.startswith(("box:", "open")) for topic, _, _ in again), "paced"
    assert drawn[0] == [("overview", "rack", f"overview.html:{MOST_TILES}")] or drawn[0][0][2].endswith(f":{MOST_TILES}")
    assert drawn[1] == [("box:vienna-007", "rack", "live/cells.html:16"), ("open", "ch-vienna-007-3", "changed")]
    assert drawn[2] == [("pulse", "pulse", "again")]
    assert drawn[3] == [("rack", "layout", "again")]


def test_an_owner_sees_the_channels_of_his_plans_and_no_trace_of_others() -> None:
    """A partner must not learn who else works on the rack, how much, or whom they call."""
    rack = hall(6).snapshot()
    names = Names(imsi_plans={"00101": "nova", "00102": "orbit", "00103": "tel7"})
    own = rack.within(Own(plans=frozenset({"nova"})), Mask(whole=False), names)
    assert own.bounded
    assert {names.plan_of(r.sim.iccid, r.sim.imsi) for r in own.channels.values() if r.sim} == {"nova"}
    assert 0 < len(own.channels) < len(rack.channels)
    assert all(call.plan == "nova" and "•" in call.called for call in own.calls.values())
    assert all(not box.software and not box.outbox and box.host is None for box in own.boxes.values())
    shown = sheet(own, names, NOW, Scope())
    assert shown.whole == len(own.channels), "not even how many channels there are"
    nobody = rack.within(Own(frozenset(), frozenset()), Mask(), names)
    assert not nobody.channels
    assert not nobody.boxes
    assert not nobody.calls


# --- gateways ---------------------------------------------------------------------------------------------------


def box(**more: object) -> Rack:
    model = RackModel(Hands())
    fields: dict[str, object] = {"boot": "b", "seq": 1, "at": NOW, "box": "lab-01", "online": True, **more}
    model.box(BoxStatus.model_validate(fields))
    return model.snapshot()


@pytest.mark.parametrize(
    ("more", "worry"),
    [
        ({"host": HostFigures(disk_free_mb=200, disk_mb=29_000)}, "disk 200 MB free"),
        ({"host": HostFigures(memory_free_mb=100, memory_mb=3900)}, "memory 100 MB free"),
        ({"host": HostFigures(load=2.5)}, "load 2.5 per processor"),
        ({"host": HostFigures(temperature_c=84.0)}, "84 °C"),
        ({"host": HostFigures(sessions=9), "uptime_s": 7200}, "link lost 8 times"),
        ({"clock_offset_ms": -2300}, "clock -2.3 s"), ({"outbox": 4}, "4 facts wait for the controller"),
        ({"trouble": "disk full"}, "its file can't be written: disk full"), ({"channels": 2}, "2 channels missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_box_is_said_before_it_stops_calls(more: dict[str, object], worry: str) -> None:
    """A full disk at night is cheaper seen in the afternoon."""
    found = health.health("lab-01", box(**more), Names(), NOW)
    assert worry in found.worries
    assert found.state == "look"
    assert health.health("lab-01", box(), Names(), NOW).state == "healthy", "a box that can't tell is not in trouble"


@pytest.mark.stack
def test_gateways_are_listed_found_sorted_and_written(demo: Stand) -> None:
    """Among a thousand boxes nobody scrolls."""
    browser = demo.signed_in()
    words = text_of(browser.get("/gateways").text)
    for expected in ("4 boxes", "vienna-01", "Unreachable", "24.2 GB", "48 °C", "1 channel at fault", "+0.012 s"):
        assert expected in words
    assert "1 box of 4" in text_of(browser.get("/gateways?state=unreachable").text)
    assert "2 boxes of 4" in text_of(browser.get("/gateways?site=brno").text)
    assert "No box matches" in text_of(browser.get("/gateways?text=<script>").text)
    sorted_page = browser.get("/gateways?sort=-trouble").text
    assert sorted_page.index(">brno-01<") < sorted_page.index(">vienna-01<")
    lines = browser.get("/gateways.csv?state=look").text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("Box,Site,State")
    page = text_of(browser.get("/gateways/vienna-02").text)
    for expected in ("24.1 GB of 29.8 GB", "49.5 °C", "16 channels", "EC25EFAR06A06M4G", "Restart the agent"):
        assert expected in page
    assert browser.get("/gateways/nowhere").status_code == 404


@pytest.mark.stack
def test_a_restart_says_what_it_touches_and_asks_before_it_cuts_anybody_off(demo: Stand) -> None:
    """A slip of the mouse would cut off sixteen calls."""
    seen = answer(demo, CommandReply(id="1", ok=True, result={"calls": 7, "mode": "when-calls-end"}))
    browser = demo.signed_in()
    asked = text_of(browser.get("/gateways/vienna-02/restart-box").text)
    assert "drains 7 calls, then restarts the agent" in asked
    assert "cuts off 7 calls" in asked
    refused = browser.post("/gateways/vienna-02/restart-box", mode="now", typed="yes")
    assert refused.status_code == 422
    assert "type vienna-02 to confirm" in text_of(refused.text)
    assert seen == []
    assert browser.post("/gateways/vienna-02/restart-box", mode="now", typed="vienna-02").status_code == 303
    browser.get("/gateways/vienna-02/restart-box")
    done = browser.post("/gateways/vienna-02/restart-box", mode="when-calls-end", limit_s="3600", target="dialog")
    assert done.status_code == 204
    assert "waits for 7 calls" in done.headers["HX-Trigger"]
    browser.get("/gateways/vienna-02/5/restart-module")
    browser.post("/gateways/vienna-02/5/restart-module", mode="when-convenient")
    browser.get("/gateways/vienna-02/5/disable-channel")
    browser.post("/gateways/vienna-02/5/disable-channel")
    assert seen == [
        ("restart-box", {"box": "vienna-02", "mode": "now"}, "user:Ada"),
        ("restart-box", {"box": "vienna-02", "mode": "when-calls-end", "limit_s": 3600}, "user:Ada"),
        ("restart-module", {"box": "vienna-02", "channel": 5, "mode": "when-convenient", "limit_s": 86400}, "user:Ada"),
        ("disable-channel", {"box": "vienna-02", "channel": 5}, "user:Ada"),
    ]


@pytest.mark.stack
@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        ("/gateways/vienna-02/drain", {"mode": "soon"}, 422, "choose one of"),
        ("/gateways/vienna-02/drain", {"mode": "when-calls-end", "limit_s": "x"}, 422, "number of seconds"),
        ("/gateways/vienna-02/drain", {"mode": "when-calls-end", "limit_s": "9" * 4000}, 422, "number of seconds"),
        ("/gateways/vienna-02/drain", {"mode": "now", "typed": "<script>" * 500}, 422, "type vienna-02"),
        ("/gateways/vienna-02/restart-module", {}, 422, "name the channel"),
        ("/gateways/vienna-02/1/restart-box", {}, 422, "of the whole box"),
        ("/gateways/vienna-02/explode", {}, 404, "nothing at this address"),
        ("/gateways/vienna-02/99/drain", {}, 404, "nothing at this address"),
        ("/gateways/nowhere/drain", {}, 404, "nothing at this address"),
    ],
)
def test_nonsense_is_answered_beside_the_field(demo: Stand, path: str, fields: dict[str, str], status: int, words: str) -> None:
    """A mistyped address or form must neither act nor break."""
    seen = answer(demo, CommandReply(id="1", ok=True))
    browser = demo.signed_in()
    browser.get("/gateways/vienna-02/restart-box")
    refused = browser.post(path, **fields)
    assert refused.status_code == status
    assert words in text_of(refused.text)
    assert "<script>" not in refused.text
    assert seen == []


@pytest.mark.stack
def test_a_box_that_says_no_is_heard(demo: Stand) -> None:
    """Else somebody believes that the box restarts, and waits."""
    answer(demo, CommandReply(id="1", ok=False, error="vienna-02: it is being restarted already"))
    browser = demo.signed_in()
    browser.get("/gateways/vienna-02/restart-box")
    refused = browser.post("/gateways/vienna-02/restart-box", mode="when-calls-end", target="dialog")
    assert refused.status_code == 502
    assert "It was not done: vienna-02: it is being restarted already" in text_of(refused.text)


def test_every_way_has_its_sentence_for_any_number_of_calls() -> None:
    """The button would promise what it does not do."""
    for do in fleet.DRAINS:
        for mode in MODES:
            for calls in (0, 1, 5):
                words = fleet.outlook(do, mode, calls)
                assert ("1 calls" in words) is False
                assert ("cuts off" in words) is (mode == "now" and calls > 0)


# --- console and calls ----------------------------------------------------------------------------------------


@pytest.mark.stack
def test_a_console_is_opened_shown_and_ended(demo: Stand) -> None:
    """Who must find out why a module is silent would have to drive to it."""
    seen = answer(demo, CommandReply(id="1", ok=True))
    browser = demo.signed_in()
    assert "Watch for 5 min" in text_of(browser.get("/rack/vienna-01/3/console").text)
    browser.post("/rack/vienna-01/3/console", seconds="300")
    assert seen == [("console", {"box": "vienna-01", "channel": 3, "seconds": 300}, "user:Ada")]
    lines = tuple(ConsoleLine(at=NOW, way=">", text=text) for text in ("AT+CSQ", "<script>alert(1)</script>"))
    until = demo.clock.utc() + timedelta(seconds=300)
    demo.model.console(ConsoleLines(box="vienna-01", channel=3, until=until, lines=lines))
    page = browser.get("/rack/vienna-01/3/console")
    assert "AT+CSQ" in text_of(page.text)
    assert "watching until" in text_of(page.text)
    assert "<script>" not in page.text
    browser.post("/rack/vienna-01/3/console", seconds="0")
    assert "Watch for 5 min" in text_of(browser.get("/rack/vienna-01/3/console").text)
    assert browser.get("/rack/vienna-01/99/console").status_code == 404


@pytest.mark.stack
def test_a_group_of_calls_is_ended_with_its_count_and_nothing_else(demo: Stand) -> None:
    """A call that came after the question was asked is nobody's to end."""
    seen = answer(demo, CommandReply(id="1", ok=True, result={"ended": 2, "over": 0}))
    browser = demo.signed_in()
    calls = demo.model.snapshot().calls
    mine = {name for name, call in calls.items() if call.sender == "alpine"}
    form = browser.get("/calls/hang-up?group=sender&value=alpine")
    assert f"Ends {len(mine)} calls now" in text_of(form.text)
    named = form.text.partition('name="calls" value="')[2].partition('"')[0]
    assert set(named.split()) == mine
    refused = browser.post("/calls/hang-up", calls=named, typed="yes")
    assert refused.status_code == 422
    assert f"type {len(mine)} to confirm" in text_of(refused.text)
    assert seen == []
    done = browser.post("/calls/hang-up", calls=named, typed=str(len(mine)))
    assert done.location == "/calls?done=2"
    assert seen[0][0] == "hang-up-group"
    assert set(seen[0][1]["calls"]) == mine  # type: ignore[call-overload]
    assert "No call of this group" in text_of(browser.get("/calls/hang-up?group=sender&value=nobody").text)


@pytest.mark.stack
def test_thousands_of_calls_are_paged_grouped_and_written(demo: Stand) -> None:
    """A page of 5,000 rows that is drawn anew at each change would never stand still."""
    first = next(iter(demo.model.snapshot().calls.values()))
    for index in range(250):
        demo.feed(first.model_copy(update={"call": f"x{index:04d}", "sender": "danube", "box": "", "channel": None}))
    browser = demo.signed_in()
    page = browser.get("/calls").text
    assert page.count('<tr id="call-') == 100
    assert "page 1 of 3" in text_of(page)
    grouped = browser.get("/calls?group=sender").text
    assert "Danube Cloud PBX" in text_of(grouped)
    assert grouped.count('<tr id="call-') == 100
    whole = len(demo.model.snapshot().calls)
    assert len(browser.get("/calls.csv").text.splitlines()) == whole + 1
    last = browser.get("/calls?page=3").text
    assert last.count('<tr id="call-') == whole - 200
    assert "past the end" in text_of(browser.get("/calls?page=9").text)
    assert browser.get("/calls?page=x&sort=<script>&group=no").status_code == 200
