"""Copies made by themselves: a child process each, with an alarm when one fails.

A process of its own, because reading ten million rows would take the interpreter from the calls.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog

from simrack.controller.config.catalogue import Values
from simrack.controller.keeping.thinning import made_at
from simrack.wire.errors import UserError
from simrack.wire.ports import Clock

log = structlog.get_logger(__name__)
#: Options change rarely; a minute late is early enough for a copy.
LOOK_EVERY_S = 60.0
#: Ten million records take minutes; a copy that takes longer than this hangs.
COPY_S = 6 * 3600.0
#: After a failure: soon enough to be inside the hour that may be lost, seldom enough to leave the disk in peace.
AGAIN = timedelta(minutes=10)
#: A copy must not take the processor from calls.
NICE = ("nice", "-n", "10")
ALARM = "backup-failed"


class Alarms(Protocol):
    """The alarm board's one function."""

    def set(self, kind: str, active: bool, subject: str = "", detail: str = "") -> None:
        """Open or close an alarm."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a copying process said."""

    ok: bool
    said: str  # its JSON, or its last words


class BackupSchedule:
    """Makes copies as the options say; `url` is a role that may read everything."""

    def __init__(self, url: str, options: Callable[[], Values], alarms: Alarms, clock: Clock) -> None:
        self._url, self._options, self._alarms, self._clock = url, options, alarms, clock
        self._busy = asyncio.Lock()
        self._failed: datetime | None = None

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if await self._due():
                await self._guarded()

    async def now(self) -> dict[str, Any]:
        """Make one now, for a person. Raises `UserError`: no folder is set, or the copy failed."""
        if not self._folder:
            raise UserError("no folder for backups is set", "backup.folder", "Set it on the Settings page.")
        made = await self._guarded()
        if not made.ok:
            raise UserError(f"the backup failed: {made.said}", "backup")
        return dict(json.loads(made.said))

    @property
    def _folder(self) -> str:
        return self._options().text("backup.folder")

    async def _due(self) -> bool:
        now, every = self._clock.utc(), timedelta(hours=self._options().number("backup.every_h"))
        if not self._folder or (self._failed is not None and now - self._failed < AGAIN):
            return False
        newest = await asyncio.to_thread(newest_in, Path(self._folder))
        return newest is None or now - newest >= every

    async def _guarded(self) -> Made:
        async with self._busy:
            try:
                async with asyncio.timeout(COPY_S):
                    made = await self._copy()
            except (OSError, TimeoutError) as error:
                made = Made(False, str(error) or "it took too long")
        self._failed = None if made.ok else self._clock.utc()
        self._alarms.set(ALARM, not made.ok, detail="" if made.ok else made.said[-200:])
        log.log(20 if made.ok else 40, "backup", ok=made.ok, said=made.said[-500:])
        return made

    async def _copy(self) -> Made:
        child = await asyncio.create_subprocess_exec(
            *NICE, sys.executable, "-P", "-m", "simrack.cli", "backup", self._folder, "--json",
            env={**os.environ, "SIMRACK_DATABASE": self._url}, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            out, said = await child.communicate()
        except asyncio.CancelledError:
            child.terminate()
            raise
        text = out.decode(errors="replace").strip()
        return Made(child.returncode == 0, text or said.decode(errors="replace").strip())


def newest_in(folder: Path) -> datetime | None:
    """When the newest copy in a folder was made; None: there is none. Blocks."""
    try:
        times = [at for name in os.listdir(folder) if (at := made_at(name)) is not None]
    except FileNotFoundError:
        return None
    return max(times, default=None)
