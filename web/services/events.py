"""What changes on the rack, for programs: the difference of two moments, as far as somebody sees them.

A program reads the rack and the calls once, then follows. Moments are kept for a while, so that one whose line broke
gets just what it has missed; who was away for longer is told to read anew. The page's own ring wakes whoever waits.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from flask import current_app
from pydantic import BaseModel

from simrack.web.app import mask, me, own, room
from simrack.web.rack import Rack
from simrack.wire.messages import AlarmSummary, BoxStatus, ChannelReport, LiveCall

#: Moments that are kept: half a minute of a rack on which something changes all the time.
MOST_MOMENTS = 64
Name = Literal["begin", "box", "box-gone", "channel", "channel-gone", "call", "call-over", "alarms", "beat", "signed-out"]


class BoxGone(BaseModel):
    """A box that was taken out of the fleet."""

    box: str


class ChannelGone(BaseModel):
    """A channel that is not there any more, or not yours to see."""

    box: str
    channel: int


class CallOver(BaseModel):
    """A call that ended; its record follows."""

    call: str


Data = BoxStatus | BoxGone | ChannelReport | ChannelGone | LiveCall | CallOver | AlarmSummary


@dataclass(frozen=True, slots=True)
class Event:
    """One change."""

    name: Name
    data: Data


@dataclass
class Journal:
    """The newest moments of the rack, each by the place of the pages' ring at which it was taken.

    What changes behind a moment moves the ring on, so that nobody stays at a moment that something is missing in.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    moments: OrderedDict[str, Rack] = field(default_factory=OrderedDict)

    def take(self) -> tuple[str, Rack]:
        """The rack now, and the place of this moment."""
        here = room()
        with self.lock:
            place = here.feed.place
            if place not in self.moments:
                self.moments[place] = here.desk.model.snapshot()
            while len(self.moments) > MOST_MOMENTS:
                self.moments.popitem(last=False)
            return place, self.moments[place]

    def read(self, place: str) -> Rack | None:
        """The moment that somebody has come up to; None when it is not kept."""
        with self.lock:
            return self.moments.get(place)


def journal() -> Journal:
    """The moments of this control room."""
    return cast(Journal, current_app.extensions.setdefault("simrack.events", Journal()))


def changes(before: Rack, after: Rack) -> Iterator[Event]:
    """What became of the rack between two moments, as far as who is signed in sees it."""
    here, may = room(), me().may
    names = here.desk.names()
    then, now = (one.within(own(), mask(), names) for one in (before, after))
    if may("rack.see"):
        yield from _boxes(before, after, then, now)
    for name, call in now.calls.items():
        if before.calls.get(name) is not after.calls[name]:
            yield Event("call", call)
    yield from (Event("call-over", CallOver(call=name)) for name in then.calls if name not in now.calls)
    if may("alarms.see") and after.alarms is not None and before.alarms is not after.alarms:
        yield Event("alarms", after.alarms)


def _boxes(before: Rack, after: Rack, then: Rack, now: Rack) -> Iterator[Event]:
    # What is shown of a message may be less than it says, so that messages are compared and not what is shown.
    for box, status in now.boxes.items():
        if before.boxes.get(box) is not after.boxes[box]:
            yield Event("box", status)
    yield from (Event("box-gone", BoxGone(box=box)) for box in then.boxes if box not in now.boxes)
    for key, report in now.channels.items():
        if before.channels.get(key) is not after.channels[key]:
            yield Event("channel", report)
    yield from (Event("channel-gone", ChannelGone(box=box, channel=number)) for box, number in then.channels if (box, number) not in now.channels)


def told(name: Name, data: Any, ident: str = "") -> str:
    """One server-sent event; JSON has no line ends of its own."""
    return (f"id: {ident}\n" if ident else "") + f"event: {name}\ndata: {data}\n\n"
