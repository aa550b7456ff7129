"""Changes of the rack as pieces of page, made once for all browsers; runs in the live thread.

Only what somebody listens to is drawn, and no more of it than a browser can take in: cells of a box or a site that is
open, boxes' tiles at most so many a second, and a nudge instead of pieces for whoever may not see everything.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from jinja2 import Environment

from simrack.controller.models import Names
from simrack.web import cells
from simrack.web.desk import Desk
from simrack.web.overview import MOST_CELLS, tile
from simrack.web.rack import Changes, ChannelKey, Rack
from simrack.web.tiles import tiles

# Tiles of an overview are drawn once a second, the longest unchanged on the screen first: a thousand boxes that all
# change are on the screen anew within 7 s, and a browser gets 100 KB a second at most.
TILES_S, MOST_TILES = 1.0, 150
# A page that can't be told what changed fetches itself anew; not more often than this.
NUDGE_S = 2.0
# With more changed cells than this it is cheaper for a browser to fetch the whole grid again.
MOST_PIECES = 600
#: What is drawn when nobody says who listens (tests, and the time before the first stream).
USUAL = frozenset({"rack", "calls", "open", "pulse"})

#: The head of every page, which nobody has to ask for: with the alarms, and for those who may not see them.
TOP, TOP_BARE = "top", "top-bare"

Pieces = Iterator[tuple[str, str, str]]


class Drawer:
    """Callable for `Live`: turns changes into (topic, event name, data)."""

    def __init__(
        self, environment: Callable[[], Environment], desk: Desk, watched: Callable[[], frozenset[str]] = lambda: USUAL
    ) -> None:
        self._environment, self._desk, self._watched = environment, desk, watched
        self._waiting: dict[str, None] = {}  # boxes whose tiles are due, oldest first
        self._at: dict[str, float] = {}  # when something that has its pace was last sent
        self._owed: set[tuple[str, str]] = set()  # nudges that came too soon after one like it

    def __call__(self, changes: Changes) -> Pieces:
        rack, now = self._desk.model.snapshot(), self._desk.clock.utc()
        watched = self._watched()
        yield from self._rack(changes, rack, now, watched)
        yield from self._open(changes)
        if changes.calls:
            yield "calls", "calls", "changed"
        if changes.channels or changes.boxes or changes.layout:
            self._owed.add(("pulse", "pulse"))
        yield from self._nudges()
        if changes.top:
            if "rack" in watched:
                yield "rack", "rack", self._render("tiles.html", tiles=tiles(rack, self._desk.known_figures()))
            for topic in (TOP, TOP_BARE):
                yield topic, "top", self._render("top.html", rack=rack, alarms=topic == TOP)

    def _rack(self, changes: Changes, rack: Rack, now: datetime, watched: frozenset[str]) -> Pieces:
        if changes.layout:
            self._owed |= {("rack", "layout"), ("overview", "layout")}
        large = len(rack.channels) > MOST_CELLS
        if "rack" in watched and not changes.layout and (changes.channels or changes.boxes):
            if large or len(changes.channels) > MOST_PIECES:
                # The rack has outgrown pages that were opened before: they fetch themselves anew, as an overview.
                self._owed.add(("rack", "layout"))
            else:
                yield "rack", "rack", self._cells(changes.boxes, changes.channels, rack, now)
        self._waiting.update(dict.fromkeys(sorted(changes.boxes)))
        if "overview" in watched:
            yield from self._tiles(rack, now)
        else:
            self._waiting.clear()
        for topic in watched:
            kind, _, name = topic.partition(":")
            if kind in ("box", "site") and (mine := self._of(kind, name, changes, rack)):
                keys = {key for key in changes.channels if key[0] in mine}
                yield topic, "rack", self._cells(mine, keys, rack, now)

    @staticmethod
    def _of(kind: str, name: str, changes: Changes, rack: Rack) -> set[str]:
        """The boxes with changes that belong to a part of the rack."""
        if kind == "box":
            return {name} & changes.boxes
        return {box for box in changes.boxes if box in rack.boxes and rack.boxes[box].site == name}

    def _tiles(self, rack: Rack, now: datetime) -> Pieces:
        if not self._waiting or not self._due("tiles", TILES_S):
            return
        chosen = [box for box, _ in zip(tuple(self._waiting), range(MOST_TILES), strict=False)]
        for box in chosen:
            del self._waiting[box]
        shown = [tile(box, rack, now) for box in chosen if box in rack.boxes]
        yield "overview", "rack", self._render("overview.html", tiles=shown, figures=tiles(rack, self._desk.known_figures()))

    def _open(self, changes: Changes) -> Pieces:
        """A word to the drawers that are open; they fetch what they show, as far as their readers may."""
        for box, channel in sorted(changes.channels & self._desk.opened):
            yield "open", f"ch-{box}-{channel}", "changed"

    def _nudges(self) -> Pieces:
        """What was asked for too soon after the last one comes later: `Live` asks again when nothing changes."""
        for topic, name in sorted(self._owed):
            if self._due(f"{topic}-{name}", NUDGE_S):
                self._owed.discard((topic, name))
                yield topic, name, "again"

    def _due(self, what: str, every_s: float) -> bool:
        now = self._desk.clock.monotonic()
        if now - self._at.get(what, -every_s) < every_s:
            return False
        self._at[what] = now
        return True

    def _cells(self, changed: set[str], keys: set[ChannelKey], rack: Rack, now: datetime) -> str:
        names: Names = self._desk.known_names()
        boxes = [cells.box_view(box, rack, names, now, head_only=True) for box in sorted(changed) if box in rack.boxes]
        drawn = [cells.cell(key, rack, names, now) for key in sorted(keys)]
        return self._render("cells.html", boxes=boxes, cells=drawn)

    def _render(self, template: str, **values: object) -> str:
        return self._environment().get_template(f"live/{template}").render(values)
