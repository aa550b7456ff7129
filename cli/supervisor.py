"""The parent of `simrack up`: starts children, waits for each one's readiness, restarts, ends in reverse.

Each child is exactly what its own command would run. A child says that it serves by one JSON line with
`"ready": true` on standard output. A child that dies is started again after 1, 2, 4 ... 60 s; five failures
within five minutes end everything with that child's last lines. One that served and ended in order was told to (a
person restarts a box): it is started again after a second, and that is no failure. Children end when the parent dies, even by
`kill -9` (PR_SET_PDEATHSIG in `cli/main.py`).
"""

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import structlog

from simrack.cli.main import DIE_WITH_PARENT
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock

READY_TIMEOUT_S = 60.0  # the slowest start is a migration on a cold disk
STOP_TIMEOUT_S = 10.0  # calls in progress are released within seconds; then SIGKILL
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
FAILURES, WINDOW_S = 5, 300.0
LAST_LINES = 20
MISTAKE = "simrack: "  # how `cli.output.fail` begins: a person can mend it
log = structlog.get_logger(__name__)

Ready = dict[str, Any]


@dataclass(slots=True)
class Child:
    """One process and what is known of it."""

    name: str
    argv: list[str]
    on_ready: Callable[[Ready], None] = lambda _ready: None
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    failures: deque[float] = field(default_factory=deque)
    log_from: int = 0  # where this run's lines begin; earlier runs wrote to the same file


class ChildGaveUp(UserError):
    """A child failed too often to go on."""


class Supervisor:
    """Owns the children of one `simrack up`; `on_restart` hears when a child that was started again serves."""

    def __init__(self, logs: Path, clock: Clock, on_restart: Callable[[], None] = lambda: None) -> None:
        self._logs, self._on_restart = logs, on_restart
        self._clock = clock
        self._children: list[Child] = []
        self._stopping = False
        logs.mkdir(parents=True, exist_ok=True)

    async def start(self, group: asyncio.TaskGroup, *children: Child) -> None:
        """Start `children` together and return when all of them serve.

        Raises:
            ChildGaveUp: one of them did not become ready in time.
        """
        for child in children:
            self._children.append(child)
            group.create_task(self._keep(child), name=child.name)
        for child in children:
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    await child.ready.wait()
            except TimeoutError:
                raise self._gave_up(child, f"not ready within {READY_TIMEOUT_S:g} s") from None

    async def _keep(self, child: Child) -> None:
        while not self._stopping:
            status = await self._run_once(child)
            if self._stopping:
                return
            if status or not child.ready.is_set():
                self._count_failure(child, status)
            pause = BACKOFF_S[max(0, min(len(child.failures), len(BACKOFF_S)) - 1)]
            log.warning("child ended, starting it again", child=child.name, status=status, pause_s=pause)
            await asyncio.sleep(pause)

    def _count_failure(self, child: Child, status: int) -> None:
        now = self._clock.monotonic()
        child.failures.append(now)
        while child.failures and now - child.failures[0] > WINDOW_S:
            child.failures.popleft()
        # A child that never served has nothing to lose by an early word: its mistake is in the settings.
        if len(child.failures) >= FAILURES or not child.ready.is_set():
            raise self._gave_up(child, f"it ended with status {status}")

    def _gave_up(self, child: Child, why: str) -> ChildGaveUp:
        path, lines = str(self._log_path(child)), self._last_lines(child)
        if lines and lines[-1].startswith(MISTAKE):
            return ChildGaveUp(f"{child.name} does not start. {lines[-1].removeprefix(MISTAKE).rstrip('.')}", todo=f"Its log: {path}")
        said = "".join(f"\n  {line}" for line in lines)
        return ChildGaveUp(f"{child.name} does not run: {why}", path, f"Its last lines:{said}")

    def _log_path(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log"

    def _last_lines(self, child: Child) -> list[str]:
        with contextlib.suppress(OSError):
            written = self._log_path(child).read_bytes()[child.log_from :]
            return written.decode(errors="replace").splitlines()[-LAST_LINES:]
        return []

    async def _run_once(self, child: Child) -> int:
        with self._log_path(child).open("ab") as sink:
            child.log_from = sink.tell()
            child.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "simrack.cli", *child.argv,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=sink,
                env={**os.environ, DIE_WITH_PARENT: str(os.getpid())},
                start_new_session=True,
            )  # fmt: skip
            await self._read_output(child, child.process, sink)
            return await child.process.wait()

    async def _read_output(self, child: Child, process: asyncio.subprocess.Process, sink: IO[bytes]) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            ready = _readiness(line)
            if ready is None:
                sink.write(line)
                sink.flush()
            else:
                child.on_ready(ready)
                again = child.ready.is_set()
                child.ready.set()
                if again:
                    self._on_restart()

    async def stop(self) -> None:
        """SIGTERM in reverse order of start, one after the other, SIGKILL for whoever does not listen."""
        self._stopping = True
        for child in reversed(self._children):
            process = child.process
            if process is None or process.returncode is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                log.warning("child did not end, killing it", child=child.name)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def pids(self) -> dict[str, int]:
        """Process ids of the children by name."""
        return {child.name: child.process.pid for child in self._children if child.process is not None}


def _readiness(line: bytes) -> Ready | None:
    if not line.startswith(b"{"):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) and document.get("ready") is True else None
