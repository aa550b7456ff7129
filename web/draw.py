"""Changes of the rack as pieces of page, made once for all browsers; runs in the live thread."""

from collections.abc import Callable, Iterator
from datetime import datetime

from jinja2 import Environment

from simrack.web import cells
from simrack.web.desk import Desk
from simrack.web.rack import Changes, Rack
from simrack.web.tiles import tiles

# With more cells than this it is cheaper for a browser to fetch the whole grid again.
MOST_CELLS = 600


class Drawer:
    """Callable for `Live`: turns changes into (topic, event name, data)."""

    def __init__(self, environment: Callable[[], Environment], desk: Desk) -> None:
        self._environment, self._desk = environment, desk

    def __call__(self, changes: Changes) -> Iterator[tuple[str, str, str]]:
        rack, now = self._desk.model.snapshot(), self._desk.clock.utc()
        if changes.layout or len(changes.channels) > MOST_CELLS:
            yield "rack", "layout", "again"
        elif changes.channels or changes.boxes:
            yield "rack", "rack", self._cells(changes, rack, now)
        for box, channel in sorted(changes.channels):
            yield "rack", f"ch-{box}-{channel}", "changed"
        if changes.calls:
            yield "calls", "calls", "changed"
        if changes.top:
            yield "rack", "rack", self._render("tiles.html", tiles=tiles(rack, self._desk.known_figures()))
            yield "*", "top", self._render("top.html", rack=rack)

    def _cells(self, changes: Changes, rack: Rack, now: datetime) -> str:
        names = self._desk.known_names()
        boxes = [cells.box_view(box, rack, names, now) for box in sorted(changes.boxes) if box in rack.boxes]
        drawn = [cells.cell(key, rack, names, now) for key in sorted(changes.channels)]
        return self._render("cells.html", boxes=boxes, cells=drawn)

    def _render(self, template: str, **values: object) -> str:
        return self._environment().get_template(f"live/{template}").render(values)
