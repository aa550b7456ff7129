"""The lab's process and its HTTP interface."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import processes


class Lab:
    """The emulated network's interface."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.url: str = facts["ledger"]
        self.numbers: dict[str, str] = facts["numbers"]
        self.modules: list[dict[str, Any]] = facts["boxes"][0]["modules"]

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        return await asyncio.to_thread(self.ask_now, method, path, body)

    def ask_now(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def ring_now(self, msisdn: str) -> None:
        """Call a module and block this loop until it rings, so that nobody here has read of it yet."""
        self.ask_now("POST", "/calls", {"to_msisdn": msisdn, "from": "+882109005001", "ring_s": 20})
        limit = time.monotonic() + 30
        while not self.ask_now("GET", "/ledger/calls")[-1]["alerting_at"]:
            assert time.monotonic() < limit

    async def number(self, **behaviour: Any) -> str:
        if behaviour["behaviour"] in ("answer", "tone", "echo", "dtmf"):
            behaviour = {"answer_after_s": 0.1, **behaviour}
        answer = await self.ask("POST", "/numbers", behaviour)
        return str(answer["number"])

    async def last_call(self) -> dict[str, Any]:
        rows = await self.ask("GET", "/ledger/calls")
        row: dict[str, Any] = rows[-1]
        return row

    async def on_hook(self) -> None:
        """Wait until the network itself says that no call is left."""
        for _ in range(600):
            rows = await self.ask("GET", "/ledger/calls")
            if all(row["released_at"] for row in rows):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the network still holds a call")

    async def fault(self, channel: int, fault: str, **more: Any) -> None:
        await self.ask("POST", "/faults", {"box": "lab-01", "channel": channel, "fault": fault, **more})


@contextmanager
def emulated(folder: Path) -> Iterator[Lab]:
    """One box with two channels."""
    state = folder / "lab.json"
    with processes(folder) as start:
        start("lab", "up", "--boxes", "1", "--channels", "2", "--state", str(state), "--setup", "0.05-0.1", "--boot", "0.2")
        yield Lab(json.loads(state.read_text()))
