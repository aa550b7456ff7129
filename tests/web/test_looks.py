"""What states look like, the ladder, the texts: plain functions."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_demo import HARD_CALLS, at_log, failed_log, ladder, messages
from web_helpers import NOW, Hands, Stand, take

import simrack.web
from simrack.controller.models import AttemptRow, Figures, LadderLine, Names, Story
from simrack.web import cells, text, tiles
from simrack.web import ladder as ladders
from simrack.web.rack import RackModel
from simrack.web.story import story_view
from simrack.wire.channel import ChannelState, Mark
from simrack.wire.messages import AtLine

WEB = Path(simrack.web.__file__).parent


def test_every_state_has_a_look_of_its_own_kind() -> None:
    """A channel in a new state would have no colour and no word."""
    assert set(cells.LOOKS) == set(ChannelState)
    assert set(cells.MARK_LABELS) == set(Mark)
    tones = {tone for tone, _ in cells.LOOKS.values()}
    assert {tone for tone, _, _ in cells.LEGEND} >= tones


def test_every_tone_and_icon_exists_in_the_static_files() -> None:
    """A cell would be without fill or without shape."""
    css, icons = (WEB / "static/app.css").read_text(), (WEB / "static/icons.svg").read_text()
    for tone, icon in [*cells.LOOKS.values(), ("unknown", "unknown"), ("drain", "drain")]:
        assert f".{tone} {{" in css, tone
        assert f'id="{icon}"' in icons, icon
    used = {name for path in WEB.glob("templates/**/*.html") for name in re.findall(r"icon\('([a-z]+)'", path.read_text())}
    assert {name for name in used if f'id="{name}"' not in icons} == set()


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def colours() -> dict[str, tuple[str, str]]:
    """Custom properties as (light, dark)."""
    found = {}
    for name, value in re.findall(r"--([\w-]+): ([^;]+);", (WEB / "static/app.css").read_text()):
        shades = [f"#{shade * 2 if len(shade) == 3 else shade}" for shade in re.findall(r"#([0-9a-f]{6}|[0-9a-f]{3})\b", value)]
        if shades:
            found[name] = (shades[0], shades[-1])
    return found


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ("ink", "bg"), ("ink", "card"), ("mute", "bg"), ("mute", "card"), ("mute", "sunk"), ("accent", "card"),
        ("accent", "accent-soft"), ("good", "good-soft"), ("bad", "bad-soft"), ("bad", "card"), ("amber", "amber-soft"),
        ("ready-i", "ready"), ("speak-i", "speak"), ("between-i", "between"), ("message-i", "message"),
        ("search-i", "search"), ("search-i", "search-2"), ("held-i", "held"), ("drain-i", "drain"), ("fault-i", "fault"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_is_readable_on_its_ground(ink: str, ground: str, theme: int) -> None:
    """People with weak eyes could not read it (WCAG 2.2, 1.4.3: 4.5 to 1)."""
    pair = sorted((luminance(colours()[name][theme]) for name in (ink, ground)), reverse=True)
    assert (pair[0] + 0.05) / (pair[1] + 0.05) >= 4.5


def test_marks_change_a_ready_channel_and_stay_beside_a_busy_one() -> None:
    """A draining channel would look free, or its call would vanish."""
    model = RackModel(Hands())
    for message in messages(NOW):
        take(model, message)
    rack = model.snapshot()
    assert cells.cell(("vienna-01", 12), rack, Names(), NOW).word == "Draining"
    busy = next(key for key, one in rack.channels.items() if one.state == ChannelState.ACTIVE and key[0] == "vienna-01")
    marked = rack.channels[busy].model_copy(update={"marks": (Mark.DRAINING,), "seq": 999})
    model.channel(marked)
    cell = cells.cell(busy, model.snapshot(), Names(), NOW)
    assert (cell.tone, cell.sub) == ("speaking", "draining")


@pytest.mark.parametrize(("dbm", "bars"), [(None, 0), (-113, 0), (-109, 1), (-95, 2), (-85, 3), (-75, 4), (-51, 4)])
def test_signal_bars(dbm: int | None, bars: int) -> None:
    """A weak channel would look strong."""
    assert cells.bars(dbm) == bars


def test_ladder_merges_module_and_network_lines() -> None:
    """The story would end at the box."""
    attempt = AttemptRow(
        attempt="a", number=2, box="b", channel=1, started=NOW, at_log=at_log("+882101234567"), outcome="answered"
    )
    story = Story.__new__(Story)
    object.__setattr__(story, "ladder", ladder())
    object.__setattr__(story, "attempts", (attempt,))
    lines = ladders.merged(story)
    told = [(line.ms, line.source, line.target, line.label) for line in lines if "network" in (line.source, line.target)]
    assert told == [
        (1337, "module", "network", "SETUP"), (3157, "network", "module", "ALERTING"),
        (7437, "network", "module", "CONNECT"), (229751, "network", "module", "RELEASE"),
    ]  # fmt: skip
    assert [line.ms for line in lines] == sorted(line.ms for line in lines)
    assert "OK" not in [line.label for line in lines]


def test_ladder_names_its_silences() -> None:
    """The eye would not see where the time went."""
    drawing = ladders.draw(ladder())
    assert [gap.text for gap in drawing.gaps] == ["waiting 1.3 s", "waiting 1.8 s", "ringing 4.3 s", "speaking 3:42"]
    heights = [arrow.y for arrow in drawing.arrows]
    assert heights == sorted(heights)
    assert drawing.height > heights[-1]


@given(
    st.lists(
        st.builds(
            LadderLine, ms=st.integers(0, 10**7), source=st.sampled_from(ladders.ACTORS),
            target=st.sampled_from(ladders.ACTORS), label=st.text(max_size=40),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_any_ladder_can_be_drawn(lines: list[LadderLine]) -> None:
    """A strange call would have no story page."""
    ordered = tuple(sorted(lines, key=lambda line: line.ms))
    assert len(ladders.draw(ordered).arrows) == len(lines)


@given(st.text(max_size=60))
def test_any_at_line_can_be_merged(line: str) -> None:
    """Garbage at a module's port would break the story page."""
    attempt = AttemptRow(attempt="a", number=1, box="b", channel=1, started=NOW, at_log=(AtLine(ms=1, way="<", text=line),))
    story = Story.__new__(Story)
    object.__setattr__(story, "ladder", ladder())
    object.__setattr__(story, "attempts", (attempt,))
    assert len(ladders.merged(story)) >= len(ladder())


@pytest.mark.stack
def test_drift_is_told_of_long_calls_only(demo: Stand) -> None:
    """A call of 6 s would be said to drift by -1758 ppm, which is jitter."""
    names, times = Names(), text.Times(ZoneInfo("UTC"))

    def said(call: str) -> str:
        story = demo.room.desk.queries.story(call)
        assert story is not None
        return " ".join(voice.figures for voice in story_view(story, names, times).voices)

    assert "drift 38 ppm" in said(HARD_CALLS["long-talk"])
    assert "drift" not in said(HARD_CALLS["short-talk"])


def test_polling_adds_no_lines_but_a_change_does() -> None:
    """A long call's ladder would be a wall of polls, or a module that only polls would show no answer."""
    polls = ((0, ">", "ATD1;"), (1, "<", '+CLCC: 1,0,0,1,0,"",128'), (2, "<", '+CLCC: 2,0,2,0,0,"1",129'))
    later = ((3, "<", '+CLCC: 2,0,3,0,0,"1",129'), (4, "<", '+CLCC: 2,0,3,0,0,"1",129'), (5, "<", "+CLCC: 2,0,0,0,0"))
    log = tuple(AtLine.model_validate({"ms": ms, "way": way, "text": line}) for ms, way, line in polls + later)
    attempt = AttemptRow(attempt="a", number=1, box="b", channel=1, started=NOW, at_log=log)
    assert [line.ms for line in ladders._at_lines(attempt, 0)] == [0, 2, 3, 5]


def test_a_ratio_of_an_hour_without_calls_is_left_out() -> None:
    """A quiet night would look like a night of failures."""
    figures = Figures(2, 1.0, None, None, None, None, None, (0, 4, 0, 2), (0.0, 0.5, 0.0, 1.0))
    drawn = [pair.split(",")[0] for pair in tiles._ratio_points(figures, figures.spark_asr).split()]
    assert drawn == ["80.0", "240.0"]


def test_failed_dial_shows_the_modules_word() -> None:
    """The reason of a failed attempt would be hidden in the log."""
    assert any("CME" in line.label for line in ladders._at_lines(
        AttemptRow(attempt="a", number=1, box="b", channel=1, started=NOW, at_log=failed_log("+1")), 0
    ))  # fmt: skip


@pytest.mark.stack
def test_funnel_keeps_counts_and_reasons(demo: Stand) -> None:
    """The explanation would not add up."""
    from web_demo import TELLING_CALL

    story = demo.room.desk.queries.story(TELLING_CALL)
    assert story is not None
    view = story_view(story, demo.room.desk.names(), demo.room.times)
    assert [bar.count for bar in view.funnel] == [2, 22, 22, 16, 9, 7, 2]
    assert view.funnel[2].passed == ("Plan enabled", "Agreement valid today", "Box reachable")
    assert view.criteria == ("priority", "rest", "calls today")
    assert view.equal == (("pattern-priority", "0"), ("answer-signal", "proven"))
    assert max(bar.share for bar in view.funnel) == 100
    assert view.funnel[4].out[0] == ("vienna-01 / 1", "speaking")


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "\u2013"), (0, "0:00"), (59.9, "0:59"), (222.3, "3:42"), (3723, "1:02:03"), (-5, "0:00")]
)
def test_durations(seconds: float | None, words: str) -> None:
    """A duration would be misread."""
    assert text.clock_text(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [("+43664123456", "+43 664 123456"), ("110", "110"), ("", "\u2013"), ("anonymous", "anonymous"), ("+", "+"), ("+0", "+0")],
)
def test_numbers(number: str, words: str) -> None:
    """A number would be changed by its writing, or break the page."""
    assert text.number_text(number) == words


@given(st.text(max_size=40))
def test_any_number_can_be_shown(number: str) -> None:
    """A sender could break a page by what it sends as number."""
    assert isinstance(text.number_text(number), str)


@given(st.floats(0, 10**9), st.floats(0, 10**6))
def test_milliseconds_are_kept(whole: float, part: float) -> None:
    """Talk time on the page would differ from the record."""
    milliseconds = int(whole)
    shown = text.clock_ms(milliseconds)
    numbers = [int(value) for value in re.split(r"[:.]", shown)]
    total = 0
    for value in numbers[:-1]:
        total = total * 60 + value
    assert total * 1000 + numbers[-1] == milliseconds
    assert text.seconds_text(part).endswith(" s")


def test_times_round_trip_through_the_form() -> None:
    """A filter would move by itself each time it is sent."""
    times = text.Times(ZoneInfo("Europe/Vienna"))
    moment = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
    assert times.field(moment) == "2026-07-01T14:30"
    assert times.parse(times.field(moment)) == moment
    assert times.parse("") is None


def test_sparkline_stays_in_its_box() -> None:
    """The line would leave the tile."""
    drawn = [tuple(map(float, pair.split(","))) for pair in tiles.points([0, 5, 2.5, 10]).split()]
    assert drawn[0][0] == 0
    assert drawn[-1][0] == tiles.SPARK_WIDTH
    assert all(0 <= y <= tiles.SPARK_HEIGHT for _, y in drawn)
    assert tiles.points([1]) == tiles.points([0, 0, 0]) == ""


def test_vendor_files_are_those_of_the_lock_file() -> None:
    """Pages would run other libraries than those that were looked at."""
    import hashlib

    root = Path(__file__).parents[2]
    vendor = WEB / "static/vendor"
    stamp = (vendor / "lock.sha256").read_text().strip()
    lock = (root / "package-lock.json").read_bytes()
    assert stamp == hashlib.sha256(lock).hexdigest()
    assert b"resolved" not in lock
    assert all("integrity" in package for name, package in json.loads(lock)["packages"].items() if name)
    assert {path.name for path in vendor.iterdir()} >= {"htmx.min.js", "htmx-ext-sse.js", "uplot.iife.min.js", "uplot.min.css"}
