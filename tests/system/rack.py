"""A whole installation for tests: `simrack up --lab` as a process, and the network's own books."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from support import StartProcess

from simrack.cli.rack import Snapshot, take_snapshot
from simrack.controller.models import RecordFilter, RecordRow, Story
from simrack.controller.store.queries import Queries
from simrack.wire.channel import ChannelState

READY_S = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Wait until `condition` is true; asks every 50 ms, because what changes is another process."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"never happened within {seconds} s: {what}")
        threading.Event().wait(0.05)


class Rack:
    """A running installation with an emulated network."""

    def __init__(self, folder: Path, begin: StartProcess, boxes: int, channels: int, options: Sequence[str] = ()) -> None:
        self.folder = folder
        state = folder / "state.json"
        self.process = begin(
            "up", "--lab", "--boxes", str(boxes), "--channels", str(channels), "--data", str(folder / "data"),
            "--state", str(state), "--sip", "127.0.0.1:0", "--web", "127.0.0.1:0", "--json",
            *options,
        )  # fmt: skip
        self.state_file = state
        self.state: dict[str, Any] = json.loads(state.read_text())
        self.channels = boxes * channels
        self.queries = Queries(self.state["database"])
        self.wait_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.queries.close()

    @property
    def sip(self) -> str:
        return str(self.state["sip"])

    @property
    def numbers(self) -> dict[str, str]:
        return dict(self.state["numbers"])

    def snapshot(self) -> Snapshot:
        return asyncio.run(take_snapshot(self.state["mqtt"]))

    def ready_channels(self) -> int:
        return sum(report.state is ChannelState.READY for report in self.snapshot().channels.values())

    def wait_ready(self, count: int | None = None) -> None:
        """Until all channels (or `count`) are ready."""
        wanted = self.channels if count is None else count
        until(lambda: self.ready_channels() >= wanted, f"{wanted} channels ready", READY_S)

    def ask(self, path: str, body: Any = None, method: str = "") -> Any:
        """The lab's own books and controls."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.state["ledger"] + path, data, {"Content-Type": "application/json"}, method=method or None
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def number(self, behaviour: str, **settings: Any) -> str:
        """A new landline number with its own behaviour."""
        return str(self.ask("/numbers", {"behaviour": behaviour, **settings})["number"])

    def ledger(self, called: str) -> list[dict[str, Any]]:
        """The network's calls to one number, oldest first."""
        return [call for call in self.ask("/ledger/calls") if call["called"] == called]

    def ended(self, called: str, count: int = 1) -> list[dict[str, Any]]:
        """The same, once `count` of them have ended."""

        def done() -> list[dict[str, Any]]:
            calls = [call for call in self.ledger(called) if call.get("released_at")]
            return calls if len(calls) >= count else []

        found: list[dict[str, Any]] = until(done, f"{count} ended calls to {called} in the network's books")
        return found

    def records(self, called: str, count: int = 1) -> tuple[RecordRow, ...]:
        """Records of calls to one number, newest first, once there are `count` and none is waiting for its part."""

        def done() -> tuple[RecordRow, ...]:
            rows = self.queries.records(RecordFilter(text=called, per_page=500)).rows
            return rows if len(rows) >= count and not self.queries.open_calls() else ()

        found: tuple[RecordRow, ...] = until(done, f"{count} records of calls to {called}")
        return found

    def story(self, called: str) -> Story:
        story = self.queries.story(self.records(called)[0].call)
        assert story is not None
        return story
