"""Changes as they happen, as server-sent events."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import get_args

from flask import Response, g, request, stream_with_context
from pydantic import BaseModel, ConfigDict, Field

from simrack.controller.store.errors import StoreDown
from simrack.web.api.common import part
from simrack.web.app import Room, problem, room
from simrack.web.draw import TOP_BARE
from simrack.web.needs import needs
from simrack.web.pages_rack import SHORT_RETRY_MS, SHORT_S
from simrack.web.services.events import Event, Journal, Name, changes, journal, told

api = part("events", "rack")
SSE = "text/event-stream"
#: What wakes a stream: the head of pages, which each change draws, and the heartbeat.
WOKEN_BY = frozenset({TOP_BARE})
RETRY_MS = 2000
#: A busy rack is told twice a second, not once per message.
BETWEEN_S = 0.5


#: One event; `data` is JSON.
_SCHEMA = {
    "type": "object", "required": ["event", "data"],
    "properties": {"id": {"type": "string"}, "event": {"enum": list(get_args(Name))}, "data": {"type": "string"}, "retry": {"type": "integer"}},
}


class EventsQuery(BaseModel):
    """Where to go on, and how."""

    model_config = ConfigDict(extra="forbid")

    since: str = Field("", max_length=100, description="id of the last event that came, as `Last-Event-ID`")
    short: bool = Field(False, description="end after the first changes or 3 s: for proxies that gather what they pass on")


@api.get(
    "/events", responses={"200": {"description": "OK", "content": {SSE: {"schema": _SCHEMA}}}, "503": None},
    summary="Changes of boxes, channels, calls and alarms as they happen (server-sent events)",
    description="`box`, `channel`, `call`, `alarms` bring what GET /rack and /calls have, as far as the account sees it; "
    "`box-gone`, `channel-gone`, `call-over` name what went. `begin` comes first: read /rack and /calls once, then follow. "
    "It comes again when too much was missed. `beat` comes every 10 s. A stream ends with `signed-out` when its account may not go on.",
)  # fmt: skip
@needs("calls.see")
def events(query: EventsQuery) -> Response:
    here = room()
    if not here.feed.enter(here.settings.streams, WOKEN_BY):
        full = problem(503, "Too many live streams", "Try again in a moment.")
        full.headers["Retry-After"] = "10"
        return full
    place = request.headers.get("Last-Event-ID", "")[:100] or query.since
    follow = _some if query.short else _all
    response = Response(stream_with_context(follow(here, _Follower(here, journal(), place))), mimetype=SSE)
    # Here and not in the generator: a generator that was never begun runs no `finally`.
    response.call_on_close(lambda: here.feed.leave(WOKEN_BY))
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Cache-Control"] = "no-store, no-transform"
    return response


class _Follower:
    """One program's place in what happens."""

    def __init__(self, here: Room, moments: Journal, place: str) -> None:
        self._here, self._moments = here, moments
        known = moments.read(place)
        self.new = known is None
        self.place, now = moments.take()
        self._seen = known if known is not None else now

    def more(self) -> Iterator[str]:
        """Changes since the last time; the place stands at the last of them, so that none is lost on the way."""
        place, now = self._moments.take()
        found: list[Event] = list(changes(self._seen, now))
        self.place, self._seen = place, now
        for at, event in enumerate(found, 1):
            yield told(event.name, event.data.model_dump_json(), place if at == len(found) else "")

    def beat(self) -> str:
        return told("beat", f'{{"at":"{self._here.clock.utc().astimezone(UTC).isoformat()}"}}', self.place)

    def begin(self) -> Iterator[str]:
        if self.new:
            yield told("begin", "{}", self.place)


def _all(here: Room, follower: _Follower) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    yield from follower.begin()
    yield from follower.more()
    pause = threading.Event()
    for item in here.feed.read(follower.place, WOKEN_BY):
        beat = item is None or item.name == "beat"
        if beat and not _may_go_on(here):
            yield told("signed-out", "{}")
            return
        if item is None or here.feed.place != follower.place:
            yield from follower.more()
        if beat:
            yield follower.beat()
        elif not here.feed.closed:
            pause.wait(BETWEEN_S)


def _some(here: Room, follower: _Follower) -> Iterator[str]:
    """A stream that ends soon: a proxy that gathers hands it on then, and the program asks for the next one."""
    yield f"retry: {SHORT_RETRY_MS}\n\n"
    yield from follower.begin()
    missed = list(follower.more())
    if not missed and not follower.new:
        here.feed.some(follower.place, WOKEN_BY, SHORT_S)
        missed = list(follower.more())
    yield from missed
    yield follower.beat()


def _may_go_on(here: Room) -> bool:
    """Whether the session or token of this stream still opens it."""
    bearer = request.headers.get("Authorization", "")
    find: Callable[[], object] = (
        (lambda: here.accounts.bearer(bearer.removeprefix("Bearer "))) if bearer.startswith("Bearer ") else (lambda: here.accounts.session(g.cookie))
    )
    try:
        return find() is not None
    except StoreDown:
        return True
