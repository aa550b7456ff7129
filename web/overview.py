"""A fleet that is too large for one sheet of cells: first its boxes, each a small tile; cells of what is looked at.

Which part of the rack a page shows stands in its address: everything, one site, one box, or what is in trouble. Up to
`MOST_CELLS` channels are drawn as cells, more as tiles (pure).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from markupsafe import Markup

from simrack.controller.models import Names
from simrack.web import cells
from simrack.web.rack import Kind, Kinds, Rack
from simrack.wire.channel import IN_CALL, ChannelState

#: A hall of forty boxes with thirty channels each; a browser lays out so many cells and still answers a key at once.
MOST_CELLS = 1200
# The bar of a tile: what works first, what is in trouble last, so that red always stands at the same end.
ORDER = ("speaking", "held", "between", "message", "ready", "drain", "searching", "empty", "unknown", "missing", "fault")
WORDS: Mapping[str, str] = {
    "speaking": "speaking", "held": "on hold", "between": "ringing", "message": "messages", "ready": "ready",
    "drain": "out of use", "searching": "searching", "empty": "no SIM", "unknown": "out of sight", "missing": "missing",
    "fault": "fault",
}  # fmt: skip
TROUBLE = ("missing", "fault")
# Most of a thousand boxes look like another one, and a box like itself a minute ago.
SHAPES_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of the rack is looked at."""

    site: str | None = None
    box: str = ""
    trouble: bool = False

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Scope":
        """From the address: `box`, `site`, `show=trouble`."""
        return cls(given.get("site"), given.get("box", ""), given.get("show") == "trouble")

    @property
    def topic(self) -> str:
        """What the event stream calls the live cells of this part; "" for a part that is not one box or site."""
        if self.trouble:
            return ""
        return f"box:{self.box}" if self.box else f"site:{self.site}" if self.site else ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a tile shows of a box's channels, whichever box it is."""

    busy: int
    words: str
    bar: Markup
    troubles: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One box in few words."""

    box: str
    tone: str  # "", "dead", "warn"
    state: str  # "" or what a person should know first
    calls: int
    channels: int
    bar: Markup  # its channels by tone, drawn
    label: str
    troubles: int

    @property
    def id(self) -> str:
        return f"bx-{self.box}"


@dataclass(frozen=True, slots=True)
class SiteTiles:
    """The boxes of one place."""

    name: str
    title: str
    tiles: tuple[Tile, ...]

    @property
    def calls(self) -> int:
        return sum(tile.calls for tile in self.tiles)

    @property
    def channels(self) -> int:
        return sum(tile.channels for tile in self.tiles)

    @property
    def troubled(self) -> int:
        """Boxes that are gone or have a channel that a person must see to."""
        return sum(tile.tone == "dead" or tile.troubles > 0 for tile in self.tiles)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a page shows of the rack: cells, or tiles."""

    kind: Literal["cells", "tiles"]
    scope: Scope
    whole: int  # channels of the whole rack
    shown: int
    sites: tuple[cells.SiteView, ...] = ()
    tiles: tuple[SiteTiles, ...] = ()

    @property
    def large(self) -> bool:
        """The whole rack doesn't fit on one sheet: its parts need links."""
        return self.whole > MOST_CELLS


def sheet(rack: Rack, names: Names, now: datetime, scope: Scope) -> Sheet:
    """The part of the rack that is asked for."""
    whole = sum(cells.how_many(box, rack) for box in rack.boxes)
    part = within(rack, names, now, scope)
    shown = whole if part is rack else sum(cells.how_many(box, part) for box in part.boxes)
    if shown <= MOST_CELLS:
        return Sheet("cells", scope, whole, shown, sites=cells.sites(part, names, now))
    sites = tuple(
        SiteTiles(name, title, tuple(tile(box.box, part, now) for box in boxes))
        for (title, name), boxes in cells.by_site(part.boxes.values(), names)
    )
    return Sheet("tiles", scope, whole, shown, tiles=sites)


def within(rack: Rack, names: Names, now: datetime, scope: Scope) -> Rack:
    """The rack with the boxes of this part only."""
    boxes = rack.boxes
    if scope.box:
        boxes = {scope.box: boxes[scope.box]} if scope.box in boxes else {}
    elif scope.site is not None:
        boxes = {name: status for name, status in boxes.items() if status.site == scope.site}
    if scope.trouble:
        boxes = {name: status for name, status in boxes.items() if _in_trouble(tile(name, rack, now))}
    return rack.with_boxes(boxes)


def _in_trouble(shown: Tile) -> bool:
    return bool(shown.tone or shown.troubles)


def tile(box: str, rack: Rack, now: datetime) -> Tile:
    """One box as it stands."""
    status, channels = rack.boxes[box], cells.how_many(box, rack)
    shape = _shape(frozenset(rack.kinds.get(box, {}).items()), status.online, channels)
    calls = shape.busy if status.online else 0
    tone, state = "", ""
    if cells.restarting(status, now):
        tone, state = "warn", "restarting"
    elif not status.online:
        tone, state = "dead", "unreachable"
    elif status.drain is not None:
        tone, state = "warn", cells.drain_text(status.drain, shape.busy)
    elif status.trouble:
        tone, state = "warn", "its file can't be written"
    first = f"{box}: {state}" if state else box
    label = ", ".join(filter(None, (first, f"{calls} of {channels} channels in a call", shape.words)))
    return Tile(box, tone, state, calls, channels, shape.bar, label, shape.troubles)


@lru_cache(SHAPES_KEPT)
def _shape(counted: frozenset[tuple[Kind, int]], online: bool, channels: int) -> Shape:
    kinds = dict(counted)
    tones = tile_tones(kinds, channels, online=online)
    busy = sum(count for kind, count in kinds.items() if kind.state in IN_CALL)
    words = ", ".join(f"{tones[name]} {WORDS[name]}" for name in ORDER if tones[name])
    return Shape(busy, words, _bar(tones, channels), sum(tones[name] for name in TROUBLE))


def tile_tones(kinds: Kinds, channels: int, *, online: bool) -> Counter[str]:
    """How many of its channels have which tone; of a box that is gone nobody knows."""
    if not online:
        return Counter({"unknown": channels})
    tones: Counter[str] = Counter()
    for kind, count in kinds.items():
        tones[_tone_of(kind)] += count
    # Of these the box has not told.
    tones["missing"] += channels - sum(kinds.values())
    return tones


def _tone_of(kind: Kind) -> str:
    """The tone of a channel's cell."""
    return "drain" if kind.marked and kind.state is ChannelState.READY else cells.LOOKS[kind.state][0]


def _bar(tones: Counter[str], whole: int) -> Markup:
    """The bar of an image 100 wide: here and not in the template, so that it is drawn once for all boxes alike."""
    rect, left, drawn = Markup('<rect class="t-{}" x="{}" width="{}" height="6"/>'), 0.0, Markup("")
    for tone in ORDER:
        if tones[tone]:
            width = 100 * tones[tone] / whole
            drawn += rect.format(tone, round(left, 1), round(width, 1))
            left += width
    return drawn
