"""What can be measured of the pages' looks: accessibility by axe, clipping, shifts, keyboard, weight."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from web_browser import behind_port
from web_demo import HARD_CALLS, LONG_BOX, TELLING_CALL, few, fleet, long_names, messages
from web_helpers import Stand, database, stand

from simrack.wire import topics
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import CallInfo

pytestmark = pytest.mark.system
S = ChannelState
ROOT = Path(__file__).parents[2]
WCAG = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']"
PAGES = (
    "/rack", "/rack/vienna-02/3", "/calls?text=alpine", "/records?text=1234567", "/alarms?all",
    f"/records/{TELLING_CALL}",
)  # fmt: skip
OTHER_PAGES = (
    "/rack?wall", "/calls?group=sender&text=nova", "/records?text=999999999", "/records?text=999&cause=900",
    "/nothing-here", *(f"/records/{HARD_CALLS[name]}" for name in ("six-failed", "refused")),
)  # fmt: skip
# Words of ours that must be whole; names given by people may end in an ellipsis.
CLIPPED = """() => [...document.querySelectorAll('.r2, .lg, .k, .v, .go span, .quiet span, .pill, .btn, th, .load, dt')]
  .filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible')
  .map(e => `${e.textContent.trim()} (${e.scrollWidth} in ${e.clientWidth})`)"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The checker; `make test` installs it before, a single run does it here."""
    path = ROOT / "node_modules/axe-core/axe.min.js"
    if not path.is_file():
        subprocess.run([sys.executable, "-P", "hatch_build.py"], cwd=ROOT, check=True)
    return path.read_text(encoding="utf-8")


def violations(page: Page, axe: str, path: str) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA."""
    page.evaluate("code => window.axe || (0, eval)(code)", axe)
    found = page.evaluate(f"axe.run({{runOnly: {WCAG}, resultTypes: ['violations']}})")["violations"]
    return [f"{path}: {rule['id']} at {node['target'][0]}" for rule in found for node in rule["nodes"]]


@pytest.fixture
def small(templates: Path, tmp_path: Path) -> Iterator[Stand]:
    """A control room with little of everything, because axe looks at each element for milliseconds."""
    shutil.copy(templates / "demo.db", tmp_path / "web.db")
    room = stand(database(tmp_path))
    room.feed(*few(messages(room.clock.utc())))
    yield room
    room.close()


def test_no_page_has_a_barrier_that_axe_finds(small: Stand, page: Page, axe: str) -> None:
    """People who see little, or use no mouse, could not work here."""
    with behind_port(small) as served:
        served.enter(page)
        found: list[str] = []
        for path in (*PAGES, *OTHER_PAGES):
            page.goto(served.base + path, wait_until="domcontentloaded")
            found += violations(page, axe, path)
        page.context.clear_cookies()
        page.goto(f"{served.base}/sign-in")
        found += violations(page, axe, "/sign-in")
        assert found == []


def test_no_page_has_a_barrier_in_the_dark_or_on_a_phone(small: Stand, page: Page, axe: str) -> None:
    """The night shift has both."""
    with behind_port(small) as served:
        served.enter(page)
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        page.set_viewport_size({"width": 390, "height": 844})
        found: list[str] = []
        for path in PAGES:
            page.goto(served.base + path, wait_until="domcontentloaded")
            found += violations(page, axe, path)
        assert found == []


def test_nothing_of_ours_is_clipped_however_long_the_names(empty: Stand, page: Page) -> None:
    """A state would be cut off in the middle of its word, or a name would push the load out of the box."""
    empty.feed(*long_names(empty.clock.utc()))
    with behind_port(empty) as served:
        served.enter(page)
        for path in ("/rack", f"/rack/{LONG_BOX}/18", "/rack?wall", "/calls", "/records"):
            page.goto(served.base + path, wait_until="domcontentloaded")
            for width in (1280, 1440, 390):
                page.set_viewport_size({"width": width, "height": 844})
                assert page.evaluate(CLIPPED) == [], (path, width)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{served.base}/rack")
        for box in (LONG_BOX, "brno-states"):
            head, load = page.locator(f"#head-{box}"), page.locator(f"#head-{box} .load")
            edges = head.bounding_box(), load.bounding_box()
            assert edges[0] is not None
            assert edges[1] is not None
            assert edges[1]["x"] + edges[1]["width"] <= edges[0]["x"] + edges[0]["width"]


def test_records_filter_is_one_row(demo: Stand, page: Page) -> None:
    """A lone field in a second row would take the place of a record."""
    with behind_port(demo) as served:
        served.enter(page, "/records?sender=alpine")
        tops = page.evaluate(
            "[...document.querySelectorAll('.filters > label > :is(input, select), .filters > .btn')]"
            ".map(e => Math.round(e.getBoundingClientRect().top))"
        )
        assert len(set(tops)) == 1


def test_columns_of_a_story_end_on_one_line(demo: Stand, page: Page) -> None:
    """A hole beside the last card would look like something that failed to load."""
    with behind_port(demo) as served:
        served.enter(page, f"/records/{TELLING_CALL}")
        for call in (TELLING_CALL, *HARD_CALLS.values()):
            page.goto(f"{served.base}/records/{call}")
            bottoms = page.evaluate(
                "[...document.querySelectorAll('.stack > .card:last-child')].map(e => Math.round(e.getBoundingClientRect().bottom))"
            )
            assert len(set(bottoms)) == 1, call


def test_nothing_moves_while_channels_change(demo: Stand, page: Page) -> None:
    """People would click the neighbour of what they pointed at."""
    with behind_port(demo) as served:
        served.enter(page)
        expect(page.locator("#live-word")).to_have_text("live")
        page.evaluate(
            "window.shifts = []; new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(e => [e.value, ...e.sources.map(s => s.node && (s.node.outerHTML || s.node.textContent).slice(0, 90))])))"
            ".observe({type: 'layout-shift', buffered: false})"
        )
        now = demo.clock.utc()
        call = CallInfo(call="c-9", attempt="a", direction="out", number="+882100000009", since=now, connected=now)
        for seq, state in enumerate((S.DIALLING, S.ACTIVE, S.SEARCHING, S.FAULT, S.NO_SIM, S.READY), 100):
            for channel in (3, 6):
                served.channel(
                    "vienna-01", channel, seq, state=state, since=now, call=call if state == S.ACTIVE else None,
                    fault="no module answers on its port" if state == S.FAULT else "",
                    marks=(Mark.DRAINING,) if state == S.READY else (),
                )  # fmt: skip
            expect(page.locator("#ch-vienna-01-6")).to_have_class(f"ch {LOOK[state]}")
        box = demo.model.snapshot().boxes["vienna-01"]
        served.publish(topics.box_status("vienna-01"), box.model_copy(update={"seq": 9, "outbox": 1204, "link": "plain"}))
        expect(page.locator("#head-vienna-01 .note")).to_have_count(2)
        assert page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(() => done(window.shifts), 50)))") == []


LOOK = {
    S.DIALLING: "between", S.ACTIVE: "speaking", S.SEARCHING: "searching", S.FAULT: "fault", S.NO_SIM: "empty",
    S.READY: "drain",
}  # fmt: skip

# Focus every thing that can have it and say which shows no ring, or cannot be reached by Tab.
RINGLESS = """() => {
  const lost = [];
  for (const e of document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, [tabindex]')) {
    if (!e.checkVisibility({visibilityProperty: true}) || e.id === 'main') continue;
    const name = `${e.tagName} ${e.id || e.className} ${e.textContent.trim().slice(0, 20)}`;
    if (e.tabIndex !== 0) lost.push(`${name}: not by Tab`);
    e.focus();
    const ring = [e, e.closest('.find')].some(x => x && parseFloat(getComputedStyle(x).outlineWidth) >= 1 && getComputedStyle(x).outlineStyle !== 'none');
    const box = e.getBoundingClientRect();
    if (document.activeElement !== e) lost.push(`${name}: no focus`);
    else if (!ring) lost.push(`${name}: no ring`);
    else if (box.bottom < 0 || box.top > innerHeight) lost.push(`${name}: out of sight`);
  }
  return lost;
}"""


def test_every_page_can_be_worked_by_keyboard_alone(demo: Stand, page: Page) -> None:
    """Somebody without a mouse would lose their place, or never reach an act."""
    with behind_port(demo) as served:
        served.enter(page)
        for path in ("/rack", "/rack/vienna-01/3", "/calls", "/records", "/alarms", f"/records/{TELLING_CALL}"):
            page.goto(served.base + path, wait_until="domcontentloaded")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Skip to content"
            assert page.evaluate(RINGLESS) == [], path
        page.goto(f"{served.base}/rack")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#keys")).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.querySelector('.ch')).transitionDuration") == "0s"


# 690 KB and 0.1 s of the server for 1280 cells, measured; a click would feel stuck with much more.
WEIGHT = 1_000_000


def test_a_hall_of_forty_boxes_is_drawn_at_once(empty: Stand, page: Page) -> None:
    """The larger the fleet, the less its control room could be used."""
    empty.feed(*fleet(empty.clock.utc(), 40, 32))
    with behind_port(empty) as served:
        served.enter(page, "/alarms")
        answer = page.goto(f"{served.base}/rack", wait_until="load")
        expect(page.locator(".ch")).to_have_count(1280)
        drawn = "[...document.querySelectorAll('.ch')].filter(e => e.checkVisibility({contentVisibilityAuto: true})).length"
        assert 32 <= page.evaluate(drawn) < 640
        assert answer is not None
        assert len(answer.body()) < WEIGHT
