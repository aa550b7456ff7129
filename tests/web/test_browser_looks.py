"""What can be measured of the pages' looks: accessibility by axe, clipping, shifts, keyboard, weight."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect
from web_browser import behind_port
from web_demo import A_CALL, A_CARD, HARD_CALLS, LONG_BOX, TELLING_CALL, few, fleet, long_names, messages
from web_helpers import Stand, database, stand

from simrack.web import nav
from simrack.wire import topics
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import CallInfo

pytestmark = pytest.mark.system
S = ChannelState
ROOT = Path(__file__).parents[2]
WCAG = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']"
# Words of ours that must be whole; names given by people may end in an ellipsis.
CLIPPED = """() => [...document.querySelectorAll('.r2, .lg, .k, .v, .go span, .tool span, .pill, .btn, thead th, .load, dt')]
  .filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible')
  .map(e => `${e.textContent.trim()} (${e.scrollWidth} in ${e.clientWidth})`)"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The checker; `make test` installs it before, a single run does it here."""
    path = ROOT / "node_modules/axe-core/axe.min.js"
    if not path.is_file():
        subprocess.run([sys.executable, "-P", "hatch_build.py"], cwd=ROOT, check=True)
    return path.read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    """What axe, which the page holds already, finds against WCAG 2.2 A and AA."""
    # No rule of these needs the style sheets, which it would fetch again for each run.
    found = page.evaluate(f"axe.run({{runOnly: {WCAG}, resultTypes: ['violations'], preload: false}})")["violations"]
    return [f"{rule['id']} at {node['target'][0]}" for rule in found for node in rule["nodes"]]


def look_at(page: Page, width: int, theme: Literal["light", "dark"]) -> None:
    """As on a screen of this width, once all has taken its place."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def misfits(page: Page, width: int) -> list[str]:
    """What does not fit a screen of this width, and a page without its one heading."""
    heads, wide = page.evaluate("[document.querySelectorAll('h1').length, document.documentElement.scrollWidth]")
    found = [f"clipped {word}" for word in page.evaluate(CLIPPED)]
    found += [f"{heads} h1"] if heads != 1 else []
    return found + ([f"{wide} px wide"] if wide > width else [])


@pytest.fixture
def small(templates: Path, tmp_path: Path) -> Iterator[Stand]:
    """A control room with little of everything, because axe looks at each element for milliseconds."""
    shutil.copy(templates / "demo.db", tmp_path / "web.db")
    room = stand(database(tmp_path))
    room.feed(*few(messages(room.clock.utc())))
    yield room
    room.close()


AREAS = {
    **{page.path: (page.path,) for page in nav.PAGES},
    "rack, further": ("/rack/vienna-02/3", "/rack?wall", f"/records/{TELLING_CALL}", "/nothing-here"),
    "records, further": ("/records?text=1234567", "/records?text=999&cause=900", *(f"/records/{HARD_CALLS[name]}" for name in ("six-failed", "refused"))),
    "calls, further": ("/calls?group=sender", "/calls/hang-up?group=sender&value=alpine", "/calls?group=sender&text=nothing", f"/calls/{A_CALL}/listen"),
    "gateways, further": ("/gateways/vienna-02", "/gateways/vienna-02/restart-box"),
    "SIMs, further": (f"/sims/card?name={A_CARD}", "/plans", "/plans/plan?name=nova", "/sims/import"),
    "senders, further": ("/senders/sender?name=alpine", "/senders/sender", "/agreements/agreement?name=lab", "/sites", "/installation"),
    "routing, further": ("/routing/explain", "/routing/tests", "/routing/drafts", "/routing/limits", "/routing/pattern?name=Test+mobile,+weekday"),
    "statistics, further": ("/statistics?by=hour&period=7d", "/statistics?by=moon&since=never"),
    "alarms, further": ("/alarms?state=", "/alarms/kinds", "/alarms/notices", "/alarms/1/acknowledge"),
    "logs, further": ("/logs?text=nothing-of-this",),
    "settings, further": ("/settings/options/calls.per_second", "/settings/versions"),
    "audit, further": ("/audit?since=never&after=x", "/audit/1", "/audit/check"),
    "accounts, further": ("/accounts/new", "/accounts/1", "/accounts/roles", "/accounts/sessions"),
    "own account": ("/account", "/account/password", "/account/second-factor", "/account/tokens/new"),
}  # fmt: skip
LOOKS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1280, "light"), (390, "dark"))


@pytest.mark.parametrize("area", AREAS)
def test_every_page_is_open_to_all_and_fits_each_screen(area: str, small: Stand, page: Page, axe: str) -> None:
    """Somebody who sees little, uses no mouse or has a telephone could not work here; words would be cut, the page slide sideways."""
    found: list[str] = []
    with behind_port(small) as served:
        served.let_in(page)
        for number, path in enumerate(AREAS[area]):
            look_at(page, *LOOKS[number % 2])
            page.goto(served.base + path, wait_until="domcontentloaded")
            page.evaluate(axe)
            # Every second page is loaded as the telephone's and becomes the wide one, the others the other way about.
            for width, theme in LOOKS[:: -1 if number % 2 else 1]:
                look_at(page, width, theme)
                found += [f"{path} at {width}: {fault}" for fault in (*violations(page), *misfits(page, width))]
    assert not found, "\n".join(found)


def test_the_door_is_open_to_all(small: Stand, page: Page, axe: str) -> None:
    """Nobody who is kept out at the door gets to the rest."""
    with behind_port(small) as served:
        page.goto(f"{served.base}/sign-in")
        page.evaluate(axe)
        assert violations(page) == []


def test_the_menu_fits_a_small_screen_and_is_whole_on_a_telephone(small: Stand, page: Page) -> None:
    """Sign out would lie below the edge of the screen; a page would be out of the thumb's reach."""
    with behind_port(small) as served:
        served.enter(page, "/audit")
        whole = page.locator("#whole")
        assert whole.evaluate("e => e.scrollHeight <= e.clientHeight")
        expect(page.get_by_role("button", name="Sign out")).to_be_in_viewport(ratio=1)
        page.set_viewport_size({"width": 390, "height": 844})
        expect(whole).to_be_hidden()
        page.get_by_role("button", name="More").click()
        for title in [row.title for row in nav.PAGES]:
            link = whole.get_by_role("link", name=title, exact=True)
            expect(link).to_be_in_viewport(ratio=1)
            assert (link.bounding_box() or {"height": 0})["height"] >= 44, title
        page.keyboard.press("Escape")
        expect(whole).to_be_hidden()
        page.get_by_role("button", name="More").focus()
        page.keyboard.press("Enter")
        whole.get_by_role("link", name="Statistics", exact=True).click()
        expect(page.locator("h1")).to_contain_text("Statistics")
        page.keyboard.press("g")
        page.keyboard.press("i")
        expect(page.locator("h1")).to_contain_text("Audit")


def test_nothing_of_ours_is_clipped_however_long_the_names(empty: Stand, page: Page) -> None:
    """A state would be cut off in the middle of its word, or a name would push the load out of the box."""
    empty.feed(*long_names(empty.clock.utc()))
    with behind_port(empty) as served:
        served.let_in(page)
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
        served.let_in(page)
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
        served.let_in(page)
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


def test_a_hall_of_thirty_six_boxes_is_drawn_at_once(empty: Stand, page: Page) -> None:
    """The larger the fleet, the less its control room could be used."""
    empty.feed(*fleet(empty.clock.utc(), 36, 32))  # the most that is drawn as cells is 1,200
    with behind_port(empty) as served:
        served.let_in(page)
        answer = page.goto(f"{served.base}/rack", wait_until="load")
        expect(page.locator(".ch")).to_have_count(1152)
        drawn = "[...document.querySelectorAll('.ch')].filter(e => e.checkVisibility({contentVisibilityAuto: true})).length"
        assert 32 <= page.evaluate(drawn) < 640
        assert answer is not None
        assert len(answer.body()) < WEIGHT
